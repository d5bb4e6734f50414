//! Watching a group: what is sent to it, heard by a stream in place of a connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::Delivery;
use crate::backplane::Channel;
use crate::frame::Frame;
use crate::ids::{ConnectionId, GroupName};

/// Messages that wait for a watcher. One that falls further behind hears no more: the group does not wait.
const BACKLOG: usize = 256;

/// Who watches which group on this node.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    groups: HashMap<GroupName, Vec<Watcher>>,
}

#[derive(Debug)]
struct Watcher {
    number: u64,
    /// For whom: messages that leave this connection out are not for the watcher either.
    connection: ConnectionId,
    frames: mpsc::Sender<Frame>,
}

/// The messages of one group, until this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    delivery: Arc<Delivery>,
    group: GroupName,
    number: u64,
    frames: mpsc::Receiver<Frame>,
}

impl Watch {
    /// The next message. None: this watcher fell behind, and some are lost.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.delivery.watchers.lock().retain(&self.group, |watcher| watcher.number != self.number);
        self.delivery.backplane.unsubscribe(vec![self.delivery.topic(Channel::Group(self.group.clone()))]);
    }
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a message of a group to those who watch it. Never waits.
    pub(super) fn tell(&self, group: &GroupName, except: &[ConnectionId], frame: &Frame) {
        self.lock().retain(group, |watcher| {
            except.contains(&watcher.connection) || watcher.frames.try_send(frame.clone()).is_ok()
        });
    }
}

impl Table {
    fn retain(&mut self, group: &GroupName, keep: impl FnMut(&Watcher) -> bool) {
        if let Some(watchers) = self.groups.get_mut(group) {
            watchers.retain(keep);
            if watchers.is_empty() {
                self.groups.remove(group);
            }
        }
    }
}

impl Delivery {
    /// Watches a group on behalf of a connection, which need not be in it. What is sent when this has ended is
    /// heard; while the backplane is away, it is heard from when it is back.
    pub(crate) async fn watch(self: &Arc<Self>, group: GroupName, connection: &ConnectionId) -> Watch {
        let (sender, frames) = mpsc::channel(BACKLOG);
        let number = {
            let mut table = self.watchers.lock();
            table.last += 1;
            let watcher = Watcher { number: table.last, connection: connection.clone(), frames: sender };
            let number = watcher.number;
            table.groups.entry(group.clone()).or_default().push(watcher);
            number
        };
        let subscribed = self.backplane.subscribe(vec![self.topic(Channel::Group(group.clone()))]);
        // Made before the wait: whoever drops the future half-way takes everything back.
        let watch = Watch { delivery: self.clone(), group, number, frames };
        subscribed.await;
        watch
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
    async fn nothing_is_kept_of_a_watch_that_has_ended() {
        let (backplane, _nothing_arrives) = memory::standalone();
        let protocols = vec![Protocol::Json];
        let delivery = Delivery::new("chat".into(), NodeId::from("node"), protocols, backplane, HubMetrics::default());
        let delivery = Arc::new(delivery);
        let watchers = || delivery.watchers.lock().groups.values().map(Vec::len).collect::<Vec<_>>();
        let one = delivery.watch("room".into(), &"a".into()).await;
        let two = delivery.watch("room".into(), &"b".into()).await;
        drop(one);
        assert_eq!(watchers(), [1]);
        drop(two);
        assert!(watchers().is_empty());
    }
}
