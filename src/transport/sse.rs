//! Server-Sent Events: one response that stays open, with one event per message. What the client sends arrives in POST
//! requests (docs/builders/signalr-protocol.md#1.7).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::vec;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, HeaderValue, PRAGMA};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::Instrument as _;

use super::connection_lifecycle::{StartedConnection, request_info, required_id, run, span};
use super::endpoint::Endpoint;
use super::rejection::typed;
use super::transport_connection::TransportConnection;
use crate::close::{CloseReason, CloseSignal};
use crate::outgoing::Framing;
use crate::protocol::TransportKind;
use crate::wire::{Disconnected, Sink, Source, SourceEnd};

/// The stream begins with a comment, so that browsers regard it as open at once.
const OPENING: Bytes = Bytes::from_static(b":\r\n");

/// Answers a GET that asks for an event stream, and starts its connection.
pub(super) fn connect(endpoint: &Arc<Endpoint>, request: Request) -> Response {
    let kind = TransportKind::ServerSentEvents;
    let attached = required_id(&request).and_then(|token| {
        endpoint.table.attach(&token, kind, endpoint.offers(kind), || endpoint.connection_limit.acquire())
    });
    let (connection, permit) = match attached {
        Ok(attached) => match attached.permit {
            Some(permit) => (attached.connection, permit),
            None => return super::rejection::Rejection::AlreadyActive.response(),
        },
        Err(rejection) => return endpoint.logged(rejection, &request).response(),
    };
    let info = Arc::new(request_info(request, kind));
    let span = span(endpoint, &connection, kind, info.remote);
    let (batches, body) = mpsc::channel(1);
    let started = StartedConnection::new(endpoint.clone(), connection, permit);
    let served = async move {
        let (endpoint, connection) = (&started.endpoint, &started.connection);
        let outbox = endpoint.outbox(Framing::ServerSentEvents, &connection.close);
        let timeout = endpoint.options.transport_send_timeout;
        let mut sink = EventSink { batches: batches.clone(), timeout, close: connection.close.clone() };
        let source = EventSource { connection, batches };
        run(endpoint, connection, info, outbox, source, &mut sink).await;
        // In this order: once the client sees the end of the stream, the connection must be gone.
        drop(started);
        drop(sink);
    };
    endpoint.tasks.spawn(served.instrument(span));

    let events = EventStreamBody { opening: Some(OPENING), batches: body, batch: Vec::new().into_iter() };
    let mut answer = typed(StatusCode::OK, "text/event-stream", Body::new(events));
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache,no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
    // Tells nginx not to buffer this response.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}

/// The body of the response. Every event is a chunk of its own, because clients lose an event that arrives in two
/// reads.
struct EventStreamBody {
    opening: Option<Bytes>,
    batches: mpsc::Receiver<Vec<Bytes>>,
    batch: vec::IntoIter<Bytes>,
}

impl HttpBody for EventStreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let opening = self.opening.take();
            if let Some(event) = opening.or_else(|| self.batch.next()) {
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            match ready!(self.batches.poll_recv(context)) {
                Some(batch) => self.batch = batch.into_iter(),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Reads what the client has posted, until the response is dropped.
struct EventSource<'a> {
    connection: &'a TransportConnection,
    batches: mpsc::Sender<Vec<Bytes>>,
}

impl Source for EventSource<'_> {
    async fn recv(&mut self, into: &mut BytesMut) -> Result<(), SourceEnd> {
        tokio::select! {
            // A POST that has been accepted is processed even if the response has been dropped.
            biased;
            read = self.connection.inbound.read(into) => read.map_err(|Disconnected| SourceEnd::Closed),
            () = self.batches.closed() => Err(SourceEnd::Closed),
        }
    }
}

/// Passes events to the body of the response, at most one batch ahead of it.
struct EventSink {
    batches: mpsc::Sender<Vec<Bytes>>,
    timeout: Duration,
    close: CloseSignal,
}

impl Sink for &mut EventSink {
    /// Always ready: waiting for the body happens in [`Sink::send`], with a timeout.
    async fn ready(&mut self) {}

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Disconnected> {
        match self.batches.try_send(std::mem::take(batch)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Disconnected),
            Err(TrySendError::Full(batch)) => {
                match tokio::time::timeout(self.timeout, self.batches.send(batch)).await {
                    Ok(sent) => sent.map_err(|_| Disconnected),
                    Err(_) => {
                        self.close.close(CloseReason::SendTimeout);
                        Err(Disconnected)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::ConnectionId;

    #[tokio::test]
    async fn posted_bytes_are_read_before_the_end_of_the_stream() {
        let id = ConnectionId::from("c");
        for _ in 0..64 {
            let connection = TransportConnection::new(id.clone(), (&id).into(), None, false);
            let (batches, body) = mpsc::channel(1);
            let mut source = EventSource { connection: &connection, batches };
            connection.inbound.write(Bytes::from_static(b"accepted")).await.unwrap();
            drop(body);
            let mut into = BytesMut::new();
            assert_eq!(source.recv(&mut into).await, Ok(()));
            assert_eq!(&into[..], b"accepted");
            assert_eq!(source.recv(&mut into).await, Err(SourceEnd::Closed));
        }
    }
}
