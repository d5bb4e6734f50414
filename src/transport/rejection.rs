//! The answers an endpoint gives when it does not connect: statuses, bodies and headers of the table in
//! docs/builders/signalr-protocol.md#1.4, corrected by tests/probes/FINDINGS.md#2 (HTTP). Clients show the bodies to
//! their users.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, HeaderValue, PRAGMA};
use http::{HeaderMap, StatusCode};

use crate::protocol::TransportKind;

/// Why a request was refused. The order of the checks is [`super::connection_table`]'s and the transports'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// No `id`, or an empty one.
    MissingId,
    /// It never was, it has expired, or it is closed.
    UnknownId,
    /// The endpoint does not offer the transport.
    TransportDisabled(TransportKind),
    /// The connection began with another transport.
    TransportMismatch,
    /// The connection's WebSocket or event stream is still there.
    AlreadyActive,
    /// The connection is ending while the request is served.
    Disposed,
    /// A POST for a connection on a WebSocket.
    PostOnWebSocket,
    /// A DELETE for a connection that does not poll.
    DeleteWithoutPolling,
    /// Neither GET, POST nor DELETE.
    MethodNotAllowed,
    /// The request's body ended before its time. Whoever bounds bodies answers for the bounds.
    IncompleteBody,
    /// `max_connections` is reached.
    TooManyConnections,
    /// The server stops.
    Draining,
}

impl Rejection {
    /// The answer to anything but a poll.
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
                (StatusCode::SERVICE_UNAVAILABLE, "The server has as many connections as it may have")
            }
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down"),
        };
        plain(status, text)
    }
}

/// An answer of type `text/plain`; the type is there on empty bodies as well, as the reference has it.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response {
    typed(status, "text/plain", Body::from(text))
}

/// An answer of any type.
pub(super) fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// What every answer to a poll carries, refusals included (docs/builders/signalr-protocol.md#1.4).
pub(super) fn never_cache(mut answer: Response) -> Response {
    let headers: &mut HeaderMap = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
    answer
}
