//! Tests of the MessagePack codec: against recorded messages and behaviour, and by round trips.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::ids::InvocationId;
use crate::protocol::framing::write_prefix;
use crate::protocol::{BindingError, Headers, Invocation, Outcome, Protocol, RawValue};

static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/msgpack.json"))).unwrap()
});

fn list(name: &str) -> &'static Vec<Value> {
    VECTORS[name].as_array().unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn body(vector: &Value) -> Vec<u8> {
    hex(vector["hex"].as_str().unwrap())
}

fn framed(body: &[u8]) -> BytesMut {
    let (prefix, used) = write_prefix(body.len());
    BytesMut::from(&[&prefix[..used], body].concat()[..])
}

fn read(body: &[u8]) -> Result<Option<HubMessage>, ProtocolError> {
    decode(&mut framed(body), None)
}

fn one(body: &[u8]) -> HubMessage {
    read(body).unwrap().unwrap()
}

fn refused(text: &str) -> String {
    read(&hex(text)).expect_err(text).to_string()
}

fn call(body: &[u8]) -> Invocation {
    match one(body) {
        HubMessage::Invocation(call) | HubMessage::StreamInvocation(call) => call,
        other => panic!("{other:?}"),
    }
}

fn value(bytes: &[u8]) -> RawValue {
    RawValue::from_checked(Protocol::MessagePack, Bytes::copy_from_slice(bytes))
}

#[test]
fn every_recorded_message_round_trips_byte_for_byte() {
    for vector in list("base").iter().chain(list("objects")).chain(list("clientResults")) {
        let body = body(vector);
        assert_eq!(encode(&one(&body)).unwrap(), framed(&body).freeze(), "{}", vector["name"]);
    }
}

#[test]
fn every_invalid_message_is_refused_with_the_text_of_the_reference() {
    // An empty stream id is refused later, when the method is known.
    for vector in list("invalid").iter().filter(|vector| vector["name"] != "InvocationEmptyStringStreamId") {
        let error = read(&body(vector)).expect_err(vector["name"].as_str().unwrap());
        assert_eq!(error, ProtocolError::invalid_data(vector["error"].as_str().unwrap()), "{}", vector["name"]);
    }
}

#[test]
fn arguments_that_are_not_an_array_are_a_binding_error() {
    for vector in list("bindingErrors") {
        let expected = vector["error"].as_str().unwrap();
        match call(&body(vector)).arguments {
            Err(error) => assert_eq!(error, BindingError::invalid_data(expected)),
            // Their number and types are checked later, when the method is known.
            Ok(_) => assert!(!expected.starts_with("Reading"), "{}", vector["name"]),
        }
    }
}

#[test]
fn partial_messages_wait_and_extra_elements_are_ignored() {
    for vector in list("partial") {
        let bytes = body(vector);
        let mut buffer = BytesMut::from(&bytes[..]);
        assert_eq!(decode(&mut buffer, None).unwrap(), None);
        assert_eq!(buffer, bytes);
    }
    let call = call(&body(&VECTORS["extraData"]));
    assert_eq!((call.id, &*call.target, call.arguments), (Some("xyz".into()), "method", Ok(Vec::new())));
}

#[test]
fn encoded_sizes_match_the_reference() {
    let id = || InvocationId::from("1");
    let headers = Headers::default;
    let invoke = |id: Option<InvocationId>, streams: &[&str]| Invocation {
        id,
        stream_ids: streams.iter().map(|id| InvocationId::from(*id)).collect(),
        ..Invocation::send("Target", vec![value(&[1])])
    };
    // The recorded stream invocations have no arguments.
    let stream = |streams: &[&str]| Invocation { arguments: Ok(Vec::new()), ..invoke(Some(id()), streams) };
    let close = |error: Option<&str>| HubMessage::Close { error: error.map(str::to_owned), allow_reconnect: false };
    let completion = |outcome| HubMessage::Completion { id: id(), outcome, headers: headers() };
    let messages = [
        ("InvocationMessage_WithoutInvocationId", HubMessage::Invocation(invoke(None, &[]))),
        ("InvocationMessage_WithInvocationId", HubMessage::Invocation(invoke(Some(id()), &[]))),
        ("InvocationMessage_WithInvocationIdAndStreamId", HubMessage::Invocation(invoke(Some(id()), &["2"]))),
        ("CloseMessage_Empty", close(None)),
        ("CloseMessage_WithError", close(Some("error"))),
        ("CompletionMessage_Empty", completion(Outcome::Void)),
        ("CompletionMessage_WithError", completion(Outcome::Error("error".into()))),
        ("StreamInvocationMessage", HubMessage::StreamInvocation(stream(&[]))),
        ("StreamInvocationMessage_WithStreamId", HubMessage::StreamInvocation(stream(&["2"]))),
        ("CancelInvocationMessage", HubMessage::CancelInvocation { id: id(), headers: headers() }),
        ("PingMessage", HubMessage::Ping),
        (
            "StreamItemMessage_WithNullItem",
            HubMessage::StreamItem { id: id(), item: Ok(RawValue::null()), headers: headers() },
        ),
    ];
    for (name, message) in messages {
        let vector = list("messageSizes").iter().find(|vector| vector["name"] == name).unwrap();
        assert_eq!(encode(&message).unwrap().len() as u64, vector["framedSize"].as_u64().unwrap(), "{name}");
    }
}

#[test]
fn further_invalid_messages_have_the_recorded_texts() {
    let end = "EndOfStreamException: Attempted to read past the end of the stream.";
    let code = |code: &str| format!("MessagePackSerializationException: Unexpected msgpack code {code} encountered.");
    for (body, error) in [
        ("", end),
        ("9601", end),
        ("dd7fffffff06", end),
        ("06", &code("6 (positive fixint)")),
        ("80", &code("128 (fixmap)")),
        ("a0", &code("160 (fixstr)")),
        ("c0", &code("192 (nil)")),
        ("c1", &code("193 ((never used))")),
        ("90", "InvalidDataException: Reading 'messageType' as Int32 failed."),
        ("91cb3ff0000000000000", "InvalidDataException: Reading 'messageType' as Int32 failed."),
        ("91cf0000000100000000", "InvalidDataException: Reading 'messageType' as Int32 failed."),
        ("9101", "InvalidDataException: Reading map length for 'headers' failed."),
        ("9201c0", "InvalidDataException: Reading map length for 'headers' failed."),
        ("940280c02a", "InvalidDataException: Null or empty invocation ID for StreamItem message."),
        ("940380c002", "InvalidDataException: Null or empty invocation ID for Completion message."),
        ("960480c0a1549090", "InvalidDataException: Null or empty invocation ID for StreamInvocation message."),
        ("930580c0", "InvalidDataException: Null or empty invocation ID for CancelInvocation message."),
        ("960180c0c09090", "InvalidDataException: Null or empty target for Invocation message."),
        ("960180c0a1549091c0", "InvalidDataException: Null or empty value in streamIds received."),
        ("960180c0a15490c0", "InvalidDataException: Reading array length for 'streamIds' failed."),
        ("9307c001", "InvalidDataException: Reading 'allowReconnect' as Boolean failed."),
        ("9208cfffffffffffffffff", "InvalidDataException: Reading 'sequenceId' as Int64 failed."),
    ] {
        assert_eq!(refused(body), error, "{body}");
    }
}

#[test]
fn an_invocation_without_id_expects_no_completion() {
    assert_eq!(call(&hex("960180c0a1549090")).id, None);
    assert_eq!(call(&hex("960180a0a1549090")).id, None);
}

#[test]
fn five_elements_are_an_invocation_without_streams() {
    let call = call(&hex("950180a131a44563686f91a178"));
    assert_eq!(call.arguments.unwrap(), [value(b"\xa1x")]);
    assert!(call.stream_ids.is_empty());
}

#[test]
fn a_target_with_invalid_utf8_is_read_with_replacement_characters() {
    assert_eq!(call(&hex("960180a131a2c32891a17890")).target.as_ref(), "\u{fffd}(");
}

/// Invalid strings, and how ASP.NET Core reads them: with a replacement character for each invalid part
/// (tests/probes/FINDINGS.md#2, hub protocol).
const REPLACED: [(&[u8], &str); 5] = [
    (b"\xff", "\u{fffd}"),
    (b"a\xc3(b", "a\u{fffd}(b"),
    (b"cut off \xe2\x82", "cut off \u{fffd}"),
    (b"\xed\xa0\xbdz", "\u{fffd}\u{fffd}\u{fffd}z"),
    (b"\xf0\x9f\x98\xff\xc0\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
];

#[test]
fn strings_with_invalid_utf8_are_read_with_replacement_characters() {
    for (error, read) in REPLACED {
        let (mut wrong, mut right) = (vec![0xd9, error.len() as u8], Vec::new());
        wrong.extend(error);
        write::text(&mut right, read);
        // As a value, in an array next to binary, and as a key. Nothing else may change, such as the widths of
        // integers.
        for (before, after) in [
            (&b""[..], &b""[..]),
            (b"\x93\xc4\x02\xff\xfe\xdc\x00\x01", b"\xcd\x00\x07"),
            (b"\xde\x00\x01", b"\xd9\x01a"),
        ] {
            let with = |text: &[u8]| [before, text, after].concat();
            let (came, expected) = (with(&wrong), value(&with(&right)));
            let got = call(&[&hex("960180a131a15493")[..], b"\xa1x", &came, b"\x01\x91\xa1s"].concat());
            assert_eq!(got.arguments.unwrap(), [value(b"\xa1x"), expected.clone(), value(b"\x01")]);
            assert_eq!(got.stream_ids, ["s".into()]);
            let item = one(&[&hex("940280a131")[..], &came].concat());
            assert_eq!(
                item,
                HubMessage::StreamItem { id: "1".into(), item: Ok(expected.clone()), headers: Headers::default() }
            );
            let result = one(&[&hex("950380a13103")[..], &came].concat());
            let HubMessage::Completion { outcome: Outcome::Value(result), .. } = result else { panic!("{result:?}") };
            assert_eq!(result, expected);
        }
        // In names, ids, headers and errors.
        let text = &wrong[..];
        let got = call(&[b"\x96\x01\x81", text, text, text, text, b"\x90\x91", text].concat());
        assert_eq!(
            (got.headers.0, got.id, &*got.target),
            (vec![(read.to_owned(), read.to_owned())], Some(read.into()), read)
        );
        assert_eq!(got.stream_ids, [read.into()]);
        assert_eq!(
            one(&[b"\x92\x07", text].concat()),
            HubMessage::Close { error: Some(read.to_owned()), allow_reconnect: false }
        );
    }
}

#[test]
fn integers_of_any_width_are_read() {
    for id in [
        "2a",
        "cc2a",
        "cd002a",
        "ce0000002a",
        "cf000000000000002a",
        "d02a",
        "d1002a",
        "d20000002a",
        "d3000000000000002a",
    ] {
        assert_eq!(one(&hex(&format!("9208{id}"))), HubMessage::Ack { sequence_id: 42 });
    }
    assert_eq!(one(&hex("92cd0009d0ff")), HubMessage::Sequence { sequence_id: -1 });
}

#[test]
fn a_close_of_the_javascript_client_has_two_elements() {
    assert_eq!(one(&hex("9207c0")), HubMessage::Close { error: None, allow_reconnect: false });
}

#[test]
fn arguments_nested_too_deep_are_a_binding_error() {
    let with = |depth: usize| {
        let mut body = hex("950180a131a15491");
        body.extend(std::iter::repeat_n(0x91, depth));
        body.push(0xc0);
        call(&body).arguments
    };
    assert!(with(62).is_ok());
    assert_eq!(with(63), Err(BindingError::argument_type()));
    assert_eq!(with(1_000_000), Err(BindingError::argument_type()));
}

#[test]
fn arguments_are_slices_of_the_input() {
    let mut buffer = framed(&hex("960180c0a1549181a1610190"));
    let range = buffer.as_ptr_range();
    let Some(HubMessage::Invocation(call)) = decode(&mut buffer, None).unwrap() else { panic!() };
    assert!(range.contains(&call.arguments.unwrap()[0].bytes().as_ptr()));
}

#[test]
fn unknown_types_are_skipped_and_the_next_message_is_read() {
    let mut buffer = BytesMut::from(&hex("02910a03920007029106")[..]);
    assert_eq!(decode(&mut buffer, Some(32)).unwrap(), Some(HubMessage::Ping));
    assert!(buffer.is_empty());
}

#[test]
fn messages_at_and_over_the_size_limit() {
    let body = |length: u16| {
        let mut body = hex("960180a131a44563686f91da");
        body.extend(length.to_be_bytes());
        body.extend(std::iter::repeat_n(b'a', length.into()));
        body.push(0x90);
        framed(&body)
    };
    assert!(decode(&mut body(32_750), Some(32_768)).unwrap().is_some());
    assert_eq!(
        decode(&mut body(32_751), Some(32_768)).unwrap_err().detail,
        "The maximum message size of 32768B was exceeded. The message size can be configured in AddHubOptions."
    );
}

#[test]
fn integers_are_written_in_their_shortest_form_and_read_back() {
    let edges = [0, 1, 7, 8, 15, 16, 31, 32, 63];
    for number in edges.into_iter().flat_map(|bits| {
        let power = if bits == 63 { i64::MAX } else { 1i64 << bits };
        [power - 1, power, -power, (-power).wrapping_sub(1)]
    }) {
        let mut out = Vec::new();
        write::integer(&mut out, number);
        assert_eq!(token_reader::TokenReader::new(&out).token(), Ok(token_reader::Token::Int(number)));
        assert_eq!(out, rmp_serde::to_vec(&number).unwrap(), "{number}");
    }
}
