//! Keeps the link to Redis up, and reconnects with a growing delay when it is lost. The link consists of two
//! connections, one for commands and one for subscriptions. When either breaks, the link is down until both are back
//! and every wanted channel is subscribed again.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::connection_pair;
use super::connector::{ConnectionPair, Connector};
use super::shared::Shared;
use super::socket::LinkError;
use crate::backplane::{InboundEnvelope, LinkState};
use crate::logging::reason;

/// The delay before the second attempt to reconnect; the first is made without a delay.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(50);
/// The longest delay between attempts. It is short, since a node misses what other nodes publish until it is back.
const MAX_RETRY_DELAY: Duration = Duration::from_millis(200);
/// The delay after Redis refused a login or a subscription: trying again sooner is unlikely to help.
const REFUSED_RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long a node waits after an outage before it publishes, once its own subscriptions are confirmed. Other nodes
/// reconnect at the same pace, so by then they receive what it publishes.
pub(super) const RECOVERY_DELAY: Duration = Duration::from_millis(400);

/// Maintains the link until `stop` becomes `true`. `first` is a pair of connections that is already open.
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
            tracing::error!("Connection to Redis failed ({reason}). Retrying until it is back.");
            outage_logged = true;
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(delay)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Records that the link is down, and fails everything that waits for an answer. Returns whether the link was up.
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

/// Records that the link is up: both connections work and every wanted channel is subscribed.
pub(super) fn mark_up(shared: &Shared, endpoint: &str, outage_logged: bool) {
    shared.lock().down = None;
    shared.link.send_replace(LinkState::Up);
    if outage_logged {
        tracing::info!("Connection to Redis restored ({endpoint}).");
    } else {
        tracing::info!("Connected to Redis ({endpoint}).");
    }
}

/// A random duration between half of the delay and all of it, so that the nodes of a farm do not reconnect in step.
fn jittered(delay: Duration) -> Duration {
    let mut byte = [0];
    let share = if getrandom::fill(&mut byte).is_ok() { f64::from(byte[0]) / 255.0 } else { 1.0 };
    delay.mul_f64(0.5 + share / 2.0)
}
