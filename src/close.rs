//! Layer 2: every way a connection ends. A reason is data: it decides the Close message, the metric label and what
//! the hub is told (docs/builders/signalr-protocol.md#4.9, #4.11).

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
    /// Server code ended it: `Caller::abort`.
    Aborted,
    /// Its token ended, and `close_on_authentication_expiration` is on; the client may come again with a new one.
    AuthenticationExpired,
    /// The client said nothing for `client_timeout_interval`, after it had begun to ping.
    ClientTimeout,
    /// The client ended its transport in good order.
    ClientClosed,
    /// The client sent a Close message, perhaps with an error.
    ClientSentClose(Option<String>),
    /// The hub's `connected` failed.
    ConnectedFailed {
        /// The error as clients are told it: the exception's short name, and the message.
        error: String,
        /// Whether the client is told it without detailed errors.
        is_shown: bool,
    },
    /// The server stops; clients may come again.
    Draining,
    /// No transport was attached for `disconnect_timeout`.
    Abandoned,
    /// The handshake did not succeed; the text the client was told.
    HandshakeFailed(String),
    /// No handshake came within `handshake_timeout`, or the peer left before it.
    HandshakeMissing,
    /// The peer broke the hub protocol.
    Protocol(ProtocolError),
    /// One write took longer than `transport_send_timeout`.
    SendTimeout,
    /// Its queue passed `outgoing_buffer_size` or `outgoing_buffer_messages`.
    SlowClient,
    /// The client's DELETE.
    Terminated,
    /// The socket ended without a farewell.
    TransportLost,
    /// The peer broke the WebSocket protocol; the close code it was told.
    Violation(u16),
}

impl CloseReason {
    /// The value of the metric label `reason`; a closed set.
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

    /// The Close message the client gets; None where nothing can or may be sent any more
    /// (docs/builders/signalr-protocol.md#4.9).
    pub(crate) fn close_message(&self, detailed_errors: bool) -> Option<HubMessage> {
        let (error, allow_reconnect) = match self {
            // A client that has ended its transport takes nothing more.
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
        // A hub's own error is told whether details are on or not, as everywhere
        // (docs/builders/signalr-protocol.md#4.2).
        let is_shown = detailed_errors || matches!(self, Self::ConnectedFailed { is_shown: true, .. });
        let error = error.map(|error| {
            let base = "Connection closed with an error.";
            if is_shown { format!("{base} {error}") } else { base.to_owned() }
        });
        Some(HubMessage::Close { error, allow_reconnect })
    }

    /// What the hub's `disconnected` is told: None for an orderly end (docs/builders/signalr-protocol.md#4.11).
    pub(crate) fn error(&self) -> Option<String> {
        match self {
            Self::Aborted
            | Self::AuthenticationExpired
            | Self::ClientClosed
            | Self::Draining
            | Self::Abandoned
            | Self::Terminated
            | Self::TransportLost => None,
            Self::ClientSentClose(error) => error.clone(),
            Self::ConnectedFailed { error, .. } => Some(error.clone()),
            Self::Protocol(error) => Some(error.to_string()),
            Self::HandshakeFailed(text) => Some(text.clone()),
            Self::HandshakeMissing => Some("Handshake was canceled.".to_owned()),
            Self::ClientTimeout => Some("the client timed out".to_owned()),
            Self::SendTimeout | Self::SlowClient => Some("the client reads too slowly".to_owned()),
            Self::Violation(code) => Some(format!("the client broke the WebSocket protocol (close code {code})")),
        }
    }
}

impl CloseReason {
    /// Writes the log line of an end that somebody should hear of; nothing for the usual ones, and for those that were
    /// logged when they came about: a failed handshake, a failed `connected`. To be called in the connection's own
    /// span.
    pub(crate) fn log(&self, limiter: &LogRateLimiter) {
        let allow = |kind| limiter.allow(kind, Instant::now());
        match self {
            Self::SendTimeout | Self::SlowClient => {
                let Some(Allowed { suppressed }) = allow(LogKind::SlowClient) else { return };
                let reason = if *self == Self::SlowClient {
                    "its queue is full (outgoing_buffer_size, outgoing_buffer_messages)"
                } else {
                    "one write took too long (transport_send_timeout)"
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

/// Ends one connection from anywhere: the first reason given counts. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CloseSignal(Arc<CloseState>);

#[derive(Debug, Default)]
struct CloseState {
    reason: OnceLock<CloseReason>,
    changed: Notify,
}

impl CloseSignal {
    /// Asks the connection to end. Later calls change nothing.
    pub(crate) fn close(&self, reason: CloseReason) {
        self.try_close(reason);
    }

    /// As [`CloseSignal::close`]; true: nobody had asked before.
    pub(crate) fn try_close(&self, reason: CloseReason) -> bool {
        let first = self.0.reason.set(reason).is_ok();
        if first {
            self.0.changed.notify_waiters();
        }
        first
    }

    /// The reason, once there is one.
    pub(crate) fn reason(&self) -> Option<&CloseReason> {
        self.0.reason.get()
    }

    /// Waits for the reason.
    pub(crate) async fn closed(&self) -> CloseReason {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a `close` in between is not missed.
            changed.as_mut().enable();
            if let Some(reason) = self.0.reason.get() {
                return reason.clone();
            }
            changed.await;
        }
    }
}
