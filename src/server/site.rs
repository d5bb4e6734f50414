//! One request from its head to its answer: which part of the server answers it, and what is put around that.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONNECTION, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version};
use hyper::body::Incoming;
use tower::ServiceExt as _;

use super::body::Bounded;
use super::cors::Cors;

use crate::api::Api;
use crate::transport::Transports;

/// All that answers requests.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) cors: Cors,
    pub(super) api: Api,
    pub(super) transports: Arc<Transports>,
    /// The host's own routes; what they do not know is 404.
    pub(super) routes: Router,
    /// What the host adds to every answer.
    pub(super) headers: Option<HeaderHook>,
    /// How long a body may take.
    pub(super) body_timeout: Duration,
}

/// Adds headers to the answer of a request for a URI.
#[derive(Clone)]
pub(super) struct HeaderHook(pub(super) Arc<AddHeaders>);

type AddHeaders = dyn Fn(&Uri, &mut HeaderMap) + Send + Sync;

impl fmt::Debug for HeaderHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderHook")
    }
}

impl Site {
    /// Answers a request that came from `remote`. Handlers find the address as `ConnectInfo<SocketAddr>`.
    pub(super) async fn answer(&self, request: http::Request<Incoming>, remote: SocketAddr) -> Response {
        // RFC 9112, section 3.2: a request of HTTP/1.1 without Host, or with two, must be refused.
        if request.version() == Version::HTTP_11 && request.headers().get_all(HOST).iter().count() != 1 {
            return refused(StatusCode::BAD_REQUEST);
        }
        let mut fault = None;
        let mut request = request.map(|body| {
            if hyper::body::Body::is_end_stream(&body) {
                return Body::empty();
            }
            let (body, breaks) = Bounded::new(body, self.body_timeout);
            fault = Some(breaks);
            Body::new(body)
        });
        request.extensions_mut().insert(ConnectInfo(remote));
        if let Some(preflight) = self.cors.preflight(&request) {
            return preflight;
        }
        let origin = request.headers().get(ORIGIN).cloned();
        let uri = self.headers.is_some().then(|| request.uri().clone());
        let mut response = self.route(request).await;
        if let Some(status) = fault.and_then(|fault| fault.status()) {
            response = refused(status);
        }
        if let (Some(HeaderHook(add)), Some(uri)) = (&self.headers, uri) {
            add(&uri, response.headers_mut());
        }
        if let Some(origin) = origin {
            self.cors.grant(&origin, response.headers_mut());
        }
        response
    }

    async fn route(&self, request: Request) -> Response {
        if let Some(response) = self.api.handle(&request) {
            return response;
        }
        if self.transports.serves(request.uri().path()) {
            return self.transports.handle(request).await.unwrap_or_else(|| StatusCode::NOT_FOUND.into_response());
        }
        if let Some(response) = self.api.demo(&request) {
            return response;
        }
        let Ok(response) = self.routes.clone().oneshot(request).await;
        response
    }
}

/// An empty answer that ends the HTTP connection: what follows on it is not a request, or not worth waiting for.
fn refused(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
