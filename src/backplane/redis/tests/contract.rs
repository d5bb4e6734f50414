//! Tests of the contract of every backplane, run with two nodes on the memory bus and on Redis.

use bytes::Bytes;
use testkit::Redis;
use tokio::sync::mpsc::error::TryRecvError;

use super::kit::{Node, TIMEOUT, options, start, text_envelope, text_of, topic};
use crate::backplane::memory::MemoryBus;
use crate::backplane::{BackplaneError, Channel, Envelope, GroupAction, LinkState, ReplyTo, Topic};
use crate::ids::NodeId;
use crate::protocol::Protocol;

struct Farm {
    a: Node,
    b: Node,
    _redis: Option<Redis>,
}

impl Farm {
    async fn memory() -> Self {
        let bus = MemoryBus::default();
        let node = |name: &str| {
            let (backplane, inbound) = bus.node(NodeId::from(name));
            Node { backplane, inbound }
        };
        Self { a: node("a"), b: node("b"), _redis: None }
    }

    async fn redis() -> Self {
        let redis = start(&[]).await;
        let options = || options(&redis, "channelPrefix=Pre");
        let (a, b) = (Node::on_redis(options(), "a").await, Node::on_redis(options(), "b").await);
        a.wait_for_link(LinkState::Up).await;
        b.wait_for_link(LinkState::Up).await;
        Self { a, b, _redis: Some(redis) }
    }

    async fn both_hear_all(&self) {
        self.a.subscribe([Channel::All]).await;
        self.b.subscribe([Channel::All]).await;
    }

    /// 1 if a node receives its own publishes too, else 0.
    fn own(&self) -> u64 {
        u64::from(self.a.backplane.echoes())
    }
}

async fn a_message_reaches_the_subscribers(mut farm: Farm) {
    farm.both_hear_all().await;
    assert_eq!(farm.a.publish_text("one").await, Ok(1 + farm.own()));
    assert_eq!(farm.b.next_text().await, "one");
    if farm.own() == 1 {
        assert_eq!(farm.a.next_text().await, "one");
    } else {
        assert_eq!(farm.a.inbound.try_recv().unwrap_err(), TryRecvError::Empty);
    }
}

async fn a_publish_without_subscribers_counts_none(farm: Farm) {
    assert_eq!(farm.a.publish(Channel::Connection("nobody".into()), text_envelope("?")).await, Ok(0));
    farm.b.subscribe([Channel::Connection("c".into())]).await;
    assert_eq!(farm.a.publish(Channel::Connection("c".into()), text_envelope("!")).await, Ok(1));
}

async fn publishes_keep_the_order_of_the_calls(mut farm: Farm) {
    farm.both_hear_all().await;
    let publishes: Vec<_> =
        (0..1000).map(|i| farm.a.backplane.publish(topic(Channel::All), text_envelope(&i.to_string()))).collect();
    // The futures are polled in reverse, which must not matter.
    for publish in publishes.into_iter().rev() {
        tokio::time::timeout(TIMEOUT, publish).await.unwrap().unwrap();
    }
    for i in 0..1000 {
        assert_eq!(farm.b.next_text().await, i.to_string());
    }
}

async fn subscriptions_are_counted_and_commute(mut farm: Farm) {
    let group = || Channel::Group("g".into());
    farm.b.subscribe([Channel::All, group()]).await;
    farm.b.subscribe([group()]).await;
    farm.b.unsubscribe(group());
    assert_eq!(farm.a.publish(group(), text_envelope("still there")).await, Ok(1));
    assert_eq!(farm.b.next_text().await, "still there");
    farm.b.unsubscribe(group());
    // Once a later subscription is confirmed, the unsubscription has taken effect.
    farm.b.subscribe([Channel::User("u".into())]).await;
    assert_eq!(farm.a.publish(group(), text_envelope("gone")).await, Ok(0));
    farm.b.unsubscribe(group());
    farm.b.subscribe([group()]).await;
    farm.b.subscribe([Channel::User("v".into())]).await;
    assert_eq!(farm.a.publish(group(), text_envelope("zero again")).await, Ok(0));
    farm.a.publish_text("end").await.unwrap();
    farm.b.expect_texts(&[], "end").await;
}

async fn names_are_literal_and_case_sensitive(mut farm: Farm) {
    let names = ["*", "a:b", "Case", "case", "", "ü [x]? \r\n"];
    farm.b.subscribe(names.map(|name| Channel::Group(name.into()))).await;
    farm.b.subscribe([Channel::User("*".into()), Channel::All]).await;
    for name in names {
        assert_eq!(farm.a.publish(Channel::Group(name.into()), text_envelope(name)).await, Ok(1), "{name:?}");
        let inbound = farm.b.next().await;
        assert_eq!(inbound.topic, topic(Channel::Group(name.into())));
        assert_eq!(text_of(&inbound), name);
    }
    assert_eq!(farm.a.publish(Channel::Group("other".into()), text_envelope("no")).await, Ok(0));
    assert_eq!(farm.a.publish(Channel::User("other".into()), text_envelope("no")).await, Ok(0));
}

async fn hubs_do_not_receive_each_others_messages(mut farm: Farm) {
    farm.both_hear_all().await;
    let other = Topic { hub: "Chat".into(), channel: Channel::All };
    assert_eq!(farm.a.backplane.publish(other.clone(), text_envelope("other hub")).await, Ok(0));
    farm.b.backplane.subscribe(vec![other.clone()]).await;
    assert_eq!(farm.a.backplane.publish(other.clone(), text_envelope("heard")).await, Ok(1));
    assert_eq!(farm.b.next().await.topic, other);
}

async fn every_envelope_arrives_unchanged(mut farm: Farm) {
    let node = || NodeId::from("b_0123");
    farm.b
        .subscribe([
            Channel::GroupCommands,
            Channel::Acks(node()),
            Channel::Results(node()),
            Channel::Connection("c".into()),
        ])
        .await;
    let command = Envelope::GroupCommand {
        id: i32::MIN,
        node: "a".into(),
        action: GroupAction::Leave,
        group: "g:1".into(),
        connection: "c".into(),
    };
    farm.a.publish(Channel::GroupCommands, command).await.unwrap();
    farm.a.publish(Channel::Acks(node()), Envelope::Ack { id: 70_000 }).await.unwrap();
    let message = Bytes::from(vec![7; 70_000]);
    let completion = Envelope::Completion { protocol: "blazorpack".to_owned(), message: message.clone() };
    farm.a.publish(Channel::Results(node()), completion).await.unwrap();
    let reply_to = ReplyTo { invocation: "i".into(), node: "a".into() };
    let Envelope::Message { except, message: frame, .. } = text_envelope("ask") else { unreachable!() };
    let ask = Envelope::Message { except, message: frame, reply_to: Some(reply_to.clone()) };
    farm.a.publish(Channel::Connection("c".into()), ask).await.unwrap();

    assert!(
        matches!(farm.b.next().await.envelope, Envelope::GroupCommand { id: i32::MIN, node, action: GroupAction::Leave, group, connection }
        if node.as_str() == "a" && group.as_str() == "g:1" && connection.as_str() == "c")
    );
    assert!(matches!(farm.b.next().await.envelope, Envelope::Ack { id: 70_000 }));
    assert!(matches!(farm.b.next().await.envelope, Envelope::Completion { protocol, message: received }
        if protocol == "blazorpack" && received == message));
    assert!(
        matches!(farm.b.next().await.envelope, Envelope::Message { reply_to: Some(received), .. } if received == reply_to)
    );
}

async fn many_topics_are_subscribed_at_once(farm: Farm) {
    let groups = || (0..2000).map(|i| Channel::Group(i.to_string().into()));
    farm.b.subscribe(groups()).await;
    for i in [0, 511, 512, 1999] {
        assert_eq!(farm.a.publish(Channel::Group(i.to_string().into()), text_envelope("x")).await, Ok(1));
    }
    farm.b.backplane.unsubscribe(groups().map(topic).collect());
    farm.b.subscribe([Channel::All]).await;
    assert_eq!(farm.a.publish(Channel::Group("1999".into()), text_envelope("x")).await, Ok(0));
}

async fn a_closed_node_neither_receives_nor_publishes(farm: Farm) {
    farm.both_hear_all().await;
    farm.b.backplane.close().await;
    farm.b.wait_for_link(LinkState::Down).await;
    assert!(matches!(farm.b.publish_text("late").await, Err(BackplaneError::Down(_))));
    assert_eq!(farm.a.publish_text("alone").await, Ok(farm.own()));
}

macro_rules! on_both {
    ($($scenario:ident),* $(,)?) => {
        mod memory {
            use super::Farm;
            $(#[tokio::test] async fn $scenario() { super::$scenario(Farm::memory().await).await; })*
        }
        mod redis {
            use super::Farm;
            $(#[tokio::test] async fn $scenario() {
                testkit::needs!("redis-server");
                super::$scenario(Farm::redis().await).await;
            })*
        }
    };
}
on_both! {
    a_message_reaches_the_subscribers,
    a_publish_without_subscribers_counts_none,
    publishes_keep_the_order_of_the_calls,
    subscriptions_are_counted_and_commute,
    names_are_literal_and_case_sensitive,
    hubs_do_not_receive_each_others_messages,
    every_envelope_arrives_unchanged,
    many_topics_are_subscribed_at_once,
    a_closed_node_neither_receives_nor_publishes,
}

#[tokio::test]
async fn a_full_node_fails_the_whole_publish() {
    let mut farm = Farm::memory().await;
    farm.b.subscribe([Channel::All]).await;
    let failed = loop {
        if let Err(error) = farm.a.publish_text("x").await {
            break error;
        }
    };
    assert!(matches!(failed, BackplaneError::Full(_)));
    farm.b.next_text().await;
    assert_eq!(farm.a.publish_text("space again").await, Ok(1));
}

#[tokio::test]
async fn prefixes_keep_farms_apart() {
    testkit::needs!("redis-server");
    let redis = start(&[]).await;
    let mut one = Node::on_redis(options(&redis, "channelPrefix=One"), "a").await;
    let mut two = Node::on_redis(options(&redis, "channelPrefix=Two"), "b").await;
    for node in [&one, &two] {
        node.wait_for_link(LinkState::Up).await;
        node.subscribe([Channel::All]).await;
    }
    assert_eq!(one.publish_text("to one").await, Ok(1));
    assert_eq!(two.publish_text("to two").await, Ok(1));
    assert_eq!(one.next_text().await, "to one");
    assert_eq!(two.next_text().await, "to two");
}

#[tokio::test]
async fn an_echo_yields_the_published_message_itself() {
    testkit::needs!("redis-server");
    let mut farm = Farm::redis().await;
    farm.both_hear_all().await;
    let envelope = text_envelope("same");
    let Envelope::Message { message: frame, .. } = &envelope else { unreachable!() };
    let bytes = frame.hub_framed(Protocol::Json).unwrap();
    farm.a.publish(Channel::All, envelope).await.unwrap();
    let Envelope::Message { message: own, .. } = farm.a.next().await.envelope else { panic!() };
    let Envelope::Message { message: other, .. } = farm.b.next().await.envelope else { panic!() };
    assert_eq!(own.hub_framed(Protocol::Json).unwrap().as_ptr(), bytes.as_ptr(), "it is not decoded again");
    assert_ne!(other.hub_framed(Protocol::Json).unwrap().as_ptr(), bytes.as_ptr());
}
