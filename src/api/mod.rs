//! Layer 8: the HTTP pages that do not belong to a hub: health, readiness, metrics and the demo page. Paths are matched
//! exactly.
//!
//! | file | contents |
//! | --- | --- |
//! | [`health`] | `/healthz`, `/readyz` |
//! | [`demo`] | the demo page at `/`, from files in the binary |
//! | this file | `/metrics`, and which of the pages answers a request |

pub(crate) mod demo;
pub(crate) mod health;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};

pub(crate) use health::Readiness;

use crate::hub_path::{HEALTHZ, METRICS, READYZ};
use crate::metrics::Metrics;
#[cfg(feature = "metrics")]
use crate::metrics::TextFormat;

/// The paths of health and readiness.
const HEALTH: [&str; 2] = [HEALTHZ, READYZ];

/// The pages of one server, and which of them are served.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    /// The state that `/readyz` reports.
    pub readiness: Readiness,
    /// The instruments that `/metrics` shows.
    pub metrics: Metrics,
    /// Whether `/healthz` and `/readyz` are served.
    pub health_pages: bool,
    /// Whether `/metrics` is served.
    pub metrics_page: bool,
    /// Whether the demo page is served.
    pub demo: bool,
}

impl Api {
    /// Answers a request for health, readiness or metrics. Returns `None` if the path is none of these.
    pub(crate) fn handle(&self, request: &Request) -> Option<Response> {
        Some(match request.uri().path() {
            HEALTHZ if self.health_pages => only_get(request, health::alive),
            READYZ if self.health_pages => only_get(request, || self.readiness.page()),
            #[cfg(feature = "metrics")]
            METRICS if self.metrics_page => only_get(request, || self.scrape(request)),
            _ => return None,
        })
    }

    /// The paths of these pages, which no hub and no raw connection may use. The paths of the demo page are not among
    /// them: a hub takes precedence over the demo.
    pub(crate) fn reserved(health_pages: bool, metrics_page: bool) -> Vec<&'static str> {
        HEALTH.into_iter().filter(|_| health_pages).chain(metrics_page.then_some(METRICS)).collect()
    }

    /// The paths of all pages that are served.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'static str> {
        let pages = Self::reserved(self.health_pages, self.metrics_page);
        pages.into_iter().chain(demo::paths().filter(|_| self.demo))
    }

    /// Answers a request for a file of the demo page. Returns `None` if the demo is off or there is no such file.
    pub(crate) fn demo(&self, request: &Request) -> Option<Response> {
        let file = self.demo.then(|| demo::find(request.uri().path())).flatten()?;
        Some(only_get(request, || file.answer(request.headers())))
    }

    #[cfg(feature = "metrics")]
    fn scrape(&self, request: &Request) -> Response {
        let accept = request.headers().get(http::header::ACCEPT).and_then(|value| value.to_str().ok());
        let format = TextFormat::accepted(accept);
        text(StatusCode::OK, format.content_type(), self.metrics.page(format))
    }
}

/// Answers GET and HEAD with the page (the HTTP server omits the body for HEAD), and other methods with 405.
fn only_get(request: &Request, page: impl FnOnce() -> Response) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return page();
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// A response that must not be cached.
fn text(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
