//! What arrives from other nodes, and from this one's own echo: one task takes it in order and never waits for a
//! client. Group commands, which must wait for a subscription, are finished on the side.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::Delivery;
use crate::backplane::{Channel, Envelope, GroupAction, Inbound, InboundReceiver};
use crate::ids::{ConnectionId, GroupName, HubName, NodeId};

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
                    return delivery.pass_on(id, &frame, reply_to);
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
            Envelope::Completion { protocol, message } => {
                delivery.answered_elsewhere(&protocol, &message);
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
