//! The handshake of a connection: the first message in each direction (docs/builders/signalr-protocol.md#2).

use tokio::time::{Instant, timeout};

use super::Connection;
use crate::close::CloseReason;
use crate::logging::{Allowed, Escaped, LogKind};
use crate::outgoing::{Encoding, apply_framing};
use crate::protocol::Protocol;
use crate::protocol::handshake::{self, HandshakeError};
use crate::session::{HandshakeOutcome, HandshakeRules, STATEFUL_VERSION, Session};
use crate::wire::{Source, SourceEnd};

enum HandshakeFailure {
    /// The connection ended first.
    Ended(CloseReason),
    /// The request cannot be accepted; the client gets the error.
    Refused(HandshakeError),
}

impl Connection {
    /// Waits for the handshake request, and queues the response. On success the outbox knows the client's encoding,
    /// and keeps sent messages for a stateful reconnect if the client may make one.
    ///
    /// # Errors
    ///
    /// Why the connection must end. If that is an error in the handshake, the response that says so is queued.
    pub(super) async fn perform_handshake<S: Source>(
        &self,
        session: &mut Session,
        source: &mut S,
    ) -> Result<(), CloseReason> {
        let framing = self.outbox.encoding().framing;
        let outcome = timeout(self.host.options.handshake_timeout, self.read_handshake(session, source)).await;
        let (text, reason) = match outcome {
            Ok(Ok(HandshakeOutcome { protocol, version })) => {
                self.outbox.set_encoding(Encoding { protocol, framing });
                match &self.peer.reconnect_state {
                    Some(reconnect_state) if version >= STATEFUL_VERSION => {
                        self.outbox.enable_replay(self.host.options.stateful_reconnect_buffer_size);
                        reconnect_state.open();
                    }
                    Some(reconnect_state) => reconnect_state.end(),
                    None => {}
                }
                let response = apply_framing(framing, handshake::success(), protocol == Protocol::MessagePack);
                // The empty outbox has room for it. If the client is gone by now, the writer will find out.
                let _ = self.outbox.push_bytes(response);
                return Ok(());
            }
            Ok(Err(HandshakeFailure::Ended(reason))) => return Err(reason),
            Ok(Err(HandshakeFailure::Refused(error))) => {
                self.log_failed_handshake(&error);
                let text = error.text(self.host.options.detailed_errors);
                (text.clone(), CloseReason::HandshakeFailed(text))
            }
            Err(_) => {
                self.log_failed_handshake(&HandshakeError::Timeout);
                (HandshakeError::Timeout.text(false), CloseReason::HandshakeMissing)
            }
        };
        // Always sent as text, because client and server have not agreed on a protocol yet
        // (docs/builders/signalr-protocol.md#2.3, tests/probes/FINDINGS.md#2).
        let _ = self.outbox.push_bytes(apply_framing(framing, &handshake::failure(&text), false));
        Err(reason)
    }

    async fn read_handshake<S: Source>(
        &self,
        session: &mut Session,
        source: &mut S,
    ) -> Result<HandshakeOutcome, HandshakeFailure> {
        let rules = HandshakeRules {
            protocols: &self.host.options.protocols,
            carries_binary: self.peer.request.transport.carries_binary(),
        };
        loop {
            if let Some(outcome) = session.handshake(rules).map_err(HandshakeFailure::Refused)? {
                return Ok(outcome);
            }
            let reason = tokio::select! {
                received = source.recv(session.buffer()) => match received {
                    Ok(()) => continue,
                    Err(SourceEnd::Violation(code)) => CloseReason::Violation(code),
                    Err(SourceEnd::Closed | SourceEnd::Lost) => CloseReason::HandshakeMissing,
                },
                reason = self.peer.close.closed() => reason,
            };
            return Err(HandshakeFailure::Ended(reason));
        }
    }

    fn log_failed_handshake(&self, error: &HandshakeError) {
        if let Some(Allowed { suppressed }) = self.host.delivery.log().allow(LogKind::HandshakeFailed, Instant::now()) {
            // The span has no user yet: the hub's user id provider is only asked after the handshake.
            let user = self.peer.request.principal.as_ref().and_then(|principal| principal.user.as_ref());
            let user = user.map(|user| Escaped::new(user.as_str()).to_string());
            tracing::info!(user, reason = error.log_text(), suppressed, "a handshake failed");
        }
    }
}
