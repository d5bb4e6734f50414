//! Layer 4: what moves envelopes between nodes, and nothing more. Acks, timeouts, group commands and client results
//! are the work of `delivery`, once, for every backplane (docs/design.md#7).
//!
//! | file | what is in it |
//! | --- | --- |
//! | [`memory`] | nodes of one process: the default, and the double for tests |
//! | `redis` | nodes that share a Redis, on the wire of ASP.NET Core's Redis backplane |

pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use crate::ids::{ConnectionId, GroupName, HubName, InvocationId, NodeId, UserId};
use crate::outgoing::OutgoingMessage;

/// Where an envelope goes (docs/builders/redis-backplane.md#A.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Topic {
    /// The hub's name on the backplane.
    pub hub: HubName,
    /// Whom within the hub.
    pub channel: Channel,
}

/// The channels of one hub.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Channel {
    /// Every node.
    All,
    /// The node that has this connection.
    Connection(ConnectionId),
    /// The nodes that have members of this group.
    Group(GroupName),
    /// The nodes that have connections of this user.
    User(UserId),
    /// Every node: group changes for connections of others.
    GroupCommands,
    /// One node: answers to its group changes.
    Acks(NodeId),
    /// One node: answers to its client results.
    Results(NodeId),
}

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Envelope {
    /// A message for clients.
    Message {
        /// Who does not get it; counts on [`Channel::All`] and [`Channel::Group`] only.
        except: Vec<ConnectionId>,
        /// The message.
        message: OutgoingMessage,
        /// Set where an answer is wanted.
        reply_to: Option<ReplyTo>,
    },
    /// A change of a group that the connection's own node makes, and acknowledges.
    GroupCommand {
        /// Counts up from 1 in each node; the ack carries it back.
        id: i32,
        /// Who asks; its ack channel gets the ack.
        node: NodeId,
        /// Join or leave.
        action: GroupAction,
        /// Which group.
        group: GroupName,
        /// Whose membership.
        connection: ConnectionId,
    },
    /// A group change was made.
    Ack {
        /// The command's id.
        id: i32,
    },
    /// A client's answer, as it came: one Completion with its hub framing.
    Completion {
        /// The answering client's protocol, as it is called on the wire; perhaps one we do not know.
        protocol: String,
        /// The framed message.
        message: Bytes,
    },
}

/// Who wants the answer to a [`Envelope::Message`]: it goes to [`Channel::Results`] of that node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    /// The invocation id inside the message.
    pub invocation: InvocationId,
    /// The node that asked.
    pub node: NodeId,
}

/// What a group command asks for; the number is the wire's (A.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupAction {
    /// 1
    Join,
    /// 2
    Leave,
}

/// An envelope that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct InboundEnvelope {
    /// On which topic.
    pub topic: Topic,
    /// What.
    pub envelope: Envelope,
}

/// Whether this node hears the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Not connected yet, since the start.
    Connecting,
    /// Connected, and every wanted topic subscribed.
    Up,
    /// It was up; it is being restored.
    Down,
}

/// What joins nodes. A constructor returns the backplane and the receiver of what arrives; that receiver is drained
/// by one task, which must never wait for a client.
pub(crate) trait Backplane: fmt::Debug + Send + Sync {
    /// Whether a node hears what it publishes itself. If so, a broadcast reaches the node's own clients when its
    /// echo arrives, so that all nodes see one order in each channel; if not, delivery serves them itself.
    fn echoes(&self) -> bool;

    /// Publishes. What was handed in first by one caller leaves first: the order is that of the calls, not of the
    /// polls of what they return. The future ends when the backplane has taken it, with the number of subscribers
    /// where it can tell (monitors may count). While the link is down it fails at once; nothing is buffered.
    fn publish(&self, topic: Topic, envelope: Envelope) -> BoxFuture<'static, Result<u64, BackplaneError>>;

    /// Wants these topics heard, once more each: topics are counted, and `unsubscribe` takes one off. The future
    /// ends when the subscriptions are confirmed, or at once while the link is down (they are made when it is back).
    fn subscribe(&self, topics: Vec<Topic>) -> BoxFuture<'static, ()>;

    /// Takes back one `subscribe` of each. Returns at once.
    fn unsubscribe(&self, topics: Vec<Topic>);

    /// The state of the link, for readiness and metrics.
    fn link(&self) -> watch::Receiver<LinkState>;

    /// Leaves in good order: subscriptions are given up, connections closed. Nothing works afterwards.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// Envelopes on their way to this node's delivery; bounded.
pub(crate) type InboundReceiver = mpsc::Receiver<InboundEnvelope>;

/// Why something could not be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackplaneError {
    /// There is no connection now. The text is for whoever reads logs and detailed errors; it names no secret.
    #[error("No connection is active/available to service this operation: {0}")]
    Down(String),
    /// The connection broke before the answer came; whether the others heard it is unknown.
    #[error("The connection was lost before the backplane answered: {0}")]
    Lost(String),
    /// It answered with an error.
    #[error("The backplane refused: {0}")]
    Refused(String),
    /// More waits to be sent than the queue may hold.
    #[error("Too many messages wait for the backplane ({0})")]
    Full(usize),
    /// A value has no form in one of the hub's protocols.
    #[error("{0}")]
    Value(#[from] crate::protocol::ValueError),
}
