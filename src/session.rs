//! Layer 3: the protocol state of one client, without I/O and without a clock: bytes in, messages out.

pub(crate) mod receive_tracker;

use bytes::BytesMut;

use crate::protocol::handshake::{self, HandshakeError};
use crate::protocol::{HubMessage, MessageDecoder, Protocol, ProtocolError};

/// One client's incoming bytes, from its handshake on.
#[derive(Debug)]
pub(crate) struct Session {
    /// What came and is not decoded yet; at most one message and one read long.
    buffer: BytesMut,
    /// Most bytes of one message; None is no limit.
    limit: Option<usize>,
    /// How far the buffer was searched for the end of the handshake.
    scanned: usize,
    /// For JSON until the handshake says otherwise.
    decoder: MessageDecoder,
}

/// What a handshake is checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandshakeRules<'a> {
    /// The protocols of the hub.
    pub protocols: &'a [Protocol],
    /// Whether the transport carries binary messages.
    pub carries_binary: bool,
}

/// What a handshake has settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandshakeOutcome {
    /// The hub protocol.
    pub protocol: Protocol,
    /// Its version. From [`STATEFUL_VERSION`] on the client acknowledges what it gets, if it was granted that.
    pub version: i32,
}

/// The version of the hub protocols that has Ack and Sequence (docs/builders/signalr-protocol.md#2.2).
pub(crate) const STATEFUL_VERSION: i32 = 2;

/// The highest version of either hub protocol that the server speaks; there is no lowest
/// (docs/builders/signalr-protocol.md#2.2).
const MAX_PROTOCOL_VERSION: i32 = 2;

impl Session {
    /// A client from which nothing has come.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self { buffer: BytesMut::new(), limit, scanned: 0, decoder: MessageDecoder::new(Protocol::Json, limit) }
    }

    /// Where what comes is appended.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Reads the handshake. None: it is not whole yet. Afterwards [`Session::poll`] decodes the protocol it chose.
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

    /// The next whole message. None: more bytes are needed. After an error the connection must end.
    pub(crate) fn poll(&mut self) -> Result<Option<HubMessage>, ProtocolError> {
        let message = self.decoder.decode(&mut self.buffer)?;
        if message.is_none() && self.buffer.is_empty() {
            // An idle client keeps no memory here; a reader brings its own.
            self.buffer = BytesMut::new();
        }
        Ok(message)
    }

    /// The socket is gone and another follows: what was half a message is forgotten. The client sends it again whole.
    pub(crate) fn discard_partial(&mut self) {
        self.buffer = BytesMut::new();
        self.decoder.reset();
    }

    /// The transport ended in good order: an error if it ended within a message
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
