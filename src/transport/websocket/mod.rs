//! WebSockets: which requests ask for one, the answer 101, and the socket behind it
//! (docs/builders/signalr-protocol.md#1.6; tests/probes/FINDINGS.md#2, HTTP and WebSocket).
//!
//! hyper speaks HTTP and lets go of the socket; from then on it is ours: no second buffer, one write a batch.

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

/// Whether a GET asks for a WebSocket. Anything not quite right is a poll for the reference, never a 426.
pub(super) fn asks_for(request: &Request) -> bool {
    let headers = request.headers();
    request.version() == Version::HTTP_11
        && lists(headers, &CONNECTION, "upgrade")
        && lists(headers, &UPGRADE, "websocket")
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
        && headers.get(SEC_WEBSOCKET_KEY).is_some_and(is_key)
}

/// Whether a header, perhaps given several times, lists a token.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// Sixteen bytes in base64.
fn is_key(value: &HeaderValue) -> bool {
    base64::engine::general_purpose::STANDARD.decode(value.as_bytes()).is_ok_and(|key| key.len() == 16)
}

/// Answers a request for a WebSocket, and starts its connection once hyper lets go of the socket.
pub(super) fn connect(endpoint: &Arc<Endpoint>, mut request: Request) -> Response {
    let (connection, permit) = match admit(endpoint, &request) {
        Ok(admitted) => admitted,
        // The reference gives this answer no Content-Type (tests/probes/FINDINGS.md#1, row 1.4).
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

/// Finds the connection the request names, or makes one: without an id, and with an empty one. Without a place it is
/// one that lives already and goes on over this socket.
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
            // Nobody is told the token: no other request may find this connection.
            let connection = endpoint.table.insert_direct(ConnectionToken::random(), ConnectionId::random());
            endpoint.table.set_owner(&connection.token, access_control::principal(request.extensions()).as_deref());
            Ok((connection, Some(permit)))
        }
    }
}

/// Waits for the socket, and for what came right behind the request.
async fn upgraded(upgrade: OnUpgrade) -> Option<((SocketReader, SocketWriter), BytesMut)> {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "the socket was gone before it was a WebSocket");
            return None;
        }
    };
    Some(match tcp(upgraded) {
        Ok((stream, leading_bytes)) => (socket_io::tcp(stream), BytesMut::from(leading_bytes)),
        // A socket that is no plain TCP.
        Err(upgraded) => (socket_io::any(TokioIo::new(upgraded)), BytesMut::new()),
    })
}

/// The TCP socket under an upgraded connection, and what came right behind its request. Beside our own listener there
/// are two ways of serving HTTP, hyper's own and hyper-util's, which wraps the socket (`axum::serve` does it so).
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

/// The connection's task: takes the socket and serves it.
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
    // A socket that came too late to be used gets its farewell too.
    source.switch_to_newest();
    sink.switch_to_newest();
    // Whoever sees the close frame finds the connection gone.
    drop(started);
    if source.socket() == sink.socket() {
        close_socket(source, sink, endpoint.options.websocket_close_timeout).await;
    }
}

/// Hands a socket to the connection that goes on over it; says farewell if that has ended meanwhile.
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
