//! Floor 2: every number the server tells, with its name. Labels are closed sets: no user, group or method is one.
//!
//! | file | what is in it |
//! | --- | --- |
//! | [`hub`] | [`HubMetrics`]: what one hub counts |
//! | [`backplane`] | [`BackplaneMetrics`]: what the link to other nodes counts |
//! | [`process`] | version, start time, memory |
//! | [`text`] | the page in the two text formats that Prometheus reads |

pub mod backplane;
pub mod hub;
pub mod process;
pub mod text;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

pub use backplane::BackplaneMetrics;
pub use hub::{HubMetrics, InvocationOutcome, MessageKind};
pub use text::Format;

/// All instruments of a process. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Mutex<Registry>,
    hubs: hub::Families,
    backplane: BackplaneMetrics,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let hubs = hub::Families::register(&mut registry);
        let backplane = BackplaneMetrics::register(&mut registry);
        process::register(&mut registry);
        Self(Arc::new(Inner { registry: Mutex::new(registry), hubs, backplane }))
    }
}

impl Metrics {
    /// The instruments of the hub of this name. Two calls with one name give the same instruments.
    pub fn hub(&self, name: &str) -> HubMetrics {
        HubMetrics::labelled(&self.0.hubs, name)
    }

    /// The instruments of the link to other nodes.
    pub fn backplane(&self) -> BackplaneMetrics {
        self.0.backplane.clone()
    }

    /// The page for a scraper.
    pub fn page(&self, format: Format) -> String {
        text::page(&self.0.registry.lock().unwrap_or_else(PoisonError::into_inner), format)
    }
}

#[cfg(test)]
mod tests;
