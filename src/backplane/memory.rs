//! A backplane within one process: the default, and a stand-in for Redis in tests. Envelopes are passed on as values,
//! without encoding them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use super::{Backplane, BackplaneError, Envelope, InboundEnvelope, InboundReceiver, LinkState, Topic};
use crate::ids::NodeId;

/// How many envelopes may wait for one node. While a subscribed node is that far behind, a publish fails with
/// [`BackplaneError::Full`] and reaches no node at all: either every node gets a message or none does, and messages
/// cannot overtake each other.
const INBOUND_CAPACITY: usize = 4096;

/// A backplane for a server without other nodes.
pub(crate) fn standalone() -> (Arc<dyn Backplane>, InboundReceiver) {
    MemoryBus::default().node(NodeId::new("single"))
}

/// Joins nodes of one process. Clones refer to the same bus.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryBus(Arc<Mutex<BusState>>);

#[derive(Debug, Default)]
struct BusState {
    next: u64,
    nodes: HashMap<u64, BusMember>,
}

struct BusMember {
    /// Subscriptions per topic. An unsubscribe may arrive before its subscribe, so a count may be negative for a while.
    topics: HashMap<Topic, i64>,
    /// The node's delivery holds the receiver. Used only while the bus is locked, so that all nodes see the same order.
    inbound: mpsc::Sender<InboundEnvelope>,
}

impl fmt::Debug for BusMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusMember").field("topics", &self.topics).finish_non_exhaustive()
    }
}

impl MemoryBus {
    /// Adds a node.
    pub(crate) fn node(&self, id: NodeId) -> (Arc<dyn Backplane>, InboundReceiver) {
        let (inbound, receiver) = mpsc::channel(INBOUND_CAPACITY);
        let mut nodes = self.lock();
        let key = nodes.next;
        nodes.next += 1;
        nodes.nodes.insert(key, BusMember { topics: HashMap::new(), inbound });
        let (link, _) = watch::channel(LinkState::Up);
        (Arc::new(MemoryBackplane { bus: self.clone(), key, id, link }), receiver)
    }

    fn lock(&self) -> MutexGuard<'_, BusState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node's view of the bus.
#[derive(Debug)]
struct MemoryBackplane {
    bus: MemoryBus,
    key: u64,
    id: NodeId,
    link: watch::Sender<LinkState>,
}

impl MemoryBackplane {
    fn deliver(&self, topic: &Topic, envelope: &Envelope) -> Result<u64, BackplaneError> {
        let mut nodes = self.bus.lock();
        if !nodes.nodes.contains_key(&self.key) {
            return Err(BackplaneError::Down(format!("{} has left", self.id)));
        }
        // A node whose receiver was dropped cannot receive anything.
        nodes.nodes.retain(|_, member| !member.inbound.is_closed());
        let is_subscribed = |key: &u64, member: &BusMember| {
            *key != self.key && member.topics.get(topic).is_some_and(|count| *count > 0)
        };
        let receivers =
            || nodes.nodes.iter().filter(|(key, member)| is_subscribed(key, member)).map(|(_, member)| member);
        if receivers().any(|member| member.inbound.capacity() == 0) {
            return Err(BackplaneError::Full(INBOUND_CAPACITY));
        }
        let mut count = 0;
        for member in receivers() {
            let inbound = InboundEnvelope { topic: topic.clone(), envelope: envelope.clone() };
            count += u64::from(member.inbound.try_send(inbound).is_ok());
        }
        Ok(count)
    }

    fn change(&self, topics: Vec<Topic>, by: i64) {
        let mut nodes = self.bus.lock();
        let Some(member) = nodes.nodes.get_mut(&self.key) else { return };
        for topic in topics {
            let count = member.topics.entry(topic.clone()).or_default();
            *count += by;
            if *count == 0 {
                member.topics.remove(&topic);
            }
        }
    }
}

impl Backplane for MemoryBackplane {
    fn echoes(&self) -> bool {
        false
    }

    fn publish(&self, topic: Topic, envelope: Envelope) -> BoxFuture<'static, Result<u64, BackplaneError>> {
        futures_util::future::ready(self.deliver(&topic, &envelope)).boxed()
    }

    fn subscribe(&self, topics: Vec<Topic>) -> BoxFuture<'static, ()> {
        self.change(topics, 1);
        futures_util::future::ready(()).boxed()
    }

    fn unsubscribe(&self, topics: Vec<Topic>) {
        self.change(topics, -1);
    }

    fn link(&self) -> watch::Receiver<LinkState> {
        self.link.subscribe()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.bus.lock().nodes.remove(&self.key);
        self.link.send_replace(LinkState::Down);
        futures_util::future::ready(()).boxed()
    }
}

impl Drop for MemoryBackplane {
    fn drop(&mut self) {
        self.bus.lock().nodes.remove(&self.key);
    }
}
