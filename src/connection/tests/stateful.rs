//! Tests of stateful reconnect, with channels in place of sockets: resending, sequence numbers, acks and buffers.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::kit::Node;
use crate::close::{CloseReason, CloseSignal};
use crate::config::HubOptions;
use crate::connection::{Peer, serve};
use crate::hub::RequestInfo;
use crate::ids::ConnectionId;
use crate::outgoing::{self, Framing};
use crate::protocol::{RawValue, TransportKind};
use crate::wire::{Disconnected, ReconnectState, Sink, Source, SourceEnd};

/// A client whose socket can be lost and replaced.
struct Client {
    to_server: Option<mpsc::Sender<Bytes>>,
    from_server: mpsc::Receiver<Bytes>,
    sources: mpsc::Sender<mpsc::Receiver<Bytes>>,
    sinks: mpsc::Sender<mpsc::Sender<Bytes>>,
    close: CloseSignal,
    reconnect_state: ReconnectState,
    served: JoinHandle<CloseReason>,
}

struct ChannelSource {
    now: mpsc::Receiver<Bytes>,
    next: mpsc::Receiver<mpsc::Receiver<Bytes>>,
    waiting: Option<mpsc::Receiver<Bytes>>,
    number: u64,
}

struct ChannelSink {
    now: mpsc::Sender<Bytes>,
    next: mpsc::Receiver<mpsc::Sender<Bytes>>,
    number: u64,
}

impl Source for ChannelSource {
    async fn recv(&mut self, into: &mut BytesMut) -> Result<(), SourceEnd> {
        tokio::select! {
            biased;
            Some(next) = self.next.recv(), if self.waiting.is_none() => {
                self.waiting = Some(next);
                Err(SourceEnd::Lost)
            }
            bytes = self.now.recv() => {
                into.extend_from_slice(&bytes.ok_or(SourceEnd::Lost)?);
                Ok(())
            }
        }
    }

    async fn next_socket(&mut self) -> u64 {
        if self.waiting.is_none() {
            self.waiting = self.next.recv().await;
        }
        match self.waiting.take() {
            Some(next) => self.now = next,
            None => std::future::pending().await,
        }
        self.number += 1;
        self.number
    }
}

impl Sink for ChannelSink {
    async fn ready(&mut self) {}

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Disconnected> {
        for bytes in batch.drain(..) {
            self.now.send(bytes).await.map_err(|_| Disconnected)?;
        }
        Ok(())
    }

    async fn next_socket(&mut self) -> u64 {
        match self.next.recv().await {
            Some(next) => self.now = next,
            None => std::future::pending().await,
        }
        self.number += 1;
        self.number
    }
}

fn options() -> HubOptions {
    HubOptions { detailed_errors: true, stateful_reconnect_buffer_size: 1000, ..HubOptions::default() }
}

/// Connects a client that has negotiated stateful reconnect, and performs the handshake with this protocol version.
async fn join(node: &Node, version: i32) -> Client {
    let (to_server, now) = mpsc::channel(64);
    let (out, from_server) = mpsc::channel(64);
    let (sources, next_source) = mpsc::channel(2);
    let (sinks, next_sink) = mpsc::channel(2);
    let (close, reconnect_state) = (CloseSignal::default(), ReconnectState::default());
    let request = RequestInfo {
        transport: TransportKind::WebSockets,
        uri: "/test".parse().unwrap(),
        headers: http::HeaderMap::new(),
        remote: None,
        principal: None,
    };
    let peer = Peer {
        id: ConnectionId::from("a"),
        request: Arc::new(request),
        close: close.clone(),
        reconnect_state: Some(reconnect_state.clone()),
    };
    let (host, outbox) = (node.host.clone(), node.host.outbox(Framing::Raw, &close));
    let source = ChannelSource { now, next: next_source, waiting: None, number: 0 };
    let sink = ChannelSink { now: out, next: next_sink, number: 0 };
    let served = tokio::spawn(async move { serve(&host, peer, outbox, source, sink).await });
    let mut client = Client { to_server: Some(to_server), from_server, sources, sinks, close, reconnect_state, served };
    client.send(&format!(r#"{{"protocol":"json","version":{version}}}"#)).await;
    assert_eq!(client.all().await, ["{}"]);
    client
}

impl Client {
    async fn send(&self, records: &str) {
        self.to_server.as_ref().unwrap().send(format!("{records}\u{1e}").into()).await.unwrap();
    }

    async fn echo(&self, id: u32) {
        self.send(&format!(r#"{{"type":1,"invocationId":"{id}","target":"Echo","arguments":[{id}]}}"#)).await;
    }

    /// All records until nothing more arrives.
    async fn all(&mut self) -> Vec<String> {
        let mut text = String::new();
        while let Ok(Some(bytes)) = tokio::time::timeout(Duration::from_millis(100), self.from_server.recv()).await {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        text.split_terminator('\u{1e}').map(str::to_owned).collect()
    }

    /// Loses the socket: both directions end without a close message. Returns when the server has noticed.
    async fn lose_socket(&mut self) {
        self.to_server = None;
        self.from_server = mpsc::channel(1).1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// Connects with another socket. The old one stays as it is.
    async fn reconnect(&mut self) {
        let (to_server, now) = mpsc::channel(64);
        let (out, from_server) = mpsc::channel(64);
        self.sinks.send(out).await.unwrap();
        self.sources.send(now).await.unwrap();
        (self.to_server, self.from_server) = (Some(to_server), from_server);
    }
}

fn answer(id: u32) -> String {
    format!(r#"{{"type":3,"invocationId":"{id}","result":{id}}}"#)
}

fn sequence(id: u32) -> String {
    format!(r#"{{"type":9,"sequenceId":{id}}}"#)
}

fn broadcast(node: &Node, text: &str) {
    let message = outgoing::invocation("M", vec![RawValue::text(text)]);
    for member in node.host.delivery.registry().all().iter() {
        member.push(&message);
    }
}

#[tokio::test(start_paused = true)]
async fn unacknowledged_messages_are_resent_after_a_sequence() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    for id in 1..=3 {
        client.echo(id).await;
    }
    assert_eq!(client.all().await, [answer(1), answer(2), answer(3)]);
    client.send(r#"{"type":8,"sequenceId":2}"#).await;
    assert!(client.all().await.is_empty());
    client.lose_socket().await;
    broadcast(&node, "meanwhile");
    client.reconnect().await;
    let meanwhile = r#"{"type":1,"target":"M","arguments":["meanwhile"]}"#.to_owned();
    assert_eq!(client.all().await, [sequence(3), answer(3), meanwhile.clone()]);
    // The same happens again, since nothing has been acknowledged in between.
    client.lose_socket().await;
    client.reconnect().await;
    assert_eq!(client.all().await, [sequence(3), answer(3), meanwhile]);
    client.send(r#"{"type":8,"sequenceId":1000}"#).await;
    client.send(r#"{"type":8,"sequenceId":-1}"#).await;
    client.send(r#"{"type":8,"sequenceId":0}"#).await;
    assert!(client.all().await.is_empty());
    client.lose_socket().await;
    client.reconnect().await;
    assert_eq!(client.all().await, [sequence(5)]);
    assert_eq!(node.hook_log(), ["connected a"], "no hook runs");
}

#[tokio::test(start_paused = true)]
async fn resent_messages_are_not_handled_twice() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.echo(1).await;
    client.echo(2).await;
    assert_eq!(client.all().await.len(), 2);
    client.to_server.as_ref().unwrap().send("{\"type\":1,\"invocationId\":\"half".into()).await.unwrap();
    client.lose_socket().await;
    client.reconnect().await;
    assert_eq!(client.all().await, [sequence(1), answer(1), answer(2)]);
    client.send(&sequence(1)).await;
    for id in 1..=3 {
        client.echo(id).await;
    }
    assert_eq!(client.all().await, [answer(3)]);
    node.host.sweep(Instant::now());
    node.host.sweep(Instant::now());
    assert_eq!(client.all().await, [r#"{"type":8,"sequenceId":3}"#]);
}

#[tokio::test(start_paused = true)]
async fn invocations_items_completions_and_cancellations_are_counted() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.send(r#"{"type":2,"invocationId":"x","item":1}"#).await;
    client.send(r#"{"type":3,"invocationId":"y"}"#).await;
    client.send(r#"{"type":5,"invocationId":"z"}"#).await;
    client.send(r#"{"type":1,"target":"None","arguments":[]}"#).await;
    client.send(r#"{"type":6}"#).await;
    assert!(client.all().await.is_empty());
    node.host.sweep(Instant::now());
    assert_eq!(client.all().await, [r#"{"type":8,"sequenceId":4}"#]);
}

#[tokio::test(start_paused = true)]
async fn an_impossible_sequence_closes_the_connection() {
    for (id, detail) in [
        (3, "greater than amount of messages we've received."),
        (i64::MAX, "greater than amount of messages we've received."),
        (0, "less than that of the first message."),
        (-1, "less than that of the first message."),
        (i64::MIN, "less than that of the first message."),
    ] {
        let node = Node::new(options());
        let mut client = join(&node, 2).await;
        client.echo(1).await;
        client.send(&format!(r#"{{"type":9,"sequenceId":{id}}}"#)).await;
        client.echo(2).await;
        let close = format!(
            r#"{{"type":7,"error":"Connection closed with an error. InvalidOperationException: Sequence ID {detail}","allowReconnect":true}}"#
        );
        assert_eq!(client.all().await, [answer(1), close], "{id}");
        assert!(!client.reconnect_state.is_open());
    }
}

#[tokio::test(start_paused = true)]
async fn an_ack_beyond_what_was_sent_is_harmless() {
    for absurd in [0, -1, i64::MIN, 2, 1000, i64::MAX] {
        let node = Node::new(options());
        let mut client = join(&node, 2).await;
        for _ in 0..2 {
            client.send(&format!(r#"{{"type":8,"sequenceId":{absurd}}}"#)).await;
            assert!(client.all().await.is_empty());
        }
        client.echo(1).await;
        assert_eq!(client.all().await, [answer(1)], "an ack has no effect on later messages");
        client.lose_socket().await;
        client.reconnect().await;
        assert_eq!(client.all().await, [sequence(1), answer(1)], "{absurd}");
        client.echo(2).await;
        assert_eq!(client.all().await, [answer(2)], "{absurd}");
    }
}

#[tokio::test(start_paused = true)]
async fn protocol_version_1_has_no_stateful_reconnect() {
    let node = Node::new(options());
    let mut client = join(&node, 1).await;
    client.echo(1).await;
    client.send(&sequence(9)).await;
    assert_eq!(client.all().await, [answer(1)]);
    node.host.sweep(Instant::now());
    assert!(client.all().await.is_empty(), "no ack is sent");
    assert!(!client.reconnect_state.is_open());
    client.lose_socket().await;
    assert_eq!(client.served.await.unwrap(), CloseReason::TransportLost);
}

#[tokio::test(start_paused = true)]
async fn calls_and_uploads_continue_without_a_socket() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.send(r#"{"type":1,"invocationId":"1","target":"Concat","arguments":[],"streamIds":["s"]}"#).await;
    client.send(r#"{"type":2,"invocationId":"s","item":"a"}"#).await;
    client.send(r#"{"type":1,"invocationId":"2","target":"Wait","arguments":[]}"#).await;
    assert!(client.all().await.is_empty());
    client.lose_socket().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    node.gate.0.add_permits(1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.hook_log(), ["connected a", "waited"]);
    client.reconnect().await;
    assert_eq!(client.all().await, [sequence(1), r#"{"type":3,"invocationId":"2","result":null}"#.to_owned()]);
    client.send(&sequence(4)).await;
    client.send(r#"{"type":2,"invocationId":"s","item":"b"}"#).await;
    client.send(r#"{"type":3,"invocationId":"s"}"#).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1","result":"ab"}"#]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_socket_is_replaced_without_losing_a_message() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.send(r#"{"type":1,"invocationId":"1","target":"Wait","arguments":[]}"#).await;
    // The server has read this call, which waits for a free slot.
    client.echo(2).await;
    assert!(client.all().await.is_empty());
    let (_old, old) = (client.to_server.take(), std::mem::replace(&mut client.from_server, mpsc::channel(1).1));
    client.reconnect().await;
    assert_eq!(client.all().await, [sequence(1)], "the writer does not wait for the reader");
    client.send(&sequence(3)).await;
    client.echo(3).await;
    node.gate.0.add_permits(1);
    let done = r#"{"type":3,"invocationId":"1","result":null}"#.to_owned();
    assert_eq!(client.all().await, [done, answer(2), answer(3)]);
    assert_eq!((old.is_closed(), old.is_empty()), (true, true));
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_socket_is_closed_after_disconnect_timeout() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.lose_socket().await;
    let start = Instant::now();
    node.host.sweep(start + Duration::from_secs(14));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(client.reconnect_state.is_open());
    node.host.sweep(start + Duration::from_secs(16));
    assert_eq!(client.served.await.unwrap(), CloseReason::Abandoned);
    assert!(!client.reconnect_state.is_open());
    node.host.tasks.close();
    node.host.tasks.wait().await;
    assert_eq!(node.hook_log(), ["connected a", "disconnected a None"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_socket_is_closed_at_once_on_shutdown() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.echo(1).await;
    client.lose_socket().await;
    client.close.close(CloseReason::Draining);
    let start = Instant::now();
    assert_eq!(client.served.await.unwrap(), CloseReason::Draining);
    assert_eq!(Instant::now(), start);
}

#[tokio::test(start_paused = true)]
async fn the_replay_buffer_of_a_disconnected_client_is_bounded() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.lose_socket().await;
    let text = "x".repeat(400);
    broadcast(&node, &text);
    broadcast(&node, &text);
    assert!(client.close.reason().is_none());
    broadcast(&node, &text);
    assert_eq!(client.served.await.unwrap(), CloseReason::SlowClient);
}

#[tokio::test(start_paused = true)]
async fn the_replay_buffer_of_a_client_that_never_acknowledges_is_bounded() {
    let node = Node::new(HubOptions { outgoing_buffer_size: Some(2000), ..options() });
    let mut client = join(&node, 2).await;
    let text = "x".repeat(400);
    for _ in 0..4 {
        broadcast(&node, &text);
        assert_eq!(client.all().await.len(), 1, "the client reads everything");
    }
    assert!(client.close.reason().is_none());
    broadcast(&node, &text);
    let close = r#"{"type":7,"error":"Connection closed with an error. InvalidOperationException: The client reads too slowly.","allowReconnect":true}"#;
    assert_eq!(client.all().await, [close]);
    assert_eq!(client.served.await.unwrap(), CloseReason::SlowClient);
}

#[tokio::test(start_paused = true)]
async fn pings_are_neither_buffered_nor_counted() {
    let node = Node::new(HubOptions { stateful_reconnect_buffer_size: 1, ..options() });
    let mut client = join(&node, 2).await;
    for _ in 0..100 {
        for member in node.host.delivery.registry().all().iter() {
            member.push(&outgoing::ping());
        }
    }
    assert_eq!(client.all().await.len(), 100);
    client.lose_socket().await;
    client.reconnect().await;
    assert_eq!(client.all().await, [sequence(1)]);
}

/// Uploads items to a call of `Hold`, which reads none of them. When the buffer of ten items is full, the server stops
/// reading.
async fn upload(client: &mut Client, items: usize) {
    for _ in 0..items {
        client.send(r#"{"type":2,"invocationId":"s","item":1}"#).await;
    }
}

#[tokio::test(start_paused = true)]
async fn acks_are_read_while_an_earlier_message_waits() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.echo(1).await;
    assert_eq!(client.all().await, [answer(1)]);
    client.send(r#"{"type":1,"invocationId":"2","target":"Hold","arguments":[],"streamIds":["s"]}"#).await;
    upload(&mut client, 15).await;
    client.send(r#"{"type":8,"sequenceId":1}"#).await;
    client.echo(3).await;
    assert!(client.all().await.is_empty());
    client.reconnect().await;
    assert_eq!(client.all().await, [sequence(2)]);
    node.gate.0.add_permits(1);
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"2","result":null}"#.to_owned(), answer(3)]);
    client.send(&sequence(19)).await;
    client.echo(4).await;
    assert_eq!(client.all().await, [answer(4)]);
}

#[tokio::test(start_paused = true)]
async fn acks_on_the_next_socket_are_read_while_an_earlier_message_waits() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.echo(1).await;
    assert_eq!(client.all().await, [answer(1)]);
    client.send(r#"{"type":1,"invocationId":"2","target":"Hold","arguments":[],"streamIds":["s"]}"#).await;
    upload(&mut client, 15).await;
    client.to_server.as_ref().unwrap().send("{\"type\":2,\"half".into()).await.unwrap();
    client.lose_socket().await;
    client.reconnect().await;
    assert_eq!(client.all().await, [sequence(1), answer(1)]);
    // The client sends everything again, and an ack for what the server has sent again.
    client.send(&sequence(3)).await;
    upload(&mut client, 16).await;
    client.send(r#"{"type":8,"sequenceId":1}"#).await;
    client.echo(3).await;
    assert!(client.all().await.is_empty());
    client.reconnect().await;
    assert_eq!(client.all().await, [sequence(2)], "the ack has an effect although the reader waits");
    node.gate.0.add_permits(1);
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"2","result":null}"#.to_owned(), answer(3)]);
    node.host.sweep(Instant::now());
    assert_eq!(client.all().await, [r#"{"type":8,"sequenceId":19}"#], "nothing was lost or counted twice");
}

#[tokio::test(start_paused = true)]
async fn a_lost_socket_is_noticed_while_a_message_waits() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.send(r#"{"type":1,"target":"Wait","arguments":[]}"#).await;
    client.send(r#"{"type":1,"target":"Wait","arguments":[]}"#).await;
    assert!(client.all().await.is_empty());
    client.lose_socket().await;
    node.host.sweep(Instant::now() + Duration::from_secs(16));
    assert_eq!(client.served.await.unwrap(), CloseReason::Abandoned);
}

#[tokio::test(start_paused = true)]
async fn pings_are_handled_while_resent_messages_are_dropped() {
    let node = Node::new(HubOptions { client_timeout_interval: Duration::from_secs(30), ..options() });
    let mut client = join(&node, 2).await;
    client.echo(1).await;
    client.echo(2).await;
    assert_eq!(client.all().await.len(), 2);
    client.lose_socket().await;
    client.reconnect().await;
    client.send(&sequence(1)).await;
    client.echo(1).await;
    // A client can time out only after its first ping. So the timeout below shows that the ping was handled.
    client.send(r#"{"type":6}"#).await;
    client.echo(2).await;
    assert_eq!(client.all().await, [sequence(1), answer(1), answer(2)]);
    node.host.sweep(Instant::now() + Duration::from_secs(31));
    assert_eq!(client.served.await.unwrap(), CloseReason::ClientTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_due_ack_follows_the_resent_messages() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.echo(1).await;
    client.echo(2).await;
    assert_eq!(client.all().await.len(), 2);
    client.lose_socket().await;
    client.reconnect().await;
    // The ack becomes due before anything has been written to the new socket.
    node.host.sweep(Instant::now());
    let ack = r#"{"type":8,"sequenceId":2}"#.to_owned();
    let seen = client.all().await;
    assert_eq!(seen[..3], [sequence(1), answer(1), answer(2)]);
    node.host.sweep(Instant::now());
    let seen: Vec<_> = seen[3..].iter().cloned().chain(client.all().await).collect();
    assert_eq!(seen, [ack], "one ack is sent, after the resent messages");
}

#[tokio::test(start_paused = true)]
async fn a_close_message_ends_a_resumable_connection() {
    let node = Node::new(options());
    let mut client = join(&node, 2).await;
    client.send(r#"{"type":7}"#).await;
    assert_eq!(client.all().await, [r#"{"type":7}"#]);
    assert_eq!(client.served.await.unwrap(), CloseReason::ClientSentClose(None));
    assert!(!client.reconnect_state.is_open(), "a later socket cannot resume the connection");
}

/// The socket and its first message arrive together, so that reader and writer find both in one turn.
#[tokio::test(start_paused = true)]
async fn a_protocol_error_right_after_a_reconnect_is_reported_on_the_new_socket() {
    for _ in 0..32 {
        let node = Node::new(options());
        let mut client = join(&node, 2).await;
        client.lose_socket().await;
        let (to_server, now) = mpsc::channel(64);
        let (out, from_server) = mpsc::channel(64);
        to_server.send("{}\u{1e}".into()).await.unwrap();
        client.sources.send(now).await.unwrap();
        client.sinks.send(out).await.unwrap();
        (client.to_server, client.from_server) = (Some(to_server), from_server);
        let error = "Connection closed with an error. InvalidDataException: Missing required property 'type'.";
        let close = format!(r#"{{"type":7,"error":"{error}","allowReconnect":true}}"#);
        assert_eq!(client.all().await, [sequence(1), close]);
    }
}
