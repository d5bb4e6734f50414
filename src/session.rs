//! Layer 3: the protocol state of one connection, without I/O and without a clock: bytes in, hub messages out.

pub(crate) mod receive_tracker;

use bytes::BytesMut;

use crate::protocol::handshake::{self, HandshakeError};
use crate::protocol::{HubMessage, MessageDecoder, Protocol, ProtocolError};

/// Decodes one client's incoming bytes: first the handshake, then hub messages.
#[derive(Debug)]
pub(crate) struct Session {
    /// Received bytes that have not been decoded; at most one message and one read long.
    buffer: BytesMut,
    /// The maximum size of one message, in bytes; `None` means no limit.
    limit: Option<usize>,
    /// How much of the buffer has been searched for the end of the handshake.
    scanned: usize,
    /// Decodes JSON until the handshake selects a protocol.
    decoder: MessageDecoder,
}

/// The rules that a handshake is checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandshakeRules<'a> {
    /// The protocols that the hub allows.
    pub protocols: &'a [Protocol],
    /// Whether the transport carries binary messages.
    pub carries_binary: bool,
}

/// The result of a successful handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandshakeOutcome {
    pub protocol: Protocol,
    /// The version of the protocol. From [`STATEFUL_VERSION`] on, a client that was granted stateful reconnect
    /// acknowledges the messages it receives.
    pub version: i32,
}

/// The first version of the hub protocols with the messages Ack and Sequence (docs/builders/signalr-protocol.md#2.2).
pub(crate) const STATEFUL_VERSION: i32 = 2;

/// The highest version of either hub protocol that the server supports; there is no minimum
/// (docs/builders/signalr-protocol.md#2.2).
const MAX_PROTOCOL_VERSION: i32 = 2;

impl Session {
    /// The state before the first byte. `limit` is the maximum size of one message, in bytes.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self { buffer: BytesMut::new(), limit, scanned: 0, decoder: MessageDecoder::new(Protocol::Json, limit) }
    }

    /// The buffer that received bytes are to be appended to.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Reads the handshake. Returns `None` if it is not complete yet. Afterwards, [`Session::poll`] decodes the
    /// protocol that it selected.
    pub(crate) fn handshake(&mut self, rules: HandshakeRules<'_>) -> Result<Option<HandshakeOutcome>, HandshakeError> {
        let Some(request) = handshake::read_request(&mut self.buffer, self.limit, &mut self.scanned)? else {
            return Ok(None);
        };
        let protocol = Protocol::from_name(&request.protocol).filter(|protocol| rules.protocols.contains(protocol));
        let Some(protocol) = protocol else {
            return Err(HandshakeError::UnknownProtocol(request.protocol));
        };
        if protocol == Protocol::MessagePack && !rules.carries_binary {
            return Err(HandshakeError::BinaryOnTextTransport(protocol));
        }
        if request.version > MAX_PROTOCOL_VERSION {
            return Err(HandshakeError::UnsupportedVersion { protocol, version: request.version });
        }
        self.decoder = MessageDecoder::new(protocol, self.limit);
        Ok(Some(HandshakeOutcome { protocol, version: request.version }))
    }

    /// Decodes the next message. Returns `None` if more bytes are needed. After an error the connection must end.
    pub(crate) fn poll(&mut self) -> Result<Option<HubMessage>, ProtocolError> {
        let message = self.decoder.decode(&mut self.buffer)?;
        if message.is_none() && self.buffer.is_empty() {
            // An idle connection holds no memory here.
            self.buffer = BytesMut::new();
        }
        Ok(message)
    }

    /// Discards a partial message when the connection moves to another socket: the client sends the whole message
    /// again.
    pub(crate) fn discard_partial(&mut self) {
        self.buffer = BytesMut::new();
        self.decoder.reset();
    }

    /// To be called when the transport has been closed in order. Returns an error if it was closed within a message
    /// (docs/builders/signalr-protocol.md#4.9).
    pub(crate) fn end(&self) -> Result<(), ProtocolError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        Err(ProtocolError::invalid_data("Connection terminated while reading a message."))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]
    use super::*;

    #[test]
    fn after_discarding_a_partial_message_the_next_bytes_start_a_new_one() {
        let mut session = Session::new(None);
        session.buffer().extend_from_slice(b"{\"protocol\":\"json\",\"version\":2}\x1e");
        let rules = HandshakeRules { protocols: &Protocol::ALL, carries_binary: true };
        assert!(session.handshake(rules).unwrap().is_some());
        session.buffer().extend_from_slice(b"{\"type\":1,\"target\":\"half of a long mess");
        assert_eq!(session.poll(), Ok(None));
        session.discard_partial();
        session.buffer().extend_from_slice(b"{\"type\":6}\x1e");
        assert_eq!(session.poll(), Ok(Some(HubMessage::Ping)));
    }
}
