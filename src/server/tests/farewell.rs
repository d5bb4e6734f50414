//! What clients hear when the server stops: Close with `allowReconnect` on every transport, then its own ending.

use std::time::Duration;

use super::{Client, Config, Nothing, Running, ServeError, Server, config, start};
use crate::hub::HubRoute;

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
const CLOSE: &str = "{\"type\":7,\"allowReconnect\":true}\u{1e}";

async fn server() -> Running {
    let config = Config { shutdown_timeout: Duration::from_secs(600), ..config() };
    start(Server::builder(config).hub(HubRoute::new("/hub", Nothing))).await
}

/// Negotiates; the path to connect with.
async fn negotiate(server: &Running) -> String {
    let post = "POST /hub/negotiate?negotiateVersion=1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = server.ask(post).await;
    let token = answer.split("\"connectionToken\":\"").nth(1).unwrap().split('"').next().unwrap();
    format!("/hub?id={token}")
}

async fn post(server: &Running, path: &str) {
    let length = HANDSHAKE.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    assert!(server.ask(&format!("{head}{HANDSHAKE}")).await.starts_with("HTTP/1.1 200"));
}

async fn get(server: &Running, path: &str, headers: &str) -> Client {
    let mut client = server.connect().await;
    client.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await;
    client
}

#[tokio::test]
async fn a_websocket_gets_close_and_then_1000() {
    let server = server().await;
    let headers = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut client = get(&server, "/hub", headers).await;
    client.read_to("\r\n\r\n").await;
    // A mask of zeros changes nothing.
    let mut frame = vec![0x81, 0x80 | u8::try_from(HANDSHAKE.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(HANDSHAKE.as_bytes());
    client.bytes(&frame).await;
    client.read_to("{}\u{1e}").await;

    server.stop.request();
    client.read_to(CLOSE).await;
    let mut farewell = [0; 4];
    client.exactly(&mut farewell).await;
    assert_eq!(farewell, [0x88, 2, 0x03, 0xe8]);
    // It is waited for.
    assert!(!server.ended.is_finished());
    client.bytes(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await;
    assert_eq!(client.rest().await, "");
    // The server lingers until the client has closed its side, as clients do.
    drop(client);
    server.ends().await.unwrap();
}

#[tokio::test]
async fn an_event_stream_gets_close_and_ends() {
    let server = server().await;
    let path = negotiate(&server).await;
    let mut stream = get(&server, &path, "accept: text/event-stream\r\n").await;
    stream.read_to("\r\n\r\n").await;
    post(&server, &path).await;
    stream.read_to("{}\u{1e}").await;

    server.stop.request();
    let rest = stream.rest().await;
    assert!(rest.contains(&format!("data: {CLOSE}")), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "the body ends in order: {rest}");
    server.ends().await.unwrap();
}

#[tokio::test]
async fn a_waiting_poll_gets_close() {
    let server = server().await;
    let path = negotiate(&server).await;
    assert!(get(&server, &path, "connection: close\r\n").await.rest().await.starts_with("HTTP/1.1 200"));
    post(&server, &path).await;
    let handshake = get(&server, &path, "connection: close\r\n").await.rest().await;
    assert!(handshake.ends_with("{}\u{1e}"), "{handshake}");
    let mut poll = get(&server, &path, "").await;
    // The server has seen the poll when it serves what came after it on the same thread; a health page will do.
    server.until("/healthz", "200").await;

    server.stop.request();
    let answer = poll.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(CLOSE), "{answer}");
    server.ends().await.unwrap();
}

#[tokio::test]
async fn the_door_is_closed_while_the_last_clients_go() {
    let server = server().await;
    let path = negotiate(&server).await;
    let early = negotiate(&server).await;
    // A poll is answered and not followed by another: its connection is still there, and its Close waits for one.
    assert!(get(&server, &path, "connection: close\r\n").await.rest().await.starts_with("HTTP/1.1 200"));
    server.stop.request();
    let answer = server.until("/readyz", "503").await;
    assert!(answer.contains("draining"), "{answer}");
    loop {
        let again = "POST /hub/negotiate HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        if server.ask(again).await.starts_with("HTTP/1.1 503") {
            break;
        }
    }
    let refused = get(&server, &early, "connection: close\r\n").await.rest().await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(server.get("/healthz").await.starts_with("HTTP/1.1 200"));
    // A second request ends what would have waited.
    server.stop.request();
    assert!(matches!(server.ends().await, Err(ServeError::Forced)));
}
