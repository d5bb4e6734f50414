//! Keep-alive for a connection to Redis: decides when to send a PING, and when a silent connection is dead.

use std::time::Duration;

use tokio::time::Instant;

use super::shared::Shared;

/// When something was last received, and how long a connection may be silent while an answer is due.
#[derive(Debug)]
pub(super) struct LinkKeepAlive {
    last_received: Instant,
    /// When the last check was made. If that is long ago, it was this process that stalled, and not Redis.
    last_checked: Instant,
    /// When a stall of this process was last noticed.
    stalled_at: Instant,
    max_silence: Duration,
    command_timeout: Duration,
    keep_alive: Duration,
}

/// The result of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LinkHealth {
    Healthy,
    /// No answer is due and the connection has been silent for a while: a PING should be sent.
    PingDue,
    /// An answer has been due for too long.
    Dead,
}

/// How long a connection may be silent while an answer is due, with the default timeout. It is short, so that a paused
/// Redis is noticed within seconds.
const MAX_SILENCE: Duration = Duration::from_secs(3);

/// How long a connection may be silent while an answer is due, when answers may take `command_timeout`. A timeout above
/// the default, chosen for a Redis that sometimes stalls for seconds, allows a longer silence in proportion.
fn longest_silence(command_timeout: Duration) -> Duration {
    command_timeout.min(MAX_SILENCE).max(command_timeout * 3 / 5)
}

impl LinkKeepAlive {
    pub(super) fn new(shared: &Shared) -> Self {
        let now = Instant::now();
        let command_timeout = shared.options.command_timeout;
        Self {
            last_received: now,
            last_checked: now,
            stalled_at: now,
            max_silence: longest_silence(command_timeout),
            command_timeout,
            keep_alive: shared.options.keep_alive,
        }
    }

    /// Records that something was received now.
    pub(super) fn record_received(&mut self) {
        self.last_received = Instant::now();
        self.last_checked = self.last_received;
    }

    /// Checks the connection; `pending_since` is when the oldest unanswered command was sent.
    pub(super) fn check(&mut self, now: Instant, pending_since: Option<Instant>) -> LinkHealth {
        // Twice the interval, since a tick may come a little late without a stall.
        if now - self.last_checked > self.interval() * 2 {
            self.stalled_at = now;
        }
        self.last_checked = now;
        match pending_since.map(|since| since.max(self.stalled_at)) {
            Some(since) if now - since > self.command_timeout => LinkHealth::Dead,
            Some(since) if now - since.max(self.last_received) > self.max_silence => LinkHealth::Dead,
            Some(_) => LinkHealth::Healthy,
            None if now - self.last_received >= self.keep_alive => LinkHealth::PingDue,
            None => LinkHealth::Healthy,
        }
    }

    fn interval(&self) -> Duration {
        self.keep_alive.min(self.max_silence / 4).max(Duration::from_millis(10))
    }

    pub(super) fn ticker(&self) -> tokio::time::Interval {
        let mut interval = tokio::time::interval(self.interval());
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval
    }

    pub(super) fn stalled_at(&self) -> Instant {
        self.stalled_at
    }

    pub(super) fn command_timeout(&self) -> Duration {
        self.command_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::redis::RedisOptions;
    use crate::metrics::BackplaneMetrics;

    fn keep_alive() -> LinkKeepAlive {
        LinkKeepAlive::new(&Shared::new(RedisOptions::default(), "n".into(), Vec::new(), BackplaneMetrics::default()))
    }

    /// Checks once per interval for `seconds` without receiving anything, and returns the last result.
    fn silence(keep_alive: &mut LinkKeepAlive, start: Instant, seconds: f64, waiting: bool) -> LinkHealth {
        let end = start + Duration::from_secs_f64(seconds);
        let mut now = start;
        let mut health = LinkHealth::Healthy;
        while now < end {
            now = (now + keep_alive.interval()).min(end);
            health = keep_alive.check(now, waiting.then_some(start));
        }
        health
    }

    #[test]
    fn a_silent_connection_is_pinged_then_declared_dead() {
        let start = keep_alive().last_received;
        assert_eq!(silence(&mut keep_alive(), start, 0.7, false), LinkHealth::Healthy);
        assert_eq!(silence(&mut keep_alive(), start, 1.1, false), LinkHealth::PingDue);
        assert_eq!(silence(&mut keep_alive(), start, 2.9, true), LinkHealth::Healthy);
        assert_eq!(silence(&mut keep_alive(), start, 3.1, true), LinkHealth::Dead);
    }

    #[test]
    fn a_longer_timeout_allows_a_longer_silence() {
        for (timeout, silence) in
            [(300, 300), (3000, 3000), (4000, 3000), (5000, 3000), (10_000, 6000), (60_000, 36_000)]
        {
            assert_eq!(longest_silence(Duration::from_millis(timeout)), Duration::from_millis(silence), "{timeout}");
        }
    }

    #[test]
    fn other_replies_extend_the_wait_up_to_the_timeout() {
        let mut keep_alive = keep_alive();
        let start = keep_alive.last_received;
        assert_eq!(silence(&mut keep_alive, start, 2.5, true), LinkHealth::Healthy);
        keep_alive.last_received = start + Duration::from_secs_f64(2.5);
        for (at, health) in [
            (3.2, LinkHealth::Healthy),
            (3.9, LinkHealth::Healthy),
            (4.6, LinkHealth::Healthy),
            (5.1, LinkHealth::Dead),
        ] {
            assert_eq!(keep_alive.check(start + Duration::from_secs_f64(at), Some(start)), health, "{at}");
        }
    }

    #[test]
    fn a_stalled_process_does_not_declare_redis_dead() {
        let mut keep_alive = keep_alive();
        let start = keep_alive.last_received;
        assert_eq!(keep_alive.check(start + Duration::from_secs(60), Some(start)), LinkHealth::Healthy);
        assert_eq!(silence(&mut keep_alive, start + Duration::from_secs(60), 3.1, true), LinkHealth::Dead);
    }
}
