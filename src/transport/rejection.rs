//! The HTTP responses to refused requests: statuses, bodies and headers of the table in
//! docs/builders/signalr-protocol.md#1.4, corrected by tests/probes/FINDINGS.md#2 (HTTP). Clients show the bodies to
//! their users.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, HeaderValue, PRAGMA};
use http::{HeaderMap, StatusCode};

use crate::protocol::TransportKind;

/// Why a request was refused. The order of the checks is defined in [`super::connection_table`] and by the transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The query has no `id`, or an empty one.
    MissingId,
    /// There is no such connection: it never existed, has expired, or is closed.
    UnknownId,
    /// The endpoint does not offer the transport.
    TransportDisabled(TransportKind),
    /// The connection was started with another transport.
    TransportMismatch,
    /// The connection already has a WebSocket or an event stream.
    AlreadyActive,
    /// The connection is ending while the request is served.
    Disposed,
    /// A POST for a connection that uses a WebSocket.
    PostOnWebSocket,
    /// A DELETE for a connection that does not use long polling.
    DeleteWithoutPolling,
    /// The method is not GET, POST or DELETE.
    MethodNotAllowed,
    /// The request's body ended early. A body over the size limit is answered by the layer that sets the limit.
    IncompleteBody,
    /// `max_connections` is reached.
    TooManyConnections,
    /// The server is draining.
    Draining,
}

impl Rejection {
    /// The HTTP response; for a poll, [`never_cache`] must be applied to it.
    pub(super) fn response(self) -> Response {
        let (status, text) = match self {
            Self::MissingId => (StatusCode::BAD_REQUEST, "Connection ID required"),
            Self::UnknownId => (StatusCode::NOT_FOUND, "No Connection with that ID"),
            Self::TransportDisabled(TransportKind::WebSockets) => {
                (StatusCode::NOT_FOUND, "WebSockets transport not supported by this end point type")
            }
            Self::TransportDisabled(TransportKind::ServerSentEvents) => {
                (StatusCode::NOT_FOUND, "ServerSentEvents transport not supported by this end point type")
            }
            Self::TransportDisabled(TransportKind::LongPolling) => {
                (StatusCode::NOT_FOUND, "LongPolling transport not supported by this end point type")
            }
            Self::TransportMismatch => (StatusCode::BAD_REQUEST, "Cannot change transports mid-connection"),
            Self::AlreadyActive => (StatusCode::CONFLICT, ""),
            Self::Disposed => (StatusCode::NOT_FOUND, ""),
            Self::PostOnWebSocket => {
                (StatusCode::METHOD_NOT_ALLOWED, "POST requests are not allowed for WebSocket connections.")
            }
            Self::DeleteWithoutPolling => {
                (StatusCode::BAD_REQUEST, "Cannot terminate this connection using the DELETE endpoint.")
            }
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, ""),
            Self::IncompleteBody => (StatusCode::BAD_REQUEST, ""),
            Self::TooManyConnections => {
                (StatusCode::SERVICE_UNAVAILABLE, "The server has reached its maximum number of connections")
            }
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down"),
        };
        plain(status, text)
    }
}

/// A response of type `text/plain`; empty bodies have the content type too, as in ASP.NET Core.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response {
    typed(status, "text/plain", Body::from(text))
}

/// A response of any content type.
pub(super) fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Adds the headers that forbid caching, which every answer to a poll has, even a refusal
/// (docs/builders/signalr-protocol.md#1.4).
pub(super) fn never_cache(mut answer: Response) -> Response {
    let headers: &mut HeaderMap = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
    answer
}
