//! Adds connections to groups and removes them: directly for connections of this node, and with a group command and an
//! ack for those of other nodes (docs/builders/redis-backplane.md#B.3).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Delivery, SendError};
use crate::backplane::{Channel, Envelope, GroupAction};
use crate::ids::{ConnectionId, GroupName};
use crate::registry::JoinOutcome;

/// How long another node may take to acknowledge a group command.
const GROUP_ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// The group commands of this node that have not been acknowledged.
#[derive(Debug, Default)]
pub(super) struct PendingAcks {
    table: Mutex<AckTable>,
}

#[derive(Debug, Default)]
struct AckTable {
    /// The last id that was used; the first is 1 (A.4).
    last: i32,
    acks: HashMap<i32, oneshot::Sender<()>>,
}

/// Removes a command from the table when the wait for its ack ends for any reason.
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

    /// Handles an ack; one that is not expected is ignored.
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
    /// Adds a connection to a group. The future completes when the subscription is confirmed, so that the connection
    /// receives what is sent to the group afterwards. While the link is down, a connection of this node joins
    /// immediately, and the subscription is made later.
    ///
    /// If the connection is not on this node, a group command is sent to the other nodes. A node without other nodes
    /// ignores unknown connections.
    ///
    /// # Errors
    ///
    /// [`SendError::TooManyGroups`] if the connection is on this node and may join no more groups; on another node that
    /// ends in a timeout. [`SendError::AckTimeout`] if no node acknowledges the command within 30 s; [`SendError::Backplane`] if it cannot
    /// be published.
    pub(crate) async fn join(&self, connection: &ConnectionId, group: &GroupName) -> Result<(), SendError> {
        if self.join_local(connection, group).await? {
            return Ok(());
        }
        self.send_group_command(GroupAction::Join, connection, group).await
    }

    /// Removes a connection from a group, if it is a member. Other nodes are involved as in [`Delivery::join`], with
    /// the same errors.
    pub(crate) async fn leave(&self, connection: &ConnectionId, group: &GroupName) -> Result<(), SendError> {
        if self.leave_local(connection, group) {
            return Ok(());
        }
        self.send_group_command(GroupAction::Leave, connection, group).await
    }

    /// Adds a connection of this node to a group. Returns `false` if the connection is not on this node.
    ///
    /// # Errors
    ///
    /// [`SendError::TooManyGroups`] if the connection may join no more groups.
    pub(super) async fn join_local(&self, connection: &ConnectionId, group: &GroupName) -> Result<bool, SendError> {
        let outcome = self.registry.join(connection, group);
        match outcome {
            JoinOutcome::NotHere => return Ok(false),
            JoinOutcome::TooManyGroups => return Err(SendError::TooManyGroups),
            JoinOutcome::Joined | JoinOutcome::AlreadyMember => {}
        }
        let topics = vec![self.topic(Channel::Group(group.clone()))];
        let confirmed = self.backplane.subscribe(topics.clone());
        if outcome == JoinOutcome::AlreadyMember {
            // The first join has added the subscription already. Only its confirmation, which may not have arrived yet,
            // is awaited here.
            self.backplane.unsubscribe(topics);
        }
        confirmed.await;
        Ok(true)
    }

    /// Removes a connection of this node from a group. Returns `false` if the connection is not on this node.
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
            // No other node exists that could have the connection, and unknown connections are ignored
            // (docs/builders/signalr-protocol.md#4.12).
            return Ok(());
        }
        match tokio::time::timeout(GROUP_ACK_TIMEOUT, acknowledged).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(SendError::AckTimeout),
        }
    }
}
