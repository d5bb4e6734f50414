//! POST: bytes for a connection on an event stream or polls; DELETE: the end of one that polls
//! (reference/signalr-protocol.md 1.4, 1.8); and request bodies nobody wants.

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
async fn take(link: &Link, mut body: Body) -> Result<(), Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyCutShort)?;
        if let Ok(data) = frame.into_data() {
            link.inbound.write(data).await.map_err(|_| Refusal::Disposed)?;
        }
    }
    if link.inbound.is_closed() { Err(Refusal::Disposed) } else { Ok(()) }
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
