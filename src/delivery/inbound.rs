//! Handles the envelopes that arrive over the backplane, including this node's own echoes. One task handles them in
//! order and never waits for a client. Group commands have to wait for a subscription, so they run concurrently.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Delivery;
use super::inbound_errors::InboundError;
use crate::backplane::{Channel, Envelope, GroupAction, InboundEnvelope, InboundReceiver};
use crate::ids::{ConnectionId, GroupName, HubName, NodeId};
use crate::logging::{Allowed, LogKind, reason};

/// How many group commands may be in progress at a time. Any further one is dropped, and its sender times out. It
/// cannot wait: the confirmations for which the others wait may arrive after it on the same connection.
pub(super) const MAX_PENDING_COMMANDS: usize = 65_536;

/// Passes inbound envelopes to the delivery of their hub.
#[derive(Debug, Default)]
pub(crate) struct InboundDispatcher {
    hubs: HashMap<HubName, Arc<Delivery>>,
}

type PendingJob = BoxFuture<'static, ()>;

impl InboundDispatcher {
    /// Makes a dispatcher for these hubs.
    pub(crate) fn new(hubs: impl IntoIterator<Item = Arc<Delivery>>) -> Self {
        Self { hubs: hubs.into_iter().map(|delivery| (delivery.hub().clone(), delivery)).collect() }
    }

    /// Runs until the backplane is closed.
    pub(crate) async fn run(self, mut receiver: InboundReceiver) {
        let mut jobs: FuturesUnordered<PendingJob> = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                // Completed jobs are removed first, so that only those still waiting are counted.
                Some(()) = jobs.next() => {}
                inbound = receiver.recv() => {
                    let Some(inbound) = inbound else { return };
                    jobs.extend(self.dispatch(inbound, jobs.len()).await);
                }
            }
        }
    }

    /// Handles one envelope. Returns a job if something remains to be awaited; `in_flight` is the number of other jobs.
    async fn dispatch(
        &self,
        InboundEnvelope { topic, envelope }: InboundEnvelope,
        in_flight: usize,
    ) -> Option<PendingJob> {
        let delivery = self.hubs.get(&topic.hub)?;
        match envelope {
            Envelope::Message { except, message, reply_to } => {
                if let (Some(reply_to), Channel::Connection(id)) = (reply_to, &topic.channel) {
                    return delivery.forward_request(id, &message, reply_to);
                }
                // Exceptions apply to these two channels only (B.1).
                let may_except = matches!(topic.channel, Channel::All | Channel::Group(_));
                delivery.deliver(&topic.channel, if may_except { &except } else { &[] }, &message).await;
                None
            }
            Envelope::GroupCommand { .. } if in_flight >= MAX_PENDING_COMMANDS => {
                if delivery.reported_errors.first_report(InboundError::TooManyCommands) {
                    tracing::warn!(hub = %delivery.hub, "too many group commands of other nodes are waiting for subscriptions; one was dropped, and the call that sent it will time out; further ones are not logged");
                }
                None
            }
            Envelope::GroupCommand { id, node, action, group, connection } => {
                Some(Box::pin(execute_group_command(delivery.clone(), id, node, action, group, connection)))
            }
            Envelope::Ack { id } => {
                delivery.pending_acks.ack_received(id);
                None
            }
            Envelope::Completion { protocol, message } => {
                delivery.remote_result_received(&protocol, &message);
                None
            }
        }
    }
}

/// Executes and acknowledges a group command if the connection is on this node; otherwise does nothing.
async fn execute_group_command(
    delivery: Arc<Delivery>,
    id: i32,
    node: NodeId,
    action: GroupAction,
    group: GroupName,
    connection: ConnectionId,
) {
    let here = match action {
        // A join over the limit is not acknowledged, so that the requesting node times out: the wire format has no
        // negative ack.
        GroupAction::Join => delivery.join_local(&connection, &group).await.unwrap_or_else(|error| {
            if let Some(Allowed { suppressed }) = delivery.log.allow(LogKind::GroupCommandRefused, Instant::now()) {
                let reason = reason(&error);
                tracing::warn!(
                    hub = %delivery.hub, %connection, reason, suppressed,
                    "a group command of another node was refused"
                );
            }
            false
        }),
        GroupAction::Leave => delivery.leave_local(&connection, &group),
    };
    if here {
        let ack = delivery.backplane.publish(delivery.topic(Channel::Acks(node)), Envelope::Ack { id });
        if let Err(error) = ack.await
            && let Some(Allowed { suppressed }) = delivery.log.allow(LogKind::AckFailed, Instant::now())
        {
            let reason = reason(&error);
            tracing::warn!(
                hub = %delivery.hub, reason, suppressed,
                "a group change was made but could not be acknowledged"
            );
        }
    }
}
