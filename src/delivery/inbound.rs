//! What arrives from other nodes, and from this one's own echo: one task takes it in order and never waits for a
//! client. Group commands, which must wait for a subscription, are finished on the side.

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

/// What may be under way at a time, for group commands to be taken. One more is left out, and whoever asked for it
/// times out: it must not wait, since the confirmation that others wait for may stand behind it in the same line.
pub(super) const MAX_PENDING_COMMANDS: usize = 65_536;

/// Gives what arrives to the hub it is for.
#[derive(Debug, Default)]
pub(crate) struct InboundDispatcher {
    hubs: HashMap<HubName, Arc<Delivery>>,
}

type PendingJob = BoxFuture<'static, ()>;

impl InboundDispatcher {
    /// A router for these hubs.
    pub(crate) fn new(hubs: impl IntoIterator<Item = Arc<Delivery>>) -> Self {
        Self { hubs: hubs.into_iter().map(|delivery| (delivery.hub().clone(), delivery)).collect() }
    }

    /// Runs until the backplane is closed.
    pub(crate) async fn run(self, mut receiver: InboundReceiver) {
        let mut jobs: FuturesUnordered<PendingJob> = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                // First what is done, so that only what really waits is counted.
                Some(()) = jobs.next() => {}
                inbound = receiver.recv() => {
                    let Some(inbound) = inbound else { return };
                    jobs.extend(self.dispatch(inbound, jobs.len()));
                }
            }
        }
    }

    /// What is left to do for one that arrived, beside `in_flight` others.
    fn dispatch(&self, InboundEnvelope { topic, envelope }: InboundEnvelope, in_flight: usize) -> Option<PendingJob> {
        let delivery = self.hubs.get(&topic.hub)?;
        match envelope {
            Envelope::Message { except, message, reply_to } => {
                if let (Some(reply_to), Channel::Connection(id)) = (reply_to, &topic.channel) {
                    return delivery.forward_request(id, &message, reply_to);
                }
                // Exceptions count on these two channels only (B.1).
                let counts = matches!(topic.channel, Channel::All | Channel::Group(_));
                delivery.deliver(&topic.channel, if counts { &except } else { &[] }, &message);
                None
            }
            Envelope::GroupCommand { .. } if in_flight >= MAX_PENDING_COMMANDS => {
                if delivery.reported_errors.first_report(InboundError::TooManyCommands) {
                    tracing::warn!(hub = %delivery.hub, "too many group changes of other nodes wait for their subscriptions; one was left out and its asker will time out, as may others");
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

/// Carries out a group command if the connection is here, and acknowledges it; all other nodes keep silent.
async fn execute_group_command(
    delivery: Arc<Delivery>,
    id: i32,
    node: NodeId,
    action: GroupAction,
    group: GroupName,
    connection: ConnectionId,
) {
    let here = match action {
        GroupAction::Join => delivery.join_local(&connection, &group).await,
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
