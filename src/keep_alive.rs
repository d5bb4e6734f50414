//! Layer 3: when a client is due a ping, and when it has been silent for too long
//! (docs/builders/signalr-protocol.md#4.10).
//!
//! No timer and no task of its own: one sweep a second asks each connection, which costs a few atomic reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The clocks of one connection. Written by its own task, read by the sweep.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    started: Instant,
    /// Whether the server pings at all; not on long polling.
    pings: bool,
    /// Milliseconds since `started` of the last ping sent; other writes do not count.
    last_ping: AtomicU64,
    /// Milliseconds since `started` when the client was last heard, or last stopped being busy.
    last_received: AtomicU64,
    /// Set by the first ping of the client: one that never pings is never timed out.
    client_pings: AtomicBool,
    /// While a message is dispatched the client's clock stands still.
    busy: AtomicBool,
}

/// What a sweep has to do for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepAliveAction {
    /// Nothing.
    Nothing,
    /// Send a ping.
    Ping,
    /// Close it: the client timed out.
    ClientTimeout,
}

impl KeepAlive {
    /// Starts with the handshake.
    pub(crate) fn new(now: Instant, pings: bool) -> Self {
        Self {
            started: now,
            pings,
            last_ping: AtomicU64::new(0),
            last_received: AtomicU64::new(0),
            client_pings: AtomicBool::new(false),
            busy: AtomicBool::new(false),
        }
    }

    /// The client sent a ping.
    pub(crate) fn ping_received(&self) {
        self.client_pings.store(true, Ordering::Relaxed);
    }

    /// A message of the client is being dispatched.
    pub(crate) fn busy(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// All that came has been dispatched; the client's clock starts anew.
    pub(crate) fn idle(&self, now: Instant) {
        self.last_received.store(self.millis(now), Ordering::Relaxed);
        self.busy.store(false, Ordering::Release);
    }

    /// What is due now. An answer of [`KeepAliveAction::Ping`] counts as the ping sent.
    pub(crate) fn check(&self, now: Instant, keep_alive: Duration, client_timeout: Duration) -> KeepAliveAction {
        let millis = self.millis(now);
        let silent = || millis.saturating_sub(self.last_received.load(Ordering::Relaxed));
        if self.client_pings.load(Ordering::Relaxed)
            && !self.busy.load(Ordering::Acquire)
            && Duration::from_millis(silent()) > client_timeout
        {
            return KeepAliveAction::ClientTimeout;
        }
        if self.pings
            && Duration::from_millis(millis.saturating_sub(self.last_ping.load(Ordering::Relaxed))) >= keep_alive
        {
            self.last_ping.store(millis, Ordering::Relaxed);
            return KeepAliveAction::Ping;
        }
        KeepAliveAction::Nothing
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(15);
    const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

    fn check(keep_alive: &KeepAlive, started: Instant, seconds: u64) -> KeepAliveAction {
        keep_alive.check(started + Duration::from_secs(seconds), KEEP_ALIVE, CLIENT_TIMEOUT)
    }

    #[test]
    fn pings_are_sent_every_interval_regardless_of_other_messages() {
        let started = Instant::now();
        let keep_alive = KeepAlive::new(started, true);
        let pings: Vec<u64> =
            (1..=45).filter(|second| check(&keep_alive, started, *second) == KeepAliveAction::Ping).collect();
        assert_eq!(pings, [15, 30, 45]);
    }

    #[test]
    fn a_client_that_never_pings_is_never_timed_out() {
        let started = Instant::now();
        let keep_alive = KeepAlive::new(started, false);
        assert_eq!(check(&keep_alive, started, 3600), KeepAliveAction::Nothing);
    }

    #[test]
    fn a_client_that_stops_pinging_is_timed_out() {
        let started = Instant::now();
        let keep_alive = KeepAlive::new(started, false);
        keep_alive.ping_received();
        keep_alive.idle(started + Duration::from_secs(10));
        assert_eq!(check(&keep_alive, started, 40), KeepAliveAction::Nothing);
        assert_eq!(check(&keep_alive, started, 41), KeepAliveAction::ClientTimeout);
    }

    #[test]
    fn the_client_timeout_is_paused_while_a_message_is_handled() {
        let started = Instant::now();
        let keep_alive = KeepAlive::new(started, false);
        keep_alive.ping_received();
        keep_alive.busy();
        assert_eq!(check(&keep_alive, started, 1000), KeepAliveAction::Nothing);
        keep_alive.idle(started + Duration::from_secs(1000));
        assert_eq!(check(&keep_alive, started, 1030), KeepAliveAction::Nothing);
        assert_eq!(check(&keep_alive, started, 1031), KeepAliveAction::ClientTimeout);
    }
}
