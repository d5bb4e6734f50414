//! Layer 2: an outgoing message, which is encoded at most once per protocol and framed at most once per transport, on
//! first use. All recipients share the bytes (docs/design.md#6, rule 3).

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use crate::protocol::{HubMessage, Protocol, RawValue, ValueError};

/// What a transport puts around one hub message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing. Used for long polling, where messages follow each other in the body.
    Raw,
    /// An unmasked WebSocket frame, text for JSON and binary for MessagePack.
    WebSocket,
    /// A server-sent event.
    ServerSentEvents,
}

/// How messages to one client are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// The hub protocol that the client's handshake selected.
    pub protocol: Protocol,
    /// The framing of its transport.
    pub framing: Framing,
}

/// One outgoing message. Clones share the encoded bytes.
#[derive(Clone, Debug)]
pub(crate) struct OutgoingMessage(Arc<EncodedForms>);

#[derive(Debug)]
struct EncodedForms {
    /// `None` for a message that another node has encoded.
    message: Option<HubMessage>,
    raw: [OnceLock<Result<Bytes, ValueError>>; 2],
    websocket: [OnceLock<Bytes>; 2],
    event: OnceLock<Bytes>,
    stream_item: [OnceLock<Option<Box<RawValue>>>; 2],
}

// === construction ===

impl OutgoingMessage {
    /// Makes a message of this node. Nothing is encoded yet.
    pub(crate) fn new(message: HubMessage) -> Self {
        Self::from_parts(Some(message))
    }

    /// Makes a message from an invocation that another node has encoded, with hub framing, in one protocol or both
    /// (docs/builders/redis-backplane.md#A.3). If one is missing, it is transcoded from the other on first use.
    pub(crate) fn from_encoded(parts: impl IntoIterator<Item = (Protocol, Bytes)>) -> Self {
        let frame = Self::from_parts(None);
        for (protocol, bytes) in parts {
            // If a protocol occurs twice, its first bytes are used.
            let _ = frame.0.raw[index_of(protocol)].set(Ok(bytes));
        }
        frame
    }

    fn from_parts(message: Option<HubMessage>) -> Self {
        Self(Arc::new(EncodedForms {
            message,
            raw: Default::default(),
            websocket: Default::default(),
            event: OnceLock::new(),
            stream_item: Default::default(),
        }))
    }
}

// === encoding ===

impl OutgoingMessage {
    /// Whether stateful reconnect numbers this message ([`HubMessage::is_trackable`]). Messages from other nodes are
    /// always invocations, which are numbered.
    pub(crate) fn is_trackable(&self) -> bool {
        self.0.message.as_ref().is_none_or(HubMessage::is_trackable)
    }

    /// The message before it was encoded; `None` if it came encoded from another node.
    pub(crate) fn message(&self) -> Option<&HubMessage> {
        self.0.message.as_ref()
    }

    /// Whether the hub-framed bytes for this encoding exist.
    #[cfg(test)]
    pub(crate) fn is_encoded(&self, encoding: Encoding) -> bool {
        self.0.raw[index_of(encoding.protocol)].get().is_some()
    }

    /// The message as an item of the streams that follow a group, made by `make` on first use and then shared by all.
    pub(crate) fn stream_item(&self, protocol: Protocol, make: impl FnOnce() -> Option<RawValue>) -> Option<RawValue> {
        let item = self.0.stream_item[index_of(protocol)].get_or_init(|| make().map(Box::new));
        item.as_deref().cloned()
    }

    /// The message with its hub framing (trailing 0x1E, or length prefix), as the backplane carries it.
    pub(crate) fn hub_framed(&self, protocol: Protocol) -> Result<Bytes, ValueError> {
        self.0.raw[index_of(protocol)].get_or_init(|| self.encode(protocol)).clone()
    }

    /// The bytes for a client with this encoding.
    pub(crate) fn encoded(&self, encoding: Encoding) -> Result<Bytes, ValueError> {
        let made = match encoding.framing {
            Framing::Raw => return self.hub_framed(encoding.protocol),
            Framing::WebSocket => &self.0.websocket[index_of(encoding.protocol)],
            Framing::ServerSentEvents => &self.0.event,
        };
        if let Some(bytes) = made.get() {
            return Ok(bytes.clone());
        }
        let raw = self.hub_framed(encoding.protocol)?;
        let binary = encoding.protocol == Protocol::MessagePack;
        Ok(made.get_or_init(|| apply_framing(encoding.framing, &raw, binary)).clone())
    }

    fn encode(&self, protocol: Protocol) -> Result<Bytes, ValueError> {
        if let Some(message) = &self.0.message {
            return protocol.encode(message);
        }
        let missing =
            || ValueError(format!("the message came from another node and cannot be encoded as '{}'", protocol.name()));
        let other = match protocol {
            Protocol::Json => Protocol::MessagePack,
            Protocol::MessagePack => Protocol::Json,
        };
        let bytes = self.0.raw[index_of(other)].get().and_then(|known| known.as_ref().ok()).ok_or_else(missing)?;
        let message = other.decode(&mut BytesMut::from(&bytes[..]), None).ok().flatten().ok_or_else(missing)?;
        protocol.encode(&message)
    }
}

fn index_of(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Json => 0,
        Protocol::MessagePack => 1,
    }
}

// === framing ===

/// Applies a framing to bytes that are not an [`OutgoingMessage`], such as a handshake response.
pub(crate) fn apply_framing(framing: Framing, payload: &[u8], binary: bool) -> Bytes {
    match framing {
        Framing::Raw => Bytes::copy_from_slice(payload),
        Framing::WebSocket => websocket_frame(payload, binary),
        Framing::ServerSentEvents => server_sent_event(payload),
    }
}

/// One complete, unmasked WebSocket message (RFC 6455, section 5.2).
pub(crate) fn websocket_frame(payload: &[u8], binary: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.put_u8(if binary { 0x82 } else { 0x81 });
    match payload.len() {
        length @ 0..126 => out.put_u8(length as u8),
        length @ 126..=0xffff => {
            out.put_u8(126);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
    out.put_slice(payload);
    out.freeze()
}

/// One server-sent event, with a `data: ` line for each line of the payload; the CR of a CRLF is dropped
/// (docs/builders/signalr-protocol.md#1.7). A lone CR ends a line too, since it does so for clients (HTML, "Parsing an
/// event stream"), and they would ignore the rest of the line.
pub(crate) fn server_sent_event(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 12);
    for line in payload.split(|byte| *byte == b'\n') {
        for part in line.strip_suffix(b"\r").unwrap_or(line).split(|byte| *byte == b'\r') {
            out.put_slice(b"data: ");
            out.put_slice(part);
            out.put_slice(b"\r\n");
        }
    }
    out.put_slice(b"\r\n");
    out.freeze()
}

/// A keep-alive ping; it is encoded only once per process.
pub(crate) fn ping() -> OutgoingMessage {
    static PING: OnceLock<OutgoingMessage> = OnceLock::new();
    PING.get_or_init(|| OutgoingMessage::new(HubMessage::Ping)).clone()
}

/// An invocation without an invocation id, so that no completion is expected.
pub(crate) fn invocation(target: impl Into<Arc<str>>, arguments: Vec<RawValue>) -> OutgoingMessage {
    OutgoingMessage::new(HubMessage::Invocation(crate::protocol::Invocation::send(target, arguments)))
}

#[cfg(test)]
mod tests;
