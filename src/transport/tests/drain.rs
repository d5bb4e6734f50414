//! Tests of draining: new connections are refused, and the existing ones are closed.

use std::time::Duration;

use super::kit::*;
use crate::close::CloseReason;

#[tokio::test]
async fn draining_closes_every_connection_and_accepts_none() {
    let mut server = serve_default().await;
    let waiting = server.negotiate().await;
    let mut socket = server.client().await;
    assert_eq!(socket.upgrade("/echo").await.status, 101);
    server.connected().await;
    let polling = server.polling().await;
    server.connected().await;
    let mut poll = server.client().await;
    poll.request(&format!("GET /echo?id={polling}"), &[], "").await;

    server.transports.drain();
    assert_eq!(server.ask("POST", "/echo/negotiate", "").await.status, 503);
    assert_eq!(server.client().await.upgrade(&format!("/echo?id={waiting}")).await.status, 503);
    assert_eq!(server.client().await.upgrade("/echo").await.status, 503);
    assert_eq!(server.ask("POST", &format!("/echo?id={polling}"), "").await.status, 200);

    server.transports.close_all(CloseReason::Draining, 1, Duration::ZERO).await;
    assert_eq!(&socket.bytes(4).await[..], b"\x88\x02\x03\xe8");
    drop(socket);
    assert_eq!(poll.response().await.status, 204);
    tokio::time::timeout(TIMEOUT, server.transports.closed()).await.unwrap();
    assert_eq!(server.transports.connections(), 0);
    assert_eq!(server.ask("GET", &format!("/echo?id={polling}"), "").await.status, 404);
}
