//! Metrics of the process itself: version, start time and memory.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Registers the metrics of the process.
pub(super) fn register(registry: &mut Registry) {
    registry.register(
        "hubplane_build",
        "The version of the server",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    let start = Gauge::<f64, AtomicU64>::default();
    start.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    registry.register_with_unit("process_start_time", "When the process started, in Unix time", Unit::Seconds, start);
    registry.register_collector(Box::new(MemoryCollector));
}

/// Reads the memory usage whenever the page is rendered. Where the system does not provide it, the metric is left out.
#[derive(Debug)]
struct MemoryCollector;

impl Collector for MemoryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(bytes) = resident_bytes() else { return Ok(()) };
        let gauge = ConstGauge::new(bytes);
        let encoder = encoder.encode_descriptor(
            "process_resident_memory",
            "Memory in use",
            Some(&Unit::Bytes),
            gauge.metric_type(),
        )?;
        gauge.encode(encoder)
    }
}

/// The resident memory: `VmRSS` of Linux's /proc/self/status, which is in KiB.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}
