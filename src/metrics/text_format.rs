//! The metrics page in the two text formats that Prometheus reads.
//!
//! Sources: OpenMetrics 1.0, "Text Format"; Prometheus, "Exposition formats", text format 0.0.4.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// A text format of the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextFormat {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// Prometheus 0.0.4, which all other scrapers read.
    Prometheus,
}

impl TextFormat {
    /// Chooses the format for an `Accept` header: OpenMetrics if the header lists it, otherwise the older format.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.to_ascii_lowercase().contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// The content type of a page.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

pub(super) fn page(registry: &Registry, format: TextFormat) -> String {
    let mut page = String::new();
    // Writing to a `String` does not fail, and none of our instruments fails to encode.
    let _ = encode(&mut page, registry);
    match format {
        TextFormat::OpenMetrics => page,
        TextFormat::Prometheus => to_prometheus_text(&page),
    }
}

/// Converts an OpenMetrics page to the older Prometheus format. It differs in three points: the name of a counter's
/// family ends with `_total`, like its samples, and that of an info with `_info`; there is neither a type `info` nor
/// units; and there is no end marker.
fn to_prometheus_text(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    let mut pending_help: Option<(&str, &str)> = None;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // HELP comes before TYPE, which determines the suffix of the name.
            pending_help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some((_, help)) = pending_help.take() {
                out.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}
