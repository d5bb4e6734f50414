//! The metrics of one hub. Every instrument is looked up only once, so that counting costs one atomic addition.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::kinds::{InvocationOutcome, MessageKind};
use crate::protocol::{HubMessage, TransportKind};

/// The bucket bounds of `signalr_invocation_duration_seconds`: those of ASP.NET Core's connection histogram below a
/// minute (docs/builders/signalr-protocol.md#7), and three finer ones, because most calls take microseconds.
const DURATION_BOUNDS: [f64; 14] = [0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// The instruments of one hub. Cheap to clone; clones share them. The default instruments work, but do not appear on
/// any page.
#[derive(Clone, Debug)]
pub(crate) struct HubMetrics(Arc<HubInstruments>);

#[derive(Debug)]
struct HubInstruments {
    hub: Arc<str>,
    connections: [Gauge; 3],
    closed: Family<CloseLabels, Counter>,
    received: [Counter; 9],
    sent: Counter,
    sent_bytes: Counter,
    invocations: [Histogram; 3],
    overflows: Counter,
    resumes: Counter,
}

impl Default for HubMetrics {
    fn default() -> Self {
        Self::labelled(&Families::default(), "")
    }
}

// === counting ===

impl HubMetrics {
    /// Counts a connection that has attached its first transport. One that has only negotiated is not counted.
    pub(crate) fn opened(&self, transport: TransportKind) {
        self.0.connections[transport_slot(transport)].inc();
    }

    /// Counts the end of a connection that was counted by [`HubMetrics::opened`]. `reason` is the label of its close
    /// reason, of which there is a fixed set.
    pub(crate) fn closed(&self, transport: TransportKind, reason: &'static str) {
        self.0.connections[transport_slot(transport)].dec();
        self.0.closed.get_or_create(&CloseLabels { hub: self.0.hub.clone(), reason }).inc();
    }

    /// Counts a message from a client.
    pub(crate) fn received(&self, message: &HubMessage) {
        self.0.received[MessageKind::from(message) as usize].inc();
    }

    /// Counts messages that were written to a client, and their bytes including the framing.
    pub(crate) fn sent(&self, messages: u64, bytes: u64) {
        self.0.sent.inc_by(messages);
        self.0.sent_bytes.inc_by(bytes);
    }

    /// Counts a call that has ended, with its duration.
    pub(crate) fn invocation(&self, outcome: InvocationOutcome, duration: Duration) {
        self.0.invocations[outcome as usize].observe(duration.as_secs_f64());
    }

    /// Counts a client that was closed because its outbox was full.
    pub(crate) fn overflow(&self) {
        self.0.overflows.inc();
    }
}

impl HubMetrics {
    /// Counts a connection that was resumed on another socket (stateful reconnect).
    pub(crate) fn resumed(&self) {
        self.0.resumes.inc();
    }
}

fn transport_slot(transport: TransportKind) -> usize {
    match transport {
        TransportKind::WebSockets => 0,
        TransportKind::ServerSentEvents => 1,
        TransportKind::LongPolling => 2,
    }
}

// === names and labels ===

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HubLabels {
    hub: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TransportLabels {
    hub: Arc<str>,
    transport: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CloseLabels {
    hub: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    hub: Arc<str>,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    hub: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug)]
struct DurationBuckets;

impl MetricConstructor<Histogram> for DurationBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(DURATION_BOUNDS)
    }
}

/// The metric families that all hubs share; their instruments are distinguished by the label `hub`.
#[derive(Debug)]
pub(super) struct Families {
    connections: Family<TransportLabels, Gauge>,
    closed: Family<CloseLabels, Counter>,
    received: Family<KindLabels, Counter>,
    sent: Family<HubLabels, Counter>,
    sent_bytes: Family<HubLabels, Counter>,
    invocations: Family<OutcomeLabels, Histogram, DurationBuckets>,
    overflows: Family<HubLabels, Counter>,
    resumes: Family<HubLabels, Counter>,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            connections: Family::default(),
            closed: Family::default(),
            received: Family::default(),
            sent: Family::default(),
            sent_bytes: Family::default(),
            invocations: Family::new_with_constructor(DurationBuckets),
            overflows: Family::default(),
            resumes: Family::default(),
        }
    }
}

impl Families {
    /// Registers the families. The text format appends `_total` to the names of counters.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        registry.register("signalr_connections", "Clients connected now", all.connections.clone());
        registry.register("signalr_connections_closed", "Connections that ended, by reason", all.closed.clone());
        registry.register("signalr_messages_received", "Messages from clients, by kind", all.received.clone());
        registry.register("signalr_messages_sent", "Messages written to clients", all.sent.clone());
        // Appears as signalr_sent_bytes_total: the registry inserts the unit.
        registry.register_with_unit(
            "signalr_sent",
            "Bytes written to clients, hub framing included",
            Unit::Bytes,
            all.sent_bytes.clone(),
        );
        registry.register_with_unit(
            "signalr_invocation_duration",
            "How long calls of hub methods took, by outcome",
            Unit::Seconds,
            all.invocations.clone(),
        );
        registry.register(
            "signalr_outbox_overflows",
            "Clients closed because their queue was full",
            all.overflows.clone(),
        );
        registry.register(
            "signalr_resumes",
            "Connections that were resumed on another socket (stateful reconnect)",
            all.resumes.clone(),
        );
        all
    }
}

impl HubMetrics {
    pub(super) fn labelled(all: &Families, name: &str) -> Self {
        let hub: Arc<str> = name.into();
        let one = HubLabels { hub: hub.clone() };
        Self(Arc::new(HubInstruments {
            connections: TransportKind::ALL.map(|kind| {
                all.connections.get_or_create_owned(&TransportLabels { hub: hub.clone(), transport: kind.label() })
            }),
            closed: all.closed.clone(),
            received: MessageKind::ALL
                .map(|kind| all.received.get_or_create_owned(&KindLabels { hub: hub.clone(), kind: kind.label() })),
            sent: all.sent.get_or_create_owned(&one),
            sent_bytes: all.sent_bytes.get_or_create_owned(&one),
            invocations: InvocationOutcome::ALL.map(|outcome| {
                all.invocations.get_or_create_owned(&OutcomeLabels { hub: hub.clone(), outcome: outcome.label() })
            }),
            overflows: all.overflows.get_or_create_owned(&one),
            resumes: all.resumes.get_or_create_owned(&one),
            hub,
        }))
    }
}
