//! The pair of connections to Redis: made, kept, and made again. One for commands, one for subscriptions; when one of
//! them breaks the link is down until both are back and everything wanted is subscribed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::rustls::ClientConfig;

use super::pair;
use super::shared::Shared;
use super::socket::{self, Socket};
use crate::backplane::{Inbound, LinkState};

/// The first delay between attempts, behind one at once, and the longest: short, since a node that comes back later
/// than another misses what that one sends meanwhile.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_millis(200);
/// The delay when Redis is there and does not want us: no node of the farm works then, and haste helps nobody.
const REFUSED_DELAY: Duration = Duration::from_secs(1);
/// After an outage a node that has subscribed everything waits so long before it sends: the others, who try as often,
/// hear by then what it says.
pub(super) const GRACE: Duration = Duration::from_millis(400);

/// Why there is no pair: which endpoint, and what it said. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Trouble {
    pub(super) reason: String,
    /// Redis answered, and refused.
    pub(super) refused: bool,
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self { reason, refused: false }
    }
}

/// Makes connections.
pub(super) struct Dialer {
    shared: Arc<Shared>,
    tls: Option<Arc<ClientConfig>>,
}

/// Two connections to one endpoint.
pub(super) struct Pair {
    pub(super) endpoint: String,
    pub(super) commands: Socket,
    pub(super) subscriptions: Socket,
}

impl Dialer {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, Trouble> {
        let tls = shared.options.tls.as_ref().map(socket::tls_config).transpose()?;
        Ok(Self { shared, tls })
    }

    /// Tries the endpoints in turn.
    pub(super) async fn dial(&self) -> Result<Pair, Trouble> {
        let options = &self.shared.options;
        let mut troubles = Vec::new();
        let mut refused = false;
        for endpoint in &options.endpoints {
            let connect = || socket::connect(options, self.tls.as_ref(), endpoint);
            match tokio::try_join!(connect(), connect()) {
                Ok((commands, subscriptions)) => {
                    return Ok(Pair { endpoint: endpoint.to_string(), commands, subscriptions });
                }
                Err(trouble) => {
                    troubles.push(format!("{endpoint}: {trouble}"));
                    refused |= trouble.refused;
                }
            }
        }
        Err(Trouble { reason: troubles.join("; "), refused })
    }
}

/// Keeps the link until `stop`; `first` is a pair that is there already.
pub(super) async fn keep(
    dialer: Dialer,
    mut first: Option<Pair>,
    inbound: mpsc::Sender<Inbound>,
    mut stop: watch::Receiver<bool>,
) {
    let shared = dialer.shared.clone();
    let mut delay = Duration::ZERO;
    let mut told = false;
    loop {
        let round = async {
            let pair = match first.take() {
                Some(pair) => pair,
                None => dialer.dial().await?,
            };
            let endpoint = pair.endpoint.clone();
            let Trouble { reason, refused } = pair::run(&shared, pair, &inbound, told).await;
            Err::<(), _>(Trouble { reason: format!("{endpoint}: {reason}"), refused })
        };
        let trouble = tokio::select! {
            Err(trouble) = round => trouble,
            _ = stop.wait_for(|stop| *stop) => Trouble::from("it was closed".to_owned()),
        };
        let was_up = lost(&shared, &trouble);
        if *stop.borrow() {
            return;
        }
        delay = match delay {
            _ if was_up => Duration::ZERO,
            _ if trouble.refused => REFUSED_DELAY,
            delay => (delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY),
        };
        if was_up || !told {
            tracing::error!("Connection to Redis failed ({trouble}). Trying again until it is back.");
            told = true;
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(delay)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Everybody who waits gets the error; the state tells. True: it was up.
fn lost(shared: &Shared, trouble: &Trouble) -> bool {
    let mut state = shared.lock();
    let was_up = state.down.replace(trouble.to_string()).is_none();
    state.outgoing.lost(&trouble.to_string());
    state.topics.lost();
    drop(state);
    shared.link.send_if_modified(|link| {
        let changes = *link == LinkState::Up;
        if changes {
            *link = LinkState::Down;
        }
        changes
    });
    was_up
}

/// The link stands and everything is subscribed.
pub(super) fn restored(shared: &Shared, endpoint: &str, told: bool) {
    shared.lock().down = None;
    shared.link.send_replace(LinkState::Up);
    if told {
        tracing::info!("Connection to Redis restored ({endpoint}).");
    } else {
        tracing::info!("Connected to Redis ({endpoint}).");
    }
}

/// Between half and all of the delay, so that the nodes of a farm do not come back in step.
fn jittered(delay: Duration) -> Duration {
    let mut byte = [0];
    let share = if getrandom::fill(&mut byte).is_ok() { f64::from(byte[0]) / 255.0 } else { 1.0 };
    delay.mul_f64(0.5 + share / 2.0)
}

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

/// The longest silence while an answer is due, whatever `asyncTimeout` says: a paused Redis is noticed within seconds.
const MOST_SILENCE: Duration = Duration::from_secs(3);

impl Pulse {
    pub(super) fn new(shared: &Shared) -> Self {
        let now = Instant::now();
        let patience = shared.options.command_timeout;
        Self {
            heard: now,
            looked: now,
            stood_still: now,
            silence: patience.min(MOST_SILENCE),
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
