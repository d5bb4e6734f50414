//! A SignalR client for any transport and either protocol, with arguments as JSON values.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Value, json};

use crate::http::{self, ask};
use crate::hub::{Message, Protocol, handshake};
use crate::stream::{ReadEnd, Stream};
use crate::ws::{self, Ws};
use crate::{TIMEOUT, unique, within};

/// The transport of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A WebSocket.
    WebSockets,
    /// An event stream, and POSTs.
    ServerSentEvents,
    /// One GET after another, and POSTs. The next GET is sent only when the test waits for a message.
    LongPolling,
}

#[derive(Debug)]
enum ClientTransport {
    Ws(Ws),
    Sse { events: Stream, text: Vec<u8> },
    Polls(Option<Stream>),
}

/// A client that has completed the handshake. It keeps received messages until they are taken or [`Client::forget`] is
/// called.
#[derive(Debug)]
pub struct Client {
    /// The connection id.
    pub id: String,
    address: SocketAddr,
    target: String,
    wire: ClientTransport,
    protocol: Protocol,
    calls: u32,
    inbox: VecDeque<Message>,
    received: Vec<Message>,
}

/// Negotiates, and returns the connection id and the connection token.
#[track_caller]
pub fn negotiate(address: SocketAddr, path: &str) -> (String, String) {
    let answer = ask(address, &format!("POST {path}/negotiate?negotiateVersion=1"), b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let text = |key: &str| answer[key].as_str().unwrap().to_owned();
    (text("connectionId"), text("connectionToken"))
}

impl Client {
    /// Negotiates, connects to the hub at `/chat`, completes the handshake, and waits until other clients can reach this
    /// one, from every node: the handshake is answered before the connection is registered and its channels are
    /// subscribed, but calls are answered after that. So this calls a method, see [`Client::catch_up`].
    #[track_caller]
    pub fn connect(address: SocketAddr, transport: Transport, protocol: Protocol) -> Self {
        let mut client = Self::connect_without_calls(address, transport, protocol);
        client.catch_up();
        client
    }

    /// Like [`Client::connect`], but returns after the handshake, and so leaves no traces in the server's log and metrics
    /// of calls.
    #[track_caller]
    pub fn connect_without_calls(address: SocketAddr, transport: Transport, protocol: Protocol) -> Self {
        let (id, token) = negotiate(address, "/chat");
        let target = format!("/chat?id={token}");
        let wire = match transport {
            Transport::WebSockets => ClientTransport::Ws(Ws::open(address, &target)),
            Transport::ServerSentEvents => {
                let mut events = Stream::connect(address);
                events.write(&http::request(&format!("GET {target}"), &[("Accept", "text/event-stream")], b""));
                let (status, head) = http::head(&mut events, within(TIMEOUT)).unwrap();
                assert_eq!(status, 200, "{head}");
                ClientTransport::Sse { events, text: Vec::new() }
            }
            Transport::LongPolling => {
                let first = ask(address, &format!("GET {target}"), b"");
                assert_eq!((first.status, first.text().as_str()), (200, ""));
                ClientTransport::Polls(None)
            }
        };
        let mut client =
            Self { id, address, target, wire, protocol, calls: 0, inbox: VecDeque::new(), received: Vec::new() };
        client.put(&handshake(protocol.name(), 1), ws::TEXT);
        let answer = client.piece(within(TIMEOUT)).unwrap_or_else(|end| panic!("no handshake response: {end:?}"));
        let rest =
            answer.strip_prefix(b"{}\x1e").unwrap_or_else(|| panic!("handshake: {}", String::from_utf8_lossy(&answer)));
        client.inbox.extend(protocol.decode(rest));
        client
    }

    /// Connects with a WebSocket and the JSON protocol.
    #[track_caller]
    pub fn ws(address: SocketAddr) -> Self {
        Self::connect(address, Transport::WebSockets, Protocol::Json)
    }

    /// Sends bytes unchanged.
    #[track_caller]
    pub fn put(&mut self, bytes: &[u8], opcode: u8) {
        match &mut self.wire {
            ClientTransport::Ws(ws) => ws.send(opcode, bytes),
            ClientTransport::Sse { .. } | ClientTransport::Polls(_) => {
                let answer = ask(self.address, &format!("POST {}", self.target), bytes);
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
    }

    /// Sends a message, which is given both in its JSON form and in its MessagePack form.
    #[track_caller]
    fn say(&mut self, json: &Value, messagepack: &Value) {
        let opcode = match self.protocol {
            Protocol::Json => ws::TEXT,
            Protocol::MessagePack => ws::BINARY,
        };
        self.put(&self.protocol.encode(json, messagepack), opcode);
    }

    /// Sends an invocation. Returns its invocation id if it is to be answered.
    #[track_caller]
    fn call(&mut self, target: &str, arguments: Value, answered: bool) -> Option<String> {
        self.calls += 1;
        let id = answered.then(|| self.calls.to_string());
        let mut message = json!({ "type": 1, "target": target, "arguments": arguments });
        if let Some(id) = &id {
            message["invocationId"] = json!(id);
        }
        self.say(&message, &json!([1, {}, id, target, arguments, []]));
        id
    }

    /// Invokes a method and waits for the completion. Returns the result or the text of the error.
    #[track_caller]
    pub fn invoke(&mut self, target: &str, arguments: Value) -> Result<Value, String> {
        let id = self.call(target, arguments, true).unwrap();
        self.completion(&id)
    }

    /// Invokes a method, and panics if it fails.
    #[track_caller]
    pub fn ok(&mut self, target: &str, arguments: Value) -> Value {
        self.invoke(target, arguments).unwrap_or_else(|error| panic!("{target}: {error}"))
    }

    /// Invokes a method without an invocation id, so that no completion is sent.
    #[track_caller]
    pub fn send(&mut self, target: &str, arguments: Value) {
        self.call(target, arguments, false);
    }

    /// Invokes a method without waiting for the completion, and returns the invocation id.
    #[track_caller]
    pub fn begin(&mut self, target: &str, arguments: Value) -> String {
        self.call(target, arguments, true).unwrap()
    }

    /// Waits for the completion with this invocation id, and removes it from the received messages.
    #[track_caller]
    pub fn completion(&mut self, id: &str) -> Result<Value, String> {
        let found = self.wait(&format!("the completion of {id}"), |message| match message {
            Message::Completion { id: of, result } if of == id => Some(result.clone()),
            _ => None,
        });
        self.received.retain(|message| !matches!(message, Message::Completion { id: of, .. } if of == id));
        found
    }

    /// Waits for the first completion that has not been taken, and returns its invocation id.
    #[track_caller]
    pub fn first_answered(&mut self) -> String {
        self.wait("an answer", |message| match message {
            Message::Completion { id, .. } => Some(id.clone()),
            _ => None,
        })
    }

    /// Receives everything that the server has queued for this client by now. To do so it invokes a method that does
    /// not exist, since the error arrives after everything else.
    #[track_caller]
    pub fn catch_up(&mut self) {
        self.invoke("NoHubHasThisMethod", json!([])).unwrap_err();
    }

    /// Whether the completion of a call has been received already.
    pub fn is_answered(&self, id: &str) -> bool {
        self.received.iter().any(|message| matches!(message, Message::Completion { id: of, .. } if of == id))
    }

    /// Waits for an invocation that requests a client result and has this argument, and returns its invocation id.
    #[track_caller]
    pub fn question(&mut self, target: &str, argument: &Value) -> String {
        self.wait(&format!("the invocation {target}({argument})"), |message| match message {
            Message::ClientInvocation { id, target: t, arguments } if t == target && arguments[0] == *argument => {
                Some(id.clone())
            }
            _ => None,
        })
    }

    /// Sends a client result, or completes an upload.
    #[track_caller]
    pub fn answer(&mut self, id: &str, result: Result<Value, &str>) {
        match result {
            Ok(value) => {
                self.say(&json!({ "type": 3, "invocationId": id, "result": value }), &json!([3, {}, id, 3, value]));
            }
            Err(text) => {
                self.say(&json!({ "type": 3, "invocationId": id, "error": text }), &json!([3, {}, id, 1, text]));
            }
        }
    }

    /// Invokes a streaming method, and returns the invocation id.
    #[track_caller]
    pub fn stream(&mut self, target: &str, arguments: Value) -> String {
        self.calls += 1;
        let id = self.calls.to_string();
        let message = json!({ "type": 4, "invocationId": id, "target": target, "arguments": arguments });
        self.say(&message, &json!([4, {}, id, target, arguments, []]));
        id
    }

    /// Waits for an invocation of this method with these arguments.
    #[track_caller]
    pub fn expect(&mut self, target: &str, arguments: Value) {
        let what = format!("{target}{arguments}");
        self.wait(&what, |message| invoked(message, target, &arguments).then_some(()));
    }

    /// Receives everything that the server has queued by now, and counts the invocations of this method with these
    /// arguments.
    #[track_caller]
    pub fn count(&mut self, target: &str, arguments: &Value) -> usize {
        self.catch_up();
        self.count_now(target, arguments)
    }

    /// Counts the invocations of this method with these arguments that have been received already.
    pub fn count_now(&self, target: &str, arguments: &Value) -> usize {
        self.received.iter().filter(|message| invoked(message, target, arguments)).count()
    }

    /// Drops the messages that have been received so far.
    pub fn forget(&mut self) {
        self.received.clear();
    }

    /// Waits for the first message for which `find` returns a value. It looks at messages that have been received
    /// already too.
    #[track_caller]
    pub fn wait<T>(&mut self, what: &str, find: impl Fn(&Message) -> Option<T>) -> T {
        let deadline = within(TIMEOUT);
        let mut looked = 0;
        loop {
            while let Some(message) = self.received.get(looked) {
                if let Some(found) = find(message) {
                    return found;
                }
                looked += 1;
            }
            let ended = matches!(self.received.last(), Some(Message::End(_)));
            if ended || self.step(deadline).is_err() {
                let last = &self.received[self.received.len().saturating_sub(5)..];
                panic!("{what}: not seen by {:?} {:?}; the last received: {last:?}", self.protocol, self.target);
            }
        }
    }

    /// Waits until the connection ends. Returns the close message, if there was one, and how the transport ended.
    #[track_caller]
    pub fn ending(&mut self) -> (Option<Message>, String) {
        let end = self.wait("the connection's end", |message| match message {
            Message::End(how) => Some(how.clone()),
            _ => None,
        });
        (self.received.iter().find(|message| matches!(message, Message::Close { .. })).cloned(), end)
    }

    /// Ends the connection as its transport requires.
    pub fn leave(mut self) {
        match &mut self.wire {
            ClientTransport::Ws(ws) => {
                ws.send(ws::CLOSE, &1000u16.to_be_bytes());
                assert_eq!(ws.read_to_end(within(TIMEOUT)).1, "close 1000");
            }
            ClientTransport::Sse { .. } => {}
            ClientTransport::Polls(_) => {
                let answer = ask(self.address, &format!("DELETE {}", self.target), b"");
                assert_eq!(answer.status, 202, "{}", answer.text());
            }
        }
    }

    /// Receives one message.
    fn step(&mut self, deadline: Instant) -> Result<(), ReadEnd> {
        while self.inbox.is_empty() {
            match self.piece(deadline) {
                Ok(piece) => self.inbox.extend(self.protocol.decode(&piece)),
                Err(PieceEnd::TimedOut) => return Err(ReadEnd::TimedOut),
                Err(PieceEnd::Ended(how)) => self.inbox.push_back(Message::End(how)),
            }
        }
        self.received.extend(self.inbox.pop_front());
        Ok(())
    }

    /// Receives the contents of one WebSocket message, event or poll.
    fn piece(&mut self, deadline: Instant) -> Result<Vec<u8>, PieceEnd> {
        match &mut self.wire {
            ClientTransport::Ws(ws) => {
                let frame = ws.recv(deadline)?;
                if frame.opcode == ws::CLOSE {
                    return Err(PieceEnd::Ended(ws::close_text(&frame.payload)));
                }
                Ok(frame.payload)
            }
            ClientTransport::Sse { events, text } => loop {
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
                    return Err(PieceEnd::Ended("end of stream".to_owned()));
                }
                text.extend(chunk);
            },
            ClientTransport::Polls(pending) => loop {
                let poll = pending.get_or_insert_with(|| {
                    let mut poll = Stream::connect(self.address);
                    poll.write(&http::request(&format!("GET {}", self.target), &[], b""));
                    poll
                });
                while poll.held.is_empty() {
                    poll.fill(deadline)?; // a poll that is not answered in time is continued by the next call
                }
                let answer = http::respond(poll, within(TIMEOUT)).map_err(PieceEnd::from)?;
                *pending = None;
                match (answer.status, answer.body) {
                    (200, body) if body.is_empty() => {}
                    (200, body) => return Ok(body),
                    (status, _) => return Err(PieceEnd::Ended(status.to_string())),
                }
            },
        }
    }
}

/// Why nothing was received.
#[derive(Debug)]
enum PieceEnd {
    TimedOut,
    Ended(String),
}

impl From<ReadEnd> for PieceEnd {
    fn from(stop: ReadEnd) -> Self {
        match stop {
            ReadEnd::TimedOut => Self::TimedOut,
            ReadEnd::Fin => Self::Ended("fin".to_owned()),
            ReadEnd::Reset => Self::Ended("reset".to_owned()),
        }
    }
}

fn invoked(message: &Message, target: &str, arguments: &Value) -> bool {
    matches!(message, Message::Invocation { target: t, arguments: a } if t == target && a == arguments)
}

/// Waits until all of these clients have received whatever was sent before. It does so with a broadcast of the first
/// client, which arrives after everything else.
#[track_caller]
pub fn settle(clients: &mut [&mut Client]) {
    let mark = unique("mark");
    clients[0].ok("SendMessage", json!(["settle", mark]));
    for client in clients {
        client.expect("ReceiveMessage", json!(["settle", mark]));
    }
}
