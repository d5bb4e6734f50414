//! Layer 2: every number the server tells, with its name. Labels are closed sets: no user, group or method is one.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `instruments` | [`Metrics`]: all instruments of a process |
//! | `hub` | [`HubMetrics`]: what one hub counts |
//! | `backplane` | [`BackplaneMetrics`]: what the link to other nodes counts |
//! | `kinds` | the closed sets that label them |
//! | `process` | version, start time, memory |
//! | `text_format` | the page in the two text formats that Prometheus reads |
//! | `disabled` | the same instruments without the feature `metrics`: they count nothing |

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
pub use disabled::{BackplaneMetrics, HubMetrics, Metrics};
#[cfg(feature = "metrics")]
pub(crate) use hub::HubMetrics;
#[cfg(feature = "metrics")]
pub use instruments::Metrics;
pub(crate) use kinds::InvocationOutcome;
#[cfg(feature = "metrics")]
pub use text_format::TextFormat;

#[cfg(all(test, feature = "metrics"))]
mod tests;
