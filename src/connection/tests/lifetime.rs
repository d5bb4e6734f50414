//! Tests of how connections begin and end: handshakes, hooks, timeouts and close messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::kit::{ChannelSource, Node, ScriptedHub};
use crate::close::{CloseReason, CloseSignal};
use crate::config::HubOptions;
use crate::connection::{HubHost, Peer, serve};
use crate::hub::RequestInfo;
use crate::outgoing::{self, Framing};
use crate::protocol::TransportKind;
use crate::wire::{Disconnected, Sink};

#[tokio::test(start_paused = true)]
async fn a_client_without_a_handshake_is_closed_with_an_error() {
    let node = Node::new(HubOptions::default());
    let mut client = node.connect("a");
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(client.all().await, [r#"{"error":"Handshake was canceled."}"#]);
    assert_eq!(client.served.await.unwrap(), CloseReason::HandshakeMissing);
    assert!(node.hook_log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_handshake_may_arrive_in_pieces_followed_by_messages() {
    let node = Node::new(HubOptions::default());
    let mut client = node.connect("a");
    client.send_bytes("{\"protocol\":\"JSON\",".into()).await;
    client.send_bytes("\"version\":1}\u{1e}{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",".into()).await;
    client.send("\"arguments\":[1]}").await;
    assert_eq!(client.all().await, ["{}", r#"{"type":3,"invocationId":"1","result":1}"#]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_handshake_is_answered_without_a_close_message() {
    for (request, text) in [
        (r#"{"protocol":"x","version":1}"#, "The protocol 'x' is not supported."),
        (r#"{"protocol":"json","version":3}"#, "The server does not support version 3 of the 'json' protocol."),
        ("[]", "An unexpected error occurred during connection handshake."),
    ] {
        let node = Node::new(HubOptions::default());
        let mut client = node.connect("a");
        client.send(request).await;
        assert_eq!(client.all().await, [format!(r#"{{"error":"{text}"}}"#)]);
        assert_eq!(client.served.await.unwrap(), CloseReason::HandshakeFailed(text.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_run_once_and_running_calls_finish() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(r#"{"type":1,"target":"Wait","arguments":[]}"#).await;
    assert!(client.all().await.is_empty());
    client.leave();
    assert_eq!(client.all().await, [""; 0], "nothing is sent to a client that has left");
    assert_eq!(client.served.await.unwrap(), CloseReason::ClientClosed);
    node.gate.0.add_permits(1);
    node.host.tasks.close();
    node.host.tasks.wait().await;
    let mut hook_log = node.hook_log();
    hook_log.sort();
    assert_eq!(hook_log, ["connected a", "disconnected a None", "waited"]);
    assert!(node.host.delivery.registry().all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_close_message_is_answered_with_a_close_message() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(r#"{"type":7,"error":"mine"}"#).await;
    assert_eq!(client.all().await, [r#"{"type":7}"#]);
    assert_eq!(client.served.await.unwrap(), CloseReason::ClientSentClose(Some("mine".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn the_close_reason_determines_the_close_message() {
    for (reason, close) in [
        (CloseReason::Aborted, r#"{"type":7}"#),
        (CloseReason::Draining, r#"{"type":7,"allowReconnect":true}"#),
        (CloseReason::ClientTimeout, r#"{"type":7,"error":"Connection closed with an error.","allowReconnect":true}"#),
    ] {
        let node = Node::new(HubOptions::default());
        let mut client = node.join("a").await;
        client.close.close(reason.clone());
        client.close.close(CloseReason::Abandoned);
        assert_eq!(client.all().await, [close]);
        assert_eq!(client.served.await.unwrap(), reason);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_not_sent_its_handshake_gets_no_close_message() {
    for reason in [CloseReason::Draining, CloseReason::AuthenticationExpired, CloseReason::Terminated] {
        let node = Node::new(HubOptions::default());
        let mut client = node.connect("a");
        client.send_bytes("{\"protocol\":".into()).await;
        client.close.close(reason.clone());
        assert!(client.all().await.is_empty(), "{reason}");
        assert_eq!(client.served.await.unwrap(), reason);
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_message_closes_after_earlier_ones_were_handled() {
    let node = Node::new(HubOptions { detailed_errors: true, ..HubOptions::default() });
    let mut client = node.join("a").await;
    client.send("{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[1]}\u{1e}{}").await;
    let close = r#"{"type":7,"error":"Connection closed with an error. InvalidDataException: Missing required property 'type'.","allowReconnect":true}"#;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1","result":1}"#, close]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_causes_no_disconnected_call() {
    let node = Node::with(HubOptions::default(), ScriptedHub { refuses_clients: true, ..ScriptedHub::default() });
    let mut client = node.join("a").await;
    assert_eq!(client.all().await, [r#"{"type":7,"error":"Connection closed with an error."}"#]);
    client.served.await.unwrap();
    node.host.tasks.close();
    node.host.tasks.wait().await;
    assert_eq!(node.hook_log(), ["connected a"]);
}

#[tokio::test(start_paused = true)]
async fn the_sweep_sends_pings_and_closes_silent_clients() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(r#"{"type":6}"#).await;
    assert!(client.all().await.is_empty());
    node.host.sweep(Instant::now() + Duration::from_secs(15));
    assert_eq!(client.all().await, [r#"{"type":6}"#]);
    node.host.sweep(Instant::now() + Duration::from_secs(31));
    let last = client.all().await.pop().unwrap();
    assert_eq!(last, r#"{"type":7,"error":"Connection closed with an error.","allowReconnect":true}"#);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed_and_others_are_not() {
    let options = HubOptions { outgoing_buffer_messages: Some(50), ..HubOptions::default() };
    let node = Node::new(options);
    let slow = node.join("slow").await;
    let mut sender = node.join("sender").await;
    for n in 0..200 {
        sender.send(&format!(r#"{{"type":1,"invocationId":"{n}","target":"All","arguments":[{n}]}}"#)).await;
        // The broadcast and the completion.
        assert!(sender.next().await.is_some());
        assert!(sender.next().await.is_some());
    }
    assert_eq!(slow.close.reason(), Some(&CloseReason::SlowClient));
    assert_eq!(sender.close.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_task_panics_is_unregistered() {
    let node = Node::new(HubOptions::default());
    let client = node.join("a").await;
    client.send_bytes("PANIC".into()).await;
    assert!(client.served.await.unwrap_err().is_panic());
    node.host.tasks.close();
    node.host.tasks.wait().await;
    assert!(node.host.delivery.registry().all().is_empty());
    assert_eq!(node.hook_log(), ["connected a", r#"disconnected a Some("the connection's task panicked")"#]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_gets_the_reason_with_detailed_errors() {
    let options = HubOptions { detailed_errors: true, ..HubOptions::default() };
    let node = Node::with(options, ScriptedHub { refuses_clients: true, ..ScriptedHub::default() });
    let mut client = node.join("a").await;
    let close = r#"{"type":7,"error":"Connection closed with an error. InvalidOperationException: no"}"#;
    assert_eq!(client.all().await, [close]);
}

#[tokio::test(start_paused = true)]
async fn messagepack_is_refused_on_a_text_transport() {
    let node = Node::new(HubOptions::default());
    let mut client = node.connect_over(TransportKind::ServerSentEvents, "a");
    client.send(r#"{"protocol":"messagepack","version":1}"#).await;
    let error = r#"{"error":"Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format."}"#;
    assert_eq!(client.all().await, [error]);
}

#[tokio::test(start_paused = true)]
async fn hooks_cannot_request_results_from_their_client() {
    let node = Node::with(HubOptions::default(), ScriptedHub { requests_results: true, ..ScriptedHub::default() });
    let mut client = node.join("a").await;
    assert!(client.all().await.is_empty(), "no client method is invoked in `connected`");
    client.leave();
    client.served.await.unwrap();
    node.host.tasks.close();
    node.host.tasks.wait().await;
    let hook_log = [
        "connected a",
        "InvalidOperationException: Client results inside OnConnectedAsync Hub methods are not allowed.",
        "disconnected a None",
        "IOException: Connection 'a' disconnected.",
    ];
    assert_eq!(node.hook_log(), hook_log);
}

#[tokio::test(start_paused = true)]
async fn a_client_can_time_out_while_a_call_runs() {
    let options = HubOptions { maximum_parallel_invocations_per_client: 2, ..HubOptions::default() };
    let node = Node::new(options);
    let mut client = node.join("a").await;
    client.send("{\"type\":6}\u{1e}{\"type\":1,\"target\":\"Wait\",\"arguments\":[]}").await;
    assert!(client.all().await.is_empty());
    node.host.sweep(Instant::now() + Duration::from_secs(31));
    assert_eq!(client.all().await.len(), 1);
    assert_eq!(client.close.reason(), Some(&CloseReason::ClientTimeout));
}

#[tokio::test(start_paused = true)]
async fn no_ping_is_sent_before_the_handshake_response() {
    let node = Node::new(HubOptions::default());
    let mut client = node.connect("a");
    assert!(client.all().await.is_empty());
    node.host.sweep(Instant::now() + Duration::from_secs(20));
    assert!(client.all().await.is_empty());
    client.send(r#"{"protocol":"json","version":1}"#).await;
    assert_eq!(client.all().await, ["{}"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_slot_runs_after_its_client_was_closed() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    for _ in 0..2 {
        client.send(r#"{"type":1,"target":"Wait","arguments":[]}"#).await;
    }
    assert!(client.all().await.is_empty());
    client.close.close(CloseReason::Terminated);
    assert_eq!(client.served.await.unwrap(), CloseReason::Terminated);
    node.gate.0.add_permits(2);
    node.host.tasks.close();
    node.host.tasks.wait().await;
    assert_eq!(node.hook_log().iter().filter(|what| *what == "waited").count(), 2);
}

/// A sink on which every write causes the next message, as in a busy hub. After [`MAX_MESSAGES`] it closes the
/// connection instead, so that a failing test ends.
struct BusySink {
    node: Arc<HubHost>,
    to_server: mpsc::Sender<Bytes>,
    sent: u32,
}

const MAX_MESSAGES: u32 = 100_000;

impl Sink for BusySink {
    async fn ready(&mut self) {}

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Disconnected> {
        batch.clear();
        self.sent += 1;
        if self.sent == 10 {
            self.to_server.try_send("{\"type\":7}\u{1e}".into()).unwrap();
        }
        if self.sent < MAX_MESSAGES {
            for member in self.node.delivery.registry().all().iter() {
                member.push(&outgoing::ping());
            }
        } else {
            self.node.delivery.registry().all()[0].close.close(CloseReason::SlowClient);
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_read_while_there_is_always_more_to_write() {
    let node = Node::new(HubOptions::default());
    let (to_server, incoming) = mpsc::channel(16);
    let request = RequestInfo {
        transport: TransportKind::WebSockets,
        uri: "/test".parse().unwrap(),
        headers: http::HeaderMap::new(),
        remote: None,
        principal: None,
    };
    let (id, close) = ("a".into(), CloseSignal::default());
    let (host, outbox) = (node.host.clone(), node.host.outbox(Framing::Raw, &close));
    let peer = Peer { id, request: Arc::new(request), close, reconnect_state: None };
    let sink = BusySink { node: host.clone(), to_server: to_server.clone(), sent: 0 };
    let served = tokio::spawn(async move { serve(&host, peer, outbox, ChannelSource(incoming), sink).await });
    to_server.send("{\"protocol\":\"json\",\"version\":1}\u{1e}".into()).await.unwrap();
    assert_eq!(served.await.unwrap(), CloseReason::ClientSentClose(None));
}
