//! Tests of values: conversion from and to Rust types, and to text.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::protocol::HubMessage;

fn json(text: &str) -> RawValue {
    RawValue::from_checked(Protocol::Json, Bytes::copy_from_slice(text.as_bytes()))
}

fn msgpack(bytes: &[u8]) -> RawValue {
    RawValue::from_checked(Protocol::MessagePack, Bytes::copy_from_slice(bytes))
}

fn in_json<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(RawValue::new(value).unwrap().encoded(Protocol::Json).unwrap().into()).unwrap()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    label: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    Circle(f64),
    Box { width: u8 },
}

#[test]
fn rust_values_are_encoded_as_expected_json() {
    assert_eq!(in_json(&None::<u8>), "null");
    assert_eq!(in_json(&Some(1)), "1");
    assert_eq!(in_json(&()), "null");
    assert_eq!(in_json(&u64::MAX), "18446744073709551615");
    assert_eq!(in_json(&i64::MIN), "-9223372036854775808");
    assert_eq!(in_json(&1.5f64), "1.5");
    assert_eq!(in_json(&0.1f32), "0.1");
    assert_eq!(in_json("é\"😀"), r#""é\"\uD83D\uDE00""#);
    assert_eq!(in_json(&'x'), r#""x""#);
    assert_eq!(in_json(&vec![1u8, 2]), "[1,2]");
    assert_eq!(in_json(&(1, "a", true)), r#"[1,"a",true]"#);
    assert_eq!(in_json(&Point { x: 1, label: None }), r#"{"x":1,"label":null}"#);
    assert_eq!(in_json(&BTreeMap::from([(1, "a")])), r#"{"1":"a"}"#);
    assert_eq!(in_json(&Shape::Dot), r#""Dot""#);
    assert_eq!(in_json(&Shape::Circle(1.0)), r#"{"Circle":1}"#);
    assert_eq!(in_json(&Shape::Box { width: 3 }), r#"{"Box":{"width":3}}"#);
    assert_eq!(in_json(&serde_json::json!({"a": [1, null, 2.5]})), r#"{"a":[1,null,2.5]}"#);
    assert!(RawValue::new(&f64::NAN).unwrap().check_portable().is_err());
}

#[test]
fn bytes_are_encoded_as_binary() {
    struct Blob;
    impl Serialize for Blob {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&[0, 255])
        }
    }
    let value = RawValue::new(&Blob).unwrap();
    assert_eq!(value.bytes()[..], [0xc4, 2, 0, 255]);
    assert_eq!(value.display_text().unwrap(), "AP8=");
}

#[test]
fn values_are_read_as_rust_types() {
    for value in [json(r#"{"x":1,"label":"a"}"#), RawValue::new(&Point { x: 1, label: Some("a".into()) }).unwrap()] {
        assert_eq!(value.to::<Point>().unwrap(), Point { x: 1, label: Some("a".into()) });
        assert!(value.to::<u8>().is_err());
    }
    for shape in [Shape::Dot, Shape::Circle(0.5), Shape::Box { width: 1 }] {
        let value = RawValue::new(&shape).unwrap();
        assert_eq!(value.to::<Shape>().unwrap(), shape);
        let value = RawValue::from_checked(Protocol::Json, value.encoded(Protocol::Json).unwrap());
        assert_eq!(value.to::<Shape>().unwrap(), shape);
    }
    assert!(json("300").to::<u8>().is_err());
    assert_eq!(RawValue::null().to::<Option<u8>>().unwrap(), None);
}

#[test]
fn only_strings_are_text() {
    assert_eq!(RawValue::text("a\"é").as_text().unwrap(), "a\"é");
    assert_eq!(json(r#""\u0041""#).as_text().unwrap(), "A");
    assert_eq!(msgpack(b"\xa1a").as_text().unwrap(), "a");
    for value in [json("1"), json("null"), json("[\"a\"]"), msgpack(b"\xc4\x01a"), msgpack(b"\xc0")] {
        assert_eq!(value.as_text(), None);
    }
}

#[test]
fn values_are_inserted_in_text_as_documented() {
    for (value, text) in [
        (RawValue::null(), ""),
        (msgpack(b"\xc0"), ""),
        (json(r#""a\nb""#), "a\nb"),
        (json("1.0"), "1.0"),
        (json("1E+2"), "1E+2"),
        (json("true"), "true"),
        (msgpack(b"\xc2"), "false"),
        (json(r#"{"a":[1,"x"]}"#), r#"{"a":[1,"x"]}"#),
        (msgpack(b"\x81\xa1a\x91\x01"), r#"{"a":[1]}"#),
        (msgpack(b"\xc4\x02\x00\xff"), "AP8="),
        (msgpack(b"\xcd\x01\x2c"), "300"),
        (msgpack(b"\xd6\xff\x00\x00\x00\x00"), "1970-01-01T00:00:00Z"),
    ] {
        assert_eq!(value.display_text().unwrap(), text);
    }
    assert!(msgpack(b"\xca\x7f\x80\x00\x00").display_text().is_err());
}

/// The constructors rely on this: the strings that serde writes are Unicode text, and bytes stay binary.
#[test]
fn rust_values_contain_valid_unicode_only() {
    let odd = [
        RawValue::text("a\u{fffd}\u{10ffff}\0\"\\"),
        RawValue::new("a\u{fffd}\u{10ffff}\0\"\\").unwrap(),
        RawValue::new(&'\u{d7ff}').unwrap(),
        RawValue::new(&serde_json::json!({"\u{ffff}": ["\u{e000}"]})).unwrap(),
        RawValue::new(&String::from_utf8_lossy(b"\xff")).unwrap(),
    ];
    for value in odd {
        assert!(is_text(value.protocol, &value.bytes));
        let json = value.encoded(Protocol::Json).unwrap();
        assert!(is_text(Protocol::Json, &json) && std::str::from_utf8(&json).is_ok());
        assert!(is_text(Protocol::MessagePack, &value.encoded(Protocol::MessagePack).unwrap()));
    }
}

#[test]
fn a_type_that_miscounts_its_elements_is_an_error() {
    use serde::ser::{SerializeSeq, Serializer};
    struct Miscounted(usize);
    impl Serialize for Miscounted {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut list = serializer.serialize_seq(Some(self.0))?;
            list.serialize_element(&1)?;
            list.serialize_element(&2)?;
            list.end()
        }
    }
    assert!(RawValue::new(&Miscounted(2)).is_ok());
    assert!(RawValue::new(&Miscounted(1)).is_err());
    assert!(RawValue::new(&Miscounted(3)).is_err());
}

#[test]
fn what_a_decoder_has_proven_is_what_a_scan_finds() {
    let long = "1".repeat(101);
    for (value, depth, portable) in [
        ("null", 0, true),
        (r#""\ud83d\ude00""#, 0, true),
        ("-12.5e-99", 0, true),
        ("[]", 1, true),
        (r#"{"a":[1,{"b":[]}],"c":{}}"#, 4, true),
        // These may be too large for a float (the first two are not).
        ("1e100", 0, false),
        (&long, 0, false),
        ("[1e400]", 1, false),
    ] {
        let call = format!(r#"{{"type":1,"target":"M","arguments":[0, {value} ]}}{}"#, '\u{1e}');
        let Ok(Some(HubMessage::Invocation(call))) = Protocol::Json.decode(&mut call.as_bytes().into(), None) else {
            panic!("{value}");
        };
        let decoded = &call.arguments.unwrap()[1];
        assert_eq!(decoded.proven(), Proven { depth, portable }, "{value}");
        assert_eq!(decoded.check_portable(), transcode::check(value.as_bytes(), Protocol::Json), "{value}");
    }
    for (value, depth, portable) in [
        (&b"\xc0"[..], 0, true),
        (b"\xa1a", 0, true),
        (b"\xc4\x01\x00", 0, true),
        (b"\xca\x3f\xc0\0\0", 0, true),
        (b"\x93\x01\x90\x91\xc0", 2, true),
        (b"\x83\x01\xc0\xff\xc0\xa1a\x81\xa1b\x90", 3, true),
        (b"\xd6\xff\0\0\0\0", 0, true),
        // Not a timestamp, or an invalid one; not finite; keys that are neither strings nor integers.
        (b"\xd4\x05\0", 0, false),
        (b"\xd4\xff\0", 0, false),
        (b"\x91\xca\x7f\x80\0\0", 1, false),
        (b"\xcb\x7f\xf8\0\0\0\0\0\0", 0, false),
        (b"\x81\xc3\x01", 1, false),
        (b"\x81\x91\x90\x01", 3, false),
        // Repaired: the string becomes U+FFFD.
        (b"\x91\xa1\xff", 1, true),
    ] {
        let body = [b"\x96\x01\x80\xc0\xa1M\x92\x00", value, b"\x90"].concat();
        let framed = [&[body.len() as u8][..], &body].concat();
        let Ok(Some(HubMessage::Invocation(call))) = Protocol::MessagePack.decode(&mut framed[..].into(), None) else {
            panic!("{value:x?}");
        };
        let decoded = &call.arguments.unwrap()[1];
        assert_eq!(decoded.proven(), Proven { depth, portable }, "{value:x?}");
        assert_eq!(decoded.check_portable(), transcode::check(decoded.bytes(), Protocol::MessagePack), "{value:x?}");
        assert_eq!(RawValue::from_checked(Protocol::MessagePack, decoded.bytes().clone()).proven(), decoded.proven());
    }
}

#[test]
fn rust_values_of_any_depth_are_scanned_once() {
    let nested = |depth: usize| (0..depth).fold(serde_json::Value::Null, |value, _| vec![value].into());
    for (depth, known, fits) in [(0, 0, true), (62, 62, true), (63, 63, false), (254, 254, false), (300, 255, false)] {
        let value = RawValue::new(&nested(depth)).unwrap();
        assert_eq!((value.proven().depth, value.check_depth().is_ok()), (known, fits), "{depth}");
        assert_eq!(value.check_portable().is_ok(), fits, "{depth}");
    }
}

#[test]
fn a_value_with_both_forms_is_not_converted_again() {
    for value in [json(r#"{"a":[1,"é",2.5]}"#), msgpack(b"\x82\xa1a\xc4\x01\x07\x05\xc0"), RawValue::text("\u{e9}\"")]
    {
        let both = value.clone().with_both_forms();
        assert_eq!(both, value);
        for protocol in Protocol::ALL {
            let bytes = both.encoded(protocol).unwrap();
            assert_eq!(bytes, value.encoded(protocol).unwrap());
            assert_eq!(bytes.as_ptr(), both.clone().encoded(protocol).unwrap().as_ptr(), "the same memory");
        }
    }
    let no_json = msgpack(b"\xd4\x05\0").with_both_forms();
    assert!(no_json.encoded(Protocol::Json).is_err() && no_json.check_portable().is_err());
}

#[test]
fn debug_output_of_a_value_hides_its_content() {
    assert_eq!(format!("{:?}", RawValue::text("secret")), "json value of 8 bytes");
}
