//! Group changes: at once for connections of this node, by command and acknowledgement for those of others
//! (docs/builders/redis-backplane.md#B.3).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Delivery, SendError};
use crate::backplane::{Channel, Envelope, GroupAction};
use crate::ids::{ConnectionId, GroupName};

/// How long another node may take to acknowledge.
const GROUP_ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// Commands that wait for their acks.
#[derive(Debug, Default)]
pub(super) struct PendingAcks {
    table: Mutex<AckTable>,
}

#[derive(Debug, Default)]
struct AckTable {
    /// The last id given; the first is 1 (A.4).
    last: i32,
    acks: HashMap<i32, oneshot::Sender<()>>,
}

/// Takes its command off the table however the wait ends.
struct PendingAck<'a> {
    pending_acks: &'a PendingAcks,
    id: i32,
}

impl Drop for PendingAck<'_> {
    fn drop(&mut self) {
        self.pending_acks.lock().acks.remove(&self.id);
    }
}

impl PendingAcks {
    fn register(&self) -> (PendingAck<'_>, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut table = self.lock();
        table.last = table.last.wrapping_add(1);
        let id = table.last;
        table.acks.insert(id, sender);
        (PendingAck { pending_acks: self, id }, receiver)
    }

    /// An ack came; one that nobody waits for is passed over.
    pub(super) fn ack_received(&self, id: i32) {
        if let Some(sender) = self.lock().acks.remove(&id) {
            let _ = sender.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, AckTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    /// Puts a connection into a group. Done when the subscription is confirmed, so that a send after it is heard;
    /// while the backplane is away a connection of this node joins at once and is subscribed later.
    ///
    /// A connection of another node is asked for by command; [`SendError::AckTimeout`] after 30 s where none has it.
    /// A node that stands alone passes over connections it does not have.
    pub(crate) async fn join(&self, connection: &ConnectionId, group: &GroupName) -> Result<(), SendError> {
        if self.join_local(connection, group).await {
            return Ok(());
        }
        self.send_group_command(GroupAction::Join, connection, group).await
    }

    /// Takes a connection out of a group; no error where it is not in it. Elsewhere as [`Delivery::join`].
    pub(crate) async fn leave(&self, connection: &ConnectionId, group: &GroupName) -> Result<(), SendError> {
        if self.leave_local(connection, group) {
            return Ok(());
        }
        self.send_group_command(GroupAction::Leave, connection, group).await
    }

    /// False: the connection is not here.
    pub(super) async fn join_local(&self, connection: &ConnectionId, group: &GroupName) -> bool {
        match self.registry.join(connection, group) {
            None => false,
            Some(newly) => {
                let topics = vec![self.topic(Channel::Group(group.clone()))];
                let confirmed = self.backplane.subscribe(topics.clone());
                if !newly {
                    // Counted at the first join already, whose confirmation may still be on its way.
                    self.backplane.unsubscribe(topics);
                }
                confirmed.await;
                true
            }
        }
    }

    /// False: the connection is not here.
    pub(super) fn leave_local(&self, connection: &ConnectionId, group: &GroupName) -> bool {
        match self.registry.leave(connection, group) {
            None => false,
            Some(was_in) => {
                if was_in {
                    self.backplane.unsubscribe(vec![self.topic(Channel::Group(group.clone()))]);
                }
                true
            }
        }
    }

    async fn send_group_command(
        &self,
        action: GroupAction,
        connection: &ConnectionId,
        group: &GroupName,
    ) -> Result<(), SendError> {
        let (pending, acknowledged) = self.pending_acks.register();
        let command = Envelope::GroupCommand {
            id: pending.id,
            node: self.node.clone(),
            action,
            group: group.clone(),
            connection: connection.clone(),
        };
        let receivers = self.backplane.publish(self.topic(Channel::GroupCommands), command).await?;
        if receivers == 0 && !self.backplane.echoes() {
            // There is no other node that could have it: unknown connections are passed over
            // (docs/builders/signalr-protocol.md#4.12).
            return Ok(());
        }
        match tokio::time::timeout(GROUP_ACK_TIMEOUT, acknowledged).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(SendError::AckTimeout),
        }
    }
}
