//! The nine messages of the hub protocol, independent of any encoding (docs/builders/signalr-protocol.md#3).
//!
//! All text in a message is Unicode text: names, ids, headers and errors because of their types, values because of the
//! invariant of [`RawValue`]. The decoders refuse or replace anything else.
//!
//! Arguments, results and stream items stay encoded: they are [`RawValue`]s, slices of the received bytes.

use std::fmt;
use std::sync::Arc;

use super::{BindingError, RawValue, ValueError};
use crate::ids::InvocationId;

/// One message of the hub protocol, in either direction.
#[derive(Clone, Debug, PartialEq)]
pub enum HubMessage {
    /// Type 1: calls `target`. If it has an id, a [`HubMessage::Completion`] must follow.
    Invocation(Invocation),
    /// Type 2: one item of a stream.
    StreamItem {
        /// The id of the stream.
        id: InvocationId,
        /// The item. If the message is valid but the item is not, this is an error, which ends the stream; the
        /// connection stays open (docs/builders/signalr-protocol.md#4.6).
        item: Result<RawValue, BindingError>,
        /// Arbitrary metadata, such as a trace context.
        headers: Headers,
    },
    /// Type 3: the end of an invocation or of a stream.
    Completion {
        /// The id of the invocation or upload stream that ends.
        id: InvocationId,
        /// How it ends.
        outcome: Outcome,
        /// Arbitrary metadata.
        headers: Headers,
    },
    /// Type 4: calls `target` and requests a stream of results. The id is always present.
    StreamInvocation(Invocation),
    /// Type 5: the caller cancels a stream.
    CancelInvocation {
        /// The id of the stream.
        id: InvocationId,
        /// Arbitrary metadata.
        headers: Headers,
    },
    /// Type 6: keeps the connection alive.
    Ping,
    /// Type 7: the last message of a connection.
    Close {
        /// Why the connection is closed, if it is because of an error.
        error: Option<String>,
        /// Whether the client may reconnect automatically.
        allow_reconnect: bool,
    },
    /// Type 8: acknowledges all messages up to a sequence number (stateful reconnect).
    Ack {
        /// The sequence number of the last message received.
        sequence_id: i64,
    },
    /// Type 9: announces the sequence number of what follows (stateful reconnect).
    Sequence {
        /// The sequence number of the next trackable message.
        sequence_id: i64,
    },
}

impl HubMessage {
    /// Whether both ends count the message for stateful reconnect: types 1 to 5
    /// (docs/builders/signalr-protocol.md#4.13).
    pub fn is_trackable(&self) -> bool {
        match self {
            Self::Invocation(_)
            | Self::StreamItem { .. }
            | Self::Completion { .. }
            | Self::StreamInvocation(_)
            | Self::CancelInvocation { .. } => true,
            Self::Ping | Self::Close { .. } | Self::Ack { .. } | Self::Sequence { .. } => false,
        }
    }
}

/// The content of messages of types 1 and 4.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// The invocation id; `None` if the caller expects no completion. It is never empty.
    pub id: Option<InvocationId>,
    /// The name of the method, as sent.
    pub target: Arc<str>,
    /// The arguments. If the message is valid but the arguments are not, this is an error: the call is answered with
    /// it, and the connection stays open (docs/builders/signalr-protocol.md#3.2, "binding failures").
    pub arguments: Result<Vec<RawValue>, BindingError>,
    /// The ids of the streams that the sender uploads with this call, in the order of the method's parameters.
    pub stream_ids: Vec<InvocationId>,
    /// Arbitrary metadata.
    pub headers: Headers,
}

impl Invocation {
    /// Creates a call without an invocation id, such as a server sends to clients.
    pub fn send(target: impl Into<Arc<str>>, arguments: Vec<RawValue>) -> Self {
        Self {
            id: None,
            target: target.into(),
            arguments: Ok(arguments),
            stream_ids: Vec::new(),
            headers: Headers::default(),
        }
    }

    /// The arguments of a call that is to be encoded. Fails if they could not be read.
    pub(super) fn sendable_arguments(&self) -> Result<&[RawValue], ValueError> {
        self.arguments.as_deref().map_err(unsendable)
    }
}

/// The error for encoding a message with values that could not be read.
pub(super) fn unsendable(_: &BindingError) -> ValueError {
    ValueError("values that could not be read cannot be sent".to_owned())
}

/// How an invocation or a stream ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It failed, with the text that the caller sees. An empty text is an error too.
    Error(String),
    /// It ended without a value, as streams do.
    Void,
    /// It returned this value. A method without a result returns null (docs/builders/signalr-protocol.md#3.1).
    Value(RawValue),
}

/// The name and value of each header, in the order received. If a name is repeated, the last value applies.
#[derive(Clone, Default, PartialEq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// Whether there are no headers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    /// Shows only the names, because clients put access tokens into header values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
