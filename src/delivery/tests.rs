//! Tests of sends, group changes and client results on one node.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::*;
use crate::backplane::{GroupAction, InboundEnvelope, InboundReceiver, LinkState, ReplyTo, memory};
use crate::close::{CloseReason, CloseSignal};
use crate::keep_alive::KeepAlive;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::outgoing::{Encoding, Framing};
use crate::protocol::Outcome;

/// A hub on a node without other nodes.
struct StandaloneNode {
    delivery: Delivery,
    /// The only connection.
    member: Arc<Member>,
    metrics: Metrics,
    _inbound: InboundReceiver,
}

async fn standalone_node(protocols: &[Protocol], most_messages: usize) -> StandaloneNode {
    let metrics = Metrics::default();
    let (backplane, inbound) = memory::standalone();
    let delivery =
        Delivery::new(HubName::from("chat"), NodeId::from("node"), protocols.to_vec(), backplane, metrics.hub("chat"));
    let close = CloseSignal::default();
    let encoding = Encoding { protocol: protocols[0], framing: Framing::Raw };
    let member = Arc::new(Member {
        id: "me".into(),
        user: None,
        outbox: Arc::new(Outbox::new(encoding, Some(1 << 20), Some(most_messages), close.clone())),
        close,
        keep_alive: KeepAlive::new(Instant::now(), false),
        receive_tracker: None,
    });
    delivery.connect(member.clone()).await;
    StandaloneNode { delivery, member, metrics, _inbound: inbound }
}

fn nested(depth: usize) -> RawValue {
    RawValue::from_checked(Protocol::Json, Bytes::from("[".repeat(depth) + &"]".repeat(depth)))
}

#[tokio::test]
async fn a_value_nested_too_deep_is_refused_even_with_one_protocol() {
    for protocols in [&[Protocol::Json][..], &[Protocol::MessagePack], &Protocol::ALL] {
        let StandaloneNode { delivery, _inbound, .. } = standalone_node(protocols, 9).await;
        delivery.send(&Recipients::all(), "M", vec![nested(62)]).await.unwrap();
        let error = delivery.send(&Recipients::all(), "M", vec![nested(63)]).await.unwrap_err();
        assert!(matches!(error, SendError::Value(_)), "{protocols:?}: {error}");
    }
    let StandaloneNode { delivery, _inbound, .. } = standalone_node(&[Protocol::MessagePack], 9).await;
    let packed = RawValue::from_checked(Protocol::MessagePack, Bytes::from([vec![0x91; 62], vec![0x90]].concat()));
    assert!(delivery.send(&Recipients::all(), "M", vec![packed]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_group_change_for_an_unknown_connection_succeeds_at_once_on_a_standalone_node() {
    let StandaloneNode { delivery, _inbound, .. } = standalone_node(&Protocol::ALL, 9).await;
    delivery.subscribe_hub_channels().await;
    let began = Instant::now();
    assert_eq!(delivery.join(&"gone".into(), &"room".into()).await, Ok(()));
    assert_eq!(delivery.leave(&"gone".into(), &"room".into()).await, Ok(()));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_slow_client_is_logged_once_and_receives_nothing_after_its_first_loss() {
    let StandaloneNode { delivery, member, metrics, _inbound } = standalone_node(&[Protocol::Json], 1).await;
    for number in ["1", "2", "3"] {
        delivery.send(&Recipients::all(), number, vec![]).await.unwrap();
    }
    assert_eq!(member.close.reason(), Some(&CloseReason::SlowClient));
    let mut batch = Vec::new();
    member.outbox.next(&mut batch).await;
    assert_eq!(batch.len(), 1);
    // The outbox is empty again, but message 2 was lost, so nothing may follow it.
    delivery.send(&Recipients::all(), "4", vec![]).await.unwrap();
    assert!(member.outbox.is_empty());
    #[cfg(feature = "metrics")]
    {
        let text = metrics.page(crate::metrics::TextFormat::Prometheus);
        let counted = |line: &str| line.starts_with("signalr_outbox_overflows") && line.ends_with(" 1");
        assert!(text.lines().any(counted), "{text}");
    }
    #[cfg(not(feature = "metrics"))]
    drop(metrics);
}

/// On one thread nothing else runs while a sender does not yield, so this shows that it yields often enough: the client
/// reads as fast as it gets the chance to.
#[tokio::test]
async fn a_burst_of_large_messages_lets_the_writer_run() {
    const LENGTH: usize = 30_000;
    const COUNT: usize = 400;
    let large = || vec![RawValue::text(&"x".repeat(LENGTH))];
    let drain = |member: Arc<Member>| {
        tokio::spawn(async move {
            let (mut batch, mut received) = (Vec::new(), 0);
            while received < COUNT && member.outbox.next(&mut batch).await {
                received += batch.drain(..).count();
            }
            received
        })
    };

    // A caller that sends in a loop.
    let StandaloneNode { delivery, member, _inbound, .. } = standalone_node(&[Protocol::Json], usize::MAX).await;
    let writer = drain(member.clone());
    for _ in 0..COUNT {
        delivery.send(&Recipients::all(), "M", large()).await.unwrap();
        assert_eq!(member.close.reason(), None);
    }
    assert_eq!(writer.await.unwrap(), COUNT);

    // The dispatcher, which reads what arrives over the backplane.
    let StandaloneNode { delivery, member, _inbound, .. } = standalone_node(&[Protocol::Json], usize::MAX).await;
    let topic = Topic { hub: delivery.hub().clone(), channel: Channel::All };
    let (sender, receiver) = mpsc::channel(COUNT);
    for _ in 0..COUNT {
        let message = outgoing::invocation("M", large());
        let envelope = Envelope::Message { except: vec![], message, reply_to: None };
        sender.try_send(InboundEnvelope { topic: topic.clone(), envelope }).unwrap();
    }
    drop(sender);
    let writer = drain(member.clone());
    inbound::InboundDispatcher::new([Arc::new(delivery)]).run(receiver).await;
    assert_eq!(member.close.reason(), None);
    assert_eq!(writer.await.unwrap(), COUNT);
}

/// A backplane that confirms subscriptions only when the test says so. As on Redis, where confirmations and messages
/// share a connection, a confirmation comes after the messages that were sent before it.
#[derive(Debug, Default)]
struct OrderedBackplane {
    unconfirmed: Mutex<Vec<oneshot::Sender<()>>>,
    acks: AtomicUsize,
}

impl OrderedBackplane {
    fn confirm(&self) {
        self.unconfirmed.lock().unwrap().drain(..).for_each(|confirm| confirm.send(()).unwrap());
    }
}

impl Backplane for OrderedBackplane {
    fn echoes(&self) -> bool {
        true
    }

    fn publish(&self, _: Topic, envelope: Envelope) -> BoxFuture<'static, Result<u64, BackplaneError>> {
        self.acks.fetch_add(usize::from(matches!(envelope, Envelope::Ack { .. })), Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(1)))
    }

    fn subscribe(&self, _: Vec<Topic>) -> BoxFuture<'static, ()> {
        let (confirm, confirmed) = oneshot::channel();
        self.unconfirmed.lock().unwrap().push(confirm);
        Box::pin(async move { drop(confirmed.await) })
    }

    fn unsubscribe(&self, _: Vec<Topic>) {}

    fn link(&self) -> watch::Receiver<LinkState> {
        watch::channel(LinkState::Up).1
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Sends a burst of group commands, and returns how many of them are acknowledged.
async fn acknowledged_of(burst: usize) -> usize {
    let ordered = Arc::new(OrderedBackplane::default());
    let StandaloneNode { member, metrics, _inbound, .. } = standalone_node(&Protocol::ALL, 9).await;
    let hub = HubName::from("chat");
    let delivery =
        Delivery::new(hub.clone(), NodeId::from("node"), Protocol::ALL.to_vec(), ordered.clone(), metrics.hub("chat"));
    delivery.registry().add(member.clone());
    let (sender, arrived) = mpsc::channel(64);
    let dispatcher = tokio::spawn(inbound::InboundDispatcher::new([Arc::new(delivery)]).run(arrived));
    let reading = async {
        for number in 0..burst {
            let envelope = Envelope::GroupCommand {
                id: number as i32,
                node: "other".into(),
                action: GroupAction::Join,
                group: number.to_string().into(),
                connection: member.id.clone(),
            };
            let topic = Topic { hub: hub.clone(), channel: Channel::GroupCommands };
            sender.send(InboundEnvelope { topic, envelope }).await.unwrap();
        }
        while sender.capacity() < sender.max_capacity() {
            tokio::task::yield_now().await;
        }
        ordered.confirm();
        while ordered.acks.load(Ordering::Relaxed) < burst.min(inbound::MAX_PENDING_COMMANDS) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .expect("later envelopes do not wait for group commands");
    drop(sender);
    dispatcher.await.unwrap();
    ordered.acks.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_group_commands_does_not_block_their_confirmations() {
    assert_eq!(acknowledged_of(6000).await, 6000);
    assert_eq!(
        acknowledged_of(inbound::MAX_PENDING_COMMANDS + 3).await,
        inbound::MAX_PENDING_COMMANDS,
        "the number of pending commands is bounded"
    );
}

#[tokio::test]
async fn a_second_join_waits_for_the_subscription_of_the_first() {
    let ordered = Arc::new(OrderedBackplane::default());
    let StandaloneNode { member, metrics, _inbound, .. } = standalone_node(&Protocol::ALL, 9).await;
    let hub = HubName::from("chat");
    let delivery =
        Delivery::new(hub, NodeId::from("node"), Protocol::ALL.to_vec(), ordered.clone(), metrics.hub("chat"));
    delivery.registry().add(member.clone());
    let room = "room".into();
    let mut joins = [(); 2].map(|()| Box::pin(delivery.join(&member.id, &room)));
    for join in &mut joins {
        assert_eq!(join.as_mut().now_or_never(), None);
    }
    ordered.confirm();
    for join in joins {
        assert_eq!(join.now_or_never(), Some(Ok(())));
    }
}

#[tokio::test]
async fn requests_to_a_client_that_never_answers_are_bounded() {
    let StandaloneNode { delivery, member, _inbound, .. } = standalone_node(&Protocol::ALL, usize::MAX).await;
    let ask = |number: usize| {
        let reply_to = ReplyTo { invocation: number.to_string().into(), node: "other".into() };
        delivery.forward_request(&member.id, &outgoing::invocation("Answer", vec![]), reply_to)
    };
    for number in 0..client_results::MAX_PENDING_PER_CONNECTION {
        assert!(ask(number).is_none(), "the client gets the request");
    }
    assert!(ask(client_results::MAX_PENDING_PER_CONNECTION).is_some(), "the requesting node gets an error");
    // After an answer, one more request is possible.
    assert!(delivery.result_received(&member.id, &"7".into(), Outcome::Void).unwrap().is_some());
    assert!(ask(client_results::MAX_PENDING_PER_CONNECTION).is_none());
    assert_eq!(delivery.fail_pending_results(&member).len(), client_results::MAX_PENDING_PER_CONNECTION);
    assert!(delivery.result_received(&member.id, &"8".into(), Outcome::Void).unwrap().is_none());
}

#[test]
fn each_kind_of_error_is_reported_once() {
    let reported_errors = inbound_errors::ReportedErrors::default();
    for error in [
        InboundError::NotConvertible,
        InboundError::UnknownProtocol,
        InboundError::NotACompletion,
        InboundError::Unreadable,
        InboundError::TooManyCommands,
    ] {
        assert!(reported_errors.first_report(error), "{error:?}");
        assert!(!reported_errors.first_report(error), "{error:?}");
    }
}
