//! Tests of the metrics page: names, labels and the two text formats.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::protocol::{HubMessage, TransportKind};

fn metrics_in_use() -> Metrics {
    let metrics = Metrics::default();
    let chat = metrics.hub("chat");
    chat.opened(TransportKind::WebSockets);
    chat.opened(TransportKind::WebSockets);
    chat.closed(TransportKind::WebSockets, "slow_client");
    chat.received(&HubMessage::Ping);
    chat.sent(3, 120);
    chat.invocation(InvocationOutcome::Failed, Duration::from_millis(30));
    chat.overflow();
    let backplane = metrics.backplane();
    backplane.up(true);
    backplane.published(true);
    backplane.received(false);
    metrics
}

/// Parses a page into a map from samples (name and labels) to values. Panics on an unknown kind of line, or if a sample
/// does not follow the TYPE line of its family.
fn parse(page: &str) -> HashMap<String, f64> {
    let mut samples = HashMap::new();
    let mut families = Vec::new();
    for line in page.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let word = comment.split(' ').next().unwrap();
            assert!(["HELP", "TYPE", "UNIT", "EOF"].contains(&word), "{line}");
            if let Some(rest) = comment.strip_prefix("TYPE ") {
                let name = rest.split(' ').next().unwrap().to_owned();
                assert!(!families.contains(&name), "{name} twice");
                families.push(name);
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        assert!(name.starts_with(families.last().unwrap().as_str()), "{name} outside of its family");
        assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{sample} twice");
    }
    samples
}

#[test]
fn every_metric_has_its_name_in_both_formats() {
    let metrics = metrics_in_use();
    for format in [TextFormat::OpenMetrics, TextFormat::Prometheus] {
        let page = metrics.page(format);
        let samples = parse(&page);
        let expected = [
            (r#"signalr_connections{hub="chat",transport="web_sockets"}"#, 1.0),
            (r#"signalr_connections{hub="chat",transport="long_polling"}"#, 0.0),
            (r#"signalr_connections_closed_total{hub="chat",reason="slow_client"}"#, 1.0),
            (r#"signalr_messages_received_total{hub="chat",kind="ping"}"#, 1.0),
            (r#"signalr_messages_sent_total{hub="chat"}"#, 3.0),
            (r#"signalr_sent_bytes_total{hub="chat"}"#, 120.0),
            (r#"signalr_invocation_duration_seconds_count{hub="chat",outcome="failed"}"#, 1.0),
            (r#"signalr_invocation_duration_seconds_bucket{le="0.05",hub="chat",outcome="failed"}"#, 1.0),
            (r#"signalr_outbox_overflows_total{hub="chat"}"#, 1.0),
            (r#"signalr_backplane_messages_total{direction="published",result="ok"}"#, 1.0),
            (r#"signalr_backplane_messages_total{direction="received",result="failed"}"#, 1.0),
            ("signalr_backplane_up", 1.0),
        ];
        for (sample, value) in expected {
            assert_eq!(samples.get(sample), Some(&value), "{sample} in\n{page}");
        }
        assert!(page.contains(concat!("hubplane_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")), "{page}");
        assert!(samples["process_start_time_seconds"] > 1.7e9);
    }
}

#[test]
fn only_openmetrics_ends_with_an_eof_mark() {
    let metrics = metrics_in_use();
    assert!(metrics.page(TextFormat::OpenMetrics).ends_with("# EOF\n"));
    let older = metrics.page(TextFormat::Prometheus);
    assert!(!older.contains("# EOF") && !older.contains("# UNIT"));
    assert!(older.contains("# TYPE signalr_messages_sent_total counter\n"), "{older}");
    assert!(older.contains("# TYPE hubplane_build_info gauge\n"), "{older}");
}

#[test]
fn the_format_follows_the_accept_header() {
    assert_eq!(TextFormat::accepted(None), TextFormat::Prometheus);
    assert_eq!(TextFormat::accepted(Some("*/*")), TextFormat::Prometheus);
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    assert_eq!(TextFormat::accepted(Some(prometheus)), TextFormat::OpenMetrics);
}

#[test]
fn instruments_are_shared_by_name_and_default_ones_are_not_exposed() {
    let metrics = Metrics::default();
    metrics.hub("a").sent(1, 1);
    metrics.hub("a").sent(1, 1);
    HubMetrics::default().sent(5, 5);
    BackplaneMetrics::default().up(true);
    let samples = parse(&metrics.page(TextFormat::Prometheus));
    assert_eq!(samples[r#"signalr_messages_sent_total{hub="a"}"#], 2.0);
    assert_eq!(samples["signalr_backplane_up"], 0.0);
}

#[test]
fn a_hub_name_is_escaped_on_the_page() {
    let metrics = Metrics::default();
    metrics.hub("a\"} 1\nevil 2").overflow();
    let page = metrics.page(TextFormat::Prometheus);
    assert!(!page.lines().any(|line| line.starts_with("evil")), "{page}");
}
