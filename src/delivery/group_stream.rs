//! The messages that are sent to a group, as a stream for a hub method that follows the group.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::Delivery;
use crate::backplane::Channel;
use crate::ids::{ConnectionId, GroupName};
use crate::outgoing::OutgoingMessage;

/// How many messages may wait for a subscriber. The stream of one that falls further behind ends, since sends to the
/// group never wait.
const MAX_WAITING_MESSAGES: usize = 256;

/// The group streams of this node, by group.
#[derive(Debug, Default)]
pub(super) struct GroupStreams {
    table: Mutex<StreamTable>,
}

#[derive(Debug, Default)]
struct StreamTable {
    last: u64,
    groups: HashMap<GroupName, Vec<StreamSubscriber>>,
}

#[derive(Debug)]
struct StreamSubscriber {
    number: u64,
    /// The connection on whose behalf the stream runs. The stream skips messages that exclude this connection.
    connection: ConnectionId,
    /// The [`GroupStream`] holds the receiver.
    messages: mpsc::Sender<OutgoingMessage>,
}

/// A subscription to the messages of one group. It ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct GroupStream {
    delivery: Arc<Delivery>,
    group: GroupName,
    number: u64,
    messages: mpsc::Receiver<OutgoingMessage>,
}

impl GroupStream {
    /// Waits for the next message; `None` if messages were lost because this stream was read too slowly.
    pub(crate) async fn next(&mut self) -> Option<OutgoingMessage> {
        self.messages.recv().await
    }
}

impl Drop for GroupStream {
    fn drop(&mut self) {
        self.delivery.group_streams.lock().retain(&self.group, |subscriber| subscriber.number != self.number);
        self.delivery.backplane.unsubscribe(vec![self.delivery.topic(Channel::Group(self.group.clone()))]);
    }
}

impl GroupStreams {
    fn lock(&self) -> MutexGuard<'_, StreamTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a message to the streams of a group. Never waits.
    pub(super) fn forward(&self, group: &GroupName, except: &[ConnectionId], message: &OutgoingMessage) {
        self.lock().retain(group, |subscriber| {
            except.contains(&subscriber.connection) || subscriber.messages.try_send(message.clone()).is_ok()
        });
    }
}

impl StreamTable {
    fn retain(&mut self, group: &GroupName, keep: impl FnMut(&StreamSubscriber) -> bool) {
        if let Some(subscribers) = self.groups.get_mut(group) {
            subscribers.retain(keep);
            if subscribers.is_empty() {
                self.groups.remove(group);
            }
        }
    }
}

impl Delivery {
    /// Subscribes to the messages of a group on behalf of a connection, which need not be a member. The stream gets
    /// every message that is sent after the future completes. While the link is down the future completes immediately,
    /// and the stream gets messages once the link is back.
    pub(crate) async fn stream_group(self: &Arc<Self>, group: GroupName, connection: &ConnectionId) -> GroupStream {
        let (sender, messages) = mpsc::channel(MAX_WAITING_MESSAGES);
        let number = {
            let mut table = self.group_streams.lock();
            table.last += 1;
            let subscriber = StreamSubscriber { number: table.last, connection: connection.clone(), messages: sender };
            let number = subscriber.number;
            table.groups.entry(group.clone()).or_default().push(subscriber);
            number
        };
        let subscribed = self.backplane.subscribe(vec![self.topic(Channel::Group(group.clone()))]);
        // Made before the wait, so that dropping the future undoes everything.
        let group_stream = GroupStream { delivery: self.clone(), group, number, messages };
        subscribed.await;
        group_stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::memory;
    use crate::ids::NodeId;
    use crate::metrics::HubMetrics;
    use crate::protocol::Protocol;

    #[tokio::test]
    async fn a_dropped_group_stream_leaves_nothing_behind() {
        let (backplane, _inbound) = memory::standalone();
        let protocols = vec![Protocol::Json];
        let delivery = Delivery::new("chat".into(), NodeId::from("node"), protocols, backplane, HubMetrics::default());
        let delivery = Arc::new(delivery);
        let subscribers = || delivery.group_streams.lock().groups.values().map(Vec::len).collect::<Vec<_>>();
        let one = delivery.stream_group("room".into(), &"a".into()).await;
        let two = delivery.stream_group("room".into(), &"b".into()).await;
        drop(one);
        assert_eq!(subscribers(), [1]);
        drop(two);
        assert!(subscribers().is_empty());
    }
}
