//! Tests of WebSockets over real sockets.

use std::time::Duration;

use super::kit::*;
use crate::config::HubOptions;
use crate::protocol::TransportKind;

const NORMAL: &[u8] = &[0x88, 2, 0x03, 0xe8];

async fn open(server: &Server, target: &str) -> Connection {
    let mut client = server.client().await;
    let answer = client.upgrade(target).await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("connection"), Some("Upgrade"));
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
    client
}

#[tokio::test]
async fn bytes_are_echoed_as_text_frames() {
    let mut server = serve_default().await;
    let mut client = open(&server, "/echo").await;
    let request = server.connected().await;
    assert_eq!(request.transport, TransportKind::WebSockets);
    client.write(frame(0x82, b"\x00\xff")).await;
    assert_eq!(&client.bytes(4).await[..], b"\x81\x02\x00\xff");
    client.write(frame(0x81, b"x")).await;
    assert_eq!(&client.bytes(3).await[..], b"\x81\x01x");
}

#[tokio::test]
async fn frames_sent_with_the_request_are_not_lost() {
    let server = serve_default().await;
    let mut client = server.client().await;
    let mut bytes =
        b"GET /echo?id= HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, upgrade\r\nUpgrade: foo, WebSocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
    bytes.extend(frame(0x81, b"early"));
    client.write(&bytes).await;
    assert_eq!(client.head().await.status, 101);
    assert_eq!(&client.bytes(7).await[..], b"\x81\x05early");
}

#[tokio::test]
async fn posted_bytes_come_before_socket_bytes() {
    let server = serve_default().await;
    let token = server.negotiate().await;
    assert_eq!(server.ask("POST", &format!("/echo?id={token}"), "one").await.status, 200);
    let mut client = open(&server, &format!("/echo?id={token}")).await;
    assert_eq!(&client.bytes(5).await[..], b"\x81\x03one");
}

#[tokio::test]
async fn every_ping_is_answered_with_a_pong() {
    let server = serve_default().await;
    let mut client = open(&server, "/echo").await;
    client.write(&[frame(0x89, b""), frame(0x89, b"hi")].concat()).await;
    assert_eq!(&client.bytes(6).await[..], b"\x8a\x00\x8a\x02hi");
    client.write(frame(0x89, b"again")).await;
    assert_eq!(&client.bytes(7).await[..], b"\x8a\x05again");
}

#[tokio::test]
async fn every_valid_close_is_answered_with_1000() {
    let mut server = serve_default().await;
    for payload in [&b""[..], b"\x03\xe9bye", b"\x0b\xb8"] {
        let token = server.negotiate().await;
        let mut client = open(&server, &format!("/echo?id={token}")).await;
        server.connected().await;
        client.write(&[frame(0x88, payload), frame(0x81, b"late")].concat()).await;
        assert_eq!(client.rest().await, NORMAL);
        server.disconnected().await;
        let after = server.client().await.upgrade(&format!("/echo?id={token}")).await;
        assert_eq!(after.status, 404);
    }
}

#[tokio::test]
async fn violations_are_answered_with_a_close_code() {
    let mut server = serve_default().await;
    let cases: [(Vec<u8>, u16); 4] = [
        (b"\x81\x02{}".to_vec(), 1002),
        (frame(0x8b, b""), 1002),
        (frame(0x81, b"\xc3("), 1007),
        (frame(0x88, b"\x03\xed"), 1002),
    ];
    for (bytes, code) in cases {
        let mut client = open(&server, "/echo").await;
        server.connected().await;
        client.write(&bytes).await;
        let [high, low] = code.to_be_bytes();
        assert_eq!(client.rest().await, [0x88, 2, high, low], "{bytes:x?}");
        server.disconnected().await;
    }
}

#[tokio::test]
async fn the_server_closes_with_1000_and_waits_for_the_answer() {
    let mut server = serve_default().await;
    let mut client = open(&server, "/echo").await;
    server.connected().await;
    client.write(frame(0x81, b"bye")).await;
    assert_eq!(&client.bytes(4).await[..], NORMAL);
    client.write(&[frame(0x81, b"still here"), frame(0x88, b"\x03\xe8")].concat()).await;
    assert!(client.rest().await.is_empty());
    server.disconnected().await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_close_is_cut_off() {
    let options = HubOptions { websocket_close_timeout: Duration::from_millis(50), ..HubOptions::default() };
    let mut server = serve(options, None).await;
    // The reset shows that the TCP socket itself was reached, whichever library serves HTTP.
    for by_hyper in [false, true] {
        if by_hyper {
            serve_by_hyper(&mut server).await;
        }
        let mut client = open(&server, "/echo").await;
        server.connected().await;
        client.write(frame(0x81, b"bye")).await;
        server.disconnected().await;
        assert_eq!(&client.bytes(4).await[..], NORMAL);
        assert_eq!(client.end().await, (Vec::new(), ReadEnd::Reset));
    }
}

#[tokio::test]
async fn a_half_closed_connection_is_ended() {
    use tokio::io::AsyncWriteExt as _;
    let mut server = serve_default().await;
    let mut client = open(&server, "/echo").await;
    server.connected().await;
    client.socket.shutdown().await.unwrap();
    assert!(client.rest().await.is_empty());
    server.disconnected().await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_alone() {
    let options = HubOptions { transport_send_timeout: Duration::from_millis(100), ..HubOptions::default() };
    let mut server = serve(options, None).await;
    let mut deaf = open(&server, "/echo").await;
    server.connected().await;
    // A frame of a gigabyte: its payload is echoed until the socket accepts no more, then the connection is closed.
    let mut header = vec![0x82, 0xff];
    header.extend_from_slice(&(1_u64 << 30).to_be_bytes());
    header.extend_from_slice(&[0; 4]);
    deaf.write(&header).await;
    let piece = vec![0; 1 << 20];
    let flood = async {
        use tokio::io::AsyncWriteExt as _;
        while deaf.socket.write_all(&piece).await.is_ok() {}
    };
    let end = async {
        let mut other = open(&server, "/echo").await;
        other.write(frame(0x81, b"x")).await;
        assert_eq!(&other.bytes(3).await[..], b"\x81\x01x");
    };
    tokio::join!(tokio::time::timeout(TIMEOUT, flood), end).0.unwrap();
}
