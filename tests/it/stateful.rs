//! Tests of stateful reconnect on real sockets: lost and replaced sockets, bounds, and what ends a connection for good.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::client::settle;
use crate::kit::http::{self, Response, ask};
use crate::kit::hub::{framed, handshake, record};
use crate::kit::server::Setup;
use crate::kit::stream::Stream;
use crate::kit::ws::{self, Ws};
use crate::kit::{Client, PROCESS_TIMEOUT, Redis, Server, Stopwatch, TIMEOUT, within};

fn setup() -> Setup {
    Server::setup().env("HUB_DEFAULTS__ALLOW_STATEFUL_RECONNECTS", "true")
}

/// The response to a request for a WebSocket that is expected to be refused.
fn refused(address: SocketAddr, target: &str) -> Response {
    let mut stream = Stream::connect(address);
    stream.write(&http::request(&format!("GET {target}"), &ws::UPGRADE, b""));
    http::respond(&mut stream, within(TIMEOUT)).unwrap()
}

/// A client that numbers and acknowledges messages as the official clients do.
struct ResumableClient {
    id: String,
    address: SocketAddr,
    target: String,
    ws: Option<Ws>,
    /// The id of the next message to be received.
    next: i64,
    /// The highest id that was received.
    latest: i64,
    /// The messages that the server has not acknowledged.
    unacknowledged: VecDeque<String>,
    /// The id of the first unacknowledged message.
    first: i64,
    /// Whether the server's Sequence message must arrive before anything else.
    awaits_sequence: bool,
    received: Vec<Value>,
}

impl ResumableClient {
    #[track_caller]
    fn connect(address: SocketAddr) -> Self {
        let answer = ask(address, "POST /chat/negotiate?negotiateVersion=1&useStatefulReconnect=true", b"");
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer["useStatefulReconnect"], true, "{answer}");
        let target = format!("/chat?id={}", answer["connectionToken"].as_str().unwrap());
        let mut ws = Ws::open(address, &target);
        ws.send(ws::TEXT, b"{\"protocol\":\"json\",\"version\":2}\x1e");
        assert_eq!(ws.recv(within(TIMEOUT)).unwrap().payload, b"{}\x1e");
        Self {
            id: answer["connectionId"].as_str().unwrap().to_owned(),
            address,
            target,
            ws: Some(ws),
            next: 1,
            latest: 0,
            unacknowledged: VecDeque::new(),
            first: 1,
            awaits_sequence: false,
            received: Vec::new(),
        }
    }

    /// Sends a numbered message; without a socket it is sent after the next reconnect.
    fn say(&mut self, message: Value) {
        let record = message.to_string() + "\u{1e}";
        if let Some(ws) = &mut self.ws {
            drop(ws.try_send(ws::TEXT, record.as_bytes()));
        }
        self.unacknowledged.push_back(record);
    }

    fn echo(&mut self, id: usize) {
        self.say(json!({ "type": 1, "invocationId": id.to_string(), "target": "Echo", "arguments": [id] }));
    }

    /// Drops the socket without a close frame. If something was not read, the server sees a reset instead of the end.
    fn lose_socket(&mut self) {
        self.ws = None;
    }

    #[track_caller]
    fn reconnect(&mut self) {
        let mut ws = Ws::open(self.address, &self.target);
        let sequence = json!({ "type": 9, "sequenceId": self.first }).to_string();
        let again: String = self.unacknowledged.iter().map(String::as_str).collect();
        ws.send(ws::TEXT, format!("{sequence}\u{1e}{again}").as_bytes());
        self.ws = Some(ws);
        self.awaits_sequence = true;
    }

    /// Handles the messages of one frame.
    #[track_caller]
    fn take_in(&mut self, payload: &[u8]) {
        for record in std::str::from_utf8(payload).unwrap().split_terminator('\u{1e}') {
            let message: Value = serde_json::from_str(record).unwrap();
            match message["type"].as_i64().unwrap() {
                9 => {
                    let id = message["sequenceId"].as_i64().unwrap();
                    assert!(self.awaits_sequence && id <= self.next, "{record} at {}", self.next);
                    (self.next, self.awaits_sequence) = (id, false);
                }
                _ if self.awaits_sequence => panic!("before the Sequence: {record}"),
                8 => {
                    let id = message["sequenceId"].as_i64().unwrap();
                    while self.first <= id {
                        self.unacknowledged.pop_front().unwrap();
                        self.first += 1;
                    }
                }
                1..=5 => {
                    if self.next > self.latest {
                        self.latest = self.next;
                        self.received.push(message);
                    }
                    self.next += 1;
                }
                6 => {} // a ping, which can happen on a slow machine
                _ => self.received.push(message),
            }
        }
    }

    /// Reads until the received messages fulfil a condition.
    #[track_caller]
    fn until(&mut self, what: &str, mut done: impl FnMut(&[Value]) -> bool) {
        let deadline = within(TIMEOUT);
        while !done(&self.received) {
            let frame = self.ws.as_mut().unwrap().recv(deadline);
            let frame = frame.unwrap_or_else(|stop| panic!("{what}: {stop:?}; {:?}", self.received.last()));
            self.take_in(&frame.payload);
        }
    }

    /// Reads everything that the server has queued by now, by making another call, whose answer comes last.
    #[track_caller]
    fn catch_up(&mut self) {
        let last = |message: &Value| message["invocationId"] == "last";
        self.say(json!({ "type": 1, "invocationId": "last", "target": "Echo", "arguments": [null] }));
        self.until("the last answer", |received| received.iter().any(last));
        self.received.retain(|message| !last(message));
    }

    fn acknowledge(&mut self) {
        let ack = json!({ "type": 8, "sequenceId": self.latest }).to_string() + "\u{1e}";
        if let Some(ws) = &mut self.ws {
            drop(ws.try_send(ws::TEXT, ack.as_bytes()));
        }
    }

    /// The response to another request for a WebSocket with the token of this client.
    fn refused(&self) -> Response {
        refused(self.address, &self.target)
    }

    fn messages_from(&self, who: &str) -> Vec<Value> {
        let said = self.received.iter().filter(|message| message["target"] == "ReceiveMessage");
        said.filter(|message| message["arguments"][0] == who).map(|message| message["arguments"][1].clone()).collect()
    }

    fn answers(&self) -> Vec<Value> {
        self.received.iter().filter(|message| message["type"] == 3).map(|message| message["result"].clone()).collect()
    }
}

/// Loses the socket of a client ten times while it calls and sends, and while another client, perhaps on another node,
/// sends too. No message may be lost or duplicated.
#[track_caller]
fn ten_reconnects(one: &Server, two: &Server) {
    let (mut client, mut other) = (ResumableClient::connect(one.address), Client::ws(two.address));
    let arguments = json!([other.id]);
    client.until("the notice that the other has connected", |received| {
        received.iter().any(|message| message["arguments"] == arguments)
    });
    let (mut theirs, mut ours) = (0, 0);
    let mut work = |client: &mut ResumableClient, other: &mut Client, count| {
        for _ in 0..count {
            other.send("SendMessage", json!(["other", theirs]));
            client.echo(ours);
            client.say(json!({ "type": 1, "target": "SendMessage", "arguments": ["client", ours] }));
            (theirs, ours) = (theirs + 1, ours + 1);
        }
        (theirs, ours)
    };
    for round in 0..10 {
        let before = client.received.len();
        work(&mut client, &mut other, 50);
        client.until("some of it", |received| received.len() > before + 30);
        if round % 3 == 1 {
            client.acknowledge();
        }
        client.lose_socket();
        work(&mut client, &mut other, 20);
        client.reconnect();
    }
    let (theirs, ours) = work(&mut client, &mut other, 1);
    client.until("everything", |received| received.len() > theirs + 2 * ours);
    client.catch_up();
    let all = |count: usize| (0..count).map(Value::from).collect::<Vec<_>>();
    assert_eq!(client.messages_from("other"), all(theirs));
    assert_eq!(client.messages_from("client"), all(ours));
    assert_eq!(client.answers(), all(ours));
    settle(&mut [&mut other]);
    for number in 0..ours {
        assert_eq!(other.count_now("ReceiveMessage", &json!(["client", number])), 1, "{number}");
    }
    assert_eq!(other.count_now("UserDisconnected", &json!([client.id])), 0);
}

#[test]
fn ten_reconnects_under_load_lose_nothing() {
    let server = setup().start().ready();
    ten_reconnects(&server, &server);
}

#[test]
fn ten_reconnects_under_load_lose_nothing_with_redis() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let [one, two] = [(); 2].map(|()| setup().redis(&redis).start().ready());
    ten_reconnects(&one, &two);
}

#[test]
fn a_lost_socket_is_replaced() {
    let server = setup().start().ready();
    let mut client = ResumableClient::connect(server.address);
    for id in 1..=3 {
        client.echo(id);
    }
    client.until("three answers", |received| received.len() == 3);
    client.lose_socket();
    client.echo(4);
    client.reconnect();
    client.until("the fourth", |received| received.len() == 4);
    assert_eq!(client.answers(), [1, 2, 3, 4]);
    client.acknowledge();
    // This time the server sees a reset, since something has not been read.
    client.echo(5);
    client.ws.as_mut().unwrap().expect_unread();
    client.lose_socket();
    client.reconnect();
    client.until("the fifth", |received| received.len() == 5);
    client.catch_up();
    assert_eq!(client.answers(), [1, 2, 3, 4, 5]);
    assert_eq!(server.metric("signalr_resumes_total", &["hub=\"chat\""]) as u64, 2);
}

#[test]
fn a_silent_socket_is_replaced_at_once() {
    let server = setup().start().ready();
    let mut client = ResumableClient::connect(server.address);
    client.echo(1);
    client.until("an answer", |received| received.len() == 1);
    let silent = client.ws.take();
    let start = Stopwatch::start();
    client.reconnect();
    client.echo(2);
    client.until("the next answer", |received| received.len() == 2);
    start.within(Duration::from_secs(2), "the new socket serves");
    client.catch_up();
    assert_eq!(client.answers(), [1, 2]);
    assert_eq!(silent.unwrap().read_to_end(within(TIMEOUT)).1, "close 1000", "the old socket is closed");
}

#[test]
fn a_client_that_stays_away_too_long_is_closed() {
    let server = setup().env("HUB_DEFAULTS__DISCONNECT_TIMEOUT", "1s").start().ready();
    let mut other = Client::ws(server.address);
    let mut client = ResumableClient::connect(server.address);
    client.lose_socket();
    other.expect("UserDisconnected", json!([client.id]));
    let answer = client.refused();
    assert_eq!((answer.status, answer.text().as_str()), (404, "No Connection with that ID"));
}

#[test]
fn the_replay_buffer_of_an_absent_client_is_bounded() {
    let server = setup().env("HUB_DEFAULTS__STATEFUL_RECONNECT_BUFFER_SIZE", "2000").start().ready();
    let mut other = Client::ws(server.address);
    let mut client = ResumableClient::connect(server.address);
    client.lose_socket();
    for _ in 0..50 {
        other.ok("SendMessage", json!(["other", "x".repeat(100)]));
    }
    other.expect("UserDisconnected", json!([client.id]));
    assert_eq!(client.refused().status, 404);
}

#[test]
fn only_the_client_that_never_acknowledges_is_closed() {
    let server = setup().env("HUB_DEFAULTS__OUTGOING_BUFFER_SIZE", "20000").start().ready();
    let mut other = Client::ws(server.address);
    let mut client = ResumableClient::connect(server.address);
    other.expect("UserConnected", json!([client.id])); // it receives messages from now on
    let mut sent = 0;
    while client.received.last().is_none_or(|message| message["type"] != 7) {
        other.ok("SendMessage", json!(["other", "x".repeat(1000)]));
        sent += 1;
        // The client reads everything, but it does not acknowledge anything.
        client.until("the message, or the end", |received| {
            received.len() >= sent || received.last().is_some_and(|m| m["type"] == 7)
        });
        assert!(sent < 30, "there is no bound");
    }
    assert!(sent > 15, "{sent}");
    other.expect("UserDisconnected", json!([client.id]));
    other.ok("SendMessage", json!(["other", "on"]));
    assert_eq!(client.refused().status, 404);
}

#[test]
fn a_close_frame_or_an_invalid_sequence_ends_the_connection() {
    let server = setup().env("HUB_DEFAULTS__DETAILED_ERRORS", "true").start().ready();
    let mut client = ResumableClient::connect(server.address);
    client.ws.as_mut().unwrap().send(ws::CLOSE, &1000_u16.to_be_bytes());
    assert_eq!(client.ws.as_mut().unwrap().read_to_end(within(TIMEOUT)).1, "close 1000");
    assert_eq!(client.refused().status, 404);

    let mut client = ResumableClient::connect(server.address);
    client.ws.as_mut().unwrap().send(ws::TEXT, b"{\"type\":9,\"sequenceId\":2}\x1e");
    let (seen, end) = client.ws.as_mut().unwrap().read_to_end(within(TIMEOUT));
    let close = "{\"type\":7,\"error\":\"Connection closed with an error. InvalidOperationException: Sequence ID greater than amount of messages we've received.\",\"allowReconnect\":true}\u{1e}";
    assert_eq!((seen.last().map(String::as_str), end.as_str()), (Some(close), "close 1000"));
    assert_eq!(client.refused().status, 404);
}

/// Accepting such a Sequence, as ASP.NET Core does, would make the server ignore the client's messages until their ids
/// have caught up; for the lowest ids, that is forever.
#[test]
fn a_sequence_below_the_first_message_closes_the_connection() {
    let server = setup().env("HUB_DEFAULTS__DETAILED_ERRORS", "true").start().ready();
    let error =
        "Connection closed with an error. InvalidOperationException: Sequence ID less than that of the first message.";
    for id in [0, -1, i64::MIN] {
        let mut client = ResumableClient::connect(server.address);
        client.echo(1);
        client.until("an answer", |received| received.len() == 1);
        let ws = client.ws.as_mut().unwrap();
        ws.send(ws::TEXT, &record(&json!({ "type": 9, "sequenceId": id })));
        let (seen, end) = ws.read_to_end(within(TIMEOUT));
        let close = format!("{{\"type\":7,\"error\":\"{error}\",\"allowReconnect\":true}}\u{1e}");
        assert_eq!((seen.last(), end.as_str()), (Some(&close), "close 1000"), "{id}");
        assert_eq!(client.refused().status, 404);

        let answer = ask(server.address, "POST /chat/negotiate?negotiateVersion=1&useStatefulReconnect=true", b"");
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let mut ws = Ws::open(server.address, &format!("/chat?id={}", answer["connectionToken"].as_str().unwrap()));
        ws.send(ws::TEXT, &handshake("messagepack", 2));
        ws.send(ws::BINARY, &framed(&rmp_serde::to_vec(&json!([9, id])).unwrap()));
        let (seen, end) = ws.read_to_end(within(TIMEOUT));
        assert!(seen.last().is_some_and(|close| close.contains(error)), "{id}: {seen:?}");
        assert_eq!(end, "close 1000");
    }
}

#[test]
fn a_public_id_cannot_take_over_a_version_0_connection() {
    let server = setup().start().ready();
    let answer = ask(server.address, "POST /chat/negotiate?useStatefulReconnect=true", b"").text();
    assert!(!answer.contains("useStatefulReconnect"), "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let target = format!("/chat?id={}", answer["connectionId"].as_str().unwrap());
    let mut client = Ws::open_with_handshake(server.address, &target, "json");
    assert_eq!(ws::upgrade(&mut Stream::connect(server.address), &target, &[]).status, 409);
    for (method, status) in [("GET", 400), ("POST", 405), ("DELETE", 400)] {
        assert_eq!(ask(server.address, &format!("{method} {target}"), b"x").status, status, "{method}");
    }
    client.send(ws::TEXT, b"{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[7]}\x1e");
    assert_eq!(client.recv(within(TIMEOUT)).unwrap().payload, b"{\"type\":3,\"invocationId\":\"1\",\"result\":7}\x1e");
}

#[test]
fn without_stateful_reconnect_a_second_socket_is_refused() {
    let server = Server::setup().start().ready();
    let answer = ask(server.address, "POST /chat/negotiate?negotiateVersion=1&useStatefulReconnect=true", b"").text();
    assert!(!answer.contains("useStatefulReconnect"), "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let target = format!("/chat?id={}", answer["connectionToken"].as_str().unwrap());
    let mut client = Ws::open_with_handshake(server.address, &target, "json");
    assert_eq!(refused(server.address, &target).status, 409);
    client.send(ws::TEXT, b"{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[1]}\x1e");
    let answer = client.recv(within(TIMEOUT)).unwrap().payload;
    assert_eq!(answer, b"{\"type\":3,\"invocationId\":\"1\",\"result\":1}\x1e");
}

#[test]
fn a_client_without_a_socket_does_not_delay_shutdown() {
    let mut server = setup().start().ready();
    let mut client = ResumableClient::connect(server.address);
    client.echo(1);
    client.until("an answer", |received| received.len() == 1);
    client.lose_socket();
    let start = Stopwatch::start();
    server.signal("TERM");
    assert_eq!(server.exit(PROCESS_TIMEOUT), Some(0));
    start.within(Duration::from_secs(5), "it ends");
}
