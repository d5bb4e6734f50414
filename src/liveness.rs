//! Floor 3: when a client is due a ping, and when it has been silent for too long
//! (docs/builders/signalr-protocol.md#4.10).
//!
//! No timer and no task of its own: one sweep a second asks each connection, which costs a few atomic reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The clocks of one connection. Written by its own task, read by the sweep.
#[derive(Debug)]
pub(crate) struct Liveness {
    began: Instant,
    /// Whether the server pings at all; not on long polling.
    pings: bool,
    /// Milliseconds since `began` of the last ping sent; other writes do not count.
    last_ping: AtomicU64,
    /// Milliseconds since `began` when the client was last heard, or last stopped being busy.
    last_heard: AtomicU64,
    /// Set by the first ping of the client: one that never pings is never timed out.
    armed: AtomicBool,
    /// While a message is dispatched the client's clock stands still.
    busy: AtomicBool,
}

/// What a sweep has to do for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// Send a ping.
    Ping,
    /// Close it: the client timed out.
    ClientTimeout,
}

impl Liveness {
    /// Starts with the handshake.
    pub(crate) fn new(now: Instant, pings: bool) -> Self {
        Self {
            began: now,
            pings,
            last_ping: AtomicU64::new(0),
            last_heard: AtomicU64::new(0),
            armed: AtomicBool::new(false),
            busy: AtomicBool::new(false),
        }
    }

    /// The client sent a ping.
    pub(crate) fn pinged(&self) {
        self.armed.store(true, Ordering::Relaxed);
    }

    /// A message of the client is being dispatched.
    pub(crate) fn busy(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// All that came has been dispatched; the client's clock starts anew.
    pub(crate) fn idle(&self, now: Instant) {
        self.last_heard.store(self.millis(now), Ordering::Relaxed);
        self.busy.store(false, Ordering::Release);
    }

    /// What is due now. An answer of [`Due::Ping`] counts as the ping sent.
    pub(crate) fn check(&self, now: Instant, keep_alive: Duration, client_timeout: Duration) -> Due {
        let millis = self.millis(now);
        let silent = || millis.saturating_sub(self.last_heard.load(Ordering::Relaxed));
        if self.armed.load(Ordering::Relaxed)
            && !self.busy.load(Ordering::Acquire)
            && Duration::from_millis(silent()) > client_timeout
        {
            return Due::ClientTimeout;
        }
        if self.pings
            && Duration::from_millis(millis.saturating_sub(self.last_ping.load(Ordering::Relaxed))) >= keep_alive
        {
            self.last_ping.store(millis, Ordering::Relaxed);
            return Due::Ping;
        }
        Due::Nothing
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(15);
    const TIMEOUT: Duration = Duration::from_secs(30);

    fn check(liveness: &Liveness, began: Instant, seconds: u64) -> Due {
        liveness.check(began + Duration::from_secs(seconds), KEEP_ALIVE, TIMEOUT)
    }

    #[test]
    fn pings_every_interval_whatever_else_is_sent() {
        let began = Instant::now();
        let liveness = Liveness::new(began, true);
        let pings: Vec<u64> = (1..=45).filter(|second| check(&liveness, began, *second) == Due::Ping).collect();
        assert_eq!(pings, [15, 30, 45]);
    }

    #[test]
    fn a_client_that_never_pings_is_never_timed_out() {
        let began = Instant::now();
        let liveness = Liveness::new(began, false);
        assert_eq!(check(&liveness, began, 3600), Due::Nothing);
    }

    #[test]
    fn a_client_that_pinged_and_fell_silent_is_timed_out() {
        let began = Instant::now();
        let liveness = Liveness::new(began, false);
        liveness.pinged();
        liveness.idle(began + Duration::from_secs(10));
        assert_eq!(check(&liveness, began, 40), Due::Nothing);
        assert_eq!(check(&liveness, began, 41), Due::ClientTimeout);
    }

    #[test]
    fn the_clock_stands_still_while_a_call_is_waited_for() {
        let began = Instant::now();
        let liveness = Liveness::new(began, false);
        liveness.pinged();
        liveness.busy();
        assert_eq!(check(&liveness, began, 1000), Due::Nothing);
        liveness.idle(began + Duration::from_secs(1000));
        assert_eq!(check(&liveness, began, 1030), Due::Nothing);
        assert_eq!(check(&liveness, began, 1031), Due::ClientTimeout);
    }
}
