//! Helpers for the tests of the Redis backplane: starting a Redis, nodes on it, and envelopes made of short texts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use testkit::Redis;
use testkit::nonblocking::until;

use crate::backplane::redis::{RedisBackplane, RedisOptions};
use crate::backplane::{
    Backplane, BackplaneError, Channel, Envelope, InboundEnvelope, InboundReceiver, LinkState, Topic,
};
use crate::ids::{HubName, NodeId};
use crate::outgoing::OutgoingMessage;
use crate::protocol::Protocol;
use crate::protocol::framing::write_prefix;
use crate::protocol::msgpack::write;

/// An upper bound for everything in these tests.
pub(super) const TIMEOUT: Duration = testkit::PROCESS_TIMEOUT;

/// Starts a Redis with these arguments and waits until it answers.
pub(super) async fn start(arguments: &[&str]) -> Redis {
    let mut redis = Redis::with(arguments);
    run(&mut redis).await;
    redis
}

/// Starts or restarts a Redis and waits until it answers. It does not block the runtime, so nodes keep running.
pub(super) async fn run(redis: &mut Redis) {
    redis.spawn();
    until("redis-server answers", async || redis.answers().then_some(())).await;
}

/// The options of a node on this Redis, with `more` appended.
pub(super) fn options(redis: &Redis, more: &str) -> RedisOptions {
    RedisOptions::parse(&format!("{},{more}", redis.connection())).unwrap()
}

/// The options of a node on this Redis with the default timeouts, for tests of outages.
pub(super) fn default_options(redis: &Redis, more: &str) -> RedisOptions {
    RedisOptions::parse(&format!("{},{more}", redis.connection_with_defaults())).unwrap()
}

// === nodes ===

pub(super) struct Node {
    pub(super) backplane: Arc<dyn Backplane>,
    pub(super) inbound: InboundReceiver,
}

impl Node {
    pub(super) async fn on_redis(options: RedisOptions, name: &str) -> Self {
        let hubs = [HUB, "Chat"].map(|hub| (HubName::from(hub), Protocol::ALL.to_vec()));
        let (backplane, inbound) = RedisBackplane::connect(options, NodeId::from(name), hubs.into()).await.unwrap();
        Self { backplane, inbound }
    }

    pub(super) async fn wait_for_link(&self, state: LinkState) {
        let mut link = self.backplane.link();
        tokio::time::timeout(TIMEOUT, link.wait_for(|now| *now == state))
            .await
            .unwrap_or_else(|_| panic!("the link did not become {state:?}"))
            .unwrap();
    }

    pub(super) async fn subscribe(&self, channels: impl IntoIterator<Item = Channel>) {
        let topics = channels.into_iter().map(topic).collect();
        tokio::time::timeout(TIMEOUT, self.backplane.subscribe(topics)).await.expect("the subscription is confirmed");
    }

    pub(super) fn unsubscribe(&self, channel: Channel) {
        self.backplane.unsubscribe(vec![topic(channel)]);
    }

    pub(super) async fn publish(&self, channel: Channel, envelope: Envelope) -> Result<u64, BackplaneError> {
        tokio::time::timeout(TIMEOUT, self.backplane.publish(topic(channel), envelope)).await.expect("publish ends")
    }

    pub(super) async fn publish_text(&self, text: &str) -> Result<u64, BackplaneError> {
        self.publish(Channel::All, text_envelope(text)).await
    }

    pub(super) async fn next(&mut self) -> InboundEnvelope {
        tokio::time::timeout(TIMEOUT, self.inbound.recv()).await.expect("something arrives").unwrap()
    }

    /// The text of the next message.
    pub(super) async fn next_text(&mut self) -> String {
        text_of(&self.next().await)
    }

    /// Receives messages until `marker` arrives, and checks that those before it are `texts`.
    pub(super) async fn expect_texts(&mut self, texts: &[&str], marker: &str) {
        let mut received = Vec::new();
        loop {
            let text = self.next_text().await;
            if text == marker {
                break;
            }
            received.push(text);
        }
        assert_eq!(received, texts);
    }
}

/// Contains a colon, as names of .NET types may, and begins with the name of another hub.
const HUB: &str = "Chat:Hub";

pub(super) fn topic(channel: Channel) -> Topic {
    Topic { hub: HUB.into(), channel }
}

pub(super) fn text_envelope(text: &str) -> Envelope {
    Envelope::Message { except: vec!["not me".into()], message: text_message(text), reply_to: None }
}

/// A message that consists of the text, framed as the hub protocols frame one.
pub(super) fn text_message(text: &str) -> OutgoingMessage {
    OutgoingMessage::from_encoded(Protocol::ALL.map(|protocol| (protocol, framed(protocol, text))))
}

fn framed(protocol: Protocol, text: &str) -> Bytes {
    match protocol {
        Protocol::Json => format!("{{{text}}}\u{1e}").into(),
        Protocol::MessagePack => {
            let mut body = vec![0x91];
            write::text(&mut body, text);
            let (prefix, used) = write_prefix(body.len());
            [&prefix[..used], &body].concat().into()
        }
    }
}

pub(super) fn text_of(inbound: &InboundEnvelope) -> String {
    let Envelope::Message { message: frame, except, .. } = &inbound.envelope else { panic!("no message: {inbound:?}") };
    assert_eq!(except.len(), 1);
    let json = frame.hub_framed(Protocol::Json).unwrap();
    let text = std::str::from_utf8(&json).unwrap();
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix("}\u{1e}")).unwrap().to_owned();
    assert_eq!(frame.hub_framed(Protocol::MessagePack).unwrap(), framed(Protocol::MessagePack, &text));
    text
}
