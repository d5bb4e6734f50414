//! Tests of Server-Sent Events over real sockets.

use super::kit::*;
use crate::protocol::TransportKind;

async fn open(server: &Server, token: &str) -> Connection {
    let mut client = server.client().await;
    client.request(&format!("GET /echo?id={token}"), &[("Accept", "text/event-stream")], "").await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-cache,no-store"));
    assert_eq!(head.header("pragma"), Some("no-cache"));
    assert_eq!(head.header("content-encoding"), Some("identity"));
    assert_eq!(head.header("expires"), None);
    assert_eq!(client.chunk().await, ":\r\n");
    client
}

#[tokio::test]
async fn posted_bytes_are_echoed_as_events() {
    let mut server = serve_default().await;
    let token = server.negotiate().await;
    let mut stream = open(&server, &token).await;
    let request = server.connected().await;
    assert_eq!(request.transport, TransportKind::ServerSentEvents);
    assert_eq!(request.remote, Some(stream.socket.local_addr().unwrap()));
    let target = format!("/echo?id={token}");
    for (sent, event) in [("hello", "data: hello\r\n\r\n"), ("a\nb\r\nc", "data: a\r\ndata: b\r\ndata: c\r\n\r\n")] {
        assert_eq!(server.ask("POST", &target, sent).await.short(), (200, Some("text/plain"), ""));
        assert_eq!(stream.chunk().await, event);
    }
    let mut second = server.client().await;
    second.request(&format!("GET {target}"), &[("Accept", "text/event-stream")], "").await;
    assert_eq!(second.response().await.short(), (409, Some("text/plain"), ""));
    let delete = server.ask("DELETE", &target, "").await;
    assert_eq!(delete.status, 400);
}

#[tokio::test]
async fn the_event_stream_ends_with_the_connection() {
    let mut server = serve_default().await;
    let token = server.negotiate().await;
    let mut stream = open(&server, &token).await;
    server.connected().await;
    server.post(&format!("/echo?id={token}"), "bye").await;
    assert_eq!(stream.chunk().await, "");
    assert_eq!(server.ask("POST", &format!("/echo?id={token}"), "x").await.status, 404);
    server.disconnected().await;
    assert_eq!(server.transports.connections(), 0);
}

#[tokio::test]
async fn dropping_the_event_stream_ends_the_connection() {
    let mut server = serve_default().await;
    let token = server.negotiate().await;
    let stream = open(&server, &token).await;
    server.connected().await;
    drop(stream);
    server.disconnected().await;
}

#[tokio::test]
async fn bytes_posted_before_the_stream_are_its_first_event() {
    let server = serve_default().await;
    let token = server.negotiate().await;
    assert_eq!(server.ask("POST", &format!("/echo?id={token}"), "early").await.status, 200);
    let mut stream = open(&server, &token).await;
    assert_eq!(stream.chunk().await, "data: early\r\n\r\n");
}
