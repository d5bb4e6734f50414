//! The state that callers of the backplane share with the link task. Its lock is held only for look-ups and copies, and
//! never across an await.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::channels;
use super::envelope_codec::{self, EnvelopeError};
use super::publish_queue::{Publish, PublishQueue};
use super::redis_options::RedisOptions;
use super::subscriptions::Subscriptions;
use crate::backplane::{BackplaneError, Envelope, InboundEnvelope, LinkState, Topic};
use crate::ids::{HubName, NodeId};
use crate::logging::{Escaped, LogRateLimiter};
use crate::metrics::BackplaneMetrics;
use crate::protocol::Protocol;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: RedisOptions,
    node: NodeId,
    hubs: HashMap<HubName, Vec<Protocol>>,
    state: Mutex<SharedState>,
    next_id: AtomicU64,
    pub(super) link: watch::Sender<LinkState>,
    /// Notified when there is something to write on the command connection. Its writer waits for it.
    pub(super) publish_ready: Notify,
    /// Notified when there is something to write on the subscription connection. Its writer waits for it.
    pub(super) subscriptions_ready: Notify,
    /// Notified when replies from Redis have been processed, on either connection. Only the shutdown waits for it.
    pub(super) replied: Notify,
    /// The errors that have been logged already.
    logged_errors: Mutex<HashSet<EnvelopeError>>,
    /// Limits the log lines that clients can cause.
    pub(super) log: LogRateLimiter,
    metrics: BackplaneMetrics,
}

#[derive(Debug)]
pub(super) struct SharedState {
    /// Why the link is down; `None` while it is up.
    pub(super) down: Option<String>,
    pub(super) publish_queue: PublishQueue,
    pub(super) subscriptions: Subscriptions,
}

/// Locks a mutex and ignores poisoning: the tables are consistent after every statement, so a panic breaks nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies a small payload. As a slice it would keep the whole read buffer alive for as long as it waits for a slow
/// client.
fn detached(payload: &Bytes) -> Bytes {
    const SMALL: usize = 16 * 1024;
    if payload.len() < SMALL { Bytes::copy_from_slice(payload) } else { payload.clone() }
}

impl Shared {
    pub(super) fn new(
        options: RedisOptions,
        node: NodeId,
        hubs: Vec<(HubName, Vec<Protocol>)>,
        metrics: BackplaneMetrics,
    ) -> Arc<Self> {
        let down = Some(format!("{} has not been reached yet", options.endpoints_text()));
        Arc::new(Self {
            options,
            node,
            hubs: hubs.into_iter().collect(),
            state: Mutex::new(SharedState {
                down,
                publish_queue: PublishQueue::default(),
                subscriptions: Subscriptions::default(),
            }),
            next_id: AtomicU64::new(1),
            link: watch::channel(LinkState::Connecting).0,
            publish_ready: Notify::new(),
            subscriptions_ready: Notify::new(),
            replied: Notify::new(),
            logged_errors: Mutex::default(),
            log: LogRateLimiter::default(),
            metrics,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SharedState> {
        lock(&self.state)
    }

    /// Waits until `is_done` returns `true`, and calls it again after each reply from Redis.
    pub(super) async fn until(&self, is_done: impl Fn(&SharedState) -> bool) {
        loop {
            let replied = self.replied.notified();
            tokio::pin!(replied);
            // Registered before the check, so that a reply in between is not missed.
            replied.as_mut().enable();
            if is_done(&self.lock()) {
                return;
            }
            replied.await;
        }
    }

    fn channel(&self, topic: &Topic) -> String {
        channels::prefixed(&self.options.channel_prefix, topic)
    }

    /// Encodes an envelope and queues it. The returned receiver gets the result.
    pub(super) fn publish(
        &self,
        topic: &Topic,
        envelope: Envelope,
    ) -> Result<oneshot::Receiver<Result<u64, BackplaneError>>, BackplaneError> {
        if let Some(reason) = &self.lock().down {
            return Err(BackplaneError::Down(reason.clone()));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let protocols = self.hubs.get(&topic.hub).map_or(&Protocol::ALL[..], Vec::as_slice);
        let mut payload = Vec::new();
        envelope_codec::encode(&topic.hub, &envelope, protocols, Some((&self.node, id)), &mut payload)?;
        let channel = self.channel(topic);
        let (caller, receiver) = oneshot::channel();
        let mut state = self.lock();
        if let Some(reason) = &state.down {
            return Err(BackplaneError::Down(reason.clone()));
        }
        let comes_back = matches!(envelope, Envelope::Message { .. }) && state.subscriptions.is_confirmed(&channel);
        let echo = comes_back.then_some(envelope);
        let publish = Publish { id, channel: &channel, payload: &payload, echo };
        state.publish_queue.publish(publish, caller, Instant::now())?;
        drop(state);
        self.publish_ready.notify_one();
        Ok(receiver)
    }

    /// Adds one subscription for each topic. `confirmed` gets a token for each that has yet to be confirmed, but none
    /// while the link is down, so that its owner does not wait then.
    pub(super) fn subscribe(&self, topics: &[Topic], confirmed: &TaskTracker) {
        let mut state = self.lock();
        let confirmed = Some(confirmed).filter(|_| state.down.is_none());
        let mut wake = false;
        for topic in topics {
            wake |= state.subscriptions.add(&self.channel(topic), topic, confirmed);
        }
        drop(state);
        if wake {
            self.subscriptions_ready.notify_one();
        }
    }

    pub(super) fn unsubscribe(&self, topics: &[Topic]) {
        let mut state = self.lock();
        let mut wake = false;
        for topic in topics {
            wake |= state.subscriptions.remove(&self.channel(topic), topic);
        }
        drop(state);
        if wake {
            self.subscriptions_ready.notify_one();
        }
    }

    /// Decodes a message from a channel; `None` if the channel is no longer wanted or the message is invalid.
    pub(super) fn read(&self, channel: &Bytes, payload: &Bytes) -> Option<InboundEnvelope> {
        let name = std::str::from_utf8(channel).ok()?;
        let own = envelope_codec::origin(payload).filter(|(node, _)| *node == self.node.as_str()).map(|(_, id)| id);
        let mut state = self.lock();
        let envelope = own.and_then(|id| state.publish_queue.echo_received(id));
        // `None` if the node has just unsubscribed.
        let topic = state.subscriptions.topic(name)?.clone();
        drop(state);
        let envelope = match envelope {
            Some(envelope) => envelope,
            None => match envelope_codec::decode(&topic, &detached(payload)) {
                Ok(envelope) => envelope,
                Err(error) => {
                    self.metrics.received(false);
                    self.log_once(name, payload.len(), error);
                    return None;
                }
            },
        };
        self.metrics.received(true);
        Some(InboundEnvelope { topic, envelope })
    }

    /// Logs each kind of invalid message once, so that a foreign publisher cannot fill the disk.
    fn log_once(&self, channel: &str, length: usize, error: EnvelopeError) {
        if lock(&self.logged_errors).insert(error) {
            let channel = Escaped::new(channel).to_string();
            tracing::warn!(
                channel,
                bytes = length,
                "Ignored a message on a backplane channel: {error}. Further ones of this kind are not logged."
            );
        }
    }
}
