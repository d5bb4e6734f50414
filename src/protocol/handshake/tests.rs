//! Tests of the handshake against recorded messages and error texts.

#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;

fn list(name: &str) -> Vec<Value> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/json.json"));
    let vectors: Value = serde_json::from_str(text).unwrap();
    vectors[name].as_array().unwrap().clone()
}

fn buffer(vector: &Value) -> BytesMut {
    BytesMut::from(vector["text"].as_str().unwrap())
}

fn refused(bytes: &[u8]) -> HandshakeError {
    read_request(&mut BytesMut::from(bytes), Some(32_768), &mut 0).unwrap_err()
}

#[test]
fn every_recorded_handshake_request_is_read() {
    for vector in list("handshakeRequests") {
        let request = read_request(&mut buffer(&vector), None, &mut 0).unwrap().unwrap();
        assert_eq!(request.protocol, vector["protocol"].as_str().unwrap());
        assert_eq!(i64::from(request.version), vector["version"].as_i64().unwrap());
    }
}

#[test]
fn every_invalid_handshake_request_is_refused_with_the_text_of_the_reference() {
    for vector in list("handshakeRequestsInvalid") {
        let error = read_request(&mut buffer(&vector), None, &mut 0).unwrap_err();
        let base = "An unexpected error occurred during connection handshake.";
        assert_eq!(error.text(false), base);
        assert_eq!(error.text(true), format!("{base} InvalidDataException: {}", vector["error"].as_str().unwrap()));
    }
}

#[test]
fn recorded_handshake_responses_are_read_or_refused() {
    for vector in list("handshakeResponses") {
        let response = read_response(&mut buffer(&vector), None).unwrap().unwrap();
        assert_eq!(response.error.as_deref(), vector["error"].as_str());
    }
    for vector in list("handshakeResponsesInvalid") {
        let HandshakeError::Malformed { detail, .. } = read_response(&mut buffer(&vector), None).unwrap_err() else {
            panic!("{vector}")
        };
        assert_eq!(detail, vector["error"].as_str().unwrap());
    }
    assert!(read_response(&mut BytesMut::from("{\"type\":6}\x1e"), None).is_err());
}

#[test]
fn detailed_handshake_errors_are_the_recorded_ones() {
    let number =
        "FormatException: Either the JSON value is not in a supported format, or is out of bounds for an Int32.";
    for (bytes, detail) in [
        (
            &b"\x1e"[..],
            "JsonReaderException: The input does not contain any JSON tokens. Expected the input to start with a valid \
             JSON token, when isFinalBlock is true. LineNumber: 0 | BytePositionInLine: 0.",
        ),
        (
            b"hello\x1e",
            "JsonReaderException: 'h' is an invalid start of a value. LineNumber: 0 | BytePositionInLine: 0.",
        ),
        (
            b"\xc3\x28\x1e",
            "JsonReaderException: '0xC3' is an invalid start of a value. LineNumber: 0 | BytePositionInLine: 0.",
        ),
        (b"{\"protocol\":\"json\",\"version\":1.5}\x1e", number),
        (b"{\"protocol\":\"json\",\"version\":1e0}\x1e", number),
        (b"{\"protocol\":\"json\",\"version\":2147483648}\x1e", number),
        (
            b"{\"a\":\"\\u00e9\xc3\xa9<\\\"\"}\x1e",
            "InvalidDataException: Missing required property 'protocol'. Message content: {\"a\":\"\\u00e9é<\\\"\"}",
        ),
    ] {
        assert_eq!(
            refused(bytes).text(true),
            format!("An unexpected error occurred during connection handshake. {detail}")
        );
    }
    for bytes in [&b"{\x1e"[..], b"{\"protocol\"\x1e", b"{\"protocol\":jso}\x1e", b"{\"protocol\":\"json\",}\x1e"] {
        assert!(matches!(refused(bytes), HandshakeError::Malformed { exception: "JsonReaderException", .. }));
    }
}

#[test]
fn any_int32_is_a_valid_version() {
    for version in [0, -1, 2, i32::MIN, i32::MAX] {
        let mut buffer = BytesMut::from(&request("json", version)[..]);
        assert_eq!(read_request(&mut buffer, None, &mut 0).unwrap().unwrap().version, version);
    }
}

#[test]
fn a_handshake_request_may_be_split_and_followed_by_messages() {
    let (mut buffer, mut scanned) = (BytesMut::new(), 0);
    for byte in request("messagepack", 1) {
        assert_eq!(read_request(&mut buffer, None, &mut scanned).unwrap(), None);
        assert_eq!(scanned, buffer.len(), "nothing is searched twice");
        buffer.extend_from_slice(&[byte]);
    }
    buffer.extend_from_slice(b"\x02\x91\x06");
    assert_eq!(read_request(&mut buffer, None, &mut scanned).unwrap().unwrap().protocol, "messagepack");
    assert_eq!(buffer, &b"\x02\x91\x06"[..]);
}

#[test]
fn a_handshake_request_over_the_limit_is_refused_whole_or_partial() {
    let sized = |filler: usize, end: &str| {
        BytesMut::from(
            format!("{{\"protocol\":\"json\",\"version\":1,\"x\":\"{}\"}}{end}", "a".repeat(filler)).as_str(),
        )
    };
    assert!(read_request(&mut sized(961, "\x1e"), Some(1000), &mut 0).unwrap().is_some());
    assert_eq!(
        read_request(&mut sized(962, "\x1e"), Some(1000), &mut 0).unwrap_err().text(true),
        "Handshake was canceled."
    );
    assert_eq!(read_request(&mut sized(963, ""), Some(1000), &mut 0), Err(HandshakeError::TooLarge));
    assert_eq!(read_request(&mut sized(962, ""), Some(1000), &mut 0), Ok(None));
}

#[test]
fn texts_of_handshake_errors_found_by_the_session() {
    assert_eq!(HandshakeError::Timeout.text(true), "Handshake was canceled.");
    assert_eq!(HandshakeError::UnknownProtocol("nope".into()).text(true), "The protocol 'nope' is not supported.");
    assert_eq!(
        HandshakeError::UnsupportedVersion { protocol: Protocol::Json, version: 3 }.text(false),
        "The server does not support version 3 of the 'json' protocol."
    );
    assert_eq!(
        HandshakeError::BinaryOnTextTransport(Protocol::MessagePack).text(false),
        "Cannot use the 'messagepack' protocol on the current transport. \
         The transport does not support 'Binary' transfer format."
    );
}

#[test]
fn handshake_responses_match_byte_for_byte() {
    assert_eq!(success(), [0x7b, 0x7d, 0x1e]);
    assert_eq!(failure("a \"b\" é😀"), "{\"error\":\"a \\\"b\\\" é\\uD83D\\uDE00\"}\x1e".as_bytes());
}
