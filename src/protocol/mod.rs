//! Layer 1: the hub protocol. Bytes to messages and back, in JSON and in MessagePack; no socket, no clock, no log.
//!
//! | file | what is in it |
//! | --- | --- |
//! | [`message`] | the nine messages |
//! | [`value`] | [`RawValue`]: one argument, result or item, as it came |
//! | [`json`], [`msgpack`] | the two codecs |
//! | [`framing`] | 0x1E records and varint lengths, with the size limit |
//! | [`handshake`] | the first message each way, always JSON |
//! | [`transcode`] | one value from one encoding to the other |
//! | [`transport_kind`] | the three transports by name |
//!
//! [`Protocol::decode`] and [`Protocol::encode`] are the way in; [`MessageDecoder`] is the same for one long-lived buffer.

pub(crate) mod framing;
pub(crate) mod handshake;
pub(crate) mod json;
pub(crate) mod message;
pub(crate) mod msgpack;
pub(crate) mod transcode;
pub(crate) mod transport_kind;
pub(crate) mod value;

use bytes::{Bytes, BytesMut};

pub(crate) use message::Headers;
pub use message::{HubMessage, Invocation, Outcome};
pub use transport_kind::TransportKind;
pub(crate) use value::Proven;
pub use value::{RawValue, ValueError};

/// The deepest nesting either codec reads, the message object or array and the arguments array counted
/// (tests/probes/FINDINGS.md#2, hub protocol: depth).
pub(crate) const MAX_DEPTH: usize = 64;

/// A hub protocol. Closed: SignalR has these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `json`: text, each message ends with 0x1E.
    Json,
    /// `messagepack`: binary, each message begins with its length as a varint.
    MessagePack,
}

impl Protocol {
    /// Both, in the order the reference registers and publishes them.
    pub const ALL: [Self; 2] = [Self::Json, Self::MessagePack];

    /// The name in the handshake and on the backplane.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "messagepack",
        }
    }

    /// The protocol of that name; letter case does not count (docs/builders/signalr-protocol.md#2.2).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    /// Takes the first whole message off `buffer`. None: there is none yet, call again when more bytes came.
    /// Messages of unknown type are skipped (docs/builders/signalr-protocol.md#3.3).
    ///
    /// `limit` bounds one message with its framing, in bytes; None is no limit.
    /// After an error nothing more may be decoded from this buffer.
    pub fn decode(self, buffer: &mut BytesMut, limit: Option<usize>) -> Result<Option<HubMessage>, ProtocolError> {
        match self {
            Self::Json => json::decode(buffer, limit),
            Self::MessagePack => msgpack::decode(buffer, limit),
        }
    }

    /// One message with its framing. Fails only when a value in it has no form in this protocol.
    pub fn encode(self, message: &HubMessage) -> Result<Bytes, ValueError> {
        match self {
            Self::Json => json::encode(message),
            Self::MessagePack => msgpack::encode(message),
        }
    }
}

/// Decodes the messages of one connection, and remembers how far its buffer was searched: a JSON record that comes in
/// many pieces is searched once, however long it is. [`Protocol::decode`] begins anew each time.
#[derive(Clone, Debug)]
pub struct MessageDecoder {
    protocol: Protocol,
    limit: Option<usize>,
    scanned: usize,
}

impl MessageDecoder {
    /// A decoder for one buffer; `limit` as in [`Protocol::decode`].
    pub fn new(protocol: Protocol, limit: Option<usize>) -> Self {
        Self { protocol, limit, scanned: 0 }
    }

    /// The buffer has been emptied by somebody else: what comes next begins a message.
    pub fn reset(&mut self) {
        self.scanned = 0;
    }

    /// As [`Protocol::decode`]. Between calls `buffer` may only grow at its end.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<HubMessage>, ProtocolError> {
        match self.protocol {
            Protocol::Json => json::decode_from(buffer, self.limit, &mut self.scanned),
            Protocol::MessagePack => msgpack::decode(buffer, self.limit),
        }
    }
}

/// A message that ends the connection: the peer broke the protocol.
///
/// `exception` and `detail` are what the reference shows when detailed errors are on, as
/// `Connection closed with an error. {exception}: {detail}` (docs/builders/signalr-protocol.md#4.9 and
/// tests/probes/FINDINGS.md#1, row 3.1 and 3.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{exception}: {detail}")]
pub struct ProtocolError {
    /// The short name of the exception the reference would throw, e.g. `InvalidDataException`.
    pub exception: &'static str,
    /// Its message.
    pub detail: String,
}

impl ProtocolError {
    /// The usual kind.
    pub fn invalid_data(detail: impl Into<String>) -> Self {
        Self { exception: "InvalidDataException", detail: detail.into() }
    }
}

/// Arguments, an item or a result that do not fit what is expected: answered with an error, the connection lives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{exception}: {detail}")]
pub struct BindingError {
    /// The short name of the exception the reference would throw.
    pub exception: &'static str,
    /// Its message.
    pub detail: String,
}

impl BindingError {
    /// The usual kind.
    pub fn invalid_data(detail: impl Into<String>) -> Self {
        Self { exception: "InvalidDataException", detail: detail.into() }
    }

    /// The text for a wrong number of arguments (docs/builders/signalr-protocol.md#3.2).
    pub fn argument_count(provided: usize, expected: usize) -> Self {
        Self::invalid_data(format!("Invocation provides {provided} argument(s) but target expects {expected}."))
    }

    /// The text for an argument of the wrong type (docs/builders/signalr-protocol.md#3.2).
    pub fn argument_type() -> Self {
        Self::invalid_data(
            "Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.",
        )
    }

    /// The text for an item of an upload stream that is not the text it should be (tests/probes/FINDINGS.md#2, hub
    /// protocol).
    pub(crate) fn item_type() -> Self {
        Self {
            exception: "JsonException",
            detail: "The JSON value could not be converted to System.String.".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
