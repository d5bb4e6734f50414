//! POST requests, which carry what the client of an event stream or of long polling sends; DELETE requests, which end a
//! long-polling connection (docs/builders/signalr-protocol.md#1.4, #1.8); and discarding the bodies of refused
//! requests.

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

/// How much of an unwanted body is read, so that its TCP connection can be reused.
const MAX_DISCARDED_BYTES: usize = 64 * 1024;

/// How long to wait for the body of a refused request with `Expect: 100-continue`, in case the client sends it anyway.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers a POST once its whole body is in the connection's pipe.
pub(super) async fn post(endpoint: &Arc<Endpoint>, request: Request) -> Response {
    let connection = match required_id(&request).and_then(|token| endpoint.table.find_for_post(&token)) {
        Ok(connection) => connection,
        Err(rejection) => return reject(endpoint, request, rejection).await,
    };
    // The bodies of concurrent POSTs must not be interleaved.
    let turn = connection.post_lock.lock().await;
    let taken = receive_body(&connection, request.into_body()).await;
    drop(turn);
    taken.map_or_else(Rejection::response, |()| plain(StatusCode::OK, ""))
}

/// Moves a body into the pipe piece by piece. If the body is cut short, the received part is still processed.
///
/// The first part of a body may itself end the connection, for example with a message that is too large. The rest is
/// then discarded and the POST succeeds, as in ASP.NET Core: the client gets the reason over its event stream or poll.
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

/// Answers a DELETE at once; the connection ends afterwards. A waiting poll still gets the hub's close message.
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

/// Answers a request that is refused before its body has been read.
pub(super) async fn reject(endpoint: &Endpoint, request: Request, rejection: Rejection) -> Response {
    discard(endpoint, request).await;
    rejection.response()
}

/// Reads and discards a small unwanted body: hyper closes the TCP connection if a body is left unread.
pub(super) async fn discard(endpoint: &Endpoint, request: Request) {
    if request.body().is_end_stream() {
        return;
    }
    let expected = request.headers().contains_key(EXPECT);
    let mut body = request.into_body();
    if expected {
        // Reading the body would send `100 Continue`. It is kept unread for a moment instead; when it is dropped, hyper
        // checks whether it has arrived anyway.
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

    fn connection(max_bytes: usize) -> TransportConnection {
        let id = ConnectionId::from("c");
        TransportConnection::new(id.clone(), (&id).into(), Some(max_bytes), false)
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
        // A WebSocket that is opened meanwhile takes what was posted before, and closes the pipe.
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
