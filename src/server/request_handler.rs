//! Handles one HTTP request: body limits, CORS, routing to the part of the server that answers it, and added headers.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::{BoxError, Router};
use bytes::Bytes;
use http::header::{CONNECTION, ORIGIN};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tower::ServiceExt as _;

use super::blocked_origin_log::BlockedRequest;
use super::cors::Cors;
use super::limited_body::LimitedBody;
use super::server_core::ServerCore;
use crate::api::Api;
use crate::hub_path::HubPath;
use crate::logging::LogRateLimiter;

/// Answers all requests of a server.
#[derive(Debug)]
pub(super) struct RequestHandler {
    pub(super) cors: Cors,
    pub(super) api: Api,
    /// Keeps the server alive as long as requests can be answered.
    pub(super) core: Arc<ServerCore>,
    /// The host's own routes. They answer 404 for unknown paths.
    pub(super) routes: Router,
    /// Adds the host's headers to every response.
    pub(super) headers: Option<HeaderHook>,
    /// How long the body of a request may take to arrive.
    pub(super) body_timeout: Duration,
    /// Limits the log lines about paths that belong to no hub.
    pub(super) log: LogRateLimiter,
}

/// The host's function that adds headers to responses; it gets the URI of the request.
#[derive(Clone)]
pub(super) struct HeaderHook(pub(super) Arc<AddHeaders>);

type AddHeaders = dyn Fn(&Uri, &mut HeaderMap) + Send + Sync;

impl fmt::Debug for HeaderHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderHook")
    }
}

impl RequestHandler {
    /// Answers a request. The address of the peer is taken from the extension `ConnectInfo<SocketAddr>`.
    pub(super) async fn answer<B>(&self, request: http::Request<B>) -> Response
    where
        B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let mut limit = None;
        let request = request.map(|body| {
            if body.is_end_stream() {
                return Body::empty();
            }
            let (body, exceeded) = LimitedBody::new(body, self.body_timeout, self.core.phase.clone());
            limit = Some(exceeded);
            Body::new(body)
        });
        let from_page = BlockedRequest::of(&request, &self.cors);
        let endpoints = &self.core.endpoints;
        if let Some(preflight) = self.cors.preflight(&request) {
            if let Some(page) = from_page {
                page.log(preflight.headers(), endpoints, &self.log);
            }
            return preflight;
        }
        let origin = request.headers().get(ORIGIN).cloned();
        let uri = self.headers.is_some().then(|| request.uri().clone());
        let mut response = self.route(request).await;
        if let Some(status) = limit.and_then(|limit| limit.status()) {
            response = close_with(status);
        }
        if let (Some(HeaderHook(add)), Some(uri)) = (&self.headers, uri) {
            add(&uri, response.headers_mut());
        }
        if let Some(origin) = origin {
            self.cors.grant(&origin, response.headers_mut());
        }
        if let Some(page) = from_page {
            page.log(response.headers(), endpoints, &self.log);
        }
        response
    }

    async fn route(&self, request: Request) -> Response {
        if let Some(response) = self.api.handle(&request) {
            return response;
        }
        let endpoints = &self.core.endpoints;
        if endpoints.serves(request.uri().path()) {
            return endpoints.handle(request).await.unwrap_or_else(|| StatusCode::NOT_FOUND.into_response());
        }
        if let Some(response) = self.api.demo(&request) {
            return response;
        }
        let Ok(response) = self.routes.clone().oneshot(request).await;
        response
    }
}

impl RequestHandler {
    /// Every path that the server itself answers, in the case in which it was configured.
    pub(super) fn paths(&self) -> BTreeSet<String> {
        let mut paths: BTreeSet<String> = self.api.paths().map(str::to_owned).collect();
        paths.extend(self.core.paths.iter().flat_map(HubPath::requests));
        paths
    }
}

/// An empty response that ends the HTTP connection, because what follows on it is not a request or is not worth waiting
/// for.
pub(super) fn close_with(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
