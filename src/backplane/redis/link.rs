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

/// The first delay between attempts, and the longest. With the longest broadcasts work again within 2 s after Redis
/// answers.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// Why a pair could not be had: which endpoint, and what it said. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Trouble(pub(super) String);

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
        let tls = shared.options.tls.as_ref().map(socket::tls_config).transpose().map_err(Trouble)?;
        Ok(Self { shared, tls })
    }

    /// Tries the endpoints in turn.
    pub(super) async fn dial(&self) -> Result<Pair, Trouble> {
        let options = &self.shared.options;
        let mut troubles = Vec::new();
        for endpoint in &options.endpoints {
            let connect = || socket::connect(options, self.tls.as_ref(), endpoint);
            match tokio::try_join!(connect(), connect()) {
                Ok((commands, subscriptions)) => {
                    return Ok(Pair { endpoint: endpoint.to_string(), commands, subscriptions });
                }
                Err(reason) => troubles.push(format!("{endpoint}: {reason}")),
            }
        }
        Err(Trouble(troubles.join("; ")))
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
    let mut delay = FIRST_DELAY;
    let mut told = false;
    loop {
        let round = async {
            let pair = match first.take() {
                Some(pair) => pair,
                None => dialer.dial().await?,
            };
            let endpoint = pair.endpoint.clone();
            Err::<(), _>(Trouble(format!("{endpoint}: {}", pair::run(&shared, pair, &inbound, told).await)))
        };
        let trouble = tokio::select! {
            Err(trouble) = round => trouble,
            _ = stop.wait_for(|stop| *stop) => Trouble("it was closed".to_owned()),
        };
        let was_up = lost(&shared, &trouble);
        if *stop.borrow() {
            return;
        }
        if was_up {
            delay = FIRST_DELAY;
        }
        if was_up || !told {
            tracing::error!("Connection to Redis failed ({trouble}). Trying again until it is back.");
            told = true;
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(delay)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        delay = (delay * 2).min(LONGEST_DELAY);
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
    pub(super) heard: Instant,
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
        let patience = shared.options.command_timeout;
        Self {
            heard: Instant::now(),
            silence: patience.min(MOST_SILENCE),
            patience,
            keep_alive: shared.options.keep_alive,
        }
    }

    /// `waiting_since`: when the oldest unanswered command was handed in.
    pub(super) fn look(&self, now: Instant, waiting_since: Option<Instant>) -> Verdict {
        match waiting_since {
            Some(since) if now - since > self.patience => Verdict::Dead,
            Some(since) if now - since.max(self.heard) > self.silence => Verdict::Dead,
            Some(_) => Verdict::Fine,
            None if now - self.heard >= self.keep_alive => Verdict::Ask,
            None => Verdict::Fine,
        }
    }

    pub(super) fn tick(&self) -> tokio::time::Interval {
        let period = self.keep_alive.min(self.silence / 4).max(Duration::from_millis(10));
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }
}
