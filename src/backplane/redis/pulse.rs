//! Whether Redis is alive: when it was last heard, and when silence means that a connection is dead.

use std::time::Duration;

use tokio::time::Instant;

use super::shared::Shared;

/// When something was last heard, and how long silence may last while an answer is due.
#[derive(Debug)]
pub(super) struct Pulse {
    heard: Instant,
    /// When it was last looked at. If that is long ago, it was this process that stood still.
    looked: Instant,
    /// When it last turned out to have stood still.
    stood_still: Instant,
    silence: Duration,
    patience: Duration,
    keep_alive: Duration,
}

/// What a look at the pulse says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Nothing is due and it has been silent: ask.
    Ask,
    /// Too long without an answer.
    Dead,
}

/// The longest silence while an answer is due: a paused Redis is noticed within seconds.
const MOST_SILENCE: Duration = Duration::from_secs(3);

/// The same for a Redis whose answers may take `command_timeout`. A time-out that was raised above its default, as for a Redis that
/// stands still for seconds at times, raises this in proportion.
fn longest_silence(command_timeout: Duration) -> Duration {
    command_timeout.min(MOST_SILENCE).max(command_timeout * 3 / 5)
}

impl Pulse {
    pub(super) fn new(shared: &Shared) -> Self {
        let now = Instant::now();
        let patience = shared.options.command_timeout;
        Self {
            heard: now,
            looked: now,
            stood_still: now,
            silence: longest_silence(patience),
            patience,
            keep_alive: shared.options.keep_alive,
        }
    }

    /// Something came.
    pub(super) fn beat(&mut self) {
        self.heard = Instant::now();
        self.looked = self.heard;
    }

    /// `waiting_since`: when the oldest unanswered command was handed in.
    pub(super) fn look(&mut self, now: Instant, waiting_since: Option<Instant>) -> Verdict {
        // Twice, since a tick may come a little late.
        if now - self.looked > self.period() * 2 {
            self.stood_still = now;
        }
        self.looked = now;
        match waiting_since.map(|since| since.max(self.stood_still)) {
            Some(since) if now - since > self.patience => Verdict::Dead,
            Some(since) if now - since.max(self.heard) > self.silence => Verdict::Dead,
            Some(_) => Verdict::Fine,
            None if now - self.heard >= self.keep_alive => Verdict::Ask,
            None => Verdict::Fine,
        }
    }

    fn period(&self) -> Duration {
        self.keep_alive.min(self.silence / 4).max(Duration::from_millis(10))
    }

    pub(super) fn tick(&self) -> tokio::time::Interval {
        let mut interval = tokio::time::interval(self.period());
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval
    }

    pub(super) fn stood_still(&self) -> Instant {
        self.stood_still
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::redis::RedisOptions;
    use crate::metrics::BackplaneMetrics;

    fn pulse() -> Pulse {
        Pulse::new(&Shared::new(RedisOptions::default(), "n".into(), Vec::new(), BackplaneMetrics::default()))
    }

    /// Looks every period for `seconds`; the last verdict.
    fn silence(pulse: &mut Pulse, start: Instant, seconds: f64, waiting: bool) -> Verdict {
        let end = start + Duration::from_secs_f64(seconds);
        let mut now = start;
        let mut verdict = Verdict::Fine;
        while now < end {
            now = (now + pulse.period()).min(end);
            verdict = pulse.look(now, waiting.then_some(start));
        }
        verdict
    }

    #[test]
    fn silence_is_asked_after_and_then_is_death() {
        let start = pulse().heard;
        assert_eq!(silence(&mut pulse(), start, 0.7, false), Verdict::Fine);
        assert_eq!(silence(&mut pulse(), start, 1.1, false), Verdict::Ask);
        assert_eq!(silence(&mut pulse(), start, 2.9, true), Verdict::Fine);
        assert_eq!(silence(&mut pulse(), start, 3.1, true), Verdict::Dead);
    }

    #[test]
    fn a_longer_time_out_allows_for_a_longer_silence() {
        for (timeout, silence) in
            [(300, 300), (3000, 3000), (4000, 3000), (5000, 3000), (10_000, 6000), (60_000, 36_000)]
        {
            assert_eq!(longest_silence(Duration::from_millis(timeout)), Duration::from_millis(silence), "{timeout}");
        }
    }

    #[test]
    fn other_answers_stretch_the_wait_to_the_time_out() {
        let mut pulse = pulse();
        let start = pulse.heard;
        assert_eq!(silence(&mut pulse, start, 2.5, true), Verdict::Fine);
        pulse.heard = start + Duration::from_secs_f64(2.5);
        for (at, verdict) in [(3.2, Verdict::Fine), (3.9, Verdict::Fine), (4.6, Verdict::Fine), (5.1, Verdict::Dead)] {
            assert_eq!(pulse.look(start + Duration::from_secs_f64(at), Some(start)), verdict, "{at}");
        }
    }

    #[test]
    fn a_process_that_stood_still_does_not_blame_redis() {
        let mut pulse = pulse();
        let start = pulse.heard;
        assert_eq!(pulse.look(start + Duration::from_secs(60), Some(start)), Verdict::Fine);
        assert_eq!(silence(&mut pulse, start + Duration::from_secs(60), 3.1, true), Verdict::Dead);
    }
}
