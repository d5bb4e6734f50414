//! Layer 3: keep-alive of connections: decides when to send a ping, and when a client has been silent for too long
//! (docs/builders/signalr-protocol.md#4.10).
//!
//! Connections have no timers of their own. A sweep checks every connection once a second, which takes a few atomic
//! reads for each.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The keep-alive state of one connection. Its own task updates it, and the sweep checks it.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    started: Instant,
    /// Whether the server sends pings; it does not with long polling.
    pings: bool,
    /// When the last ping was sent, in milliseconds since `started`. Other messages do not postpone pings.
    last_ping: AtomicU64,
    /// When the last message of the client had been handled, in milliseconds since `started`.
    last_received: AtomicU64,
    /// Set by the first ping of the client. A client that never pings never times out.
    client_pings: AtomicBool,
    /// Whether a message of the client is being handled, during which it cannot time out.
    busy: AtomicBool,
}

/// What the sweep has to do for a connection.
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
    /// Makes the state of a connection whose handshake has just completed.
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

    /// Records that the client sent a ping.
    pub(crate) fn ping_received(&self) {
        self.client_pings.store(true, Ordering::Relaxed);
    }

    /// Suspends the client timeout while a message of the client is being handled.
    pub(crate) fn busy(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Restarts the client timeout when everything received has been handled.
    pub(crate) fn idle(&self, now: Instant) {
        self.last_received.store(self.millis(now), Ordering::Relaxed);
        self.busy.store(false, Ordering::Release);
    }

    /// Returns what is due now. After [`KeepAliveAction::Ping`] the ping is taken as sent.
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
