//! Tests of hub options: each is set in `[hub_defaults]` and in the hub's own table, and must have an effect on the
//! wire.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kit::client::{negotiate, settle};
use crate::kit::server::Setup;
use crate::kit::stream::{ReadEnd, Stream};
use crate::kit::{Client, Message, Redis, Server, Stopwatch, TIMEOUT, http, until, within, ws};

const METHODS: &str = r#"
[hubs.chat.methods.Echo]
params = ["value"]
returns = "{value}"
[hubs.chat.methods.Fail]
params = ["group"]
do = [{ join = "{group}" }]
[hubs.chat.methods.SendMessage]
params = ["user", "message"]
do = [{ send = "ReceiveMessage", to = "all", args = ["{user}", "{message}"] }]
[hubs.chat.methods.AskForEach]
params = ["client"]
upload = "item"
each = [{ ask = "Question", to = "connection:{client}", args = ["{item}"] }]
"#;

/// Two setups: one with these lines in `[hub_defaults]`, one with them in the hub's table.
fn both(options: &str) -> [Setup; 2] {
    ["[hub_defaults]", "[hubs.chat]"].map(|place| Server::setup().config(&format!("{place}\n{options}\n{METHODS}")))
}

/// Runs a check on a server with these lines in `[hub_defaults]`, and on one with them in the hub's table.
fn in_both(options: &str, check: impl Fn(&Server)) {
    for setup in both(options) {
        check(&setup.start().ready());
    }
}

#[test]
fn handshake_timeout() {
    in_both("handshake_timeout = \"300ms\"", |server| {
        let began = Stopwatch::start();
        let (texts, end) = ws::Ws::open(server.address, "/chat").read_to_end(within(TIMEOUT));
        began.within(Duration::from_secs(5), "the handshake times out");
        assert!(texts.concat().contains("Handshake was canceled."), "{texts:?} {end}");
    });
}

#[test]
fn keep_alive_interval() {
    in_both("keep_alive_interval = \"1s\"", |server| {
        let mut client = Client::ws(server.address);
        let began = Stopwatch::start();
        client.wait("a ping", |message| (*message == Message::Ping).then_some(()));
        began.within(Duration::from_secs(4), "a ping arrives");
    });
}

#[test]
fn client_timeout_interval() {
    in_both("client_timeout_interval = \"1s\"\nkeep_alive_interval = \"500ms\"", |server| {
        let mut client = Client::ws(server.address);
        client.put(b"{\"type\":6}\x1e", ws::TEXT);
        let (close, end) = client.ending();
        assert!(close.is_some(), "{end}");
    });
}

#[test]
fn maximum_receive_message_size() {
    in_both("maximum_receive_message_size = 200", |server| {
        let mut client = Client::ws(server.address);
        assert_eq!(client.ok("Echo", json!(["x".repeat(100)])), json!("x".repeat(100)));
        client.send("Echo", json!(["x".repeat(200)]));
        assert!(matches!(client.ending(), (Some(Message::Close { error: Some(_), .. }), _)));
    });
}

#[test]
fn detailed_errors() {
    in_both("detailed_errors = true", |server| {
        let error = Client::ws(server.address).invoke("Fail", json!([1])).unwrap_err();
        let text =
            "An unexpected error occurred invoking 'Fail' on the server. HubException: a group's name must be a string";
        assert!(error.starts_with(text), "{error}");
    });
    in_both("detailed_errors = false", |server| {
        let error = Client::ws(server.address).invoke("Fail", json!([1])).unwrap_err();
        assert_eq!(error, "An unexpected error occurred invoking 'Fail' on the server.");
    });
}

#[test]
fn protocols() {
    in_both("protocols = [\"json\"]", |server| {
        Client::ws(server.address).ok("Echo", json!([1]));
        let mut other = ws::Ws::open(server.address, "/chat");
        other.send(ws::TEXT, b"{\"protocol\":\"messagepack\",\"version\":1}\x1e");
        let (texts, _) = other.read_to_end(within(TIMEOUT));
        assert!(texts.concat().contains("The protocol 'messagepack' is not supported."), "{texts:?}");
    });
}

#[test]
fn transports() {
    in_both("transports = [\"LongPolling\"]", |server| {
        let (_, token) = negotiate(server.address, "/chat");
        let answer = http::ask(server.address, "POST /chat/negotiate?negotiateVersion=1", b"");
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let offered = answer["availableTransports"].as_array().unwrap();
        assert_eq!(offered.iter().map(|one| &one["transport"]).collect::<Vec<_>>(), ["LongPolling"]);
        assert_eq!(http::ask(server.address, &format!("GET /chat?id={token}"), b"").status, 200);
    });
}

#[test]
fn minimum_protocol_version() {
    in_both("minimum_protocol_version = 1", |server| {
        let answer = http::ask(server.address, "POST /chat/negotiate", b"").text();
        assert!(answer.contains("does not support this version"), "{answer}");
        negotiate(server.address, "/chat");
    });
}

#[test]
fn allow_stateful_reconnects() {
    in_both("allow_stateful_reconnects = true", |server| {
        let line = "POST /chat/negotiate?negotiateVersion=1&useStatefulReconnect=true";
        assert!(http::ask(server.address, line, b"").text().contains("\"useStatefulReconnect\":true"));
    });
}

#[test]
fn stream_buffer_capacity() {
    in_both("stream_buffer_capacity = 2", |server| {
        let (mut asked, mut client) = (Client::ws(server.address), Client::ws(server.address));
        let call = json!({ "type": 1, "invocationId": "up", "target": "AskForEach", "arguments": [asked.id], "streamIds": ["s"] });
        let items = (0..10).map(|item| json!({ "type": 2, "invocationId": "s", "item": item }));
        let sent: String = std::iter::once(call).chain(items).map(|message| format!("{message}\u{1e}")).collect();
        client.put(sent.as_bytes(), ws::TEXT);
        let echo = client.begin("Echo", json!(["after the items"]));
        let echoed = json!("after the items");
        for item in 0..10 {
            let question = asked.question("Question", &json!(item));
            // Item 9 is read when item 7 is requested from the client, since two more items are buffered.
            if item == 6 {
                // By then the client has received the effects of everything that the server was able to read.
                settle(&mut [&mut asked, &mut client]);
                assert!(!client.is_answered(&echo), "more than two items waited");
            }
            if item == 7 {
                assert_eq!(client.completion(&echo), Ok(echoed.clone()));
            }
            asked.answer(&question, Ok(json!(null)));
        }
        client.put(b"{\"type\":3,\"invocationId\":\"s\"}\x1e", ws::TEXT);
        assert_eq!(client.completion("up"), Ok(Value::Null));
    });
}

#[test]
fn maximum_parallel_invocations_per_client() {
    testkit::needs!("redis-server");
    for most in [2, 1] {
        for setup in both(&format!("maximum_parallel_invocations_per_client = {most}")) {
            let redis = Redis::start();
            let server = setup.redis(&redis).start().ready();
            let mut client = Client::ws(server.address);
            // The handshake is answered before the connection's own subscriptions are confirmed; calls are answered
            // only afterwards.
            client.ok("Echo", json!([0]));
            let received = || server.metric("signalr_messages_received_total", &[]);
            let before = received();
            redis.pause();
            // A join occupies a slot while it waits for Redis.
            let join = client.begin("Fail", json!(["a group"]));
            let echo = client.begin("Echo", json!([1]));
            if most == 2 {
                assert_eq!(client.first_answered(), echo);
            } else {
                // Both calls have been read, so a second slot would be in use by now.
                until("both calls are read", TIMEOUT, || (received() == before + 2.0).then_some(()));
                redis.resume();
                assert_eq!(client.first_answered(), join);
            }
            redis.resume();
            assert_eq!(client.completion(&echo), Ok(json!(1)));
            assert_eq!(client.completion(&join), Ok(Value::Null));
        }
    }
}

#[test]
fn disconnect_timeout() {
    in_both("disconnect_timeout = \"1s\"", |server| {
        let (_, token) = negotiate(server.address, "/chat");
        let began = Instant::now();
        until("the connection is removed", TIMEOUT, || {
            (http::ask(server.address, &format!("DELETE /chat?id={token}"), b"").status == 404).then_some(())
        });
        assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    });
}

#[test]
fn long_polling_poll_timeout() {
    in_both("long_polling_poll_timeout = \"300ms\"", |server| {
        let (_, token) = negotiate(server.address, "/chat");
        for _ in 0..3 {
            let answer = http::ask(server.address, &format!("GET /chat?id={token}"), b"");
            assert_eq!((answer.status, answer.body.len()), (200, 0));
        }
    });
}

#[test]
fn incoming_buffer_size() {
    in_both("incoming_buffer_size = 100", |server| {
        let (_, token) = negotiate(server.address, "/chat");
        let mut post = Stream::connect(server.address);
        post.write(&http::request(&format!("POST /chat?id={token}"), &[], &[b' '; 2000]));
        // What is posted before the first poll is not read. A POST that did not have to wait would be answered before a
        // later request.
        assert_eq!(server.get("/healthz").status, 200);
        assert_eq!(post.arrived(), Err(ReadEnd::TimedOut));
        assert_eq!(http::ask(server.address, &format!("GET /chat?id={token}"), b"").status, 200);
        assert_eq!(http::respond(&mut post, within(TIMEOUT)).unwrap().status, 200);
    });
}

#[test]
fn transport_send_timeout() {
    in_both("transport_send_timeout = \"1s\"\noutgoing_buffer_size = 0\noutgoing_buffer_messages = 0", |server| {
        let silent = ws::Ws::open_with_handshake(server.address, "/chat", "json");
        let mut sender = Client::ws(server.address);
        let text = "x".repeat(30_000);
        for _ in 0..500 {
            sender.ok("SendMessage", json!(["a", text]));
            sender.forget();
        }
        let began = Instant::now();
        until("the client that does not read is closed", TIMEOUT, || {
            (server.metric("signalr_connections_closed_total", &["reason=\"slow_client\""]) == 1.0).then_some(())
        });
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        drop(silent);
    });
}

#[test]
fn websocket_close_timeout() {
    in_both("websocket_close_timeout = \"500ms\"", |server| {
        let mut ws = ws::Ws::open_with_handshake(server.address, "/chat", "json");
        ws.send(ws::TEXT, b"{\"type\":7}\x1e");
        assert_eq!(ws.read_to_end(within(TIMEOUT)).1, "close 1000");
        // The client does not answer the close frame.
        let began = Instant::now();
        assert_eq!(ws.read_to_end(within(TIMEOUT)), (Vec::new(), "reset".to_owned()));
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    });
}

/// Sends messages to a client between two of its polls, and returns the last status that it gets when it polls again.
/// The messages must wait in the server, since there is no socket whose kernel buffers could hold them.
fn between_polls(server: &Server, messages: usize, text: &str) -> u16 {
    let address = server.address;
    let (id, token) = negotiate(address, "/chat");
    let poll = || http::ask(address, &format!("GET /chat?id={token}"), b"");
    assert_eq!(poll().status, 200);
    let hello = b"{\"protocol\":\"json\",\"version\":1}\x1e";
    assert_eq!(http::ask(address, &format!("POST /chat?id={token}"), hello).status, 200);
    assert_eq!(poll().text(), "{}\u{1e}", "{id}");
    // The handshake is answered before the connection is registered, and would miss the first messages; calls are answered after that.
    let call = b"{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[1]}\x1e";
    assert_eq!(http::ask(address, &format!("POST /chat?id={token}"), call).status, 200);
    assert_eq!(poll().text(), "{\"type\":3,\"invocationId\":\"1\",\"result\":1}\u{1e}");
    let mut sender = Client::ws(address);
    for _ in 0..messages {
        sender.ok("SendMessage", json!(["a", text]));
    }
    // The messages arrive with one poll or with several. The status is 204 if the server has closed the connection.
    let mut received = 0;
    while received < messages {
        let answer = poll();
        if answer.status != 200 {
            return answer.status;
        }
        received += answer.text().matches("ReceiveMessage").count();
    }
    // Otherwise the messages for the next client would fill the outbox of this one, too.
    assert_eq!(http::ask(address, &format!("DELETE /chat?id={token}"), b"").status, 202);
    200
}

/// Waits until one connection has been closed because its client was too slow.
#[track_caller]
fn expect_one_slow_client(server: &Server) {
    let closed = || server.metric("signalr_connections_closed_total", &["reason=\"slow_client\""]);
    until("one slow client is closed", TIMEOUT, || (closed() == 1.0).then_some(()));
}

#[test]
fn outgoing_buffer_size() {
    let text = "x".repeat(10_000);
    in_both("outgoing_buffer_size = 50000", |server| {
        assert_eq!(between_polls(server, 4, &text), 200);
        assert_eq!(between_polls(server, 6, &text), 204);
        expect_one_slow_client(server);
    });
}

#[test]
fn outgoing_buffer_messages() {
    in_both("outgoing_buffer_messages = 5", |server| {
        assert_eq!(between_polls(server, 5, "x"), 200);
        assert_eq!(between_polls(server, 6, "x"), 204);
        expect_one_slow_client(server);
    });
}

#[test]
fn stateful_reconnect_buffer_size() {
    in_both("allow_stateful_reconnects = true\nstateful_reconnect_buffer_size = 5000", |server| {
        let line = "POST /chat/negotiate?negotiateVersion=1&useStatefulReconnect=true";
        let answer: Value = serde_json::from_slice(&http::ask(server.address, line, b"").body).unwrap();
        let mut ws = ws::Ws::open(server.address, &format!("/chat?id={}", answer["connectionToken"].as_str().unwrap()));
        ws.send(ws::TEXT, b"{\"protocol\":\"json\",\"version\":2}\x1e");
        assert_eq!(ws.recv(within(TIMEOUT)).unwrap().payload, b"{}\x1e");
        let mut sender = Client::ws(server.address);
        drop(ws);
        for _ in 0..40 {
            sender.ok("SendMessage", json!(["a", "x".repeat(1000)]));
        }
        // This must happen long before `disconnect_timeout`.
        expect_one_slow_client(server);
    });
}

#[test]
fn close_on_authentication_expiration() {
    let keys = r#"[{ algorithm = "HS256", secret = "the secret of these tests, 32 bytes or more" }]"#;
    in_both(
        &format!("close_on_authentication_expiration = true\n[auth]\nkeys = {keys}\nclock_skew = \"0s\""),
        |server| {
            let output = Command::new(env!("CARGO_BIN_EXE_hubplane"))
                .args(["token", "--user", "ann", "--expires", "2s"])
                .current_dir(std::env::temp_dir())
                .env_clear()
                .env("HUBPLANE_AUTH__KEYS", keys)
                .output()
                .unwrap();
            let token = String::from_utf8(output.stdout).unwrap();
            let mut ws = ws::Ws::open_with_handshake(
                server.address,
                &format!("/chat?access_token={}", token.trim_end()),
                "json",
            );
            let (texts, end) = ws.read_to_end(within(TIMEOUT));
            assert_eq!(texts.last().map(String::as_str), Some("{\"type\":7,\"allowReconnect\":true}\u{1e}"));
            assert_eq!(end, "close 1000");
        },
    );
}
