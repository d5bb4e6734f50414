//! The nine messages of the hub protocol, free of any encoding (docs/builders/signalr-protocol.md#3).
//!
//! All text in a message is Unicode text: names, ids, headers and errors by their type, values by the invariant of
//! [`RawValue`]. Anything else is refused or replaced by the decoder.
//!
//! Arguments, results and items stay what they were on the wire: [`RawValue`]s, slices of the bytes that came.

use std::fmt;
use std::sync::Arc;

use super::{BindingError, RawValue, ValueError};
use crate::ids::InvocationId;

/// One message of the hub protocol, either direction.
#[derive(Clone, Debug, PartialEq)]
pub enum HubMessage {
    /// Type 1: call `target`; with an id a [`HubMessage::Completion`] must follow.
    Invocation(Invocation),
    /// Type 2: one item of a stream.
    StreamItem {
        /// Which stream.
        id: InvocationId,
        /// The item, or why it could not be read although the message could: that ends its stream with an error, and
        /// the connection lives (docs/builders/signalr-protocol.md#4.6).
        item: Result<RawValue, BindingError>,
        /// Free metadata (trace context and such).
        headers: Headers,
    },
    /// Type 3: the end of an invocation or of a stream.
    Completion {
        /// Which invocation or upload stream ends.
        id: InvocationId,
        /// With what.
        outcome: Outcome,
        /// Free metadata.
        headers: Headers,
    },
    /// Type 4: call `target` and stream its results; the id is always there.
    StreamInvocation(Invocation),
    /// Type 5: the caller wants no more items of a stream.
    CancelInvocation {
        /// Which stream.
        id: InvocationId,
        /// Free metadata.
        headers: Headers,
    },
    /// Type 6.
    Ping,
    /// Type 7: the last message of a connection.
    Close {
        /// Why, when it was not orderly.
        error: Option<String>,
        /// Whether the client may reconnect by itself.
        allow_reconnect: bool,
    },
    /// Type 8: everything up to here was received (stateful reconnect).
    Ack {
        /// The last sequence id received.
        sequence_id: i64,
    },
    /// Type 9: what follows starts with this sequence id (stateful reconnect).
    Sequence {
        /// The id of the next trackable message.
        sequence_id: i64,
    },
}

impl HubMessage {
    /// Whether stateful reconnect counts it, on both sides: types 1 to 5 (docs/builders/signalr-protocol.md#4.13).
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

/// What types 1 and 4 carry.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// None: nobody waits for an answer. Never empty.
    pub id: Option<InvocationId>,
    /// The method's name, as the sender wrote it.
    pub target: Arc<str>,
    /// The arguments, or why they could not be read although the message could: such a call is answered with
    /// an error and the connection lives (docs/builders/signalr-protocol.md#3.2, "binding failures").
    pub arguments: Result<Vec<RawValue>, BindingError>,
    /// The ids of the streams that the sender uploads with this call, in the order of the method's parameters.
    pub stream_ids: Vec<InvocationId>,
    /// Free metadata.
    pub headers: Headers,
}

impl Invocation {
    /// A call that nobody waits for: what a server sends to clients.
    pub fn send(target: impl Into<Arc<str>>, arguments: Vec<RawValue>) -> Self {
        Self {
            id: None,
            target: target.into(),
            arguments: Ok(arguments),
            stream_ids: Vec::new(),
            headers: Headers::default(),
        }
    }

    /// The arguments of a call that is to be encoded; one whose arguments could not be read cannot be sent on.
    pub(super) fn sendable_arguments(&self) -> Result<&[RawValue], ValueError> {
        self.arguments.as_deref().map_err(unsendable)
    }
}

/// Why a message with values that could not be read cannot be encoded.
pub(super) fn unsendable(_: &BindingError) -> ValueError {
    ValueError("values that could not be read cannot be sent".to_owned())
}

/// How an invocation or a stream ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It failed, with the text its caller sees. The empty text is an error too.
    Error(String),
    /// It ended without a value: the end of a stream.
    Void,
    /// It returned this. A method without a result returns null (docs/builders/signalr-protocol.md#3.1).
    Value(RawValue),
}

/// Name and value of each header, in the order they came; later ones win.
#[derive(Clone, Default, PartialEq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    /// Names only: clients put tokens in header values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
