//! The instruments for builds without the feature `metrics`: the same methods, which do nothing.

use std::time::Duration;

use super::kinds::InvocationOutcome;
use crate::protocol::{HubMessage, TransportKind};

/// All instruments of a process. Without the feature `metrics` they do nothing.
#[derive(Clone, Debug, Default)]
pub struct Metrics(());

impl Metrics {
    /// The instruments of a hub.
    pub(crate) fn hub(&self, _name: &str) -> HubMetrics {
        HubMetrics::default()
    }

    /// The instruments of the link to other nodes.
    pub(crate) fn backplane(&self) -> BackplaneMetrics {
        BackplaneMetrics::default()
    }
}

/// The instruments of one hub.
#[derive(Clone, Debug, Default)]
pub(crate) struct HubMetrics(());

impl HubMetrics {
    /// Counts a connection that has attached its first transport.
    pub(crate) fn opened(&self, _transport: TransportKind) {}

    /// Counts a connection that has ended.
    pub(crate) fn closed(&self, _transport: TransportKind, _reason: &'static str) {}

    /// Counts a message from a client.
    pub(crate) fn received(&self, _message: &HubMessage) {}

    /// Counts messages that were written to a client.
    pub(crate) fn sent(&self, _messages: u64, _bytes: u64) {}

    /// Counts a call that has ended.
    pub(crate) fn invocation(&self, _outcome: InvocationOutcome, _duration: Duration) {}

    /// Counts a client that was closed because its outbox was full.
    pub(crate) fn overflow(&self) {}

    /// Counts a connection that was resumed on another socket.
    pub(crate) fn resumed(&self) {}
}

/// The instruments of the link to other nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackplaneMetrics(());

impl BackplaneMetrics {
    /// Counts a message that was published or could not be published.
    pub(crate) fn published(&self, _ok: bool) {}

    /// Counts a message that was received.
    #[cfg(feature = "redis")]
    pub(crate) fn received(&self, _ok: bool) {}

    /// Sets whether other nodes can be reached.
    pub(crate) fn up(&self, _up: bool) {}
}
