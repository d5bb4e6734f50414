//! Long polling: GETs that wait for data; what the client sends comes by POST (docs/builders/signalr-protocol.md#1.8).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::answers::{Refusal, never_cache, plain, typed};
use super::endpoint::Endpoint;
use super::limits::Place;
use super::link::Link;
use super::polls::{PollSink, Polled};
use super::serving::{request_info, required_id, run, span};
use crate::close::CloseReason;
use crate::outgoing::Framing;
use crate::protocol::TransportKind;
use crate::wire::{Disconnected, Source, SourceEnd};

const BINARY: &str = "application/octet-stream";

/// How long a server that stops waits for a client's poll after the Close message, to answer it with 204.
const LAST_POLL: Duration = Duration::from_secs(1);

/// Answers a poll. Not more than one of a connection waits: a new one sends the old one home.
pub(super) async fn poll(endpoint: &Arc<Endpoint>, request: Request) -> Response {
    never_cache(answer(endpoint, request).await.unwrap_or_else(Refusal::answer))
}

async fn answer(endpoint: &Arc<Endpoint>, request: Request) -> Result<Response, Refusal> {
    let kind = TransportKind::LongPolling;
    let token = required_id(&request)?;
    let attached = endpoint.table.attach(&token, kind, endpoint.offers(kind), || endpoint.limits.admit());
    let attached = attached.map_err(|refusal| endpoint.logged(refusal, &request))?;
    let link = attached.link;
    // Whatever ends this poll, also a client that drops it: from then on its time to come again runs.
    let _parking = Parking { endpoint, link: &link, poll: attached.poll };
    if let Some(place) = attached.first {
        start(endpoint, link.clone(), place, request);
        return Ok(typed(StatusCode::OK, BINARY, Body::empty()));
    }
    Ok(match link.polls.wait(attached.poll, endpoint.options.long_polling_poll_timeout).await {
        Polled::Data(batch) => typed(StatusCode::OK, BINARY, Body::from(joined(batch))),
        Polled::TimedOut => plain(StatusCode::OK, ""),
        Polled::Replaced => plain(StatusCode::NO_CONTENT, ""),
        Polled::Finished => {
            endpoint.table.remove(&link.token);
            plain(StatusCode::NO_CONTENT, "")
        }
    })
}

/// Starts the connection with its first poll, whose request is the one the hub sees.
fn start(endpoint: &Arc<Endpoint>, link: Arc<Link>, place: Place, request: Request) {
    let info = Arc::new(request_info(request, TransportKind::LongPolling));
    let span = span(endpoint, &link, TransportKind::LongPolling, info.remote);
    let polling = Polling { endpoint: endpoint.clone(), link, _place: place };
    let served = async move {
        let (endpoint, link) = (&polling.endpoint, &polling.link);
        let outbox = endpoint.outbox(Framing::Raw, &link.close);
        let reason = run(endpoint, link, info, outbox, PostSource(link), PollSink(&link.polls)).await;
        if reason == CloseReason::Draining {
            // The listener closes when all have been served: the poll after the Close message is to find it open.
            link.polls.finish();
            let _ = timeout(LAST_POLL, link.polls.parted()).await;
        }
    };
    endpoint.tasks.spawn(served.instrument(span));
}

fn joined(mut batch: Vec<Bytes>) -> Bytes {
    if batch.len() == 1 {
        return batch.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(batch.iter().map(Bytes::len).sum());
    batch.iter().for_each(|bytes| all.extend_from_slice(bytes));
    all.freeze()
}

/// A poll; when it ends, its connection waits for the next one, but not for ever.
struct Parking<'a> {
    endpoint: &'a Endpoint,
    link: &'a Link,
    poll: u32,
}

impl Drop for Parking<'_> {
    fn drop(&mut self) {
        self.endpoint.table.park(&self.link.token, self.poll, Instant::now());
    }
}

/// A connection that is served. When that has ended, polls get what is left, then 204.
struct Polling {
    endpoint: Arc<Endpoint>,
    link: Arc<Link>,
    _place: Place,
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.link.inbound.close();
        self.link.polls.finish();
    }
}

/// What was posted.
struct PostSource<'a>(&'a Link);

impl Source for PostSource<'_> {
    async fn recv(&mut self, into: &mut BytesMut) -> Result<(), SourceEnd> {
        self.0.inbound.read(into).await.map_err(|Disconnected| SourceEnd::Closed)
    }
}
