//! The instruments without the feature `metrics`: the same methods, which count nothing and cost nothing.

use std::time::Duration;

use super::kinds::InvocationOutcome;
use crate::protocol::{HubMessage, TransportKind};

/// All instruments of a process. Without the feature `metrics` there are none.
#[derive(Clone, Debug, Default)]
pub struct Metrics(());

impl Metrics {
    /// The instruments of a hub.
    pub fn hub(&self, _name: &str) -> HubMetrics {
        HubMetrics::default()
    }

    /// The instruments of the link to other nodes.
    pub fn backplane(&self) -> BackplaneMetrics {
        BackplaneMetrics::default()
    }
}

/// The instruments of one hub.
#[derive(Clone, Debug, Default)]
pub struct HubMetrics(());

impl HubMetrics {
    /// A connection has its first transport.
    pub fn opened(&self, _transport: TransportKind) {}

    /// A connection has ended.
    pub fn closed(&self, _transport: TransportKind, _reason: &'static str) {}

    /// A whole message came from a client.
    pub fn received(&self, _message: &HubMessage) {}

    /// Messages left for a client.
    pub fn sent(&self, _messages: u64, _bytes: u64) {}

    /// A call ended.
    pub fn invocation(&self, _outcome: InvocationOutcome, _duration: Duration) {}

    /// A client was given up because its queue was full.
    pub fn overflow(&self) {}

    /// A connection has resumed on another socket.
    pub fn resumed(&self) {}
}

/// The instruments of the link to other nodes.
#[derive(Clone, Debug, Default)]
pub struct BackplaneMetrics(());

impl BackplaneMetrics {
    /// One message was published, or could not be.
    pub fn published(&self, _ok: bool) {}

    /// One message arrived.
    #[cfg(feature = "redis")]
    pub fn received(&self, _ok: bool) {}

    /// Whether other nodes can be reached.
    pub fn up(&self, _up: bool) {}
}
