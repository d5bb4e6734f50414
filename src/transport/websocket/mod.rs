//! WebSockets: recognises upgrade requests, answers them with 101 and serves the upgraded socket
//! (docs/builders/signalr-protocol.md#1.6; tests/probes/FINDINGS.md#2, HTTP and WebSocket).
//!
//! hyper handles the HTTP upgrade and then hands over the TCP socket, which is used directly: without a second buffer,
//! and with one write per batch.

mod closing_handshake;
mod codec;
pub(super) mod reconnect_slot;
mod socket_io;
mod utf8;
mod websocket_sink;
mod websocket_source;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::Instrument as _;

use self::closing_handshake::close_socket;
use self::socket_io::{SocketReader, SocketWriter};
use self::websocket_sink::WebSocketSink;
use self::websocket_source::WebSocketSource;
use super::access_control;
use super::connection_lifecycle::{StartedConnection, remote, request_info, run, span};
use super::connection_limit::ConnectionPermit;
use super::endpoint::Endpoint;
use super::http_socket::HttpSocket;
use super::query;
use super::rejection::Rejection;
use super::transport_connection::TransportConnection;
use crate::hub::RequestInfo;
use crate::ids::{ConnectionId, ConnectionToken};
use crate::outgoing::Framing;
use crate::protocol::TransportKind;

/// Whether a GET asks for a WebSocket. An incomplete upgrade request is treated as a poll, as in ASP.NET Core, and
/// never answered with 426.
pub(super) fn is_upgrade_request(request: &Request) -> bool {
    let headers = request.headers();
    request.version() == Version::HTTP_11
        && lists(headers, &CONNECTION, "upgrade")
        && lists(headers, &UPGRADE, "websocket")
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
        && headers.get(SEC_WEBSOCKET_KEY).is_some_and(is_key)
}

/// Whether a header, which may be repeated, lists a token.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// Whether a value is sixteen bytes in base64.
fn is_key(value: &HeaderValue) -> bool {
    base64::engine::general_purpose::STANDARD.decode(value.as_bytes()).is_ok_and(|key| key.len() == 16)
}

/// Answers a request for a WebSocket, and spawns the task that serves it once hyper has handed over the socket.
pub(super) fn connect(endpoint: &Arc<Endpoint>, mut request: Request) -> Response {
    let (connection, permit) = match admit(endpoint, &request) {
        Ok(admitted) => admitted,
        // ASP.NET Core sends this response without a Content-Type (tests/probes/FINDINGS.md#1, row 1.4).
        Err(Rejection::UnknownId) => {
            let mut answer = Rejection::UnknownId.response();
            answer.headers_mut().remove(http::header::CONTENT_TYPE);
            return answer;
        }
        Err(rejection) => return endpoint.logged(rejection, &request).response(),
    };
    let accept = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let upgrade = hyper::upgrade::on(&mut request);
    let span = span(endpoint, &connection, TransportKind::WebSockets, remote(request.extensions()));
    if let Some(permit) = permit {
        let info = Arc::new(request_info(request, TransportKind::WebSockets));
        let started = StartedConnection::new(endpoint.clone(), connection, permit);
        endpoint.tasks.spawn(serve(started, info, upgrade).instrument(span));
    } else {
        endpoint.tasks.spawn(resume(endpoint.clone(), connection, upgrade).instrument(span));
    }

    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(accept) = accept.and_then(|accept| HeaderValue::try_from(accept).ok()) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

/// Finds the connection that the request names, or creates one if the `id` is missing or empty. If no permit is
/// returned, the connection exists already and resumes on this socket.
fn admit(
    endpoint: &Arc<Endpoint>,
    request: &Request,
) -> Result<(Arc<TransportConnection>, Option<ConnectionPermit>), Rejection> {
    let kind = TransportKind::WebSockets;
    let offered = endpoint.offers(kind);
    match query::value(request.uri(), "id").filter(|id| !id.is_empty()) {
        Some(token) => {
            let attached = endpoint.table.attach(&token, kind, offered, || endpoint.connection_limit.acquire())?;
            Ok((attached.connection, attached.permit))
        }
        None if !offered => Err(Rejection::TransportDisabled(kind)),
        None => {
            let permit = endpoint.connection_limit.acquire()?;
            // The connection token is kept secret, so that no other request can find this connection.
            let connection = endpoint.table.insert_direct(ConnectionToken::random(), ConnectionId::random());
            endpoint.table.set_owner(&connection.token, access_control::principal(request.extensions()).as_deref());
            Ok((connection, Some(permit)))
        }
    }
}

/// Waits for the upgraded socket. Also returns the bytes that arrived directly after the request.
async fn upgraded(upgrade: OnUpgrade) -> Option<((SocketReader, SocketWriter), BytesMut)> {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "the socket was closed before it became a WebSocket");
            return None;
        }
    };
    Some(match tcp(upgraded) {
        Ok((stream, leading_bytes)) => (socket_io::tcp(stream), BytesMut::from(leading_bytes)),
        // Not a plain TCP socket.
        Err(upgraded) => (socket_io::any(TokioIo::new(upgraded)), BytesMut::new()),
    })
}

/// The TCP socket under an upgraded connection, and the bytes that arrived directly after its request. Its type depends
/// on who serves HTTP: our own listener, hyper, or hyper-util, which wraps the socket and is used by `axum::serve`.
fn tcp(upgraded: Upgraded) -> Result<(TcpStream, Bytes), Upgraded> {
    let upgraded = match upgraded.downcast::<HttpSocket>() {
        Ok(mut parts) => {
            parts.io.put_back(parts.read_buf);
            return Ok(parts.io.into_tcp());
        }
        Err(upgraded) => upgraded,
    };
    match downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => Ok((parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<TcpStream>>()?;
            Ok((parts.io.into_inner(), parts.read_buf))
        }
    }
}

/// The connection's task: waits for the socket and serves the connection on it.
async fn serve(started: StartedConnection, info: Arc<RequestInfo>, upgrade: OnUpgrade) {
    let Some(((reader, writer), leading_bytes)) = upgraded(upgrade).await else { return };
    let (endpoint, connection) = (started.endpoint.clone(), started.connection.clone());
    let outbox = endpoint.outbox(Framing::WebSocket, &connection.close);
    let posted = connection.inbound.close();
    let mut source =
        WebSocketSource::new(reader, posted, leading_bytes, outbox.clone(), connection.reconnect_slot.clone());
    let timeout = endpoint.options.transport_send_timeout;
    let mut sink = WebSocketSink::new(writer, &source, timeout, connection.close.clone());
    run(&endpoint, &connection, info, outbox, &mut source, &mut sink).await;
    // A socket that arrived too late to be used also gets a closing handshake.
    source.switch_to_newest();
    sink.switch_to_newest();
    // In this order: once the client sees the close frame, the connection must be gone.
    drop(started);
    if source.socket() == sink.socket() {
        close_socket(source, sink, endpoint.options.websocket_close_timeout).await;
    }
}

/// Hands a socket to the connection that resumes on it, or closes the socket if the connection has ended meanwhile.
async fn resume(endpoint: Arc<Endpoint>, connection: Arc<TransportConnection>, upgrade: OnUpgrade) {
    let Some((halves, leading_bytes)) = upgraded(upgrade).await else { return };
    let refused = match &connection.reconnect_slot {
        Some(reconnect_slot) => reconnect_slot.offer(halves, leading_bytes),
        None => Err(halves),
    };
    if let Err((reader, writer)) = refused {
        let outbox = endpoint.outbox(Framing::WebSocket, &connection.close);
        let source = WebSocketSource::new(reader, BytesMut::new(), BytesMut::new(), outbox, None);
        let timeout = endpoint.options.transport_send_timeout;
        let sink = WebSocketSink::new(writer, &source, timeout, connection.close.clone());
        close_socket(source, sink, endpoint.options.websocket_close_timeout).await;
    }
}

#[cfg(test)]
mod tests;
