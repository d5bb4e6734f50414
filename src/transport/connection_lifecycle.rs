//! What all transports do when a connection starts and ends: describe its request, run its application, record metrics,
//! and clean up, even after a panic.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};

use super::access_control;
use super::connection_limit::ConnectionPermit;
use super::endpoint::{App, Endpoint};
use super::raw_connection;
use super::rejection::Rejection;
use super::transport_connection::TransportConnection;
use crate::close::CloseReason;
use crate::connection::{Peer, serve};
use crate::hub::RequestInfo;
use crate::logging::Escaped;
use crate::outbox::Outbox;
use crate::protocol::TransportKind;
use crate::wire::{Sink, Source};

/// A connection's entry in the table and its permit. Dropping this removes the entry and releases the permit.
#[derive(Debug)]
pub(super) struct StartedConnection {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) connection: Arc<TransportConnection>,
    _permit: ConnectionPermit,
}

impl StartedConnection {
    pub(super) fn new(endpoint: Arc<Endpoint>, connection: Arc<TransportConnection>, permit: ConnectionPermit) -> Self {
        Self { endpoint, connection, _permit: permit }
    }
}

impl Drop for StartedConnection {
    fn drop(&mut self) {
        self.endpoint.table.remove(&self.connection.token);
        self.connection.inbound.close();
    }
}

/// What the hub gets to know about the request: everything but the body.
pub(super) fn request_info(request: Request, transport: TransportKind) -> RequestInfo {
    let (parts, _) = request.into_parts();
    let remote = remote(&parts.extensions);
    let principal = access_control::principal(&parts.extensions);
    RequestInfo { transport, uri: parts.uri, headers: parts.headers, remote, principal }
}

/// The address that a request came from.
pub(super) fn remote(extensions: &http::Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// The `id` in the query of a request, which is an error if it is missing.
pub(super) fn required_id(request: &Request) -> Result<String, Rejection> {
    super::query::value(request.uri(), "id").filter(|id| !id.is_empty()).ok_or(Rejection::MissingId)
}

/// The span around everything a connection does, so that log lines say which connection they belong to. `user` is
/// recorded once it is known. The connection token is a secret and must not appear here.
pub(super) fn span(
    endpoint: &Endpoint,
    connection: &TransportConnection,
    transport: TransportKind,
    client: Option<SocketAddr>,
) -> tracing::Span {
    // At the highest level, so that no log filter removes it.
    tracing::error_span!(
        "connection",
        id = %connection.id,
        hub = %endpoint.name,
        transport = transport.name(),
        client = client.map(tracing::field::display),
        user = tracing::field::Empty,
    )
}

/// Runs a connection's application until the connection has ended.
pub(super) async fn run<S: Source, K: Sink>(
    endpoint: &Endpoint,
    connection: &TransportConnection,
    request: Arc<RequestInfo>,
    outbox: Arc<Outbox>,
    source: S,
    sink: K,
) -> CloseReason {
    let metrics = ConnectionMetrics::new(endpoint, request.transport);
    let reason = match &endpoint.app {
        App::Hub(host) => {
            let reconnect_slot =
                connection.reconnect_slot.as_ref().filter(|_| request.transport == TransportKind::WebSockets);
            let reconnect_state = reconnect_slot.map(|reconnect_slot| reconnect_slot.reconnect_state.clone());
            let peer = Peer { id: connection.id.clone(), request, close: connection.close.clone(), reconnect_state };
            serve(host, peer, outbox, source, sink).await
        }
        App::Raw(app) => {
            if let Some(user) = request.principal.as_ref().and_then(|principal| principal.user.as_ref()) {
                tracing::Span::current().record("user", Escaped::new(user.as_str()).to_string());
            }
            let reason = raw_connection::serve(app, request, &connection.close, &outbox, source, sink).await;
            reason.log(&endpoint.log);
            reason
        }
    };
    metrics.finish(&reason);
    reason
}

/// Counts a connection in the metrics for as long as it exists. If its task panics, the reason is recorded as aborted.
/// Raw connections have no metrics.
struct ConnectionMetrics<'a> {
    endpoint: &'a Endpoint,
    transport: TransportKind,
    /// The label of the close reason.
    reason: &'static str,
}

impl<'a> ConnectionMetrics<'a> {
    fn new(endpoint: &'a Endpoint, transport: TransportKind) -> Self {
        if let App::Hub(host) = &endpoint.app {
            host.metrics.opened(transport);
        }
        tracing::debug!("connection opened");
        Self { endpoint, transport, reason: CloseReason::Aborted.label() }
    }

    fn finish(mut self, reason: &CloseReason) {
        self.reason = reason.label();
    }
}

impl Drop for ConnectionMetrics<'_> {
    fn drop(&mut self) {
        if let App::Hub(host) = &self.endpoint.app {
            host.metrics.closed(self.transport, self.reason);
        }
        tracing::debug!(reason = self.reason, "connection closed");
    }
}
