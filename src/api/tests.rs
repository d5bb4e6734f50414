//! Tests of the health, metrics and demo pages.
#![allow(clippy::unwrap_used)]

use http_body_util::BodyExt as _;
use tokio::sync::watch;

use super::*;
use crate::backplane::LinkState;
use crate::phase::{Phase, PhaseWatch};

struct Pages {
    api: Api,
    phase: PhaseWatch,
    link: watch::Sender<LinkState>,
}

fn pages() -> Pages {
    let phase = PhaseWatch::default();
    let (link, receiver) = watch::channel(LinkState::Up);
    let readiness = Readiness::new(phase.clone(), receiver);
    Pages {
        api: Api { readiness, metrics: Metrics::default(), health_pages: true, metrics_page: true, demo: true },
        phase,
        link,
    }
}

fn get(path: &str) -> Request {
    Request::get(path).body(Body::empty()).unwrap()
}

async fn shown(response: Response) -> (u16, String, String) {
    let (parts, body) = response.into_parts();
    let kind = parts.headers.get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (parts.status.as_u16(), kind, body)
}

async fn ready(pages: &Pages) -> (u16, String) {
    let (status, kind, body) = shown(pages.api.handle(&get("/readyz")).unwrap()).await;
    assert_eq!(kind, "application/json");
    (status, body)
}

#[tokio::test]
async fn readiness_names_what_is_not_ready() {
    let pages = pages();
    assert_eq!(ready(&pages).await, (503, r#"{"ready":false,"reasons":["starting"]}"#.to_owned()));
    pages.phase.advance(Phase::Ready);
    assert_eq!(ready(&pages).await, (200, r#"{"ready":true}"#.to_owned()));
    pages.link.send_replace(LinkState::Down);
    assert_eq!(ready(&pages).await, (503, r#"{"ready":false,"reasons":["backplane down"]}"#.to_owned()));
    pages.phase.advance(Phase::Draining);
    assert_eq!(ready(&pages).await, (503, r#"{"ready":false,"reasons":["draining","backplane down"]}"#.to_owned()));
    pages.phase.advance(Phase::Closing);
    pages.link.send_replace(LinkState::Up);
    assert_eq!(ready(&pages).await, (503, r#"{"ready":false,"reasons":["draining"]}"#.to_owned()));
}

#[tokio::test]
async fn health_answers_in_every_phase() {
    let pages = pages();
    for phase in [Phase::Starting, Phase::Closing] {
        pages.phase.advance(phase);
        let (status, _, body) = shown(pages.api.handle(&get("/healthz")).unwrap()).await;
        assert_eq!((status, body.as_str()), (200, "ok\n"));
    }
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn metrics_are_in_the_requested_format() {
    let pages = pages();
    let (status, kind, body) = shown(pages.api.handle(&get("/metrics")).unwrap()).await;
    assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
    assert!(body.contains("signalr_backplane_up 0\n"), "{body}");
    let request =
        Request::get("/metrics").header("accept", "application/openmetrics-text;version=1.0.0").body(Body::empty());
    let (_, kind, body) = shown(pages.api.handle(&request.unwrap()).unwrap()).await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn paths_are_matched_exactly_and_only_get_is_allowed() {
    let pages = pages();
    for path in ["/Healthz", "/healthz/", "/readyz/x", "/metricsx"] {
        assert!(pages.api.handle(&get(path)).is_none(), "{path}");
    }
    let post = Request::post("/healthz").body(Body::empty()).unwrap();
    let response = pages.api.handle(&post).unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[ALLOW], "GET, HEAD");
}

#[tokio::test]
async fn the_demo_page_is_served_and_revalidated() {
    let mut pages = pages();
    let response = pages.api.demo(&get("/")).unwrap();
    let tag = response.headers()[http::header::ETAG].clone();
    let (status, kind, page) = shown(response).await;
    assert_eq!((status, kind.as_str()), (200, "text/html; charset=utf-8"));
    assert!(page.to_ascii_lowercase().starts_with("<!doctype html>"));

    let again = Request::get("/").header("if-none-match", tag).body(Body::empty()).unwrap();
    let (status, _, body) = shown(pages.api.demo(&again).unwrap()).await;
    assert_eq!((status, body.as_str()), (304, ""));
    let other = Request::get("/").header("if-none-match", "\"x\"").body(Body::empty()).unwrap();
    assert_eq!(pages.api.demo(&other).unwrap().status(), StatusCode::OK);

    let files = [("/app.js", "text/javascript"), ("/signalr-lite.js", "text/javascript"), ("/style.css", "text/css")];
    for (path, kind) in files {
        let (_, content_type, content) = shown(pages.api.demo(&get(path)).unwrap()).await;
        assert_eq!(content_type, format!("{kind}; charset=utf-8"), "{path}");
        assert!(!content.is_empty());
        if path != "/signalr-lite.js" {
            assert!(page.contains(&path[1..]), "the page loads {path}");
        }
    }
    assert!(pages.api.demo(&get("/nothing")).is_none());
    pages.api.demo = false;
    assert!(pages.api.demo(&get("/")).is_none());
}
