//! Tests of envelopes against recorded bytes: ASP.NET Core's own test vectors, and what two of its nodes published.

use bytes::Bytes;
use serde_json::Value;

use crate::backplane::redis::channels;
use crate::backplane::redis::envelope_codec::{decode, encode, origin};
use crate::backplane::{Channel, Envelope, GroupAction, ReplyTo, Topic};
use crate::ids::{HubName, NodeId};
use crate::outgoing::OutgoingMessage;
use crate::protocol::Protocol;

const VECTORS: &str = include_str!("../../../../tests/vectors/redis.json");
const CAPTURE: &str = include_str!("../../../../tests/vectors/captures/redis-aspnet.jsonl");

fn bytes(hex: &str) -> Bytes {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The hub of the captures.
const HUB: &str = "Chat.ChatHub";

fn topic(channel: Channel) -> Topic {
    Topic { hub: HUB.into(), channel }
}

fn encoded(envelope: &Envelope) -> Bytes {
    let mut out = Vec::new();
    encode(&HUB.into(), envelope, &Protocol::ALL, None, &mut out).unwrap();
    out.into()
}

fn cases(kind: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    vectors[kind].as_array().unwrap().clone()
}

#[test]
fn acks_match_the_vectors() {
    for case in cases("ack") {
        let id = i32::try_from(case["value"].as_i64().unwrap()).unwrap();
        let hex = bytes(text(&case["hex"]));
        assert_eq!(encoded(&Envelope::Ack { id }), hex);
        assert!(
            matches!(decode(&topic(Channel::Acks("s".into())), &hex), Ok(Envelope::Ack { id: decoded }) if decoded == id)
        );
    }
    for (id, hex) in [(300, "91cd012c"), (-1, "91ff"), (i32::MAX, "91ce7fffffff"), (-200, "91d1ff38")] {
        assert_eq!(encoded(&Envelope::Ack { id }), bytes(hex));
        assert!(
            matches!(decode(&topic(Channel::Acks("s".into())), &bytes(hex)), Ok(Envelope::Ack { id: decoded }) if decoded == id)
        );
    }
}

#[test]
fn group_commands_match_the_vectors() {
    for case in cases("groupCommand") {
        let action = if case["actionByte"] == 1 { GroupAction::Join } else { GroupAction::Leave };
        let hex = bytes(text(&case["hex"]));
        let envelope = decode(&topic(Channel::GroupCommands), &hex).unwrap();
        let Envelope::GroupCommand { id, node, action: decoded, group, connection } = &envelope else { panic!() };
        assert_eq!((*id, *decoded), (42, action));
        assert_eq!((node.as_str(), group.as_str(), connection.as_str()), ("S", "G", "C"));
        assert_eq!(encoded(&envelope), hex);
    }
}

#[test]
fn invocations_match_the_vectors() {
    for case in cases("invocation") {
        // The vectors use protocols called p1 and p2. With our names in their place the bytes must be the same.
        let hex = text(&case["hex"]).replace("a27031", "a46a736f6e").replace("a27032", "ab6d6573736167657061636b");
        let two = Bytes::from_static(b"*");
        let except: Vec<_> = case["excludedIds"].as_array().unwrap().iter().map(|id| text(id).into()).collect();
        let frame = OutgoingMessage::from_encoded([(Protocol::Json, two.clone()), (Protocol::MessagePack, two)]);
        let envelope = Envelope::Message { except: except.clone(), message: frame, reply_to: None };
        assert_eq!(encoded(&envelope), bytes(&hex));
        let Envelope::Message { except: decoded, .. } =
            decode(&topic(Channel::All), &bytes(text(&case["hex"]))).unwrap()
        else {
            panic!()
        };
        assert_eq!(decoded, except);
    }
}

#[test]
fn completions_match_the_vectors() {
    for case in cases("completion") {
        let hex = bytes(text(&case["hex"]));
        let envelope = decode(&topic(Channel::Results("s".into())), &hex).unwrap();
        let Envelope::Completion { protocol, message } = &envelope else { panic!() };
        assert_eq!(protocol, text(&case["protocol"]));
        assert_eq!(*message, bytes(text(&case["payloadHex"])));
        assert_eq!(encoded(&envelope), hex);
    }
}

#[test]
fn the_origin_is_appended_as_a_fifth_item() {
    let (node, part) = (NodeId::from("n1"), Bytes::from_static(b"{}\x1e"));
    let reply = ReplyTo { invocation: "i".into(), node: "n".into() };
    for reply_to in [None, Some(reply)] {
        let frame = OutgoingMessage::from_encoded([(Protocol::Json, part.clone())]);
        let envelope = Envelope::Message { except: Vec::new(), message: frame, reply_to: reply_to.clone() };
        let mut out = Vec::new();
        encode(&HUB.into(), &envelope, &[Protocol::Json], Some((&node, 300)), &mut out).unwrap();
        let out = Bytes::from(out);
        assert!(out.ends_with(&bytes("92a26e31cd012c")), "[node, id]");
        assert_eq!(out[0], 0x95);
        assert_eq!(origin(&out), Some(("n1", 300)));
        let Ok(Envelope::Message { reply_to: decoded, .. }) = decode(&topic(Channel::All), &out) else { panic!() };
        assert_eq!(decoded, reply_to);
    }
    // A return channel of another hub, or no return channel at all.
    for channel in ["Chat.Chat:internal:return:n", "Chat.ChatHub:internal:ack:n", "Chat.ChatHub:internal:return", ""] {
        let mut out = bytes("9490 80 a169".replace(' ', "").as_str()).to_vec();
        crate::protocol::msgpack::write::text(&mut out, channel);
        let out = Bytes::from(out);
        assert!(decode(&topic(Channel::Connection("c".into())), &out).is_err(), "{channel}");
        let everybody = decode(&topic(Channel::All), &out);
        assert!(matches!(everybody, Ok(Envelope::Message { reply_to: None, .. })), "{channel}");
    }
    // The fifth item of another program, or none.
    for hex in ["9590 80 c0c0 82a16fa26e31a17107", "9290 80", "9590 80 c0c0 91a26e31", "9590 80 c0c0 92c007", "95"] {
        assert_eq!(origin(&bytes(&hex.replace(' ', ""))), None, "{hex}");
    }
}

/// Checks everything that two ASP.NET Core nodes published: each channel name and each payload can be decoded, and
/// encoding them again results in the same bytes.
#[test]
fn captured_aspnet_envelopes_are_read_and_rewritten_identically() {
    let hub = HubName::from(HUB);
    let (mut count, mut answers) = (0, 0);
    for line in CAPTURE.lines().skip(1) {
        let line: Value = serde_json::from_str(line).unwrap();
        let channel = match text(&line["cmd"]) {
            "PUBLISH" => text(&line["channel"]),
            "SUBSCRIBE" | "UNSUBSCRIBE" if line["args"][0] != "MyApp__Booksleeve_MasterChanged" => {
                text(&line["args"][0])
            }
            _ => continue,
        };
        let topic = channels::parse(channel.strip_prefix("MyApp").unwrap(), [&hub]).unwrap();
        assert_eq!(channels::prefixed("MyApp", &topic), channel);
        let Some(hex) = line["hex"].as_str() else { continue };
        let envelope = decode(&topic, &bytes(hex)).unwrap();
        assert_eq!(encoded(&envelope), bytes(hex), "{}", line["scenario"]);
        answers += usize::from(matches!(envelope, Envelope::Message { reply_to: Some(_), .. }));
        count += 1;
    }
    assert_eq!(count, 47);
    assert!(answers > 0, "client results are among them");
}

#[test]
fn a_truncated_envelope_is_an_error() {
    for line in CAPTURE.lines().skip(1) {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(hex) = line["hex"].as_str() else { continue };
        let topic =
            channels::parse(text(&line["channel"]).strip_prefix("MyApp").unwrap(), [&"Chat.ChatHub".into()]).unwrap();
        let whole = bytes(hex);
        for length in 0..whole.len() {
            assert!(decode(&topic, &whole.slice(..length)).is_err());
            let _ = origin(&whole.slice(..length));
        }
        // Changing any byte may result in an error, but never in a panic.
        for at in 0..whole.len() {
            for new in [0x00, 0x90, 0xc0, 0xc1, 0xc6, 0xdd, 0xdf, 0xff] {
                let mut changed = whole.to_vec();
                changed[at] = new;
                let _ = decode(&topic, &changed.clone().into());
                let _ = origin(&changed.into());
            }
        }
    }
}

#[test]
fn channel_names_are_written_and_parsed() {
    let hubs: Vec<HubName> =
        ["Chat", "Chat:group", "Chat:group:x", "Ns.Outer+Hub`1[[System.String]]"].map(HubName::from).into();
    let all = |hub: &str, channel| Topic { hub: hub.into(), channel };
    for (topic, name) in [
        (all("Chat", Channel::All), "Chat:all"),
        (all("Chat", Channel::Group("a:b".into())), "Chat:group:a:b"),
        (all("Chat", Channel::User("".into())), "Chat:user:"),
        (all("Chat:group", Channel::All), "Chat:group:all"),
        (all("Chat:group:x", Channel::Connection("all".into())), "Chat:group:x:connection:all"),
        (all("Chat", Channel::GroupCommands), "Chat:internal:groups"),
        (all("Chat", Channel::Acks("h_1".into())), "Chat:internal:ack:h_1"),
        (
            all("Ns.Outer+Hub`1[[System.String]]", Channel::Results("n".into())),
            "Ns.Outer+Hub`1[[System.String]]:internal:return:n",
        ),
    ] {
        assert_eq!(channels::prefixed("", &topic), name);
        assert_eq!(channels::prefixed("P", &topic), format!("P{name}"));
        assert_eq!(channels::parse(name, &hubs), Some(topic));
    }
    for name in ["", "Chat", "Chat:", "chat:all", "Chat:al", "Chat:internal:other", "Other:all", "Chatty:all"] {
        assert_eq!(channels::parse(name, &hubs), None, "{name}");
    }
}
