//! What a send and a group change promise on one node.
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
use crate::frame::{Encoding, Framing};
use crate::liveness::Liveness;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::protocol::Outcome;

/// A hub on a node that stands alone.
struct Alone {
    delivery: Delivery,
    /// Its one member.
    member: Arc<Member>,
    metrics: Metrics,
    _inbound: InboundReceiver,
}

async fn alone(protocols: &[Protocol], most_messages: usize) -> Alone {
    let metrics = Metrics::default();
    let (backplane, inbound) = memory::standalone();
    let delivery =
        Delivery::new(HubName::from("chat"), NodeId::from("node"), protocols.to_vec(), backplane, metrics.hub("chat"));
    let close = CloseSignal::default();
    let encoding = Encoding { protocol: protocols[0], framing: Framing::Raw };
    let member = Arc::new(Member {
        id: "me".into(),
        user: None,
        outbox: Arc::new(Outbox::new(encoding, None, Some(most_messages), close.clone())),
        close,
        liveness: Liveness::new(Instant::now(), false),
        received: None,
    });
    delivery.connect(member.clone()).await;
    Alone { delivery, member, metrics, _inbound: inbound }
}

fn nested(depth: usize) -> RawValue {
    RawValue::from_checked(Protocol::Json, Bytes::from("[".repeat(depth) + &"]".repeat(depth)))
}

#[tokio::test]
async fn what_is_too_deep_for_a_message_is_refused_by_a_hub_of_one_protocol_too() {
    for protocols in [&[Protocol::Json][..], &[Protocol::MessagePack], &Protocol::ALL] {
        let Alone { delivery, _inbound, .. } = alone(protocols, 9).await;
        delivery.send(&Target::all(), "M", vec![nested(62)]).await.unwrap();
        let error = delivery.send(&Target::all(), "M", vec![nested(63)]).await.unwrap_err();
        assert!(matches!(error, SendError::Value(_)), "{protocols:?}: {error}");
    }
    let Alone { delivery, _inbound, .. } = alone(&[Protocol::MessagePack], 9).await;
    let packed = RawValue::from_checked(Protocol::MessagePack, Bytes::from([vec![0x91; 62], vec![0x90]].concat()));
    assert!(delivery.send(&Target::all(), "M", vec![packed]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_group_change_of_nobody_ends_at_once_on_a_node_that_stands_alone() {
    let Alone { delivery, _inbound, .. } = alone(&Protocol::ALL, 9).await;
    delivery.listen().await;
    let began = Instant::now();
    assert_eq!(delivery.join(&"gone".into(), &"room".into()).await, Ok(()));
    assert_eq!(delivery.leave(&"gone".into(), &"room".into()).await, Ok(()));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_slow_client_is_told_of_once_and_gets_nothing_behind_what_it_missed() {
    let Alone { delivery, member, metrics, _inbound } = alone(&[Protocol::Json], 1).await;
    for number in ["1", "2", "3"] {
        delivery.send(&Target::all(), number, vec![]).await.unwrap();
    }
    assert_eq!(member.close.reason(), Some(&CloseReason::SlowClient));
    let mut batch = Vec::new();
    member.outbox.next(&mut batch).await;
    assert_eq!(batch.len(), 1);
    // Room again, but number two is missing.
    delivery.send(&Target::all(), "4", vec![]).await.unwrap();
    assert!(member.outbox.is_empty());
    #[cfg(feature = "metrics")]
    {
        let text = metrics.page(crate::metrics::Format::Prometheus);
        let counted = |line: &str| line.starts_with("signalr_outbox_overflows") && line.ends_with(" 1");
        assert!(text.lines().any(counted), "{text}");
    }
    #[cfg(not(feature = "metrics"))]
    drop(metrics);
}

/// A Redis whose subscription connection is one line: confirmations come behind the messages that were sent before.
#[derive(Debug, Default)]
struct OneLine {
    unconfirmed: Mutex<Vec<oneshot::Sender<()>>>,
    acks: AtomicUsize,
}

impl OneLine {
    fn confirm(&self) {
        self.unconfirmed.lock().unwrap().drain(..).for_each(|confirm| confirm.send(()).unwrap());
    }
}

impl Backplane for OneLine {
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

/// How many of so many joins that come in one burst are made and acknowledged.
async fn acknowledged_of(burst: usize) -> usize {
    let line = Arc::new(OneLine::default());
    let Alone { member, metrics, _inbound, .. } = alone(&Protocol::ALL, 9).await;
    let hub = HubName::from("chat");
    let delivery =
        Delivery::new(hub.clone(), NodeId::from("node"), Protocol::ALL.to_vec(), line.clone(), metrics.hub("chat"));
    delivery.registry().add(member.clone());
    let (sender, arrived) = mpsc::channel(64);
    let router = tokio::spawn(inbound::Router::new([Arc::new(delivery)]).run(arrived));
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
        line.confirm();
        while line.acks.load(Ordering::Relaxed) < burst.min(inbound::MOST_COMMANDS) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("what arrives does not wait for them");
    drop(sender);
    router.await.unwrap();
    line.acks.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_group_commands_does_not_stop_what_confirms_them() {
    assert_eq!(acknowledged_of(6000).await, 6000);
    assert_eq!(acknowledged_of(inbound::MOST_COMMANDS + 3).await, inbound::MOST_COMMANDS, "there is a bound");
}

#[tokio::test]
async fn a_second_join_does_not_overtake_the_subscription_of_the_first() {
    let line = Arc::new(OneLine::default());
    let Alone { member, metrics, _inbound, .. } = alone(&Protocol::ALL, 9).await;
    let hub = HubName::from("chat");
    let delivery = Delivery::new(hub, NodeId::from("node"), Protocol::ALL.to_vec(), line.clone(), metrics.hub("chat"));
    delivery.registry().add(member.clone());
    let room = "room".into();
    let mut joins = [(); 2].map(|()| Box::pin(delivery.join(&member.id, &room)));
    for join in &mut joins {
        assert_eq!(join.as_mut().now_or_never(), None);
    }
    line.confirm();
    for join in joins {
        assert_eq!(join.now_or_never(), Some(Ok(())));
    }
}

#[tokio::test]
async fn a_client_that_never_answers_is_not_asked_without_end() {
    let Alone { delivery, member, _inbound, .. } = alone(&Protocol::ALL, usize::MAX).await;
    let ask = |number: usize| {
        let reply_to = ReplyTo { invocation: number.to_string().into(), node: "other".into() };
        delivery.pass_on(&member.id, &frame::send("Answer", vec![]), reply_to)
    };
    for number in 0..results::MOST_OPEN {
        assert!(ask(number).is_none(), "it is asked");
    }
    assert!(ask(results::MOST_OPEN).is_some(), "the asker is told");
    // An answer makes room.
    assert!(delivery.answered(&member.id, &"7".into(), Outcome::Void).unwrap().is_some());
    assert!(ask(results::MOST_OPEN).is_none());
    assert_eq!(delivery.unanswered(&member).len(), results::MOST_OPEN);
    assert!(delivery.answered(&member.id, &"8".into(), Outcome::Void).unwrap().is_none());
}

#[test]
fn each_kind_of_fault_is_told_once() {
    let faults = faults::Faults::default();
    for fault in [Fault::NoForm, Fault::UnknownProtocol, Fault::NoCompletion, Fault::Unreadable, Fault::TooMany] {
        assert!(faults.is_new(fault), "{fault:?}");
        assert!(!faults.is_new(fault), "{fault:?}");
    }
}
