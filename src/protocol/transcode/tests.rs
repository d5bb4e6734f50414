//! Tests of the conversion rules, and that the check agrees with the conversion.

#![allow(clippy::unwrap_used)]

use super::*;

fn to_json(value: &[u8]) -> Result<String, ValueError> {
    let converted = transcode(value, Protocol::MessagePack);
    assert_eq!(converted.as_ref().map(|_| ()).map_err(Clone::clone), check(value, Protocol::MessagePack));
    converted.map(|json| String::from_utf8(json).unwrap())
}

fn to_msgpack(json: &str) -> Result<Vec<u8>, ValueError> {
    let converted = transcode(json.as_bytes(), Protocol::Json);
    assert_eq!(converted.as_ref().map(|_| ()).map_err(Clone::clone), check(json.as_bytes(), Protocol::Json));
    converted
}

#[test]
fn messagepack_is_converted_to_json() {
    for (value, json) in [
        (&b"\xc0"[..], "null"),
        (b"\xc3", "true"),
        (b"\xc2", "false"),
        (b"\x07", "7"),
        (b"\xff", "-1"),
        (b"\xd3\x00\x00\x00\x00\x00\x00\x00\x05", "5"),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
        (b"\xa2\xc3\xa9", "\"é\""),
        (b"\xa1+", "\"+\""),
        (b"\xc4\x02\x00\xff", "\"AP8=\""),
        (b"\xc4\x00", "\"\""),
        (b"\x93\x01\xc0\x90", "[1,null,[]]"),
        (b"\x82\xa1b\x01\xa1a\x80", "{\"b\":1,\"a\":{}}"),
        (b"\x82\x01\xa1a\xff\x91\x03", "{\"1\":\"a\",\"-1\":[3]}"),
        (b"\xca\x3f\xc0\x00\x00", "1.5"),
    ] {
        assert_eq!(to_json(value).unwrap(), json);
    }
}

#[test]
fn json_is_converted_to_messagepack() {
    for (json, value) in [
        ("null", &b"\xc0"[..]),
        (" true ", b"\xc3"),
        ("-0", b"\x00"),
        ("300", b"\xcd\x01\x2c"),
        ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("-9223372036854775808", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("1.0", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        ("1E+2", b"\xcb\x40\x59\x00\x00\x00\x00\x00\x00"),
        ("18446744073709551616", b"\xcb\x43\xf0\x00\x00\x00\x00\x00\x00"),
        (r#""\u0041\n""#, b"\xa2A\n"),
        (r#""AP8=""#, b"\xa4AP8="),
        (r#"{ "b" : 1 , "a" : [ ] }"#, b"\x82\xa1b\x01\xa1a\x90"),
    ] {
        assert_eq!(to_msgpack(json).unwrap(), value, "{json}");
    }
}

#[test]
fn containers_of_every_size_have_the_right_header() {
    for count in [0, 1, 15, 16, 17, 65_535, 65_536] {
        let array = format!("[[{}]]", vec!["7"; count].join(","));
        let value: Vec<Vec<u8>> = rmp_serde::from_slice(&to_msgpack(&array).unwrap()).unwrap();
        assert_eq!(value, [vec![7; count]]);
        assert_eq!(to_msgpack(&array).unwrap(), rmp_serde::to_vec(&value).unwrap());
        let map: Vec<String> = (0..count).map(|key| format!("\"{key}\":0")).collect();
        let map = format!("{{{}}}", map.join(","));
        assert_eq!(to_json(&to_msgpack(&map).unwrap()).unwrap(), map);
    }
}

#[test]
fn floats_are_formatted_as_in_dotnet() {
    for (float, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (2.0, "2"),
        (0.1, "0.1"),
        (-1.5, "-1.5"),
        (1e21, "1E+21"),
        (1.5e-7, "1.5E-07"),
        (0.0001, "0.0001"),
        (0.00012, "0.00012"),
        (0.00001, "1E-05"),
        (1e14, "100000000000000"),
        (1e15, "1E+15"),
        (123_456_789_012_345_680.0, "1.2345678901234568E+17"),
        (1_234_567_890_123_456.0, "1234567890123456"),
        (12_345_678_901_234_567.0, "12345678901234568"),
        (123_456.789, "123456.789"),
        (f64::MAX, "1.7976931348623157E+308"),
        (f64::from_bits(1), "5E-324"),
    ] {
        let mut value = vec![0xcb];
        value.extend(float.to_be_bytes());
        assert_eq!(to_json(&value).unwrap(), text);
        assert_eq!(text.parse::<f64>().unwrap().to_bits(), float.to_bits());
    }
    for (float, text) in
        [(0.1f32, "0.1"), (1e7, "1E+07"), (1e6, "1000000"), (16_777_216.0, "16777216"), (1.5e-7, "1.5E-07")]
    {
        let mut value = vec![0xca];
        value.extend(float.to_be_bytes());
        assert_eq!(to_json(&value).unwrap(), text);
    }
}

#[test]
fn timestamps_are_converted_to_iso_8601() {
    for (value, text) in [
        (&b"\xd6\xff\x00\x00\x00\x00"[..], "\"1970-01-01T00:00:00Z\""),
        (b"\xd6\xff\x58\xec\x1c\x80", "\"2017-04-11T00:00:00Z\""),
        (b"\xd6\xff\x3c\xa8\x34\x40", "\"2002-04-01T10:19:44Z\""),
        (b"\xd7\xff\x1d\x4c\x50\x00\x3c\xa8\x34\x40", "\"2002-04-01T10:19:44.1228851Z\""),
        // A full second of nanoseconds is carried, as recorded (`msgpack-chat-echo-timestamp`).
        (b"\xd7\xff\xee\x6b\x28\x00\x3c\xa8\x34\x40", "\"2002-04-01T10:19:45Z\""),
        (b"\xc7\x0c\xff\x00\x00\x00\x00\xff\xff\xff\xf1\x88\x6e\x09\x00", "\"0001-01-01T00:00:00Z\""),
        (b"\xc7\x0c\xff\x3b\x9a\xc9\xff\x00\x00\x00\x3a\xff\xf4\x41\x7f", "\"9999-12-31T23:59:59.9999999Z\""),
    ] {
        assert_eq!(to_json(value).unwrap(), text);
    }
}

#[test]
fn values_that_cannot_be_converted_are_refused() {
    for value in [
        &b"\xca\x7f\x80\x00\x00"[..],
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"\xd5\x05\x01\x02",
        b"\xd4\xff\x00",
        b"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xc7\x0c\xff\x00\x00\x00\x00\xff\xff\xff\xf1\x88\x6e\x08\xff",
        b"\x81\xc0\x01",
        b"\x81\xc3\x01",
        b"\x81\x90\x01",
        b"\x81\xc4\x01a\x01",
        b"\xa1\xff",
        b"\x81\xa1\xff\x01",
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\x92\xc0",
        b"\xdd\xff\xff\xff\xff",
    ] {
        assert!(to_json(value).is_err(), "{value:x?}");
    }
    for json in [r#""\ud83d""#, r#"{"\ude00":1}"#, "1e400", "-1e400", "", "[", "1 2", "[1,]", "nul", "01"] {
        assert!(to_msgpack(json).is_err(), "{json}");
    }
    assert!(transcode(b"\"\xff\"", Protocol::Json).is_err());
    assert!(check(b"\"\xff\"", Protocol::Json).is_err());
}

#[test]
fn nesting_is_limited() {
    let json = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let value = |depth: usize| [vec![0x91; depth - 1], vec![0x90]].concat();
    assert_eq!(to_msgpack(&json(MAX_VALUE_DEPTH)).unwrap(), value(MAX_VALUE_DEPTH));
    assert_eq!(to_json(&value(MAX_VALUE_DEPTH)).unwrap(), json(MAX_VALUE_DEPTH));
    for depth in [MAX_VALUE_DEPTH + 1, 1_000_000] {
        assert!(to_msgpack(&json(depth)).is_err());
        assert!(to_json(&value(depth)).is_err());
    }
}
