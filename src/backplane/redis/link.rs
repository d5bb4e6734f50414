//! The link to Redis over time: connected, lost, and tried again with a growing delay. It has two connections, one for
//! commands and one for subscriptions; when either breaks the link is down until both are back and every wanted channel
//! is subscribed.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::connection_pair;
use super::connector::{ConnectionPair, Connector};
use super::shared::Shared;
use super::socket::LinkError;
use crate::backplane::{InboundEnvelope, LinkState};
use crate::logging::reason;

/// The first delay between attempts, behind one at once, and the longest: short, since a node that comes back later
/// than another misses what that one sends meanwhile.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(50);
const MAX_RETRY_DELAY: Duration = Duration::from_millis(200);
/// The delay when Redis is there and does not want us: no node of the farm works then, and haste helps nobody.
const REFUSED_RETRY_DELAY: Duration = Duration::from_secs(1);
/// After an outage a node that has subscribed everything waits so long before it sends: the others, who try as often,
/// hear by then what it says.
pub(super) const RECOVERY_DELAY: Duration = Duration::from_millis(400);

/// Keeps the link until `stop`; `first` is a pair that is there already.
pub(super) async fn maintain(
    connector: Connector,
    mut first: Option<ConnectionPair>,
    inbound: mpsc::Sender<InboundEnvelope>,
    mut stop: watch::Receiver<bool>,
) {
    let shared = connector.shared().clone();
    let mut delay = Duration::ZERO;
    let mut outage_logged = false;
    loop {
        let attempt = async {
            let pair = match first.take() {
                Some(pair) => pair,
                None => connector.connect().await?,
            };
            let endpoint = pair.endpoint.clone();
            let LinkError { reason, refused } = connection_pair::run(&shared, pair, &inbound, outage_logged).await;
            Err::<(), _>(LinkError { reason: format!("{endpoint}: {reason}"), refused })
        };
        let link_error = tokio::select! {
            Err(link_error) = attempt => link_error,
            _ = stop.wait_for(|stop| *stop) => LinkError::from("it was closed".to_owned()),
        };
        let was_up = mark_down(&shared, &link_error);
        if *stop.borrow() {
            return;
        }
        delay = match delay {
            _ if was_up => Duration::ZERO,
            _ if link_error.refused => REFUSED_RETRY_DELAY,
            delay => (delay * 2).clamp(MIN_RETRY_DELAY, MAX_RETRY_DELAY),
        };
        if was_up || !outage_logged {
            let reason = reason(&link_error);
            tracing::error!("Connection to Redis failed ({reason}). Trying again until it is back.");
            outage_logged = true;
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(delay)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Everybody who waits gets the error; the state tells. True: it was up.
fn mark_down(shared: &Shared, link_error: &LinkError) -> bool {
    let mut state = shared.lock();
    let was_up = state.down.replace(link_error.to_string()).is_none();
    state.publish_queue.fail_all(&link_error.to_string());
    state.subscriptions.connection_lost();
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
pub(super) fn mark_up(shared: &Shared, endpoint: &str, outage_logged: bool) {
    shared.lock().down = None;
    shared.link.send_replace(LinkState::Up);
    if outage_logged {
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
