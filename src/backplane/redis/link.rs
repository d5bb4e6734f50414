//! The link to Redis over time: connected, lost, and tried again with a growing delay. It has two connections, one for
//! commands and one for subscriptions; when either breaks the link is down until both are back and every wanted channel
//! is subscribed.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::dial::{Dialer, Pair};
use super::pair;
use super::shared::Shared;
use super::socket::Trouble;
use crate::backplane::{Inbound, LinkState};
use crate::logging::reason;

/// The first delay between attempts, behind one at once, and the longest: short, since a node that comes back later
/// than another misses what that one sends meanwhile.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_millis(200);
/// The delay when Redis is there and does not want us: no node of the farm works then, and haste helps nobody.
const REFUSED_DELAY: Duration = Duration::from_secs(1);
/// After an outage a node that has subscribed everything waits so long before it sends: the others, who try as often,
/// hear by then what it says.
pub(super) const GRACE: Duration = Duration::from_millis(400);

/// Keeps the link until `stop`; `first` is a pair that is there already.
pub(super) async fn keep(
    dialer: Dialer,
    mut first: Option<Pair>,
    inbound: mpsc::Sender<Inbound>,
    mut stop: watch::Receiver<bool>,
) {
    let shared = dialer.shared().clone();
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
            let reason = reason(&trouble);
            tracing::error!("Connection to Redis failed ({reason}). Trying again until it is back.");
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
    shared.replied.notify_waiters();
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
