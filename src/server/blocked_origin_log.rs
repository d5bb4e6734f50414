//! What the log says of pages that a browser does not give the answers they ask for: the first thing that goes wrong
//! when a page is served from elsewhere.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, UPGRADE};
use http::{HeaderMap, HeaderValue, Method};
use tokio::time::Instant;
use tracing::field::display;

use super::cors::Cors;
use crate::logging::{Allowed, Escaped, LogKind, LogRateLimiter};
use crate::transport::{Endpoints, is_own_origin};

/// A request that a page of another origin has sent, as far as its headers tell.
#[derive(Debug)]
pub(super) struct BlockedRequest {
    origin: HeaderValue,
    path: String,
    client: Option<SocketAddr>,
    reason: &'static str,
}

impl BlockedRequest {
    /// None: it is not from a page, or from one of this server, or its browser does not go by CORS.
    pub(super) fn of(request: &Request, cors: &Cors) -> Option<Self> {
        let headers = request.headers();
        let origin = headers.get(ORIGIN).filter(|origin| !origin.is_empty())?;
        // Browsers send one for no page of this server. All else may be theirs too: they name the origin of every POST.
        let preflight = request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !preflight {
            let own = headers.get("sec-fetch-site").is_some_and(|handler| handler == "same-origin")
                || origin.to_str().is_ok_and(|origin| is_own_origin(origin, headers));
            // Without rules of ours a layer around this server may have some, which answers preflights in our place and
            // adds to what we answer to the rest.
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

    /// Logs it if the page may not have the answer. `own`: limits the lines of paths that are no hub's.
    pub(super) fn log(&self, answer: &HeaderMap, endpoints: &Endpoints, own: &LogRateLimiter) {
        if answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        let endpoint = endpoints.logged_as(&self.path);
        let limiter = endpoint.map_or(own, |(_, limiter)| limiter);
        if let Some(Allowed { suppressed }) = limiter.allow(LogKind::OriginBlocked, Instant::now()) {
            let hub = endpoint.map(|(name, _)| display(name));
            // A hub has told its path.
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
