//! Coming and going: handshakes, hooks, and what a client is told when its connection ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::kit::{In, Node, TestHub};
use crate::close::{CloseReason, CloseSignal};
use crate::config::HubOptions;
use crate::connection::{HubHost, Peer, serve};
use crate::frame::{self, Framing};
use crate::hub::RequestInfo;
use crate::protocol::TransportKind;
use crate::wire::{Gone, Sink};

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_told_and_closed() {
    let node = Node::new(HubOptions::default());
    let mut client = node.connect("a");
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(client.all().await, [r#"{"error":"Handshake was canceled."}"#]);
    assert_eq!(client.served.await.unwrap(), CloseReason::HandshakeMissing);
    assert!(node.told().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_handshake_may_come_in_pieces_with_messages_behind_it() {
    let node = Node::new(HubOptions::default());
    let mut client = node.connect("a");
    client.send_bytes("{\"protocol\":\"JSON\",".into()).await;
    client.send_bytes("\"version\":1}\u{1e}{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",".into()).await;
    client.send("\"arguments\":[1]}").await;
    assert_eq!(client.all().await, ["{}", r#"{"type":3,"invocationId":"1","result":1}"#]);
}

#[tokio::test(start_paused = true)]
async fn refused_handshakes_have_their_text_and_no_close() {
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
async fn the_hooks_run_once_each_and_calls_run_to_their_end() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(r#"{"type":1,"target":"Wait","arguments":[]}"#).await;
    assert!(client.all().await.is_empty());
    client.leave();
    assert_eq!(client.all().await, [""; 0], "a client that left is told nothing");
    assert_eq!(client.served.await.unwrap(), CloseReason::ClientClosed);
    node.gate.0.add_permits(1);
    node.host.tasks.close();
    node.host.tasks.wait().await;
    let mut told = node.told();
    told.sort();
    assert_eq!(told, ["connected a", "disconnected a None", "waited"]);
    assert!(node.host.delivery.registry().everybody().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_close_of_the_client_is_answered_with_one() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(r#"{"type":7,"error":"mine"}"#).await;
    assert_eq!(client.all().await, [r#"{"type":7}"#]);
    assert_eq!(client.served.await.unwrap(), CloseReason::ClientSentClose(Some("mine".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn what_ends_a_connection_decides_its_close_message() {
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
async fn a_bad_message_closes_after_the_good_ones_before_it() {
    let node = Node::new(HubOptions { detailed_errors: true, ..HubOptions::default() });
    let mut client = node.join("a").await;
    client.send("{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[1]}\u{1e}{}").await;
    let close = r#"{"type":7,"error":"Connection closed with an error. InvalidDataException: Missing required property 'type'.","allowReconnect":true}"#;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1","result":1}"#, close]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_refuses_a_client_is_not_told_of_its_end() {
    let node = Node::with(HubOptions::default(), TestHub { refuses: true, ..TestHub::default() });
    let mut client = node.join("a").await;
    assert_eq!(client.all().await, [r#"{"type":7,"error":"Connection closed with an error."}"#]);
    client.served.await.unwrap();
    node.host.tasks.close();
    node.host.tasks.wait().await;
    assert_eq!(node.told(), ["connected a"]);
}

#[tokio::test(start_paused = true)]
async fn the_sweep_pings_and_times_out() {
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
async fn a_client_that_does_not_read_is_closed_alone() {
    let options = HubOptions { outgoing_buffer_messages: Some(50), ..HubOptions::default() };
    let node = Node::new(options);
    let slow = node.join("slow").await;
    let mut sender = node.join("sender").await;
    for n in 0..200 {
        sender.send(&format!(r#"{{"type":1,"invocationId":"{n}","target":"All","arguments":[{n}]}}"#)).await;
        // Its own copy and its completion.
        assert!(sender.next().await.is_some());
        assert!(sender.next().await.is_some());
    }
    assert_eq!(slow.close.reason(), Some(&CloseReason::SlowClient));
    assert_eq!(sender.close.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_task_breaks_is_reached_by_nobody() {
    let node = Node::new(HubOptions::default());
    let client = node.join("a").await;
    client.send_bytes("PANIC".into()).await;
    assert!(client.served.await.unwrap_err().is_panic());
    node.host.tasks.close();
    node.host.tasks.wait().await;
    assert!(node.host.delivery.registry().everybody().is_empty());
    assert_eq!(node.told(), ["connected a", r#"disconnected a Some("the connection's task broke")"#]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_refuses_a_client_says_why_where_details_are_told() {
    let options = HubOptions { detailed_errors: true, ..HubOptions::default() };
    let node = Node::with(options, TestHub { refuses: true, ..TestHub::default() });
    let mut client = node.join("a").await;
    let close = r#"{"type":7,"error":"Connection closed with an error. InvalidOperationException: no"}"#;
    assert_eq!(client.all().await, [close]);
}

#[tokio::test(start_paused = true)]
async fn messagepack_is_refused_where_only_text_travels() {
    let node = Node::new(HubOptions::default());
    let mut client = node.connect_over(TransportKind::ServerSentEvents, "a");
    client.send(r#"{"protocol":"messagepack","version":1}"#).await;
    let error = r#"{"error":"Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format."}"#;
    assert_eq!(client.all().await, [error]);
}

#[tokio::test(start_paused = true)]
async fn hooks_get_no_answer_from_their_client() {
    let node = Node::with(HubOptions::default(), TestHub { asks: true, ..TestHub::default() });
    let mut client = node.join("a").await;
    assert!(client.all().await.is_empty(), "no question is asked before the client is read");
    client.leave();
    client.served.await.unwrap();
    node.host.tasks.close();
    node.host.tasks.wait().await;
    let told = [
        "connected a",
        "InvalidOperationException: Client results inside OnConnectedAsync Hub methods are not allowed.",
        "disconnected a None",
        "IOException: Connection 'a' disconnected.",
    ];
    assert_eq!(node.told(), told);
}

#[tokio::test(start_paused = true)]
async fn a_client_times_out_while_a_call_runs_if_there_are_slots() {
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
async fn nobody_is_pinged_before_the_handshake_is_answered() {
    let node = Node::new(HubOptions::default());
    let mut client = node.connect("a");
    assert!(client.all().await.is_empty());
    node.host.sweep(Instant::now() + Duration::from_secs(20));
    assert!(client.all().await.is_empty());
    client.send(r#"{"protocol":"json","version":1}"#).await;
    assert_eq!(client.all().await, ["{}"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_slot_runs_though_its_client_is_sent_away() {
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
    assert_eq!(node.told().iter().filter(|what| *what == "waited").count(), 2);
}

/// A wire on which every write brings the next message, as a busy hub does; after many it brings none, so that a test
/// ends.
struct Busy {
    node: Arc<HubHost>,
    to_server: mpsc::Sender<Bytes>,
    sent: u32,
}

const MANY: u32 = 100_000;

impl Sink for Busy {
    async fn ready(&mut self) {}

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Gone> {
        batch.clear();
        self.sent += 1;
        if self.sent == 10 {
            self.to_server.try_send("{\"type\":7}\u{1e}".into()).unwrap();
        }
        if self.sent < MANY {
            for member in self.node.delivery.registry().everybody().iter() {
                member.push(&frame::ping());
            }
        } else {
            self.node.delivery.registry().everybody()[0].close.close(CloseReason::SlowClient);
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_read_however_much_there_is_to_write() {
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
    let peer = Peer { id, request: Arc::new(request), close, resumption: None };
    let sink = Busy { node: host.clone(), to_server: to_server.clone(), sent: 0 };
    let served = tokio::spawn(async move { serve(&host, peer, outbox, In(incoming), sink).await });
    to_server.send("{\"protocol\":\"json\",\"version\":1}\u{1e}".into()).await.unwrap();
    assert_eq!(served.await.unwrap(), CloseReason::ClientSentClose(None));
}
