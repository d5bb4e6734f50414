//! Layer 4: backplanes, which carry envelopes between nodes and do nothing else. Acks, timeouts, group commands and
//! client results are implemented once, in `delivery`, for every backplane (docs/design.md#7).
//!
//! | file | contents |
//! | --- | --- |
//! | [`memory`] | joins nodes within one process; the default, and a stand-in for Redis in tests |
//! | `redis` | joins nodes through Redis, using the wire format of ASP.NET Core's Redis backplane |

pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use crate::config::ConnectionStringError;
use crate::ids::{ConnectionId, GroupName, HubName, InvocationId, NodeId, UserId};
use crate::outgoing::OutgoingMessage;

/// The address of an envelope (docs/builders/redis-backplane.md#A.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Topic {
    /// The hub's name on the backplane.
    pub hub: HubName,
    /// Which nodes or clients of the hub.
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
    /// Every node; carries group commands for connections of other nodes.
    GroupCommands,
    /// One node; carries the acks for its group commands.
    Acks(NodeId),
    /// One node; carries the client results that it requested.
    Results(NodeId),
}

/// One unit of traffic between nodes.
#[derive(Clone, Debug)]
pub(crate) enum Envelope {
    /// A message for clients.
    Message {
        /// The connections that must not get the message. Ignored except on [`Channel::All`] and [`Channel::Group`].
        except: Vec<ConnectionId>,
        /// The message.
        message: OutgoingMessage,
        /// Set if the sender expects a client result.
        reply_to: Option<ReplyTo>,
    },
    /// A request to change a group. The node that has the connection makes the change and acknowledges it.
    GroupCommand {
        /// Counts up from 1 in each node; the ack repeats it.
        id: i32,
        /// The requesting node, to whose ack channel the ack is published.
        node: NodeId,
        /// Whether to join or to leave.
        action: GroupAction,
        /// The group to change.
        group: GroupName,
        /// The connection that joins or leaves.
        connection: ConnectionId,
    },
    /// Confirms that a group change was made.
    Ack {
        /// The id of the group command.
        id: i32,
    },
    /// A client result as the client's node encoded it: one Completion with its hub framing.
    Completion {
        /// The wire name of the answering client's protocol; it may be one that this server does not support.
        protocol: String,
        /// The framed message.
        message: Bytes,
    },
}

/// Where the client result for an [`Envelope::Message`] goes: to [`Channel::Results`] of the requesting node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    /// The invocation id inside the message.
    pub invocation: InvocationId,
    /// The requesting node.
    pub node: NodeId,
}

/// What a group command asks for (docs/builders/redis-backplane.md#A.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupAction {
    /// 1 on the wire.
    Join,
    /// 2 on the wire.
    Leave,
}

/// An envelope that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct InboundEnvelope {
    /// The topic on which it arrived.
    pub topic: Topic,
    /// The envelope.
    pub envelope: Envelope,
}

/// Whether this node receives what the other nodes publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Not connected yet since the server started.
    Connecting,
    /// Connected, with a subscription for every topic that the node needs.
    Up,
    /// Lost after having been up; the backplane is reconnecting.
    Down,
}

/// A connection between this node and the other nodes of a farm.
///
/// A constructor returns the backplane and the receiver of inbound envelopes. One task drains the receiver; that task
/// must never wait for a client.
pub(crate) trait Backplane: fmt::Debug + Send + Sync {
    /// Whether a node receives its own publishes. If it does, a broadcast reaches the node's own clients when its
    /// echo arrives, so that all nodes see the same order in each channel. Otherwise delivery serves them directly.
    fn echoes(&self) -> bool;

    /// Publishes an envelope. Envelopes leave in the order in which `publish` is called, no matter in which order the
    /// returned futures are polled.
    ///
    /// The future completes when the backplane has accepted the envelope. Its value is the number of subscribers if
    /// the backplane knows it; that number may include monitoring clients. While the link is down the future fails
    /// immediately, and nothing is buffered.
    fn publish(&self, topic: Topic, envelope: Envelope) -> BoxFuture<'static, Result<u64, BackplaneError>>;

    /// Adds one subscription for each topic. Subscriptions are counted: each needs its own `unsubscribe`.
    ///
    /// The future completes when the subscriptions are confirmed. While the link is down it completes immediately, and
    /// the subscriptions are made once the link is back.
    fn subscribe(&self, topics: Vec<Topic>) -> BoxFuture<'static, ()>;

    /// Removes one subscription for each topic. Returns without waiting.
    fn unsubscribe(&self, topics: Vec<Topic>);

    /// The state of the link, for readiness and metrics.
    fn link(&self) -> watch::Receiver<LinkState>;

    /// Leaves the farm gracefully: ends all subscriptions and closes the connections. The backplane cannot be used
    /// afterwards.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// The bounded channel from which delivery reads inbound envelopes. The backplane holds the sending end.
pub(crate) type InboundReceiver = mpsc::Receiver<InboundEnvelope>;

/// Why a node cannot join the others when it starts. The texts hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackplaneStartError {
    /// The connection string cannot be used.
    #[error(transparent)]
    ConnectionString(#[from] ConnectionStringError),
    /// TLS is configured, but cannot be set up on this machine.
    #[error("TLS for Redis cannot be set up: {0}")]
    Tls(String),
    /// Redis could not be reached, and the connection string says `abortConnect=true`.
    #[error(
        "It was not possible to connect to Redis ({0}). To start without it and keep trying, use abortConnect=false."
    )]
    Unreachable(String),
    /// The configuration names a Redis, and the crate was built without its feature `redis`.
    #[error("Redis is configured, but this build is without the feature `redis`")]
    FeatureMissing,
}

/// Why something could not be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackplaneError {
    /// There is no connection at the moment. The text says why, for logs and detailed errors; it holds no secret.
    #[error("No connection is active/available to service this operation: {0}")]
    Down(String),
    /// The connection broke before the answer arrived. It is unknown whether other nodes received the message.
    #[error("The connection was lost before the backplane answered: {0}")]
    Lost(String),
    /// The backplane answered with an error.
    #[error("The backplane refused the message: {0}")]
    Refused(String),
    /// The queue of messages for the backplane is full; the number is how many it holds.
    #[error("Too many messages are waiting for the backplane ({0})")]
    Full(usize),
    /// A value cannot be represented in one of the hub's protocols.
    #[error("{0}")]
    Value(#[from] crate::protocol::ValueError),
}
