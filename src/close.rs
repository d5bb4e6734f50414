//! Layer 2: the reasons why connections end, and the signal that ends them. The reason determines the close message,
//! the metric label, the log line and the error for the hub's `disconnected`
//! (docs/builders/signalr-protocol.md#4.9, #4.11).

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::exception::Exception;
use crate::logging::{Allowed, LogKind, LogRateLimiter, reason};
use crate::protocol::{HubMessage, ProtocolError};

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The hub ended it with `Caller::abort`.
    Aborted,
    /// Its access token expired, and `close_on_authentication_expiration` is on. The client may reconnect with a new
    /// token.
    AuthenticationExpired,
    /// The client has sent pings, but then sent nothing for `client_timeout_interval`.
    ClientTimeout,
    /// The client ended its transport properly.
    ClientClosed,
    /// The client sent a close message, perhaps with an error.
    ClientSentClose(Option<String>),
    /// The hub's `connected` failed.
    ConnectedFailed {
        /// The error as it is shown to clients: the short name of the exception, and the message.
        error: String,
        /// Whether it is shown to the client even without detailed errors.
        is_shown: bool,
    },
    /// The server is stopping. The client may reconnect.
    Draining,
    /// No transport was attached for `disconnect_timeout`.
    Abandoned,
    /// The handshake failed; the text is the error that was sent to the client.
    HandshakeFailed(String),
    /// No handshake arrived within `handshake_timeout`, or the client disconnected before it.
    HandshakeMissing,
    /// The client violated the hub protocol.
    Protocol(ProtocolError),
    /// The client accepted nothing for `transport_send_timeout` while something was being written.
    SendTimeout,
    /// Its outbox exceeded `outgoing_buffer_size` or `outgoing_buffer_messages`.
    SlowClient,
    /// The client ended it with a DELETE request.
    Terminated,
    /// The socket ended without a close frame or its equivalent.
    TransportLost,
    /// The client violated the WebSocket protocol; the number is the close code that was sent to it.
    Violation(u16),
}

/// Why a connection ended abnormally. The hub receives it in [`crate::hub::Hub::disconnected`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectError {
    /// The client closed the connection with an error. Contains the text of its close message.
    #[error("{0}")]
    Client(String),
    /// The client violated the hub protocol.
    #[error("{0}")]
    Protocol(String),
    /// The client violated the WebSocket protocol. The number is the close code that was sent to it.
    #[error("the client broke the WebSocket protocol (close code {0})")]
    WebSocket(u16),
    /// The client sent nothing for `client_timeout_interval`.
    #[error("the client timed out")]
    TimedOut,
    /// The client does not read what is sent to it, or reads too slowly.
    #[error("the client reads too slowly")]
    SlowClient,
    /// The task that serves the connection panicked.
    #[error("the connection's task panicked")]
    Panicked,
}

impl CloseReason {
    /// The value of the metric label `reason`, which is one of a fixed set.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::AuthenticationExpired => "authentication_expired",
            Self::ClientTimeout => "client_timeout",
            Self::ClientClosed => "client_closed",
            Self::ClientSentClose(_) => "client_sent_close",
            Self::ConnectedFailed { .. } => "connected_failed",
            Self::Draining => "draining",
            Self::Abandoned => "expired",
            Self::HandshakeFailed(_) => "handshake_failed",
            Self::HandshakeMissing => "handshake_missing",
            Self::Protocol(_) => "protocol_error",
            Self::SendTimeout | Self::SlowClient => "slow_client",
            Self::Terminated => "terminated",
            Self::TransportLost => "transport_lost",
            Self::Violation(_) => "transport_violation",
        }
    }

    /// The close message for the client; `None` if nothing can or may be sent any more
    /// (docs/builders/signalr-protocol.md#4.9).
    pub(crate) fn close_message(&self, detailed_errors: bool) -> Option<HubMessage> {
        let (error, allow_reconnect) = match self {
            // These clients cannot receive a close message any more, or have not completed the handshake.
            Self::ClientClosed
            | Self::HandshakeFailed(_)
            | Self::HandshakeMissing
            | Self::TransportLost
            | Self::Violation(_) => return None,
            Self::ClientSentClose(_) | Self::Aborted => (None, false),
            Self::AuthenticationExpired | Self::Draining | Self::Abandoned | Self::Terminated => (None, true),
            Self::ConnectedFailed { error, .. } => (Some(error.clone()), false),
            Self::Protocol(error) => (Some(error.to_string()), true),
            Self::ClientTimeout => {
                let detail = "Client hasn't sent a message/ping within the configured ClientTimeoutInterval.";
                (Some(format!("{}: {detail}", Exception::OperationCanceled)), true)
            }
            Self::SendTimeout => {
                (Some(format!("{}: A write to the client took too long.", Exception::OperationCanceled)), true)
            }
            Self::SlowClient => (Some(format!("{}: The client reads too slowly.", Exception::InvalidOperation)), true),
        };
        // An error that the hub wants to be shown is sent even without detailed errors, as in completions
        // (docs/builders/signalr-protocol.md#4.2).
        let is_shown = detailed_errors || matches!(self, Self::ConnectedFailed { is_shown: true, .. });
        let error = error.map(|error| {
            let base = "Connection closed with an error.";
            if is_shown { format!("{base} {error}") } else { base.to_owned() }
        });
        Some(HubMessage::Close { error, allow_reconnect })
    }

    /// The error that the hub's `disconnected` gets; `None` if the connection ended normally
    /// (docs/builders/signalr-protocol.md#4.11), or if the hub never accepted it and its `disconnected` is not called.
    pub(crate) fn error(&self) -> Option<DisconnectError> {
        match self {
            Self::Aborted
            | Self::AuthenticationExpired
            | Self::ClientClosed
            | Self::Draining
            | Self::Abandoned
            | Self::Terminated
            | Self::TransportLost
            | Self::ConnectedFailed { .. }
            | Self::HandshakeFailed(_)
            | Self::HandshakeMissing => None,
            Self::ClientSentClose(error) => error.clone().map(DisconnectError::Client),
            Self::Protocol(error) => Some(DisconnectError::Protocol(error.to_string())),
            Self::Violation(code) => Some(DisconnectError::WebSocket(*code)),
            Self::ClientTimeout => Some(DisconnectError::TimedOut),
            Self::SendTimeout | Self::SlowClient => Some(DisconnectError::SlowClient),
        }
    }
}

impl CloseReason {
    /// Logs the end of the connection if it is unusual and has not been logged already, as a failed handshake or a
    /// failed `connected` has. Must be called in the span of the connection.
    pub(crate) fn log(&self, limiter: &LogRateLimiter) {
        let allow = |kind| limiter.allow(kind, Instant::now());
        match self {
            Self::SendTimeout | Self::SlowClient => {
                let Some(Allowed { suppressed }) = allow(LogKind::SlowClient) else { return };
                let reason = if *self == Self::SlowClient {
                    "its queue is full (outgoing_buffer_size, outgoing_buffer_messages)"
                } else {
                    "it accepted nothing for too long (transport_send_timeout)"
                };
                tracing::warn!(reason, suppressed, "closing a client that reads too slowly");
            }
            Self::Protocol(error) => {
                let Some(Allowed { suppressed }) = allow(LogKind::ProtocolError) else { return };
                let reason = reason(error);
                tracing::info!(reason, suppressed, "closing a client that broke the hub protocol");
            }
            Self::Violation(code) => {
                let Some(Allowed { suppressed }) = allow(LogKind::ProtocolError) else { return };
                let reason = format!("close code {code}");
                tracing::info!(reason, suppressed, "closing a client that broke the WebSocket protocol");
            }
            Self::Aborted
            | Self::AuthenticationExpired
            | Self::ClientTimeout
            | Self::ClientClosed
            | Self::ClientSentClose(_)
            | Self::ConnectedFailed { .. }
            | Self::Draining
            | Self::Abandoned
            | Self::HandshakeFailed(_)
            | Self::HandshakeMissing
            | Self::Terminated
            | Self::TransportLost => {}
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A signal that ends one connection from anywhere. The first reason that is given wins. Clones share the signal.
#[derive(Clone, Debug, Default)]
pub(crate) struct CloseSignal(Arc<CloseState>);

#[derive(Debug, Default)]
struct CloseState {
    reason: OnceLock<CloseReason>,
    changed: Notify,
}

impl CloseSignal {
    /// Signals the connection to end. Only the first call has an effect.
    pub(crate) fn close(&self, reason: CloseReason) {
        self.try_close(reason);
    }

    /// Like [`CloseSignal::close`], and returns whether this was the first call.
    pub(crate) fn try_close(&self, reason: CloseReason) -> bool {
        let first = self.0.reason.set(reason).is_ok();
        if first {
            self.0.changed.notify_waiters();
        }
        first
    }

    /// The reason, if the signal has been given.
    pub(crate) fn reason(&self) -> Option<&CloseReason> {
        self.0.reason.get()
    }

    /// Waits for the signal, and returns its reason.
    pub(crate) async fn closed(&self) -> CloseReason {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Registered before the check, so that a `close` in between is not missed.
            changed.as_mut().enable();
            if let Some(reason) = self.0.reason.get() {
                return reason.clone();
            }
            changed.await;
        }
    }
}
