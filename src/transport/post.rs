//! POST: bytes for a connection on an event stream or polls; DELETE: the end of one that polls
//! (docs/builders/signalr-protocol.md#1.4, #1.8); and request bodies nobody wants.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use http::header::EXPECT;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use super::connection_lifecycle::required_id;
use super::endpoint::Endpoint;
use super::pipe::PipeClosed;
use super::rejection::{Rejection, plain};
use super::transport_connection::TransportConnection;
use crate::close::CloseReason;

/// What is read of a body nobody wants, so that its TCP connection can be used again.
const MAX_DISCARDED_BYTES: usize = 64 * 1024;

/// How long the body of a refused `Expect: 100-continue` may take to come without being asked for.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers a POST once all of it is in the connection's pipe.
pub(super) async fn post(endpoint: &Arc<Endpoint>, request: Request) -> Response {
    let connection = match required_id(&request).and_then(|token| endpoint.table.find_for_post(&token)) {
        Ok(connection) => connection,
        Err(rejection) => return reject(endpoint, request, rejection).await,
    };
    // Whole POSTs one after the other, also those of several sockets.
    let turn = connection.post_lock.lock().await;
    let taken = receive_body(&connection, request.into_body()).await;
    drop(turn);
    taken.map_or_else(Rejection::response, |()| plain(StatusCode::OK, ""))
}

/// Moves a body into the pipe piece by piece: what has come of one that is cut short counts.
///
/// The connection may end over what the body's own beginning brought, such as a message that is too large. Then the
/// rest has no reader, and the POST succeeds as in the reference: the client hears why where it listens, not here.
async fn receive_body(connection: &TransportConnection, mut body: Body) -> Result<(), Rejection> {
    if connection.inbound.is_closed() {
        return Err(Rejection::Disposed);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Rejection::IncompleteBody)?;
        if let Ok(data) = frame.into_data() {
            match connection.inbound.write(data).await {
                Ok(()) => {}
                Err(PipeClosed::Before) if connection.close.reason().is_some() => {}
                Err(PipeClosed::Before | PipeClosed::Meanwhile) => return Err(Rejection::Disposed),
            }
        }
    }
    Ok(())
}

/// Answers a DELETE at once; the connection ends behind it. A poll that waits is handed the hub's Close.
pub(super) async fn delete(endpoint: &Arc<Endpoint>, request: Request) -> Response {
    match required_id(&request).and_then(|token| endpoint.table.delete(&token)) {
        Ok(connection) => {
            if let Some(connection) = connection {
                connection.abandon(CloseReason::Terminated);
            }
            discard(endpoint, request).await;
            plain(StatusCode::ACCEPTED, "")
        }
        Err(rejection) => reject(endpoint, request, rejection).await,
    }
}

/// Answers a request that is refused before its body was read.
pub(super) async fn reject(endpoint: &Endpoint, request: Request, rejection: Rejection) -> Response {
    discard(endpoint, request).await;
    rejection.response()
}

/// Reads away a body that nobody wants, if it is small: hyper closes the TCP connection of one that is not read.
pub(super) async fn discard(endpoint: &Endpoint, request: Request) {
    if request.body().is_end_stream() {
        return;
    }
    let expected = request.headers().contains_key(EXPECT);
    let mut body = request.into_body();
    if expected {
        // Reading it would send `100 Continue`. It is kept unread for a moment instead; then hyper looks whether it
        // has come anyway.
        endpoint.tasks.spawn(async move {
            tokio::time::sleep(DISCARD_TIMEOUT).await;
            drop(body);
        });
        return;
    }
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await
        && seen <= MAX_DISCARDED_BYTES
    {
        seen += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{StreamExt as _, stream};

    use super::*;
    use crate::ids::ConnectionId;

    fn connection(most: usize) -> TransportConnection {
        let id = ConnectionId::from("c");
        TransportConnection::new(id.clone(), (&id).into(), Some(most), false)
    }

    /// A body in two pieces; the connection ends between them.
    fn ending(connection: &Arc<TransportConnection>, reason: Option<CloseReason>) -> Body {
        let connection = connection.clone();
        let pieces = stream::iter(0..2).map(move |piece| {
            if piece == 1 {
                reason.clone().into_iter().for_each(|reason| connection.close.close(reason));
                connection.inbound.close();
            }
            Ok::<_, std::convert::Infallible>(Bytes::from_static(b"piece"))
        });
        Body::from_stream(pieces)
    }

    #[tokio::test]
    async fn a_body_that_closes_its_own_connection_is_accepted() {
        let connection = Arc::new(connection(100));
        assert!(receive_body(&connection, ending(&connection, Some(CloseReason::Aborted))).await.is_ok());
        assert!(matches!(receive_body(&connection, Body::from("later")).await, Err(Rejection::Disposed)));
    }

    #[tokio::test]
    async fn a_body_whose_rest_would_be_lost_is_rejected() {
        // A WebSocket took what was posted before.
        let connection = Arc::new(connection(100));
        assert!(matches!(receive_body(&connection, ending(&connection, None)).await, Err(Rejection::Disposed)));
    }

    #[tokio::test]
    async fn a_blocked_body_is_rejected_when_the_connection_ends() {
        let connection = connection(2);
        let taken = receive_body(&connection, Body::from("held back"));
        tokio::pin!(taken);
        assert!(futures_util::poll!(taken.as_mut()).is_pending());
        connection.close.close(CloseReason::Aborted);
        connection.inbound.close();
        assert!(matches!(taken.await, Err(Rejection::Disposed)));
    }
}
