//! Tests of bad input over the network: the server closes the connection that sent it promptly, and no other client is
//! affected.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::hub::framed;
use crate::kit::stream::Stream;
use crate::kit::ws::{BINARY, TEXT, Ws};
use crate::kit::{Client, Message, Protocol, Server, Stopwatch, TIMEOUT, Transport, http, until, within};

const GENERAL: &str = "Connection closed with an error.";

/// A server, and a client that must not be affected by what other clients do.
struct ServerWithWitness {
    server: Server,
    witness: Client,
}

impl ServerWithWitness {
    fn new() -> Self {
        let server = Server::start();
        let witness = Client::ws(server.address);
        Self { server, witness }
    }

    fn ws(&self, protocol: &str) -> Ws {
        Ws::open_with_handshake(self.server.address, "/chat", protocol)
    }

    /// Checks that the witness still works and that new clients can connect.
    #[track_caller]
    fn still_works(&mut self) {
        assert_eq!(self.witness.ok("Echo", json!(["still here"])), json!("still here"));
        let mut newcomer = Client::connect(self.server.address, Transport::WebSockets, Protocol::MessagePack);
        self.witness.expect("UserConnected", json!([newcomer.id]));
        newcomer.ok("SendMessage", json!(["newcomer", newcomer.id]));
        self.witness.expect("ReceiveMessage", json!(["newcomer", newcomer.id]));
        newcomer.leave();
        assert!(self.server.running());
    }
}

/// The error of the first JSON close message in the texts.
fn close_error(texts: &[String]) -> Option<String> {
    let messages = texts.iter().flat_map(|text| text.split('\u{1e}')).filter(|text| !text.is_empty());
    let close =
        messages.filter_map(|text| serde_json::from_str::<Value>(text).ok()).find(|message| message["type"] == 7)?;
    Some(close["error"].as_str().unwrap_or_default().to_owned())
}

/// The next message that is not an invocation. Notices that earlier clients have disconnected may arrive late, and are
/// skipped.
#[track_caller]
fn answer(ws: &mut Ws, protocol: Protocol) -> Message {
    loop {
        let payload = ws.recv(within(TIMEOUT)).unwrap().payload;
        let other = |message: &Message| !matches!(message, Message::Invocation { .. });
        if let Some(message) = protocol.decode(&payload).into_iter().find(other) {
            return message;
        }
    }
}

/// The answer to the call `1` of `Echo` whose arguments cannot be bound.
fn unbound() -> Message {
    let error = "Failed to invoke 'Echo' due to an error on the server.".to_owned();
    Message::Completion { id: "1".to_owned(), result: Err(error) }
}

/// Sends until the server accepts no more, has closed the connection, or has accepted `most` bytes. Returns how many
/// bytes it accepted.
fn send_until_refused(ws: &mut Ws, opcode: u8, piece: &[u8], most: usize) -> usize {
    let mut accepted = 0;
    while accepted < most && ws.try_send(opcode, piece).is_ok() {
        accepted += piece.len();
    }
    accepted
}

#[test]
fn an_oversized_handshake_is_refused() {
    let mut server = ServerWithWitness::new();
    for bytes in
        [vec![b'x'; 40_000], [vec![b' '; 40_000], b"{\"protocol\":\"json\",\"version\":1}\x1e".to_vec()].concat()]
    {
        let mut ws = Ws::open(server.server.address, "/chat");
        ws.send(TEXT, &bytes);
        let (texts, end) = ws.read_to_end(within(TIMEOUT));
        assert_eq!(texts, ["{\"error\":\"Handshake was canceled.\"}\u{1e}"]);
        assert_eq!(end, "close 1000");
    }
    server.still_works();
}

#[test]
fn an_endless_handshake_is_refused() {
    let mut server = ServerWithWitness::new();
    let (begun, most) = (Stopwatch::start(), 64 << 20);
    let mut ws = Ws::open(server.server.address, "/chat");
    let accepted = send_until_refused(&mut ws, TEXT, &[b'{'; 16_384], most);
    assert!(accepted < most, "accepted {accepted} bytes of a handshake");
    begun.within(TIMEOUT, "the handshake is refused");
    server.still_works();
}

#[test]
fn an_invalid_handshake_is_refused() {
    let mut server = ServerWithWitness::new();
    let unreadable = "An unexpected error occurred during connection handshake.";
    for (text, error) in [
        ("{}\u{1e}", unreadable),
        ("null\u{1e}", unreadable),
        ("[]\u{1e}", unreadable),
        ("\u{1e}", unreadable),
        ("{\"protocol\":\"x\",\"version\":1}\u{1e}", "The protocol 'x' is not supported."),
        ("{\"protocol\":1}\u{1e}", unreadable),
    ] {
        let mut ws = Ws::open(server.server.address, "/chat");
        ws.send(TEXT, text.as_bytes());
        let (texts, end) = ws.read_to_end(within(TIMEOUT));
        assert_eq!(texts, [format!("{{\"error\":\"{error}\"}}\u{1e}")], "{text:?}");
        assert_eq!(end, "close 1000");
    }
    server.still_works();
}

#[test]
fn a_megabyte_of_separators_closes_only_its_sender() {
    let mut server = ServerWithWitness::new();
    let mut ws = server.ws("json");
    ws.send(TEXT, &vec![0x1e; 1 << 20]);
    let (texts, end) = ws.read_to_end(within(TIMEOUT));
    assert_eq!(
        texts.iter().map(|text| close_error(std::slice::from_ref(text))).collect::<Vec<_>>(),
        [Some(GENERAL.to_owned())]
    );
    assert_eq!(end, "close 1000");
    // The same before the handshake.
    let mut ws = Ws::open(server.server.address, "/chat");
    ws.send(TEXT, &vec![0x1e; 1 << 20]);
    let (texts, end) = ws.read_to_end(within(TIMEOUT));
    assert_eq!(texts, ["{\"error\":\"An unexpected error occurred during connection handshake.\"}\u{1e}"]);
    assert_eq!(end, "close 1000");
    server.still_works();
}

#[test]
fn deep_nesting_is_refused() {
    let mut server = ServerWithWitness::new();
    let depth = 10_000;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut ws = server.ws("json");
    ws.send(
        TEXT,
        format!("{{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[{nested}]}}\u{1e}").as_bytes(),
    );
    let close = Message::Close { error: Some(GENERAL.to_owned()), reconnect: true };
    assert_eq!(answer(&mut ws, Protocol::Json), close);

    let mut ws = server.ws("messagepack");
    // [1, {}, "1", "Echo", [[[[...nil...]]]]]
    let mut body = b"\x96\x01\x80\xa11\xa4Echo\x91".to_vec();
    body.extend(vec![0x91; depth]);
    body.extend(b"\xc0\x90");
    ws.send(BINARY, &framed(&body));
    assert_eq!(answer(&mut ws, Protocol::MessagePack), unbound());
    server.still_works();
}

#[test]
fn invalid_utf8_is_refused() {
    let mut server = ServerWithWitness::new();
    let mut ws = server.ws("json");
    ws.send(TEXT, b"{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[\"\xff\xfe\"]}\x1e");
    assert_eq!(ws.read_to_end(within(TIMEOUT)).1, "close 1007");

    let mut ws = server.ws("json");
    ws.send(BINARY, b"{\"type\":1,\"target\":\"\xff\",\"arguments\":[]}\x1e");
    let (texts, end) = ws.read_to_end(within(TIMEOUT));
    assert_eq!((close_error(&texts).as_deref(), end.as_str()), (Some(GENERAL), "close 1000"));

    let mut ws = server.ws("messagepack");
    ws.send(BINARY, &framed(b"\x96\x01\x80\xa11\xa4Echo\x91\xa2\xff\xfe\x90"));
    let replaced = Message::Completion { id: "1".to_owned(), result: Ok(json!("\u{fffd}\u{fffd}")) };
    assert_eq!(answer(&mut ws, Protocol::MessagePack), replaced);
    server.still_works();
}

#[test]
fn malformed_messages_close_the_connection() {
    let mut server = ServerWithWitness::new();
    for text in [
        "x\u{1e}",
        "{\u{1e}",
        "[]\u{1e}",
        "null\u{1e}",
        "{\"type\":\"1\"}\u{1e}",
        "{\"type\":1}\u{1e}",
        "{\"type\":1,\"target\":null}\u{1e}",
    ] {
        let mut ws = server.ws("json");
        ws.send(TEXT, text.as_bytes());
        let (texts, end) = ws.read_to_end(within(TIMEOUT));
        assert_eq!(
            (close_error(&texts).as_deref(), end.as_str()),
            (Some(GENERAL), "close 1000"),
            "{text:?}: {texts:?}"
        );
    }
    server.still_works();
}

#[test]
fn wrong_lengths_close_the_connection() {
    let mut server = ServerWithWitness::new();
    let wrong: [&[u8]; 7] = [
        b"\xff\xff\xff\xff\xff\xff\xff",         // a length of more than five bytes
        b"\xff\xff\xff\xff\xff",                 // a length above 2 GiB
        b"\x80\x80\x80\x80\x80",                 // a length that does not end
        b"\x00",                                 // an empty message
        b"\x05\xdd\xff\xff\xff\xff",             // an array of four billion items
        b"\x06\x96\x01\xdf\xff\xff\xff\xff",     // a map of as many entries
        b"\x07\x96\x01\x80\xdb\xff\xff\xff\xff", // a string of as many bytes
    ];
    for bytes in wrong {
        let mut ws = server.ws("messagepack");
        ws.send(BINARY, bytes);
        let (texts, end) = ws.read_to_end(within(TIMEOUT));
        assert!(texts.last().is_some_and(|close| close.contains(GENERAL)), "{bytes:02x?}: {texts:?}");
        assert_eq!(end, "close 1000", "{bytes:02x?}");
    }
    // If a message ends before its arguments, the call fails to bind, and the connection stays open.
    let mut ws = server.ws("messagepack");
    ws.send(BINARY, b"\x0a\x96\x01\x80\xa11\xa4Echo");
    assert_eq!(answer(&mut ws, Protocol::MessagePack), unbound());
    server.still_works();
}

#[test]
fn an_endless_message_is_refused() {
    let mut server = ServerWithWitness::new();
    let most = 64 << 20;
    for (protocol, opcode, piece) in [("json", TEXT, [b' '; 16_384]), ("messagepack", BINARY, [0x81; 16_384])] {
        let mut ws = server.ws(protocol);
        let accepted = send_until_refused(&mut ws, opcode, &piece, most);
        assert!(accepted < most, "{protocol}: accepted {accepted} bytes of one message");
    }
    // A message below the limit that is not finished yet does not affect other clients.
    let mut ws = server.ws("json");
    ws.send(TEXT, b"{\"type\":1,");
    server.still_works();
    ws.send(TEXT, b"\"invocationId\":\"7\",\"target\":\"Echo\",\"arguments\":[1]}\x1e");
    loop {
        let frame = ws.recv(within(TIMEOUT)).unwrap();
        let text = String::from_utf8_lossy(&frame.payload).into_owned();
        if text.contains("\"invocationId\":\"7\"") {
            assert!(text.contains("\"result\":1"), "{text}");
            break;
        }
    }
}

#[test]
fn ten_thousand_unused_negotiations_do_not_affect_other_clients() {
    let mut server = ServerWithWitness::new();
    let request = http::request("POST /chat/negotiate?negotiateVersion=1", &[], b"");
    let mut stream = Stream::connect(server.server.address);
    for _ in 0..100 {
        stream.write(&request.repeat(100));
        for _ in 0..100 {
            assert_eq!(http::respond(&mut stream, within(TIMEOUT)).unwrap().status, 200);
        }
    }
    server.still_works();
    server.server.expect_ready(200, TIMEOUT);
}

#[test]
fn only_clients_that_never_read_are_closed() {
    let server = Server::setup().env("HUB_DEFAULTS__OUTGOING_BUFFER_SIZE", "65536").start().ready();
    let mut witness = Client::ws(server.address);
    let silent: Vec<_> = (0..4).map(|_| Ws::open_with_handshake(server.address, "/chat", "json")).collect();
    let mut sender = Client::ws(server.address);
    let text = "x".repeat(30_000);
    for number in 0..1000 {
        let begun = Stopwatch::start();
        sender.ok("SendMessage", json!([number.to_string(), text]));
        witness.expect("ReceiveMessage", json!([number.to_string(), text]));
        begun.within(Duration::from_secs(3), "other clients are not delayed by those that never read");
        sender.forget();
        witness.forget();
    }
    let slow = || server.metric("signalr_connections_closed_total", &["reason=\"slow_client\""]);
    until("the silent clients are closed", TIMEOUT, || (slow() == 4.0).then_some(()));
    drop(silent);
    assert_eq!(witness.ok("Echo", json!([1])), json!(1));
}

/// A client with an event stream or long polling that completes the handshake, requests messages, and never reads them.
fn client_that_never_reads(server: &Server, headers: &[(&str, &str)]) -> Stream {
    let negotiated = http::ask(server.address, "POST /chat/negotiate?negotiateVersion=1", b"").text();
    let negotiated: Value = serde_json::from_str(&negotiated).unwrap();
    let path = format!("/chat?id={}", negotiated["connectionToken"].as_str().unwrap());
    let mut stream = Stream::connect(server.address);
    stream.write(&http::request(&format!("GET {path}"), headers, b""));
    http::head(&mut stream, within(TIMEOUT)).unwrap();
    let post = http::ask(server.address, &format!("POST {path}"), b"{\"protocol\":\"json\",\"version\":1}\x1e");
    assert_eq!(post.status, 200);
    if headers.is_empty() {
        stream.write(&http::request(&format!("GET {path}"), headers, b""));
    }
    stream
}

#[test]
fn event_streams_and_polls_that_are_never_read_are_closed() {
    let server = Server::setup().env("HUB_DEFAULTS__OUTGOING_BUFFER_SIZE", "65536").start().ready();
    let mut witness = Client::ws(server.address);
    let accept = [("Accept", "text/event-stream")];
    let silent = [
        client_that_never_reads(&server, &accept),
        client_that_never_reads(&server, &accept),
        client_that_never_reads(&server, &[]),
        client_that_never_reads(&server, &[]),
    ];
    let text = "x".repeat(30_000);
    let slow = || server.metric("signalr_connections_closed_total", &["reason=\"slow_client\""]);
    for number in 0..400 {
        let begun = Stopwatch::start();
        witness.ok("SendMessage", json!([number.to_string(), text]));
        witness.expect("ReceiveMessage", json!([number.to_string(), text]));
        begun.within(Duration::from_secs(3), "other clients are not delayed by those that never read");
        witness.forget();
    }
    until("the silent clients are closed", TIMEOUT * 2, || (slow() == 4.0).then_some(()));
    drop(silent);
    assert_eq!(witness.ok("Echo", json!([1])), json!(1));
}

/// A hub that does not announce connects and disconnects, and whose polls wait long enough for all to be opened.
const QUIET_HUB: &str = r#"
[hubs.chat]
long_polling_poll_timeout = "10m"

[hubs.chat.methods.SendMessage]
params = ["user", "message"]
do = [ { send = "ReceiveMessage", to = "all", args = ["{user}", "{message}"] } ]

[hubs.chat.methods.Echo]
params = ["value"]
returns = "{value}"
"#;

#[test]
fn thousands_of_waiting_polls_do_not_affect_other_clients() {
    let server = Server::setup().config(QUIET_HUB).start().ready();
    let mut witness = Client::ws(server.address);
    let polls = (0..2000).map(|_| {
        let negotiated = http::ask(server.address, "POST /chat/negotiate?negotiateVersion=1", b"").text();
        let negotiated: Value = serde_json::from_str(&negotiated).unwrap();
        let path = format!("/chat?id={}", negotiated["connectionToken"].as_str().unwrap());
        let poll = http::request(&format!("GET {path}"), &[], b"");
        let mut stream = Stream::connect(server.address);
        stream.write(&poll);
        assert_eq!(http::respond(&mut stream, within(TIMEOUT)).unwrap().status, 200);
        // A call is answered after the connection is registered; the handshake is answered before.
        let body = b"{\"protocol\":\"json\",\"version\":1}\x1e{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[1]}\x1e";
        assert_eq!(http::ask(server.address, &format!("POST {path}"), body).status, 200);
        let mut answers = String::new();
        while !answers.contains("\"type\":3") {
            stream.write(&poll);
            answers += &http::respond(&mut stream, within(TIMEOUT)).unwrap().text();
        }
        assert_eq!(answers, "{}\u{1e}{\"type\":3,\"invocationId\":\"1\",\"result\":1}\u{1e}");
        stream.write(&poll);
        stream
    });
    let mut polls: Vec<_> = polls.collect();
    let waiting = || server.metric("signalr_connections", &["transport=\"long_polling\""]);
    until("all polls are waiting", TIMEOUT, || (waiting() == 2000.0).then_some(()));
    let begun = Stopwatch::start();
    assert_eq!(witness.ok("Echo", json!(["meanwhile"])), json!("meanwhile"));
    begun.within(Duration::from_secs(1), "a call is not delayed by waiting polls");
    witness.ok("SendMessage", json!(["a", "b"]));
    witness.expect("ReceiveMessage", json!(["a", "b"]));
    for stream in &mut polls {
        let body = http::respond(stream, within(TIMEOUT)).unwrap().text();
        assert_eq!(body, "{\"type\":1,\"target\":\"ReceiveMessage\",\"arguments\":[\"a\",\"b\"]}\u{1e}");
    }
}

#[test]
fn invalid_http_requests_are_refused() {
    let mut server = ServerWithWitness::new();
    for (bytes, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], 400),
        (b"GET\r\n\r\n", 400),
        (b"POST /chat/negotiate HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        // Negotiate does not read its body.
        (b"POST /chat/negotiate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n", 200),
        (
            b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
            400,
        ),
    ] {
        let mut stream = Stream::connect(server.server.address);
        stream.write(bytes);
        let answer = http::respond(&mut stream, within(TIMEOUT)).unwrap();
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(bytes));
    }
    server.still_works();
}
