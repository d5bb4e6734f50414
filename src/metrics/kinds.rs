//! The values of metric labels: outcomes of calls, and kinds of messages.

use crate::protocol::HubMessage;

/// How a call ended, for `signalr_invocation_duration_seconds{outcome}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvocationOutcome {
    /// The method succeeded.
    Ok,
    /// The method failed.
    Failed,
    /// There was no such method, or the arguments did not fit.
    Rejected,
}

impl InvocationOutcome {
    #[cfg(feature = "metrics")]
    pub(super) const ALL: [Self; 3] = [Self::Ok, Self::Failed, Self::Rejected];

    /// The value of the metric label `outcome`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
        }
    }
}

/// The kinds of messages that clients send, for `signalr_messages_received_total{kind}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind {
    /// Type 1.
    Invocation,
    /// Type 2.
    StreamItem,
    /// Type 3.
    Completion,
    /// Type 4.
    StreamInvocation,
    /// Type 5.
    CancelInvocation,
    /// Type 6.
    Ping,
    /// Type 7.
    Close,
    /// Type 8.
    Ack,
    /// Type 9.
    Sequence,
}

impl MessageKind {
    #[cfg(feature = "metrics")]
    pub(super) const ALL: [Self; 9] = [
        Self::Invocation,
        Self::StreamItem,
        Self::Completion,
        Self::StreamInvocation,
        Self::CancelInvocation,
        Self::Ping,
        Self::Close,
        Self::Ack,
        Self::Sequence,
    ];

    /// The value of the metric label `kind`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Invocation => "invocation",
            Self::StreamItem => "stream_item",
            Self::Completion => "completion",
            Self::StreamInvocation => "stream_invocation",
            Self::CancelInvocation => "cancel_invocation",
            Self::Ping => "ping",
            Self::Close => "close",
            Self::Ack => "ack",
            Self::Sequence => "sequence",
        }
    }
}

impl From<&HubMessage> for MessageKind {
    fn from(message: &HubMessage) -> Self {
        match message {
            HubMessage::Invocation(_) => Self::Invocation,
            HubMessage::StreamItem { .. } => Self::StreamItem,
            HubMessage::Completion { .. } => Self::Completion,
            HubMessage::StreamInvocation(_) => Self::StreamInvocation,
            HubMessage::CancelInvocation { .. } => Self::CancelInvocation,
            HubMessage::Ping => Self::Ping,
            HubMessage::Close { .. } => Self::Close,
            HubMessage::Ack { .. } => Self::Ack,
            HubMessage::Sequence { .. } => Self::Sequence,
        }
    }
}
