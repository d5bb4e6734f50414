//! Tests of how clients are closed when the server stops: a close message with `allowReconnect`, then the end of the
//! transport.

use std::time::Duration;

use testkit::hub::handshake;
use testkit::nonblocking::until;
use testkit::ws;

use super::{Config, Nothing, Running, ServeError, Server, config, start};
use crate::hub::HubRoute;

const CLOSE: &str = "{\"type\":7,\"allowReconnect\":true}\u{1e}";

async fn server() -> Running {
    let config = Config { shutdown_timeout: Duration::from_secs(600), ..config() };
    start(Server::builder(config).hub(HubRoute::new("/hub", Nothing))).await
}

/// Negotiates and returns the path with which to connect.
async fn negotiate(server: &Running) -> String {
    let answer = server.ask("POST /hub/negotiate?negotiateVersion=1", &[], "").await;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    format!("/hub?id={}", answer["connectionToken"].as_str().unwrap())
}

async fn post_handshake(server: &Running, path: &str) {
    let hello = String::from_utf8(handshake("json", 1)).unwrap();
    assert_eq!(server.ask(&format!("POST {path}"), &[], &hello).await.status, 200);
}

#[tokio::test]
async fn a_websocket_gets_a_close_message_and_then_1000() {
    let server = server().await;
    let mut client = server.connect().await;
    assert_eq!(client.upgrade("/hub").await.status, 101);
    client.send(ws::TEXT, &handshake("json", 1)).await;
    assert_eq!(client.frame().await.payload, b"{}\x1e");

    server.stop.request();
    assert_eq!(client.frame().await.payload, CLOSE.as_bytes());
    let close_frame = client.frame().await;
    assert_eq!((close_frame.opcode, close_frame.payload), (ws::CLOSE, vec![0x03, 0xe8]));
    // The server waits for the client.
    assert!(!server.ended.is_finished());
    client.send(ws::CLOSE, &[0x03, 0xe8]).await;
    assert_eq!(client.rest().await, b"");
    // The server ends when the client has closed the socket.
    drop(client);
    server.ends().await.unwrap();
}

#[tokio::test]
async fn an_event_stream_gets_a_close_message_and_ends() {
    let server = server().await;
    let path = negotiate(&server).await;
    let mut stream = server.connect().await;
    stream.request(&format!("GET {path}"), &[("accept", "text/event-stream")], "").await;
    assert_eq!(stream.head().await.status, 200);
    assert_eq!(stream.chunk().await, ":\r\n");
    post_handshake(&server, &path).await;
    assert_eq!(stream.chunk().await, "data: {}\u{1e}\r\n\r\n");

    server.stop.request();
    assert_eq!(stream.chunk().await, format!("data: {CLOSE}\r\n\r\n"));
    assert_eq!(stream.chunk().await, "", "the body ends in an orderly way");
    assert_eq!(stream.rest().await, b"");
    server.ends().await.unwrap();
}

#[tokio::test]
async fn a_waiting_poll_gets_a_close_message() {
    let server = server().await;
    let path = negotiate(&server).await;
    assert_eq!(server.get(&path).await.status, 200);
    post_handshake(&server, &path).await;
    assert_eq!(server.get(&path).await.text(), "{}\u{1e}");
    let mut poll = server.connect().await;
    poll.request(&format!("GET {path}"), &[], "").await;
    // The test has only one thread. When the server has answered this later request, it has received the poll.
    assert_eq!(server.get("/healthz").await.status, 200);

    server.stop.request();
    let answer = poll.response().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, CLOSE));
    server.ends().await.unwrap();
}

#[tokio::test]
async fn new_clients_are_rejected_while_the_last_ones_close() {
    let server = server().await;
    let path = negotiate(&server).await;
    let early = negotiate(&server).await;
    // One poll is answered and not followed by another. The connection stays open, since its close message waits for
    // the next poll.
    assert_eq!(server.get(&path).await.status, 200);
    server.stop.request();
    assert_eq!(server.until("/readyz", 503).await.text(), r#"{"ready":false,"reasons":["draining"]}"#);
    until("negotiate is answered with 503", async || {
        (server.ask("POST /hub/negotiate", &[], "").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(server.get(&early).await.status, 503);
    assert_eq!(server.get("/healthz").await.status, 200);
    // The server would still wait for the connection; a second request stops it at once.
    server.stop.request();
    assert!(matches!(server.ends().await, Err(ServeError::Forced)));
}
