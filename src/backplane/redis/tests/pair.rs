//! What two nodes may expect of any backplane, run on the memory bus and on Redis.

use bytes::Bytes;
use testkit::Redis;
use tokio::sync::mpsc::error::TryRecvError;

use super::kit::{Node, PATIENCE, options, said, says, start, topic};
use crate::backplane::memory::Bus;
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
        let bus = Bus::default();
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
        a.reaches(LinkState::Up).await;
        b.reaches(LinkState::Up).await;
        Self { a, b, _redis: Some(redis) }
    }

    async fn both_hear_all(&self) {
        self.a.subscribe([Channel::All]).await;
        self.b.subscribe([Channel::All]).await;
    }

    /// How many more hear a message because its own node does.
    fn own(&self) -> u64 {
        u64::from(self.a.backplane.echoes())
    }
}

async fn a_message_reaches_who_subscribed(mut farm: Farm) {
    farm.both_hear_all().await;
    assert_eq!(farm.a.say("one").await, Ok(1 + farm.own()));
    assert_eq!(farm.b.hears().await, "one");
    if farm.own() == 1 {
        assert_eq!(farm.a.hears().await, "one");
    } else {
        assert_eq!(farm.a.inbound.try_recv().unwrap_err(), TryRecvError::Empty);
    }
}

async fn nobody_is_counted_where_nobody_listens(farm: Farm) {
    assert_eq!(farm.a.publish(Channel::Connection("nobody".into()), says("?")).await, Ok(0));
    farm.b.subscribe([Channel::Connection("c".into())]).await;
    assert_eq!(farm.a.publish(Channel::Connection("c".into()), says("!")).await, Ok(1));
}

async fn order_is_that_of_the_calls(mut farm: Farm) {
    farm.both_hear_all().await;
    let publishes: Vec<_> =
        (0..1000).map(|i| farm.a.backplane.publish(topic(Channel::All), says(&i.to_string()))).collect();
    // Polled in the wrong order: only the calls count.
    for publish in publishes.into_iter().rev() {
        tokio::time::timeout(PATIENCE, publish).await.unwrap().unwrap();
    }
    for i in 0..1000 {
        assert_eq!(farm.b.hears().await, i.to_string());
    }
}

async fn subscriptions_are_counted_and_commute(mut farm: Farm) {
    let group = || Channel::Group("g".into());
    farm.b.subscribe([Channel::All, group()]).await;
    farm.b.subscribe([group()]).await;
    farm.b.unsubscribe(group());
    assert_eq!(farm.a.publish(group(), says("still there")).await, Ok(1));
    assert_eq!(farm.b.hears().await, "still there");
    farm.b.unsubscribe(group());
    // A later subscription is confirmed behind the unsubscription.
    farm.b.subscribe([Channel::User("u".into())]).await;
    assert_eq!(farm.a.publish(group(), says("gone")).await, Ok(0));
    farm.b.unsubscribe(group());
    farm.b.subscribe([group()]).await;
    farm.b.subscribe([Channel::User("v".into())]).await;
    assert_eq!(farm.a.publish(group(), says("zero again")).await, Ok(0));
    farm.a.say("end").await.unwrap();
    farm.b.hears_only(&[], "end").await;
}

async fn names_are_literal_and_ordinal(mut farm: Farm) {
    let names = ["*", "a:b", "Case", "case", "", "ü [x]? \r\n"];
    farm.b.subscribe(names.map(|name| Channel::Group(name.into()))).await;
    farm.b.subscribe([Channel::User("*".into()), Channel::All]).await;
    for name in names {
        assert_eq!(farm.a.publish(Channel::Group(name.into()), says(name)).await, Ok(1), "{name:?}");
        let inbound = farm.b.next().await;
        assert_eq!(inbound.topic, topic(Channel::Group(name.into())));
        assert_eq!(said(&inbound), name);
    }
    assert_eq!(farm.a.publish(Channel::Group("other".into()), says("no")).await, Ok(0));
    assert_eq!(farm.a.publish(Channel::User("other".into()), says("no")).await, Ok(0));
}

async fn hubs_do_not_hear_each_other(mut farm: Farm) {
    farm.both_hear_all().await;
    let other = Topic { hub: "Chat".into(), channel: Channel::All };
    assert_eq!(farm.a.backplane.publish(other.clone(), says("other hub")).await, Ok(0));
    farm.b.backplane.subscribe(vec![other.clone()]).await;
    assert_eq!(farm.a.backplane.publish(other.clone(), says("heard")).await, Ok(1));
    assert_eq!(farm.b.next().await.topic, other);
}

async fn every_envelope_arrives_whole(mut farm: Farm) {
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
    let Envelope::Deliver { except, frame, .. } = says("ask") else { unreachable!() };
    let ask = Envelope::Deliver { except, frame, reply_to: Some(reply_to.clone()) };
    farm.a.publish(Channel::Connection("c".into()), ask).await.unwrap();

    assert!(
        matches!(farm.b.next().await.envelope, Envelope::GroupCommand { id: i32::MIN, node, action: GroupAction::Leave, group, connection }
        if node.as_str() == "a" && group.as_str() == "g:1" && connection.as_str() == "c")
    );
    assert!(matches!(farm.b.next().await.envelope, Envelope::Ack { id: 70_000 }));
    assert!(matches!(farm.b.next().await.envelope, Envelope::Completion { protocol, message: came }
        if protocol == "blazorpack" && came == message));
    assert!(matches!(farm.b.next().await.envelope, Envelope::Deliver { reply_to: Some(came), .. } if came == reply_to));
}

async fn many_topics_at_once(farm: Farm) {
    let groups = || (0..2000).map(|i| Channel::Group(i.to_string().into()));
    farm.b.subscribe(groups()).await;
    for i in [0, 511, 512, 1999] {
        assert_eq!(farm.a.publish(Channel::Group(i.to_string().into()), says("x")).await, Ok(1));
    }
    farm.b.backplane.unsubscribe(groups().map(topic).collect());
    farm.b.subscribe([Channel::All]).await;
    assert_eq!(farm.a.publish(Channel::Group("1999".into()), says("x")).await, Ok(0));
}

async fn who_has_left_hears_and_says_nothing(farm: Farm) {
    farm.both_hear_all().await;
    farm.b.backplane.close().await;
    farm.b.reaches(LinkState::Down).await;
    assert!(matches!(farm.b.say("late").await, Err(BackplaneError::Down(_))));
    assert_eq!(farm.a.say("alone").await, Ok(farm.own()));
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
    a_message_reaches_who_subscribed,
    nobody_is_counted_where_nobody_listens,
    order_is_that_of_the_calls,
    subscriptions_are_counted_and_commute,
    names_are_literal_and_ordinal,
    hubs_do_not_hear_each_other,
    every_envelope_arrives_whole,
    many_topics_at_once,
    who_has_left_hears_and_says_nothing,
}

#[tokio::test]
async fn a_full_node_fails_the_publish_for_all() {
    let mut farm = Farm::memory().await;
    farm.b.subscribe([Channel::All]).await;
    let failed = loop {
        if let Err(error) = farm.a.say("x").await {
            break error;
        }
    };
    assert!(matches!(failed, BackplaneError::Full(_)));
    farm.b.hears().await;
    assert_eq!(farm.a.say("room again").await, Ok(1));
}

#[tokio::test]
async fn prefixes_keep_farms_apart() {
    testkit::needs!("redis-server");
    let redis = start(&[]).await;
    let mut one = Node::on_redis(options(&redis, "channelPrefix=One"), "a").await;
    let mut two = Node::on_redis(options(&redis, "channelPrefix=Two"), "b").await;
    for node in [&one, &two] {
        node.reaches(LinkState::Up).await;
        node.subscribe([Channel::All]).await;
    }
    assert_eq!(one.say("to one").await, Ok(1));
    assert_eq!(two.say("to two").await, Ok(1));
    assert_eq!(one.hears().await, "to one");
    assert_eq!(two.hears().await, "to two");
}

#[tokio::test]
async fn the_echo_is_the_very_frame() {
    testkit::needs!("redis-server");
    let mut farm = Farm::redis().await;
    farm.both_hear_all().await;
    let envelope = says("same");
    let Envelope::Deliver { frame, .. } = &envelope else { unreachable!() };
    let bytes = frame.raw(Protocol::Json).unwrap();
    farm.a.publish(Channel::All, envelope).await.unwrap();
    let Envelope::Deliver { frame: own, .. } = farm.a.next().await.envelope else { panic!() };
    let Envelope::Deliver { frame: other, .. } = farm.b.next().await.envelope else { panic!() };
    assert_eq!(own.raw(Protocol::Json).unwrap().as_ptr(), bytes.as_ptr(), "not parsed again");
    assert_ne!(other.raw(Protocol::Json).unwrap().as_ptr(), bytes.as_ptr());
}
