//! Tests of outgoing messages: framing, compared with bytes computed by hand, and sharing of encoded bytes.

use super::*;

#[test]
fn websocket_lengths_use_the_shortest_form() {
    assert_eq!(&websocket_frame(b"ab", false)[..], b"\x81\x02ab");
    assert_eq!(&websocket_frame(&[0; 125], true)[..2], b"\x82\x7d");
    assert_eq!(&websocket_frame(&[0; 126], true)[..4], b"\x82\x7e\x00\x7e");
    assert_eq!(&websocket_frame(&[0; 0xffff], true)[..4], b"\x82\x7e\xff\xff");
    assert_eq!(&websocket_frame(&[0; 0x1_0000], false)[..10], b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
}

#[test]
fn an_event_has_one_data_line_per_line() {
    assert_eq!(&server_sent_event(b"{}\x1e")[..], b"data: {}\x1e\r\n\r\n");
    assert_eq!(&server_sent_event(b"a\nb\r\nc")[..], b"data: a\r\ndata: b\r\ndata: c\r\n\r\n");
}

/// In an event stream a lone CR ends a line too (HTML, "Parsing an event stream"). JSON from a client may contain one
/// between tokens.
#[test]
fn a_lone_cr_does_not_truncate_an_event() {
    assert_eq!(&server_sent_event(b"{\r1}")[..], b"data: {\r\ndata: 1}\r\n\r\n");
    assert_eq!(&server_sent_event(b"\r\r\na\r")[..], b"data: \r\ndata: \r\ndata: a\r\n\r\n");
}

#[test]
fn a_message_is_encoded_once_and_shared() {
    let frame = invocation("M", vec![RawValue::text("x")]);
    let first = frame.encoded(Encoding { protocol: Protocol::Json, framing: Framing::WebSocket }).unwrap();
    let again = frame.clone().encoded(Encoding { protocol: Protocol::Json, framing: Framing::WebSocket }).unwrap();
    assert_eq!(first.as_ptr(), again.as_ptr());
}

#[test]
fn a_message_received_in_one_protocol_is_encoded_for_the_other() {
    let json = Bytes::from_static(b"{\"type\":1,\"target\":\"M\",\"arguments\":[7]}\x1e");
    let frame = OutgoingMessage::from_encoded([(Protocol::Json, json.clone())]);
    assert_eq!(frame.hub_framed(Protocol::Json).unwrap(), json);
    assert_eq!(&frame.hub_framed(Protocol::MessagePack).unwrap()[..], b"\x09\x96\x01\x80\xc0\xa1M\x91\x07\x90");
    assert!(OutgoingMessage::from_encoded([]).hub_framed(Protocol::Json).is_err());
}
