//! Logs the requests that are refused before there is a connection: who sent them and why they were refused. Access
//! tokens are never logged.

use std::net::SocketAddr;

use axum::extract::Request;
use http::header::ORIGIN;
use tokio::time::Instant;
use tracing::field::display;

use super::access_control::{self, AccessDenied};
use super::connection_lifecycle;
use super::endpoint::Endpoint;
use super::rejection::Rejection;
use crate::logging::{Allowed, Escaped, LogKind, reason};

impl Endpoint {
    fn allow(&self, kind: LogKind) -> Option<Allowed> {
        self.log.allow(kind, Instant::now())
    }

    /// Logs that a request was not admitted.
    pub(super) fn log_denied(&self, request: &Request, denied: &AccessDenied) {
        let (hub, client) = (display(&self.name), client(request));
        let why = match denied {
            AccessDenied::Origin => {
                if let Some(Allowed { suppressed }) = self.allow(LogKind::OriginBlocked) {
                    let origin = request.headers().get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()));
                    let origin = origin.map(|origin| Escaped::new(&origin).to_string());
                    let reason = "the origin is not in `cors_origins`, and its host is not that of the header Host";
                    tracing::info!(hub, client, origin, reason, suppressed, "a page's WebSocket was refused");
                }
                return;
            }
            AccessDenied::Token(refused) => {
                if let Some(Allowed { suppressed }) = self.allow(LogKind::TokenRefused) {
                    tracing::info!(hub, client, reason = reason(refused), suppressed, "a token was refused");
                }
                return;
            }
            AccessDenied::Anonymous => "it came without a token, and the hub's `authorize` requires a user",
            AccessDenied::User => "the user does not fulfil the hub's `authorize`",
            AccessDenied::OtherUser => "the connection belongs to another user",
        };
        if let Some(Allowed { suppressed }) = self.allow(LogKind::Unauthorized) {
            tracing::info!(hub, client, user = user(request), reason = why, suppressed, "a request was not authorized");
        }
    }

    /// Logs a refusal that the operator should know about, and returns it.
    pub(super) fn logged(&self, rejection: Rejection, request: &Request) -> Rejection {
        if rejection == Rejection::TooManyConnections
            && let Some(Allowed { suppressed }) = self.allow(LogKind::Full)
        {
            let (hub, client) = (display(&self.name), client(request));
            let reason = format!("max_connections = {} is reached", self.connection_limit.max());
            tracing::warn!(
                hub,
                client,
                user = user(request),
                reason,
                suppressed,
                "a client was refused because the server is full"
            );
        }
        rejection
    }
}

/// The address that a request came from.
fn client(request: &Request) -> Option<tracing::field::DisplayValue<SocketAddr>> {
    connection_lifecycle::remote(request.extensions()).map(display)
}

/// The user who sent a request, if it has been authenticated already.
fn user(request: &Request) -> Option<String> {
    let principal = access_control::principal(request.extensions())?;
    principal.user.as_ref().map(|user| Escaped::new(user.as_str()).to_string())
}
