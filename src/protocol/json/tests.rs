//! Tests of the JSON codec: against recorded messages and behaviour, and by round trips.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::ids::InvocationId;
use crate::protocol::{BindingError, Headers, Invocation, Outcome, Protocol, RawValue};

mod string_tests;

static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/json.json"))).unwrap()
});

fn list(name: &str) -> &'static Vec<Value> {
    VECTORS[name].as_array().unwrap()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

fn framed(json: &str) -> BytesMut {
    BytesMut::from(format!("{json}\x1e").as_str())
}

fn read(json: &str) -> Result<Option<HubMessage>, ProtocolError> {
    decode(&mut framed(json), None)
}

fn one(json: &str) -> HubMessage {
    read(json).unwrap_or_else(|error| panic!("{json}: {error}")).unwrap_or_else(|| panic!("{json}: nothing"))
}

fn refused(json: &str) -> String {
    read(json).expect_err(json).to_string()
}

fn written(message: &HubMessage) -> String {
    String::from_utf8(encode(message).unwrap().into()).unwrap()
}

fn call(json: &str) -> Invocation {
    match one(json) {
        HubMessage::Invocation(call) | HubMessage::StreamInvocation(call) => call,
        other => panic!("{other:?}"),
    }
}

fn argument(json: &str) -> RawValue {
    RawValue::from_checked(Protocol::Json, Bytes::copy_from_slice(json.as_bytes()))
}

#[test]
fn every_recorded_message_round_trips_byte_for_byte() {
    for vector in list("protocol").iter().chain(list("custom")) {
        let json = text(vector, "json");
        assert_eq!(written(&one(json)), format!("{json}\x1e"), "{}", vector["name"]);
    }
}

#[test]
fn members_may_come_in_any_order() {
    for vector in list("outOfOrder") {
        let message = one(text(vector, "json"));
        let again = one(written(&message).trim_end_matches('\x1e'));
        assert_eq!(again, message, "{}", vector["name"]);
    }
    // The order that the JavaScript client uses.
    let call = call(r#"{"target":"T","arguments":[1],"invocationId":"0","streamIds":["1"],"type":1}"#);
    assert_eq!(call.id, Some("0".into()));
    assert_eq!(call.stream_ids, ["1".into()]);
}

#[test]
fn every_invalid_message_is_refused_with_the_text_of_the_reference() {
    for vector in list("invalid").iter().chain(list("invalidSystemTextJson")).chain(list("invalidNesting")) {
        let json = text(vector, "json");
        assert_eq!(refused(json), format!("InvalidDataException: {}", text(vector, "error")), "{json}");
    }
}

#[test]
fn arguments_that_do_not_match_a_method_are_still_read() {
    // Their number and types are checked later, when the method is known.
    for vector in list("bindingErrors") {
        assert!(call(text(vector, "json")).arguments.is_ok());
    }
    for json in list("extraItemsIgnored") {
        assert_eq!(call(json.as_str().unwrap()).target.as_ref(), "foo");
    }
}

#[test]
fn client_results_are_read() {
    for vector in
        list("clientResults").iter().chain(list("unexpectedClientResult")).chain(list("wrongTypeForClientResult"))
    {
        let json = text(vector, "json");
        let HubMessage::Completion { id, outcome, .. } = one(json) else { panic!("{json}") };
        assert_eq!(id, "1".into());
        assert_eq!(matches!(outcome, Outcome::Value(_)), json.contains("result"), "{json}");
    }
}

#[test]
fn encoded_sizes_match_the_reference() {
    let id = || InvocationId::from("1");
    let headers = Headers::default;
    let invoke = |id: Option<InvocationId>, streams: &[&str]| Invocation {
        id,
        stream_ids: streams.iter().map(|id| InvocationId::from(*id)).collect(),
        ..Invocation::send("Target", vec![argument("1")])
    };
    // The recorded stream invocations have no arguments.
    let stream = |streams: &[&str]| Invocation { arguments: Ok(Vec::new()), ..invoke(Some(id()), streams) };
    let close = |error: Option<&str>| HubMessage::Close { error: error.map(str::to_owned), allow_reconnect: false };
    let completion = |outcome| HubMessage::Completion { id: id(), outcome, headers: headers() };
    let item = |json| HubMessage::StreamItem { id: id(), item: Ok(argument(json)), headers: headers() };
    let messages = [
        ("InvocationMessage_WithoutInvocationId", HubMessage::Invocation(invoke(None, &[]))),
        ("InvocationMessage_WithInvocationId", HubMessage::Invocation(invoke(Some(id()), &[]))),
        ("InvocationMessage_WithInvocationIdAndStreamId", HubMessage::Invocation(invoke(Some(id()), &["2"]))),
        ("CloseMessage_Empty", close(None)),
        ("CloseMessage_WithError", close(Some("error"))),
        ("StreamItemMessage_WithNullItem", item("null")),
        ("CompletionMessage_Empty", completion(Outcome::Void)),
        ("CompletionMessage_WithError", completion(Outcome::Error("error".into()))),
        ("StreamInvocationMessage", HubMessage::StreamInvocation(stream(&[]))),
        ("StreamInvocationMessage_WithStreamId", HubMessage::StreamInvocation(stream(&["2"]))),
        ("CancelInvocationMessage", HubMessage::CancelInvocation { id: id(), headers: headers() }),
        ("PingMessage", HubMessage::Ping),
    ];
    for (name, message) in messages {
        let vector = list("messageSizes").iter().find(|vector| vector["name"] == name).unwrap();
        assert_eq!(encode(&message).unwrap().len() as u64, vector["framedSize"].as_u64().unwrap(), "{name}");
    }
    assert_eq!(encode(&completion(Outcome::Value(argument("1")))).unwrap().len(), 41);
}

#[test]
fn further_invalid_messages_have_the_recorded_texts() {
    let bounds = "Either the JSON value is not in a supported format, or is out of bounds for an";
    for (json, error) in [
        (r#"{"type":1,"streamIds":null}"#, "InvalidDataException: Expected 'streamIds' to be of type Array."),
        (r#"{"type":1,"streamIds":[null]}"#, "InvalidDataException: Null value for 'streamIds' is not valid."),
        (
            r#"{"type":1,"streamIds":[1]}"#,
            "InvalidOperationException: Cannot get the value of a token type 'Number' as a string.",
        ),
        (r#"{"type":1,"headers":null}"#, "InvalidDataException: Expected 'headers' to be of type StartObject."),
        (r#"{"type":1,"headers":[]}"#, "InvalidDataException: Expected 'headers' to be of type StartObject."),
        (r#"{"type":7,"allowReconnect":1}"#, "InvalidDataException: Expected 'allowReconnect' to be true or false."),
        (r#"{"type":7,"error":null}"#, "InvalidDataException: Expected 'error' to be of type String."),
        (r#"{"type":1,"invocationId":null}"#, "InvalidDataException: Expected 'invocationId' to be of type String."),
        (r#"{"type":8,"sequenceId":null}"#, "InvalidDataException: Missing required property 'sequenceId'."),
        (r#"{"type":8,"sequenceId":1.5}"#, &format!("FormatException: {bounds} Int64.")),
        (r#"{"type":9,"sequenceId":99999999999999999999}"#, &format!("FormatException: {bounds} Int64.")),
        (r#"{"type":1.5}"#, &format!("FormatException: {bounds} Int32.")),
        (r#"{"type":1e0}"#, &format!("FormatException: {bounds} Int32.")),
        (r#"{"type":99999999999}"#, &format!("FormatException: {bounds} Int32.")),
        (r#"{"type":null}"#, "InvalidDataException: Expected 'type' to be of type Number."),
        (
            r#"{"type":4,"invocationId":"","target":"S","arguments":[]}"#,
            "InvalidDataException: Missing required property 'invocationId'.",
        ),
        (r#"{"type":2,"invocationId":"","item":1}"#, "KeyNotFoundException: No stream with id '' could be found."),
        (r#"{"type":2,"invocationId":"1"}"#, "InvalidDataException: Missing required property 'item'."),
        (r#"{"type":3,"invocationId":""}"#, "InvalidDataException: Missing required property 'invocationId'."),
        (r#"{"type":5,"invocationId":""}"#, "InvalidDataException: Missing required property 'invocationId'."),
        (r#"{"Type":6}"#, "InvalidDataException: Missing required property 'type'."),
    ] {
        assert_eq!(refused(json), error, "{json}");
    }
    for json in [
        r#"{"type":6"#,
        r"{'type':6}",
        r#"{"type":6,}"#,
        r#"{"type":06}"#,
        r#"{"type":6 "a":1}"#,
        r#"{"type"}"#,
        "tru",
        r#"{"type":1,"arguments":[undefined]}"#,
        r#"{"type":1,"arguments":["a\x"]}"#,
        "{\"type\":1,\"arguments\":[\"a\tb\"]}",
        r#"{"type":1,"arguments":["\u12"]}"#,
        r#"{"type":1,"arguments":['a']}"#,
        r#"{"type":1,"arguments":[1,,]}"#,
        r#"{"type":1,"arguments":[[1,]]}"#,
        r#"{"type":1,"arguments":[,1]}"#,
        r#"{"type":6,"x":[1}}"#,
        r#"{"type":6,"x":nul}"#,
        r#"{"type":6,"x":1.}"#,
        r#"{"type":6,"x":.5}"#,
        r#"{"type":6,"x":-}"#,
        r#"{"type":6,"x":1e}"#,
        r#"{"type":6,"x":truex}"#,
        " ",
        "{",
        "{\"",
    ] {
        assert_eq!(refused(json), "InvalidDataException: Error reading JSON.", "{json}");
    }
}

#[test]
fn an_empty_target_and_any_headers_are_accepted() {
    assert_eq!(call(r#"{"type":1,"target":"","arguments":[]}"#).target.as_ref(), "");
    let call = call(r#"{"type":1,"headers":{"":"","a":"b"},"target":"T","arguments":[]}"#);
    assert_eq!(call.headers.0, [(String::new(), String::new()), ("a".into(), "b".into())]);
}

#[test]
fn an_empty_invocation_id_means_no_completion() {
    assert_eq!(call(r#"{"type":1,"invocationId":"","target":"T","arguments":[]}"#).id, None);
}

#[test]
fn bytes_after_the_closing_brace_are_ignored() {
    for json in [r#"{"type":6}}"#, r#"{"type":6} x"#, r#"{"type":6}["#, r#"{"type":6}{"type":7}"#] {
        assert_eq!(one(json), HubMessage::Ping, "{json}");
    }
}

#[test]
fn the_last_of_duplicate_members_wins() {
    let call = call(r#"{"type":4,"type":1,"target":"a","arguments":[1],"arguments":["b"],"target":"c"}"#);
    assert_eq!(call.target.as_ref(), "c");
    assert_eq!(call.arguments.unwrap(), [argument("\"b\"")]);
}

#[test]
fn whitespace_and_escapes_are_allowed_anywhere() {
    let call = call(" {\n\"\\u0074ype\" : 1 ,\t\"target\":\"\\u0045cho\", \"arguments\" : [ \"x\" , 2 ] }\r\n");
    assert_eq!(call.target.as_ref(), "Echo");
    assert_eq!(call.arguments.unwrap(), [argument("\"x\""), argument("2")]);
}

#[test]
fn arguments_are_slices_of_the_input() {
    let mut buffer = framed(r#"{"type":1,"target":"T","arguments":[{"a":[1,2]}]}"#);
    let range = buffer.as_ptr_range();
    let Some(HubMessage::Invocation(call)) = decode(&mut buffer, None).unwrap() else { panic!() };
    assert!(range.contains(&call.arguments.unwrap()[0].bytes().as_ptr()));
}

#[test]
fn a_trailing_comma_in_arguments_is_a_binding_error() {
    let error = call(r#"{"type":1,"invocationId":"1","target":"T","arguments":[1,]}"#).arguments.unwrap_err();
    assert_eq!(error.exception, "JsonReaderException");
    assert!(error.detail.contains("trailing comma"), "{}", error.detail);
}

/// Strings that are not Unicode text, and ASP.NET Core's error for them.
const INVALID_STRINGS: [(&[u8], &str); 8] = [
    (b"\xff", "Cannot transcode invalid UTF-8 JSON text to UTF-16 string."),
    (b"a\xc3\x28b", "Cannot transcode invalid UTF-8 JSON text to UTF-16 string."),
    (b"cut off \xf0\x9f\x98", "Cannot transcode invalid UTF-8 JSON text to UTF-16 string."),
    (b"\xed\xa0\xbd\xed\xb8\x80", "Cannot transcode invalid UTF-8 JSON text to UTF-16 string."),
    (b"a\\ud83db", "Cannot read incomplete UTF-16 JSON text as string with missing low surrogate."),
    (b"\\ud83d", "Cannot read incomplete UTF-16 JSON text as string with missing low surrogate."),
    (b"\\uDE00\\uD83D", "Cannot read incomplete UTF-16 JSON text as string with missing low surrogate."),
    (b"\\ud83d\\ud83d\\ude00", "Cannot read incomplete UTF-16 JSON text as string with missing low surrogate."),
];

#[test]
fn decoded_values_never_contain_invalid_unicode() {
    for (bad, detail) in INVALID_STRINGS {
        let read = |before: &str, after: &str| {
            let bytes = [before.as_bytes(), bad, after.as_bytes(), b"\x1e"].concat();
            decode(&mut BytesMut::from(&bytes[..]), None)
        };
        // As a value, in an array, and as a member's name.
        for (before, after) in [("\"", "\""), ("[1,[\"a\",\"", "\"]]"), ("{\"a\":[],\"", "\":1}")] {
            let with = |head: &str, tail: &str| read(&format!("{head}{before}"), &format!("{after}{tail}"));
            for kind in ["1", "4"] {
                for (head, tail) in [("", ""), ("1,", ""), ("", ",\"\u{e9}\"")] {
                    let head =
                        format!("{{\"type\":{kind},\"invocationId\":\"1\",\"target\":\"T\",\"arguments\":[{head}");
                    let message = with(&head, &format!("{tail}]}}"));
                    let Ok(Some(HubMessage::Invocation(call) | HubMessage::StreamInvocation(call))) = message else {
                        panic!("{message:?}")
                    };
                    assert_eq!(call.arguments, Err(BindingError::argument_type()));
                }
            }
            let item = with("{\"type\":2,\"invocationId\":\"1\",\"item\":", "}").unwrap().unwrap();
            let expected = HubMessage::StreamItem {
                id: "1".into(),
                item: Err(BindingError::item_type()),
                headers: Headers::default(),
            };
            assert_eq!(item, expected);
            let result = with("{\"type\":3,\"invocationId\":\"1\",\"result\":", "}").unwrap().unwrap();
            let HubMessage::Completion { outcome: Outcome::Error(error), .. } = result else { panic!("{result:?}") };
            assert!(error.starts_with("Error trying to deserialize result to String. "), "{error}");
            // In a value that is skipped it is not an error.
            assert_eq!(with("{\"type\":6,\"x\":", "}"), Ok(Some(HubMessage::Ping)));
            // A completion with both an error and such a result is still a protocol error.
            let both = with("{\"type\":3,\"invocationId\":\"1\",\"error\":\"e\",\"result\":", "}").unwrap_err();
            assert_eq!(both.detail, "The 'error' and 'result' properties are mutually exclusive.");
        }
        assert_eq!(read("{\"type\":6,\"", "\":1}"), Ok(Some(HubMessage::Ping)));
        for (head, tail) in [
            ("{\"type\":1,\"target\":\"", "\",\"arguments\":[]}"),
            ("{\"type\":1,\"invocationId\":\"", "\",\"target\":\"T\",\"arguments\":[]}"),
            ("{\"type\":1,\"target\":\"T\",\"arguments\":[],\"streamIds\":[\"", "\"]}"),
            ("{\"type\":3,\"invocationId\":\"1\",\"error\":\"", "\"}"),
            ("{\"type\":5,\"invocationId\":\"", "\"}"),
            ("{\"type\":7,\"error\":\"", "\"}"),
            ("{\"type\":6,\"headers\":{\"", "\":\"b\"}}"),
            ("{\"type\":6,\"headers\":{\"a\":\"", "\"}}"),
        ] {
            let error = read(head, tail).unwrap_err();
            assert_eq!((error.exception, error.detail.as_str()), ("InvalidOperationException", detail), "{head}");
        }
    }
}

#[test]
fn surrogate_pairs_are_kept_as_received() {
    for good in [r"\ud83d\ude00", r"\uDBFF\uDFFFx\uD800\uDC00", r"\\ud83d", r"\ud7ff\ue000", "\u{10ffff}\u{7f}"] {
        let text = format!("\"{good}\"");
        let got = call(&format!(r#"{{"type":1,"target":"T","arguments":[{text},[{text}]]}}"#));
        assert_eq!(got.arguments.unwrap(), [argument(&text), argument(&format!("[{text}]"))], "{good}");
    }
    // After one half of a pair, an incomplete escape is still a syntax error.
    assert!(read(r#"{"type":1,"target":"T","arguments":["\ud83d\ude0"]}"#).is_err());
    assert!(read(r#"{"type":1,"target":"T","arguments":["\ud83d\"]}"#).is_err());
}

#[test]
fn nesting_is_limited_to_64_including_message_and_arguments() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let with = |depth| format!(r#"{{"type":1,"target":"T","arguments":[{}]}}"#, nested(depth));
    assert!(call(&with(62)).arguments.is_ok());
    assert_eq!(refused(&with(63)), "InvalidDataException: Error reading JSON.");
    let unknown = |depth| format!(r#"{{"type":6,"x":{}}}"#, nested(depth));
    assert_eq!(one(&unknown(63)), HubMessage::Ping);
    assert_eq!(refused(&unknown(64)), "InvalidDataException: Error reading JSON.");
    assert_eq!(refused(&unknown(100_000)), "InvalidDataException: Error reading JSON.");
}

#[test]
fn unknown_types_are_skipped_and_the_next_message_is_read() {
    let mut buffer = BytesMut::from("{\"type\":10}\x1e{\"type\":0}\x1e{\"type\":-1,\"x\":[]}\x1e{\"type\":6}\x1e");
    assert_eq!(decode(&mut buffer, Some(32)).unwrap(), Some(HubMessage::Ping));
    assert!(buffer.is_empty());
}

#[test]
fn a_megabyte_of_separators_fails_at_once() {
    let mut buffer = BytesMut::from(&[0x1e; 1 << 20][..]);
    assert_eq!(decode(&mut buffer, Some(32_768)).unwrap_err().detail, "Error reading JSON.");
    assert_eq!(buffer.len(), (1 << 20) - 1);
}

#[test]
fn unreadable_arguments_are_not_encoded() {
    let call = call(r#"{"type":1,"target":"T","arguments":[1,]}"#);
    assert!(encode(&HubMessage::Invocation(call)).is_err());
}
