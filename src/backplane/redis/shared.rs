//! What callers and the link's task share: one lock, held only for table look-ups and copies, never across an await.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::channels;
use super::connection::RedisOptions;
use super::outgoing::{Outgoing, Publish};
use super::topics::Topics;
use super::wire::{self, WireError};
use crate::backplane::{BackplaneError, Envelope, Inbound, LinkState, Topic};
use crate::ids::{HubName, NodeId};
use crate::logging::{Escaped, RateLimiter};
use crate::metrics::BackplaneMetrics;
use crate::protocol::Protocol;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: RedisOptions,
    node: NodeId,
    hubs: HashMap<HubName, Vec<Protocol>>,
    state: Mutex<State>,
    next_id: AtomicU64,
    pub(super) link: watch::Sender<LinkState>,
    /// Something waits to be written on the command connection.
    pub(super) publish_wakes: Notify,
    /// Something waits to be written on the subscription connection.
    pub(super) topics_wake: Notify,
    /// Notified when replies from Redis have been taken in, on either connection. Only the shutdown waits for it.
    pub(super) replied: Notify,
    /// Faults that were logged.
    faults: Mutex<HashSet<WireError>>,
    /// Limits the log lines that clients can cause.
    pub(super) log: RateLimiter,
    metrics: BackplaneMetrics,
}

#[derive(Debug)]
pub(super) struct State {
    /// None while the link is up, else why it is not.
    pub(super) down: Option<String>,
    pub(super) outgoing: Outgoing,
    pub(super) topics: Topics,
}

/// The poison of a panicking holder is no reason to stop: the tables are whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A small payload gets memory of its own: as a slice it would keep the whole read buffer alive for as long as one slow
/// client has it waiting.
fn owned(payload: &Bytes) -> Bytes {
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
        let down = Some(format!("{} was not reached yet", options.endpoints_text()));
        Arc::new(Self {
            options,
            node,
            hubs: hubs.into_iter().collect(),
            state: Mutex::new(State { down, outgoing: Outgoing::default(), topics: Topics::default() }),
            next_id: AtomicU64::new(1),
            link: watch::channel(LinkState::Connecting).0,
            publish_wakes: Notify::new(),
            topics_wake: Notify::new(),
            replied: Notify::new(),
            faults: Mutex::default(),
            log: RateLimiter::default(),
            metrics,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Waits until replies from Redis have brought the state to where `is_done` holds.
    pub(super) async fn until(&self, is_done: impl Fn(&State) -> bool) {
        loop {
            let replied = self.replied.notified();
            tokio::pin!(replied);
            // Registered before the look, so that no reply is missed in between.
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

    /// Encodes and queues; the receiver gets the result.
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
        wire::encode(&topic.hub, &envelope, protocols, Some((&self.node, id)), &mut payload)?;
        let channel = self.channel(topic);
        let (caller, receiver) = oneshot::channel();
        let mut state = self.lock();
        if let Some(reason) = &state.down {
            return Err(BackplaneError::Down(reason.clone()));
        }
        let comes_back = matches!(envelope, Envelope::Deliver { .. }) && state.topics.hears(&channel);
        let echo = comes_back.then_some(envelope);
        let publish = Publish { id, channel: &channel, payload: &payload, echo };
        state.outgoing.publish(publish, caller, Instant::now())?;
        drop(state);
        self.publish_wakes.notify_one();
        Ok(receiver)
    }

    /// Counts one more subscription of each. While the link is down nobody waits.
    pub(super) fn subscribe(&self, topics: &[Topic], confirmed: &TaskTracker) {
        let mut state = self.lock();
        let confirmed = Some(confirmed).filter(|_| state.down.is_none());
        let mut wake = false;
        for topic in topics {
            wake |= state.topics.want(&self.channel(topic), topic, confirmed);
        }
        drop(state);
        if wake {
            self.topics_wake.notify_one();
        }
    }

    pub(super) fn unsubscribe(&self, topics: &[Topic]) {
        let mut state = self.lock();
        let mut wake = false;
        for topic in topics {
            wake |= state.topics.unwant(&self.channel(topic), topic);
        }
        drop(state);
        if wake {
            self.topics_wake.notify_one();
        }
    }

    /// What a message on one of our channels says; None if it says nothing to us.
    pub(super) fn read(&self, channel: &Bytes, payload: &Bytes) -> Option<Inbound> {
        let name = std::str::from_utf8(channel).ok()?;
        let own = wire::origin(payload).filter(|(node, _)| *node == self.node.as_str()).map(|(_, id)| id);
        let mut state = self.lock();
        let envelope = own.and_then(|id| state.outgoing.heard(id));
        // Unsubscribed a moment ago: nobody wants it any more.
        let topic = state.topics.wanted(name)?.clone();
        drop(state);
        let envelope = match envelope {
            Some(envelope) => envelope,
            None => match wire::decode(&topic, &owned(payload)) {
                Ok(envelope) => envelope,
                Err(error) => {
                    self.metrics.received(false);
                    self.tell(name, payload.len(), error);
                    return None;
                }
            },
        };
        self.metrics.received(true);
        Some(Inbound { topic, envelope })
    }

    /// Foreign bytes are logged once for each kind, so that they cannot fill a disk.
    fn tell(&self, channel: &str, length: usize, error: WireError) {
        if lock(&self.faults).insert(error) {
            let channel = Escaped::new(channel).to_string();
            tracing::warn!(
                channel,
                bytes = length,
                "Ignored a message on a backplane channel: {error}. More of this kind are not logged."
            );
        }
    }
}
