//! Long polling: GET requests that wait for data. What the client sends arrives in POST requests
//! (docs/builders/signalr-protocol.md#1.8).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::connection_lifecycle::{request_info, required_id, run, span};
use super::connection_limit::ConnectionPermit;
use super::endpoint::Endpoint;
use super::poll_channel::{PollOutcome, PollSink};
use super::rejection::{Rejection, never_cache, plain, typed};
use super::transport_connection::TransportConnection;
use crate::close::CloseReason;
use crate::outgoing::Framing;
use crate::protocol::TransportKind;
use crate::wire::{Disconnected, Source, SourceEnd};

const BINARY: &str = "application/octet-stream";

/// How long a draining server waits for the poll after the close message, so that it can answer it with 204.
const LAST_POLL_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers a poll. At most one poll of a connection waits: a new poll ends the waiting one with 204.
pub(super) async fn poll(endpoint: &Arc<Endpoint>, request: Request) -> Response {
    never_cache(answer(endpoint, request).await.unwrap_or_else(Rejection::response))
}

async fn answer(endpoint: &Arc<Endpoint>, request: Request) -> Result<Response, Rejection> {
    let kind = TransportKind::LongPolling;
    let token = required_id(&request)?;
    let attached = endpoint.table.attach(&token, kind, endpoint.offers(kind), || endpoint.connection_limit.acquire());
    let attached = attached.map_err(|rejection| endpoint.logged(rejection, &request))?;
    let connection = attached.connection;
    // However this poll ends, even if the client drops it, the disconnect timeout starts then.
    let _poll_guard = PollGuard { endpoint, connection: &connection, poll: attached.poll };
    if let Some(permit) = attached.permit {
        start(endpoint, connection.clone(), permit, request);
        return Ok(typed(StatusCode::OK, BINARY, Body::empty()));
    }
    Ok(match connection.polls.wait(attached.poll, endpoint.options.long_polling_poll_timeout).await {
        PollOutcome::Data(batch) => typed(StatusCode::OK, BINARY, Body::from(concatenated(batch))),
        PollOutcome::TimedOut => plain(StatusCode::OK, ""),
        PollOutcome::Replaced => plain(StatusCode::NO_CONTENT, ""),
        PollOutcome::Finished => {
            endpoint.table.remove(&connection.token);
            plain(StatusCode::NO_CONTENT, "")
        }
    })
}

/// Starts the connection with its first poll. The request of that poll is the one that the hub sees.
fn start(endpoint: &Arc<Endpoint>, connection: Arc<TransportConnection>, permit: ConnectionPermit, request: Request) {
    let info = Arc::new(request_info(request, TransportKind::LongPolling));
    let span = span(endpoint, &connection, TransportKind::LongPolling, info.remote);
    let polling = PollingConnection { endpoint: endpoint.clone(), connection, _permit: permit };
    let served = async move {
        let (endpoint, connection) = (&polling.endpoint, &polling.connection);
        let outbox = endpoint.outbox(Framing::Raw, &connection.close);
        let reason = run(endpoint, connection, info, outbox, PostSource(connection), PollSink(&connection.polls)).await;
        if reason == CloseReason::Draining {
            // The listener closes once all connection tasks have ended. It must stay open for the poll that follows the
            // close message.
            connection.polls.finish();
            let _ = timeout(LAST_POLL_TIMEOUT, connection.polls.end_delivered()).await;
        }
    };
    endpoint.tasks.spawn(served.instrument(span));
}

fn concatenated(mut batch: Vec<Bytes>) -> Bytes {
    if batch.len() == 1 {
        return batch.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(batch.iter().map(Bytes::len).sum());
    batch.iter().for_each(|bytes| all.extend_from_slice(bytes));
    all.freeze()
}

/// Starts the disconnect timeout of the connection when the poll ends.
struct PollGuard<'a> {
    endpoint: &'a Endpoint,
    connection: &'a TransportConnection,
    poll: u32,
}

impl Drop for PollGuard<'_> {
    fn drop(&mut self) {
        self.endpoint.table.park(&self.connection.token, self.poll, Instant::now());
    }
}

/// A connection that is being served. When it is dropped, polls get the data that is left, and then 204.
struct PollingConnection {
    endpoint: Arc<Endpoint>,
    connection: Arc<TransportConnection>,
    _permit: ConnectionPermit,
}

impl Drop for PollingConnection {
    fn drop(&mut self) {
        self.connection.inbound.close();
        self.connection.polls.finish();
    }
}

/// Reads what the client has posted.
struct PostSource<'a>(&'a TransportConnection);

impl Source for PostSource<'_> {
    async fn recv(&mut self, into: &mut BytesMut) -> Result<(), SourceEnd> {
        self.0.inbound.read(into).await.map_err(|Disconnected| SourceEnd::Closed)
    }
}
