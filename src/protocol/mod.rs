//! Layer 1: the hub protocol. Encodes and decodes hub messages as JSON and MessagePack, without I/O, clocks or logging.
//!
//! | file | contents |
//! | --- | --- |
//! | [`message`] | the nine messages |
//! | [`value`] | [`RawValue`]: one encoded argument, result or stream item |
//! | [`json`], [`msgpack`] | the two codecs |
//! | [`framing`] | splitting bytes into messages: 0x1E records and varint lengths, with the size limit |
//! | [`handshake`] | the first message in each direction, which is always JSON |
//! | [`transcode`] | converting a value from one protocol to the other |
//! | [`transport_kind`] | the names of the three transports |
//!
//! Start at [`Protocol::decode`] and [`Protocol::encode`]; [`MessageDecoder`] decodes all messages of one connection.

pub(crate) mod framing;
pub(crate) mod handshake;
pub(crate) mod json;
pub(crate) mod message;
pub(crate) mod msgpack;
pub(crate) mod transcode;
pub(crate) mod transport_kind;
pub(crate) mod value;

use bytes::{Bytes, BytesMut};

use crate::exception::Exception;
pub(crate) use message::Headers;
pub use message::{HubMessage, Invocation, Outcome};
pub use transport_kind::TransportKind;
pub(crate) use value::Proven;
pub use value::{RawValue, ValueError};

/// The maximum nesting depth that the codecs accept, including the message's own object or array and the arguments
/// array (tests/probes/FINDINGS.md#2, hub protocol: depth).
pub(crate) const MAX_DEPTH: usize = 64;

/// A hub protocol. SignalR has only these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `json`: text; each message ends with 0x1E.
    Json,
    /// `messagepack`: binary; each message begins with its length as a varint.
    MessagePack,
}

impl Protocol {
    /// Both protocols, in the order in which ASP.NET Core registers and publishes them.
    pub const ALL: [Self; 2] = [Self::Json, Self::MessagePack];

    /// The name of the protocol in the handshake and on the backplane.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "messagepack",
        }
    }

    /// The protocol with this name, which is case-insensitive (docs/builders/signalr-protocol.md#2.2).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    /// Removes the first message from `buffer` and decodes it. Returns `None` if there is no complete message yet; call
    /// it again when more bytes have arrived. Messages of unknown type are skipped
    /// (docs/builders/signalr-protocol.md#3.3).
    ///
    /// `limit` is the maximum size of one message with its framing, in bytes; `None` means no limit. After an error,
    /// nothing more may be decoded from this buffer.
    pub(crate) fn decode(
        self,
        buffer: &mut BytesMut,
        limit: Option<usize>,
    ) -> Result<Option<HubMessage>, ProtocolError> {
        match self {
            Self::Json => json::decode(buffer, limit),
            Self::MessagePack => msgpack::decode(buffer, limit),
        }
    }

    /// Encodes a message, with its framing. Fails only if a value in it cannot be represented in this protocol, or
    /// could not be read.
    pub(crate) fn encode(self, message: &HubMessage) -> Result<Bytes, ValueError> {
        match self {
            Self::Json => json::encode(message),
            Self::MessagePack => msgpack::encode(message),
        }
    }
}

/// Decodes the messages of one connection. It remembers how much of the buffer has been searched, so that a long JSON
/// record that arrives in many pieces is searched only once; `Protocol::decode` starts from the beginning each time.
#[derive(Clone, Debug)]
pub struct MessageDecoder {
    protocol: Protocol,
    limit: Option<usize>,
    scanned: usize,
}

impl MessageDecoder {
    /// Creates a decoder for one buffer. For `limit` see `Protocol::decode`.
    pub fn new(protocol: Protocol, limit: Option<usize>) -> Self {
        Self { protocol, limit, scanned: 0 }
    }

    /// To be called when the buffer has been cleared, and the next byte begins a message.
    pub fn reset(&mut self) {
        self.scanned = 0;
    }

    /// Like `Protocol::decode`. Between calls, bytes may only be appended to `buffer`.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<HubMessage>, ProtocolError> {
        match self.protocol {
            Protocol::Json => json::decode_from(buffer, self.limit, &mut self.scanned),
            Protocol::MessagePack => msgpack::decode(buffer, self.limit),
        }
    }
}

/// A violation of the protocol, which ends the connection.
///
/// `exception` and `detail` are what ASP.NET Core shows if detailed errors are enabled, as
/// `Connection closed with an error. {exception}: {detail}` (docs/builders/signalr-protocol.md#4.9 and
/// tests/probes/FINDINGS.md#1, row 3.1 and 3.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{exception}: {detail}")]
pub struct ProtocolError {
    /// The short name of the exception that ASP.NET Core throws, such as `InvalidDataException`.
    pub exception: &'static str,
    /// The exception's message.
    pub detail: String,
}

impl ProtocolError {
    /// Creates an `InvalidDataException`, the most common kind.
    pub fn invalid_data(detail: impl Into<String>) -> Self {
        Self { exception: Exception::InvalidData.name(), detail: detail.into() }
    }
}

/// Arguments, a stream item or a result that cannot be read as the expected type. It is answered with an error, and the
/// connection stays open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{exception}: {detail}")]
pub struct BindingError {
    /// The short name of the exception that ASP.NET Core throws.
    pub(crate) exception: &'static str,
    /// The exception's message.
    pub(crate) detail: String,
}

impl BindingError {
    /// Creates an `InvalidDataException`, the most common kind.
    pub fn invalid_data(detail: impl Into<String>) -> Self {
        Self { exception: Exception::InvalidData.name(), detail: detail.into() }
    }

    /// The error for a wrong number of arguments (docs/builders/signalr-protocol.md#3.2).
    pub fn argument_count(provided: usize, expected: usize) -> Self {
        Self::invalid_data(format!("Invocation provides {provided} argument(s) but target expects {expected}."))
    }

    /// The error for an argument of the wrong type (docs/builders/signalr-protocol.md#3.2).
    pub fn argument_type() -> Self {
        Self::invalid_data(
            "Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.",
        )
    }

    /// The error for an item of an upload stream that contains a string which is not Unicode text
    /// (tests/probes/FINDINGS.md#2, hub protocol).
    pub(crate) fn item_type() -> Self {
        Self {
            exception: Exception::Json.name(),
            detail: "The JSON value could not be converted to System.String.".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
