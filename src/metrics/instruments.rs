//! All instruments of a process, and the page that shows them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

use super::text_format::{self, TextFormat};
use super::{BackplaneMetrics, HubMetrics, hub, process};

/// All instruments of a process. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Mutex<Registry>,
    hubs: hub::Families,
    backplane: BackplaneMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    /// The instruments of the hub with this name. Calls with the same name return the same instruments.
    pub(crate) fn hub(&self, name: &str) -> HubMetrics {
        HubMetrics::labelled(&self.0.hubs, name)
    }

    /// The instruments of the link to other nodes.
    pub(crate) fn backplane(&self) -> BackplaneMetrics {
        self.0.backplane.clone()
    }

    /// Renders the page for a scraper.
    pub fn page(&self, format: TextFormat) -> String {
        text_format::page(&self.0.registry.lock().unwrap_or_else(PoisonError::into_inner), format)
    }
}
