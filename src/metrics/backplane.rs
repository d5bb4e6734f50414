//! The metrics of the link to other nodes.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The instruments of the link to other nodes. Cheap to clone; clones share them. The default instruments work, but do
/// not appear on any page.
#[derive(Clone, Debug)]
pub(crate) struct BackplaneMetrics(Arc<BackplaneInstruments>);

#[derive(Debug)]
struct BackplaneInstruments {
    /// Failed and successful publishes, in this order; `received` likewise.
    published: [Counter; 2],
    received: [Counter; 2],
    up: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BackplaneLabels {
    direction: &'static str,
    result: &'static str,
}

impl Default for BackplaneMetrics {
    fn default() -> Self {
        Self::from_families(&Family::default(), Gauge::default())
    }
}

impl BackplaneMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let messages = Family::default();
        let up = Gauge::default();
        registry.register(
            "signalr_backplane_messages",
            "Messages published to other nodes and received from them",
            messages.clone(),
        );
        registry.register("signalr_backplane_up", "Whether other nodes can be reached", up.clone());
        Self::from_families(&messages, up)
    }

    fn from_families(messages: &Family<BackplaneLabels, Counter>, up: Gauge) -> Self {
        let pair = |direction| {
            ["failed", "ok"].map(|result| messages.get_or_create_owned(&BackplaneLabels { direction, result }))
        };
        Self(Arc::new(BackplaneInstruments { published: pair("published"), received: pair("received"), up }))
    }

    /// Counts a message that was published (`ok`) or could not be published.
    pub(crate) fn published(&self, ok: bool) {
        self.0.published[usize::from(ok)].inc();
    }

    /// Counts a message that was received. If it could not be read, `ok` is false.
    pub(crate) fn received(&self, ok: bool) {
        self.0.received[usize::from(ok)].inc();
    }

    /// Sets whether other nodes can be reached. A server without a backplane is always up.
    pub(crate) fn up(&self, up: bool) {
        self.0.up.set(i64::from(up));
    }
}
