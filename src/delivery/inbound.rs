//! What arrives from other nodes, and from this one's own echo: one task takes it in order and never waits for a
//! client. Group commands, which must wait for a subscription, are finished on the side.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::Delivery;
use crate::backplane::{Backplane, Channel, Envelope, GroupAction, Inbound, InboundReceiver, ReplyTo, Topic};
use crate::ids::{ConnectionId, GroupName, HubName, NodeId};
use crate::protocol::{HubMessage, Outcome};

/// Group commands that are being carried out at a time; beyond it, what arrives waits.
const MOST_COMMANDS: usize = 1024;

/// Gives what arrives to the hub it is for.
#[derive(Debug, Default)]
pub struct Router {
    hubs: HashMap<HubName, Arc<Delivery>>,
}

type Job = BoxFuture<'static, ()>;

impl Router {
    /// A router for these hubs.
    pub fn new(hubs: impl IntoIterator<Item = Arc<Delivery>>) -> Self {
        Self { hubs: hubs.into_iter().map(|delivery| (delivery.hub().clone(), delivery)).collect() }
    }

    /// Runs until the backplane is closed.
    pub async fn run(self, mut arrived: InboundReceiver) {
        let mut jobs: FuturesUnordered<Job> = FuturesUnordered::new();
        loop {
            tokio::select! {
                inbound = arrived.recv(), if jobs.len() < MOST_COMMANDS => {
                    let Some(inbound) = inbound else { return };
                    jobs.extend(self.receive(inbound));
                }
                Some(()) = jobs.next() => {}
            }
        }
    }

    fn receive(&self, Inbound { topic, envelope }: Inbound) -> Option<Job> {
        let delivery = self.hubs.get(&topic.hub)?;
        match envelope {
            Envelope::Deliver { except, frame, reply_to } => {
                if let (Some(reply_to), Channel::Connection(id)) = (reply_to, &topic.channel) {
                    return refuse(delivery, id, reply_to);
                }
                // Exceptions count on these two channels only (B.1).
                let counts = matches!(topic.channel, Channel::All | Channel::Group(_));
                delivery.deliver(&topic.channel, if counts { &except } else { &[] }, &frame);
                None
            }
            Envelope::GroupCommand { id, node, action, group, connection } => {
                Some(Box::pin(obey(delivery.clone(), id, node, action, group, connection)))
            }
            Envelope::Ack { id } => {
                delivery.commands.acknowledged(id);
                None
            }
            Envelope::Completion { .. } => {
                tracing::debug!(hub = %topic.hub, "an answer came that nobody asked for");
                None
            }
        }
    }
}

/// Carries out a group command if the connection is here, and acknowledges it; all other nodes keep silent.
async fn obey(
    delivery: Arc<Delivery>,
    id: i32,
    node: NodeId,
    action: GroupAction,
    group: GroupName,
    connection: ConnectionId,
) {
    let here = match action {
        GroupAction::Join => delivery.join_here(&connection, &group).await,
        GroupAction::Leave => delivery.leave_here(&connection, &group),
    };
    if here {
        let ack = delivery.backplane.publish(delivery.topic(Channel::Acks(node)), Envelope::Ack { id });
        if let Err(error) = ack.await {
            tracing::warn!(hub = %delivery.hub, %error, "a group change was made but could not be acknowledged");
        }
    }
}

/// A node asks one of our clients for a result. Until client results are carried out here, it is told so at once
/// instead of being left to wait.
fn refuse(delivery: &Arc<Delivery>, id: &ConnectionId, reply_to: ReplyTo) -> Option<Job> {
    let member = delivery.registry.connection(id)?;
    let node = reply_to.channel.strip_prefix(delivery.hub.as_str())?.strip_prefix(":internal:return:")?.to_owned();
    let completion = HubMessage::Completion {
        id: reply_to.invocation,
        outcome: Outcome::Error("Client results are not supported by the server of this connection.".to_owned()),
        headers: crate::protocol::Headers::default(),
    };
    let protocol = member.outbox.encoding().protocol;
    let message = protocol.encode(&completion).ok()?;
    let envelope = Envelope::Completion { protocol: protocol.name().to_owned(), message };
    let topic = Topic { hub: delivery.hub.clone(), channel: Channel::Results(node.into()) };
    let sent = Backplane::publish(&*delivery.backplane, topic, envelope);
    Some(Box::pin(async move {
        let _ = sent.await;
    }))
}
