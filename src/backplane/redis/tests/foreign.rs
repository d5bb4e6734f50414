//! Tests of foreign messages on the backplane's channels: invalid envelopes, and envelopes with unknown further items.

use testkit::log::Capture;

use super::kit::{Node, options, start, text_of};
use crate::backplane::{Channel, Envelope, LinkState};

#[tokio::test]
async fn foreign_bytes_are_logged_once_and_skipped() {
    testkit::needs!("redis-server");
    let log = Capture::start();
    let redis = start(&[]).await;
    let mut a = Node::on_redis(options(&redis, "channelPrefix=Pre"), "a").await;
    a.wait_for_link(LinkState::Up).await;
    a.subscribe([Channel::All, Channel::GroupCommands, Channel::Acks("a".into()), Channel::Results("a".into())]).await;
    let foreign: &[&[u8]] = &[
        b"",
        b"hello",
        b"\xc0",
        b"\x91\x90",
        b"\x92\xdd\xff\xff\xff\xff",
        b"\x92\x90\xdf\xff\xff\xff\xff",
        b"\x92\x90\x81\xa1p\xc6\xff\xff\xff\xff",
        b"\x92\x91\xa2\xff\xfe\x80",
        b"\x95\x01\xa1s\x07\xa1g\xa1c",
        b"\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xc1",
        // Well-formed envelopes whose messages would corrupt the stream of every client.
        b"\x92\x90\x81\xa4json\xc4\x01x",
        b"\x92\x90\x81\xa4json\xc4\x0a{\"type\":6}",
        b"\x92\x90\x82\xa4json\xc4\x0b{\"type\":6}\x1e\xabmessagepack\xc4\x03\x05\x91\x06",
        // Well-formed envelopes whose messages contain strings that are not Unicode text.
        b"\x92\x90\x81\xa4json\xc4\x0d{\"type\":\"\xff\"}\x1e",
        b"\x92\x90\x81\xa4json\xc4\x12{\"type\":\"\\uD83D\"}\x1e",
        b"\x92\x90\x82\xa4json\xc4\x0b{\"type\":6}\x1e\xabmessagepack\xc4\x04\x03\x91\xa1\xff",
    ];
    for _ in 0..3 {
        for channel in ["all", "internal:groups", "internal:ack:a", "internal:return:a"] {
            for payload in foreign {
                redis.publish(&format!("PreChat:Hub:{channel}"), payload);
            }
        }
    }
    a.publish_text("still well").await.unwrap();
    // One of the payloads happens to be a valid Ack. Nothing else may arrive before the node's own message.
    let inbound = loop {
        let inbound = a.next().await;
        if !matches!(inbound.envelope, Envelope::Ack { id: 1 }) {
            break inbound;
        }
    };
    assert_eq!(text_of(&inbound), "still well");
    let warnings: Vec<_> = log.lines().into_iter().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.iter().any(|line| line.contains("PreChat:Hub:all") && line.contains("no array in Invocation")));
    assert!(warnings.iter().any(|line| line.contains("insufficient items in GroupCommand")));
    assert!(warnings.iter().any(|line| line.contains("no whole hub message in Invocation")));
    assert!(warnings.iter().any(|line| line.contains("a hub message with text that is not Unicode in Invocation")));
    assert!(warnings.iter().any(|line| line.contains("in Ack")));
    assert!(warnings.iter().any(|line| line.contains("in CompletionMessage")));
    let mut kinds = warnings.clone();
    kinds.iter_mut().for_each(|line| *line = line.split("channel").nth(1).unwrap_or_default().to_owned());
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), warnings.len(), "one line per kind: {warnings:#?}");
    assert!(!warnings.concat().contains("hello"), "no payload in the log");
}

#[tokio::test]
async fn extra_envelope_items_are_ignored() {
    testkit::needs!("redis-server");
    let redis = start(&[]).await;
    let mut a = Node::on_redis(options(&redis, ""), "a").await;
    a.wait_for_link(LinkState::Up).await;
    a.subscribe([Channel::All, Channel::GroupCommands, Channel::Acks("a".into())]).await;
    redis.publish("Chat:Hub:all", b"\x97\x90\x81\xa1x\xc4\x00\xc0\xc0\xc4\x02\x01\x02\x81\xa1a\x01\xc3");
    redis.publish("Chat:Hub:all", b"\x95\x90\x80\xc0\xc0\x92\xa1a\x07");
    redis.publish("Chat:Hub:internal:groups", b"\x96\xd2\x00\x00\x00\x07\xa1s\xcc\x01\xa1g\xa1c\xc3");
    redis.publish("Chat:Hub:internal:ack:a", b"\x92\xd3\xff\xff\xff\xff\xff\xff\xff\xff\xa1x");
    assert!(matches!(a.next().await.envelope, Envelope::Message { reply_to: None, .. }));
    // This one has the node's own name and an unknown number; it is decoded like any other message.
    assert!(matches!(a.next().await.envelope, Envelope::Message { reply_to: None, .. }));
    assert!(matches!(a.next().await.envelope, Envelope::GroupCommand { id: 7, .. }));
    assert!(matches!(a.next().await.envelope, Envelope::Ack { id: -1 }));
}
