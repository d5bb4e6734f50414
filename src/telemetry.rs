//! Layer 9: sets up logging to stderr, as text or as JSON.

use std::io::IsTerminal;

use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// Starts logging for the process. `filter` is in the syntax of `RUST_LOG`.
///
/// # Errors
///
/// Fails if the filter is invalid, or if logging has already been started.
pub(crate) fn init(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter =
        EnvFilter::builder().parse(filter).map_err(|error| format!("{filter:?} is not a valid log filter: {error}"))?;
    // On a terminal, the subscriber decides about colours; it honours NO_COLOR.
    let plain = !std::io::stderr().is_terminal();
    subscriber(filter, format, plain, std::io::stderr).try_init().map_err(|error| error.to_string())
}

/// Builds the subscriber that writes the lines. `plain` turns colours off.
fn subscriber<W>(filter: EnvFilter, format: LogFormat, plain: bool, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let mut builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // If a line could not be written, reporting that would panic, because the report goes to stderr too.
        .log_internal_errors(false);
    if plain {
        builder = builder.with_ansi(false);
    }
    match format {
        LogFormat::Text => builder.finish().into(),
        // Only `span`, without the list `spans`: our spans are never nested, so the list would only repeat the span.
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).finish().into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::logging::Escaped;

    #[test]
    fn an_invalid_filter_and_a_second_init_are_errors() {
        let error = init("info,=,x=loud", LogFormat::Text).unwrap_err();
        assert!(error.contains("is not a valid log filter"), "{error}");
        // The first call fails too if another test of this process has started logging; the second one always fails.
        drop(init("info", LogFormat::Json));
        assert!(init("warn", LogFormat::Text).is_err());
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `log` runs.
    fn written(format: LogFormat, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(EnvFilter::new("info"), format, true, move || writer.clone());
        tracing::dispatcher::with_default(&subscriber, log);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_contains_its_span_once() {
        let text = written(LogFormat::Json, || {
            let span = tracing::error_span!("connection", id = "c1", hub = "chat", user = tracing::field::Empty);
            let _inside = span.enter();
            span.record("user", "ann");
            tracing::info!(method = "Echo", "hello");
        });
        assert_eq!(text.matches("\"c1\"").count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["span"], serde_json::json!({ "name": "connection", "id": "c1", "hub": "chat", "user": "ann" }));
        assert_eq!(line["spans"], serde_json::Value::Null);
        assert_eq!((&line["method"], &line["message"]), (&"Echo".into(), &"hello".into()));
    }

    const FORGED: &str = "x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[2J\u{202e}\u{9b}\" user=\"admin";

    fn log_forged() {
        let span = tracing::error_span!("connection", user = Escaped::new(FORGED).to_string());
        let _inside = span.enter();
        tracing::info!(method = Escaped::new(FORGED).to_string(), "in a field and here: {}", Escaped::new(FORGED));
        tracing::info!(method = Escaped::new(&FORGED.repeat(1000)).to_string(), "bounded");
    }

    #[test]
    fn escaped_names_cannot_forge_text_lines() {
        let text = written(LogFormat::Text, log_forged);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains(|c: char| c != '\n' && !(' '..='~').contains(&c) && c != '…'), "{text:?}");
        assert!(text.lines().all(|line| line.len() < 1500), "{text}");
        // As a field it is quoted, so that its sender cannot end the field early.
        assert!(text.contains(r#"\" user=\"admin""#), "{text}");
    }

    #[test]
    fn escaped_names_cannot_forge_json_lines() {
        let text = written(LogFormat::Json, log_forged);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains(|c: char| c != '\n' && !(' '..='~').contains(&c) && c != '…'), "{text:?}");
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                line["method"]
                    .as_str()
                    .unwrap()
                    .starts_with(r"x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[2J\u{202e}\u{9b}")
            );
            assert!(line["method"].as_str().unwrap().chars().count() <= 129);
            assert!(line["span"]["user"].as_str().unwrap().contains("forged"), "{line}");
        }
    }
}
