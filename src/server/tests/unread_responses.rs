//! Test that a peer that does not read its responses is disconnected.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::Notify;

use super::{Config, Server, config, start};

/// A body without an end, which notifies when it is dropped.
struct Endless(Arc<Notify>);

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16_384])))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_peer_that_never_reads_is_disconnected() {
    let gone = Arc::new(Notify::new());
    let body = gone.clone();
    let routes = axum::Router::new().route("/endless", get(move || async move { Body::new(Endless(body.clone())) }));
    let short = Config { request_timeout: Duration::from_millis(500), ..config() };
    let server = start(Server::builder(short).routes(routes)).await;
    let mut client = server.connect().await;
    client.request("GET /endless", &[], "").await;
    assert_eq!(client.head().await.status, 200);
    tokio::time::timeout(Duration::from_secs(20), gone.notified()).await.unwrap();
    drop(client);
}
