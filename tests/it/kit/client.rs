//! A SignalR client in bytes: any transport, either protocol, arguments as JSON values.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::http::{self, ask};
use super::stream::{Stop, Stream};
use super::ws::{self, Ws};
use super::{PATIENCE, QUIET, unique, within};

const SEPARATOR: u8 = 0x1e;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSockets,
    ServerSentEvents,
    LongPolling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Json,
    MessagePack,
}

impl Protocol {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Json => Self::MessagePack,
            Self::MessagePack => Self::Json,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "messagepack",
        }
    }
}

/// What a client has received.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Invocation {
        target: String,
        arguments: Value,
    },
    /// An invocation that wants an answer.
    Question {
        id: String,
        target: String,
        arguments: Value,
    },
    /// An item of a stream.
    Item {
        id: String,
        item: Value,
    },
    Completion {
        id: String,
        result: Result<Value, String>,
    },
    Ping,
    Close {
        error: Option<String>,
        reconnect: bool,
    },
    /// The transport's own ending: `close 1000`, `end of stream`, `204`, `fin`, `reset`.
    End(String),
}

#[derive(Debug)]
enum Wire {
    Ws(Ws),
    Sse { events: Stream, text: Vec<u8> },
    Polls(Option<Stream>),
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    address: SocketAddr,
    target: String,
    wire: Wire,
    protocol: Protocol,
    calls: u32,
    inbox: VecDeque<Message>,
    heard: Vec<Message>,
}

/// The connection id and token of a negotiation.
#[track_caller]
pub(crate) fn negotiate(address: SocketAddr, path: &str) -> (String, String) {
    let answer = ask(address, &format!("POST {path}/negotiate?negotiateVersion=1"), b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let text = |key: &str| answer[key].as_str().unwrap().to_owned();
    (text("connectionId"), text("connectionToken"))
}

impl Client {
    /// Negotiates, connects to the chat and shakes hands.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, transport: Transport, protocol: Protocol) -> Self {
        let (id, token) = negotiate(address, "/chat");
        let target = format!("/chat?id={token}");
        let wire = match transport {
            Transport::WebSockets => Wire::Ws(Ws::open(address, &target)),
            Transport::ServerSentEvents => {
                let mut events = Stream::connect(address);
                events.write(&http::request(&format!("GET {target}"), &[("Accept", "text/event-stream")], b""));
                let (status, head) = http::head(&mut events, within(PATIENCE)).unwrap();
                assert_eq!(status, 200, "{head}");
                Wire::Sse { events, text: Vec::new() }
            }
            Transport::LongPolling => {
                let first = ask(address, &format!("GET {target}"), b"");
                assert_eq!((first.status, first.text().as_str()), (200, ""));
                Wire::Polls(None)
            }
        };
        let mut client =
            Self { id, address, target, wire, protocol, calls: 0, inbox: VecDeque::new(), heard: Vec::new() };
        let hello = json!({ "protocol": protocol.name(), "version": 1 }).to_string() + "\u{1e}";
        client.put(hello.as_bytes(), ws::TEXT);
        let answer = client.piece(within(PATIENCE)).unwrap_or_else(|end| panic!("no handshake answer: {end:?}"));
        let rest =
            answer.strip_prefix(b"{}\x1e").unwrap_or_else(|| panic!("handshake: {}", String::from_utf8_lossy(&answer)));
        client.take_in(rest);
        client
    }

    pub(crate) fn ws(address: SocketAddr) -> Self {
        Self::connect(address, Transport::WebSockets, Protocol::Json)
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn put(&mut self, bytes: &[u8], opcode: u8) {
        match &mut self.wire {
            Wire::Ws(ws) => ws.send(opcode, bytes),
            Wire::Sse { .. } | Wire::Polls(_) => {
                let answer = ask(self.address, &format!("POST {}", self.target), bytes);
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
    }

    /// Sends an invocation; its id, when one is asked for.
    #[track_caller]
    fn call(&mut self, target: &str, arguments: Value, answered: bool) -> Option<String> {
        self.calls += 1;
        let id = answered.then(|| self.calls.to_string());
        match self.protocol {
            Protocol::Json => {
                let mut message = json!({ "type": 1, "target": target, "arguments": arguments });
                if let Some(id) = &id {
                    message["invocationId"] = json!(id);
                }
                self.put((message.to_string() + "\u{1e}").as_bytes(), ws::TEXT);
            }
            Protocol::MessagePack => {
                let body = rmp_serde::to_vec(&json!([1, {}, id, target, arguments, []])).unwrap();
                self.put(&framed(&body), ws::BINARY);
            }
        }
        id
    }

    /// Calls and waits for the completion: the result, or the error's text.
    #[track_caller]
    pub(crate) fn invoke(&mut self, target: &str, arguments: Value) -> Result<Value, String> {
        let id = self.call(target, arguments, true).unwrap();
        let found = self.wait(&format!("the completion of {target}"), |message| match message {
            Message::Completion { id: of, result } if *of == id => Some(result.clone()),
            _ => None,
        });
        self.heard.retain(|message| !matches!(message, Message::Completion { id: of, .. } if *of == id));
        found
    }

    /// Calls a method that succeeds.
    #[track_caller]
    pub(crate) fn ok(&mut self, target: &str, arguments: Value) -> Value {
        self.invoke(target, arguments).unwrap_or_else(|error| panic!("{target}: {error}"))
    }

    /// Calls and waits for nothing.
    #[track_caller]
    pub(crate) fn send(&mut self, target: &str, arguments: Value) {
        self.call(target, arguments, false);
    }

    /// Begins a call whose completion is waited for later; its id.
    #[track_caller]
    pub(crate) fn begin(&mut self, target: &str, arguments: Value) -> String {
        self.call(target, arguments, true).unwrap()
    }

    /// Waits for the completion of a call.
    #[track_caller]
    pub(crate) fn completion(&mut self, id: &str) -> Result<Value, String> {
        let found = self.wait(&format!("the completion of {id}"), |message| match message {
            Message::Completion { id: of, result } if of == id => Some(result.clone()),
            _ => None,
        });
        self.heard.retain(|message| !matches!(message, Message::Completion { id: of, .. } if of == id));
        found
    }

    /// Waits for the first answer of all that were not looked at; the id of its call.
    #[track_caller]
    pub(crate) fn first_answered(&mut self) -> String {
        self.wait("an answer", |message| match message {
            Message::Completion { id, .. } => Some(id.clone()),
            _ => None,
        })
    }

    /// Reads until nothing more comes for a while.
    pub(crate) fn settle(&mut self) {
        while !matches!(self.heard.last(), Some(Message::End(_))) && self.step(within(QUIET)).is_ok() {}
    }

    /// Whether a call has been answered, when nothing more comes for a while.
    pub(crate) fn answers(&mut self, id: &str) -> bool {
        self.settle();
        self.heard.iter().any(|message| matches!(message, Message::Completion { id: of, .. } if of == id))
    }

    /// Waits for a question with this argument; its id.
    #[track_caller]
    pub(crate) fn question(&mut self, target: &str, argument: &Value) -> String {
        self.wait(&format!("the question {target}({argument})"), |message| match message {
            Message::Question { id, target: t, arguments } if t == target && arguments[0] == *argument => {
                Some(id.clone())
            }
            _ => None,
        })
    }

    /// Answers a question, or completes an upload.
    #[track_caller]
    pub(crate) fn answer(&mut self, id: &str, result: Result<Value, &str>) {
        match self.protocol {
            Protocol::Json => {
                let message = match result {
                    Ok(value) => json!({ "type": 3, "invocationId": id, "result": value }),
                    Err(text) => json!({ "type": 3, "invocationId": id, "error": text }),
                };
                self.put((message.to_string() + "\u{1e}").as_bytes(), ws::TEXT);
            }
            Protocol::MessagePack => {
                let message = match result {
                    Ok(value) => json!([3, {}, id, 3, value]),
                    Err(text) => json!([3, {}, id, 1, text]),
                };
                self.put(&framed(&rmp_serde::to_vec(&message).unwrap()), ws::BINARY);
            }
        }
    }

    /// Begins a stream; its id.
    #[track_caller]
    pub(crate) fn stream(&mut self, target: &str, arguments: Value) -> String {
        self.calls += 1;
        let id = self.calls.to_string();
        match self.protocol {
            Protocol::Json => {
                let message = json!({ "type": 4, "invocationId": id, "target": target, "arguments": arguments });
                self.put((message.to_string() + "\u{1e}").as_bytes(), ws::TEXT);
            }
            Protocol::MessagePack => {
                let message = json!([4, {}, id, target, arguments, []]);
                self.put(&framed(&rmp_serde::to_vec(&message).unwrap()), ws::BINARY);
            }
        }
        id
    }

    /// Waits until it was called so.
    #[track_caller]
    pub(crate) fn expect(&mut self, target: &str, arguments: Value) {
        let what = format!("{target}{arguments}");
        self.wait(&what, |message| invoked(message, target, &arguments).then_some(()));
    }

    /// How often it has been called so, when nothing more comes for a while.
    pub(crate) fn count(&mut self, target: &str, arguments: &Value) -> usize {
        self.settle();
        self.count_now(target, arguments)
    }

    /// Whether it is called so before nothing more comes for a while.
    pub(crate) fn hears_soon(&mut self, target: &str, arguments: &Value) -> bool {
        while self.count_now(target, arguments) == 0 {
            if matches!(self.heard.last(), Some(Message::End(_))) || self.step(within(QUIET)).is_err() {
                return false;
            }
        }
        true
    }

    /// How often it has been called so, in what was read up to now.
    pub(crate) fn count_now(&self, target: &str, arguments: &Value) -> usize {
        self.heard.iter().filter(|message| invoked(message, target, arguments)).count()
    }

    /// Drops what was heard up to now.
    pub(crate) fn forget(&mut self) {
        self.heard.clear();
    }

    /// Waits for the first message that `find` takes, among those heard before too.
    #[track_caller]
    pub(crate) fn wait<T>(&mut self, what: &str, find: impl Fn(&Message) -> Option<T>) -> T {
        let deadline = within(PATIENCE);
        let mut looked = 0;
        loop {
            while let Some(message) = self.heard.get(looked) {
                if let Some(found) = find(message) {
                    return found;
                }
                looked += 1;
            }
            let ended = matches!(self.heard.last(), Some(Message::End(_)));
            if ended || self.step(deadline).is_err() {
                let last = &self.heard[self.heard.len().saturating_sub(5)..];
                panic!("{what}: not seen by {:?} {:?}; the last heard: {last:?}", self.protocol, self.target);
            }
        }
    }

    /// Waits for the connection's end: the Close message, if one came, and how the transport ended.
    #[track_caller]
    pub(crate) fn ending(&mut self) -> (Option<Message>, String) {
        let end = self.wait("the connection's end", |message| match message {
            Message::End(how) => Some(how.clone()),
            _ => None,
        });
        (self.heard.iter().find(|message| matches!(message, Message::Close { .. })).cloned(), end)
    }

    /// Ends it in the manner of its transport, and reads nothing more.
    pub(crate) fn leave(mut self) {
        match &mut self.wire {
            Wire::Ws(ws) => {
                drop(ws.try_send(ws::CLOSE, &1000u16.to_be_bytes()));
                ws.read_out(within(PATIENCE));
            }
            Wire::Sse { .. } => {}
            Wire::Polls(_) => {
                let answer = ask(self.address, &format!("DELETE {}", self.target), b"");
                assert_eq!(answer.status, 202, "{}", answer.text());
            }
        }
    }

    /// Takes one message from the wire into what was heard.
    fn step(&mut self, deadline: Instant) -> Result<(), Stop> {
        while self.inbox.is_empty() {
            match self.piece(deadline) {
                Ok(piece) => self.take_in(&piece),
                Err(Ended::Quiet) => return Err(Stop::Quiet),
                Err(Ended::Over(how)) => self.inbox.push_back(Message::End(how)),
            }
        }
        self.heard.extend(self.inbox.pop_front());
        Ok(())
    }

    /// One WebSocket message, event or poll body.
    fn piece(&mut self, deadline: Instant) -> Result<Vec<u8>, Ended> {
        match &mut self.wire {
            Wire::Ws(ws) => {
                let frame = ws.recv(deadline)?;
                if frame.opcode == ws::CLOSE {
                    return Err(Ended::Over(ws::close_text(&frame.payload)));
                }
                Ok(frame.payload)
            }
            Wire::Sse { events, text } => loop {
                if let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") {
                    let event: Vec<_> = text.drain(..end + 4).collect();
                    let data = event.split(|&byte| byte == b'\n').filter_map(|line| line.strip_prefix(b"data: "));
                    let data = data.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect::<Vec<_>>().concat();
                    return Ok(data);
                }
                if text.starts_with(b":\r\n") {
                    text.drain(..3);
                    continue;
                }
                let chunk = http::chunk(events, deadline)?;
                if chunk.is_empty() {
                    return Err(Ended::Over("end of stream".to_owned()));
                }
                text.extend(chunk);
            },
            Wire::Polls(pending) => loop {
                let poll = pending.get_or_insert_with(|| {
                    let mut poll = Stream::connect(self.address);
                    poll.write(&http::request(&format!("GET {}", self.target), &[], b""));
                    poll
                });
                while poll.held.is_empty() {
                    poll.fill(deadline)?; // so that a quiet poll can be gone on with later
                }
                let answer = http::respond(poll, within(PATIENCE)).map_err(Ended::from)?;
                *pending = None;
                match (answer.status, answer.body) {
                    (200, body) if body.is_empty() => {}
                    (200, body) => return Ok(body),
                    (status, _) => return Err(Ended::Over(status.to_string())),
                }
            },
        }
    }

    /// Reads hub messages; none may be torn over two pieces.
    fn take_in(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            let message = match self.protocol {
                Protocol::Json => {
                    let end = rest.iter().position(|&byte| byte == SEPARATOR).expect("a whole message in a piece");
                    let value = serde_json::from_slice(&rest[..end]).unwrap();
                    rest = &rest[end + 1..];
                    from_json(&value)
                }
                Protocol::MessagePack => {
                    let (length, start) = varint(rest).expect("a length");
                    let value = rmp_serde::from_slice(&rest[start..start + length]).unwrap();
                    rest = &rest[start + length..];
                    from_messagepack(&value)
                }
            };
            self.inbox.push_back(message);
        }
    }
}

/// Why no piece comes.
#[derive(Debug)]
enum Ended {
    Quiet,
    Over(String),
}

impl From<Stop> for Ended {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Quiet => Self::Quiet,
            Stop::Fin => Self::Over("fin".to_owned()),
            Stop::Reset => Self::Over("reset".to_owned()),
        }
    }
}

fn invoked(message: &Message, target: &str, arguments: &Value) -> bool {
    matches!(message, Message::Invocation { target: t, arguments: a } if t == target && a == arguments)
}

fn called(id: &Value, target: &Value, arguments: &Value) -> Message {
    let (target, arguments) = (text(target), arguments.clone());
    match id {
        Value::Null => Message::Invocation { target, arguments },
        id => Message::Question { id: text(id), target, arguments },
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}

fn from_json(message: &Value) -> Message {
    let error = message.get("error").map(text);
    match message["type"].as_u64() {
        Some(1) => called(&message["invocationId"], &message["target"], &message["arguments"]),
        Some(2) => Message::Item { id: text(&message["invocationId"]), item: message["item"].clone() },
        Some(3) => {
            let result = error.map_or_else(|| Ok(message["result"].clone()), Err);
            Message::Completion { id: text(&message["invocationId"]), result }
        }
        Some(6) => Message::Ping,
        Some(7) => Message::Close { error, reconnect: message["allowReconnect"] == json!(true) },
        _ => panic!("{message}"),
    }
}

fn from_messagepack(message: &Value) -> Message {
    match message[0].as_u64() {
        Some(1) => called(&message[2], &message[3], &message[4]),
        Some(2) => Message::Item { id: text(&message[2]), item: message[3].clone() },
        Some(3) => {
            let result = match message[3].as_u64() {
                Some(1) => Err(text(&message[4])),
                Some(2) => Ok(Value::Null),
                _ => Ok(message[4].clone()),
            };
            Message::Completion { id: text(&message[2]), result }
        }
        Some(6) => Message::Ping,
        Some(7) => {
            Message::Close { error: message[1].as_str().map(str::to_owned), reconnect: message[2] == json!(true) }
        }
        _ => panic!("{message}"),
    }
}

/// A MessagePack hub message with its length in front.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let (mut bytes, mut length) = (Vec::new(), body.len());
    while length > 127 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(body);
    bytes
}

fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    Some((value, end + 1))
}

/// Whatever was sent before has been heard by all of these: a later broadcast has, and what still had to come had a moment more.
pub(crate) fn settle(clients: &mut [&mut Client]) {
    let mark = unique("mark");
    clients[0].ok("SendMessage", json!(["settle", mark]));
    for client in clients {
        client.expect("ReceiveMessage", json!(["settle", mark]));
    }
    thread::sleep(QUIET);
}
