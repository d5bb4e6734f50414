//! Floor 9: where log lines go: stderr, as text or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// Starts logging for the process. `filter` is in the syntax of `RUST_LOG`.
///
/// An error says what is wrong: the filter, or that logging was started before. It never panics.
pub fn init(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(filter).map_err(|error| format!("{filter:?} is no log filter: {error}"))?;
    let mut builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Reporting a line that could not be written would panic: the report goes to stderr too.
        .log_internal_errors(false);
    if !std::io::stderr().is_terminal() {
        // On a terminal the subscriber decides; it honours NO_COLOR.
        builder = builder.with_ansi(false);
    }
    let started = match format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bad_filter_and_a_second_start_are_errors() {
        let error = init("info,=,x=loud", LogFormat::Text).unwrap_err();
        assert!(error.contains("is no log filter"), "{error}");
        // Another test of this process may have been first: one of two must fail, and neither panics.
        let started = [init("info", LogFormat::Json), init("warn", LogFormat::Text)];
        assert!(started.iter().any(Result::is_err));
    }
}
