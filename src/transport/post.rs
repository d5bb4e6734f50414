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

use super::answers::{Refusal, plain};
use super::endpoint::Endpoint;
use super::link::Link;
use super::pipe::Closed;
use super::serving::required_id;
use crate::close::CloseReason;

/// What is read of a body nobody wants, so that its TCP connection can be used again.
const UNWANTED: usize = 64 * 1024;

/// How long the body of a refused `Expect: 100-continue` may take to come without being asked for.
const UNASKED: Duration = Duration::from_secs(1);

/// Answers a POST once all of it is in the connection's pipe.
pub(super) async fn post(endpoint: &Arc<Endpoint>, request: Request) -> Response {
    let link = match required_id(&request).and_then(|token| endpoint.table.posted_to(&token)) {
        Ok(link) => link,
        Err(refusal) => return refuse(endpoint, request, refusal).await,
    };
    // Whole POSTs one after the other, also those of several sockets.
    let turn = link.posting.lock().await;
    let taken = take(&link, request.into_body()).await;
    drop(turn);
    taken.map_or_else(Refusal::answer, |()| plain(StatusCode::OK, ""))
}

/// Moves a body into the pipe piece by piece: what has come of one that is cut short counts.
///
/// The connection may end over what the body's own beginning brought, such as a message that is too large. Then the
/// rest has no reader, and the POST succeeds as in the reference: the client hears why where it listens, not here.
async fn take(link: &Link, mut body: Body) -> Result<(), Refusal> {
    if link.inbound.is_closed() {
        return Err(Refusal::Disposed);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyCutShort)?;
        if let Ok(data) = frame.into_data() {
            match link.inbound.write(data).await {
                Ok(()) => {}
                Err(Closed::Before) if link.close.reason().is_some() => {}
                Err(Closed::Before | Closed::Meanwhile) => return Err(Refusal::Disposed),
            }
        }
    }
    Ok(())
}

/// Answers a DELETE at once; the connection ends behind it. A poll that waits is handed the hub's Close.
pub(super) async fn delete(endpoint: &Arc<Endpoint>, request: Request) -> Response {
    match required_id(&request).and_then(|token| endpoint.table.delete(&token)) {
        Ok(link) => {
            if let Some(link) = link {
                link.give_up(CloseReason::Terminated);
            }
            discard(endpoint, request).await;
            plain(StatusCode::ACCEPTED, "")
        }
        Err(refusal) => refuse(endpoint, request, refusal).await,
    }
}

/// Answers a request that is refused before its body was read.
pub(super) async fn refuse(endpoint: &Endpoint, request: Request, refusal: Refusal) -> Response {
    discard(endpoint, request).await;
    refusal.answer()
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
            tokio::time::sleep(UNASKED).await;
            drop(body);
        });
        return;
    }
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await
        && seen <= UNWANTED
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

    fn link(most: usize) -> Link {
        let id = ConnectionId::from("c");
        Link::new(id.clone(), (&id).into(), Some(most), false)
    }

    /// A body in two pieces; the connection ends between them.
    fn ending(link: &Arc<Link>, reason: Option<CloseReason>) -> Body {
        let link = link.clone();
        let pieces = stream::iter(0..2).map(move |piece| {
            if piece == 1 {
                reason.clone().into_iter().for_each(|reason| link.close.close(reason));
                link.inbound.close();
            }
            Ok::<_, std::convert::Infallible>(Bytes::from_static(b"piece"))
        });
        Body::from_stream(pieces)
    }

    #[tokio::test]
    async fn a_body_that_ends_its_own_connection_is_accepted() {
        let link = Arc::new(link(100));
        assert!(take(&link, ending(&link, Some(CloseReason::Aborted))).await.is_ok());
        assert!(matches!(take(&link, Body::from("later")).await, Err(Refusal::Disposed)));
    }

    #[tokio::test]
    async fn a_body_whose_rest_would_be_lost_is_refused() {
        // A WebSocket took what was posted before.
        let link = Arc::new(link(100));
        assert!(matches!(take(&link, ending(&link, None)).await, Err(Refusal::Disposed)));
    }

    #[tokio::test]
    async fn a_body_that_was_held_back_is_refused_when_the_connection_ends() {
        let link = link(2);
        let taken = take(&link, Body::from("held back"));
        tokio::pin!(taken);
        assert!(futures_util::poll!(taken.as_mut()).is_pending());
        link.close.close(CloseReason::Aborted);
        link.inbound.close();
        assert!(matches!(taken.await, Err(Refusal::Disposed)));
    }
}
