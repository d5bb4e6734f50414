//! Layer 2: the metrics of the server. Labels have fixed sets of values: users, groups and methods are never labels.
//!
//! | file | contents |
//! | --- | --- |
//! | `instruments` | [`Metrics`]: all instruments of a process |
//! | `hub` | [`HubMetrics`]: the metrics of one hub |
//! | `backplane` | [`BackplaneMetrics`]: the metrics of the link to other nodes |
//! | `kinds` | the values of labels |
//! | `process` | version, start time, memory |
//! | `text_format` | the page in the two text formats that Prometheus reads |
//! | `disabled` | the same instruments for builds without the feature `metrics`: they do nothing |

#[cfg(feature = "metrics")]
mod backplane;
#[cfg(not(feature = "metrics"))]
mod disabled;
#[cfg(feature = "metrics")]
mod hub;
#[cfg(feature = "metrics")]
mod instruments;
mod kinds;
#[cfg(feature = "metrics")]
mod process;
#[cfg(feature = "metrics")]
mod text_format;

#[cfg(feature = "metrics")]
pub(crate) use backplane::BackplaneMetrics;
#[cfg(not(feature = "metrics"))]
pub use disabled::Metrics;
#[cfg(not(feature = "metrics"))]
pub(crate) use disabled::{BackplaneMetrics, HubMetrics};
#[cfg(feature = "metrics")]
pub(crate) use hub::HubMetrics;
#[cfg(feature = "metrics")]
pub use instruments::Metrics;
pub(crate) use kinds::InvocationOutcome;
#[cfg(feature = "metrics")]
pub use text_format::TextFormat;

#[cfg(all(test, feature = "metrics"))]
mod tests;
