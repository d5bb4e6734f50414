//! Logs requests of pages whose origin is not allowed (CORS). This is usually the first problem when a page is served
//! from another origin.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, UPGRADE};
use http::{HeaderMap, HeaderValue, Method};
use tokio::time::Instant;
use tracing::field::display;

use super::cors::Cors;
use crate::logging::{Allowed, Escaped, LogKind, LogRateLimiter};
use crate::transport::{Endpoints, is_own_origin};

/// A request that a page of another origin has sent, judging by its headers.
#[derive(Debug)]
pub(super) struct BlockedRequest {
    origin: HeaderValue,
    path: String,
    client: Option<SocketAddr>,
    reason: &'static str,
}

impl BlockedRequest {
    /// `None` if the request is not from a page, if the page has the origin of this server, or if CORS does not apply.
    pub(super) fn of(request: &Request, cors: &Cors) -> Option<Self> {
        let headers = request.headers();
        let origin = headers.get(ORIGIN).filter(|origin| !origin.is_empty())?;
        // Browsers send a preflight only for pages of other origins. Other requests may come from pages of this server,
        // too, because browsers send the origin with every POST.
        let preflight = request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !preflight {
            let own = headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin")
                || origin.to_str().is_ok_and(|origin| is_own_origin(origin, headers));
            // Without CORS rules of the server, a layer of the host may have some. It answers preflights itself and
            // adds headers to the other responses.
            if own || *cors == Cors::Disabled || headers.contains_key(UPGRADE) {
                return None;
            }
        }
        Some(Self {
            origin: origin.clone(),
            path: request.uri().path().to_owned(),
            client: request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0),
            reason: if *cors == Cors::Disabled { "cors_origins is empty" } else { "the origin is not in cors_origins" },
        })
    }

    /// Logs the request if the response does not allow the page to read it. `own` limits the lines about paths that
    /// belong to no hub.
    pub(super) fn log(&self, answer: &HeaderMap, endpoints: &Endpoints, own: &LogRateLimiter) {
        if answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        let endpoint = endpoints.logged_as(&self.path);
        let limiter = endpoint.map_or(own, |(_, limiter)| limiter);
        if let Some(Allowed { suppressed }) = limiter.allow(LogKind::OriginBlocked, Instant::now()) {
            let hub = endpoint.map(|(name, _)| display(name));
            // The name of a hub identifies its path.
            let path = hub.is_none().then(|| Escaped::new(&self.path).to_string());
            let origin = Escaped::new(&String::from_utf8_lossy(self.origin.as_bytes())).to_string();
            let (client, reason) = (self.client.map(display), self.reason);
            tracing::info!(
                hub,
                path,
                client,
                origin,
                reason,
                suppressed,
                "a page of another origin was refused (CORS)"
            );
        }
    }
}
