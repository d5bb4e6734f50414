//! Tests of the values that steps make.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use super::*;
use crate::hub::ErrorKind;
use crate::hub::test_kit::{json, pack, template};
use crate::ids::ConnectionId;

const PARAMS: [&str; 2] = ["a", "b"];

fn value(arguments: &[RawValue], expression: &Expression) -> Result<RawValue, HubError> {
    let connection = ConnectionId::from("me");
    let params = PARAMS.map(str::to_owned);
    StepContext { hub: "chat", connection: &connection, user: None, params: &params, arguments, allowed_groups: None }
        .value(expression)
}

fn text(text: &str) -> Expression {
    Expression::Text(template(&PARAMS, text))
}

fn literal(value: impl Into<serde_json::Value>) -> Expression {
    Expression::Literal(value.into())
}

#[test]
fn a_sole_placeholder_passes_the_argument_through() {
    for argument in
        [json(r#"{"b":1.0,"a":1E+400}"#), json("null"), pack(b"\xc4\x02\0\x01"), pack(b"\xd3\0\0\0\0\0\0\0\x05")]
    {
        assert_eq!(value(&[json("1"), argument.clone()], &text("{b}")), Ok(argument));
    }
}

#[test]
fn facts_about_the_call_are_texts() {
    assert_eq!(value(&[], &text("{connection_id}")), Ok(json(r#""me""#)));
    assert_eq!(value(&[], &text("{hub}")), Ok(json(r#""chat""#)));
    assert_eq!(value(&[], &text("{user_id}")).map(|value| value.is_null()), Ok(true));
    assert_eq!(value(&[], &text("")), Ok(json(r#""""#)));
}

#[test]
fn placeholders_inside_text_make_a_text() {
    let made = value(&[json("1.0"), pack(b"\xa3\"x\"")], &text("{connection_id} says {a} and {b}")).unwrap();
    assert_eq!(made.as_text().as_deref(), Some("me says 1.0 and \"x\""));
}

#[test]
fn literals_stand_as_written() {
    assert_eq!(value(&[], &literal(3)), Ok(json("3")));
    assert_eq!(value(&[], &literal(0.5)), Ok(json("0.5")));
    assert_eq!(value(&[], &literal(true)), Ok(json("true")));
}

#[test]
fn lists_and_tables_are_built_around_json() {
    let expression = Expression::Table(vec![
        ("from".to_owned(), text("{connection_id}")),
        ("a \"key\"".to_owned(), Expression::List(vec![text("{a}"), literal(1), text("<{a}>")])),
        ("none".to_owned(), Expression::List(vec![])),
        ("empty".to_owned(), Expression::Table(vec![])),
    ]);
    let made = value(&[json("1.0")], &expression).unwrap();
    assert_eq!(made, json(r#"{"from":"me","a \"key\"":[1.0,1,"<1.0>"],"none":[],"empty":{}}"#));
    assert_eq!(value(&[], &Expression::List(vec![])), Ok(json("[]")));
}

#[test]
fn a_list_of_messagepack_arguments_stays_messagepack() {
    // A timestamp and binary: JSON would lose both.
    let arguments = [pack(b"\xd6\xff\0\0\0\0"), pack(b"\xc4\x01\x07")];
    let list = Expression::List(vec![text("{a}"), Expression::List(vec![text("{b}")])]);
    assert_eq!(value(&arguments, &list), Ok(pack(b"\x92\xd6\xff\0\0\0\0\x91\xc4\x01\x07")));
}

#[test]
fn long_lists_have_long_headers() {
    for (length, header) in
        [(15, &b"\x9f"[..]), (16, b"\xdc\0\x10"), (65_535, b"\xdc\xff\xff"), (65_536, b"\xdd\0\x01\0\0")]
    {
        let list = Expression::List(vec![text("{a}"); length]);
        let made = value(&[pack(b"\x01")], &list).unwrap();
        assert_eq!(&made.bytes()[..header.len()], header, "{length}");
        assert_eq!(made.bytes().len(), header.len() + length);
    }
    let mut out = Vec::new();
    write::map(&mut out, 3);
    write::map(&mut out, 16);
    write::map(&mut out, 65_536);
    assert_eq!(out, b"\x83\xde\0\x10\xdf\0\x01\0\0");
}

#[test]
fn arguments_of_both_protocols_meet_in_that_of_the_first() {
    let list = Expression::List(vec![text("{connection_id}"), text("{a}"), text("{b}")]);
    let (in_json, in_pack) = (json(r#"{"k":[1,null]}"#), pack(b"\xc4\x01\x07"));
    let json_first = value(&[in_json.clone(), in_pack.clone()], &list);
    assert_eq!(json_first, Ok(json(r#"["me",{"k":[1,null]},"Bw=="]"#)));
    let pack_first = value(&[in_pack, in_json], &list);
    assert_eq!(pack_first, Ok(pack(b"\x93\xa2me\xc4\x01\x07\x81\xa1k\x92\x01\xc0")));
}

#[test]
fn a_table_around_messagepack_keeps_its_keys() {
    let table = Expression::Table(vec![
        ("n".to_owned(), literal(300)),
        ("v".to_owned(), text("{a}")),
        ("f".to_owned(), literal(0.5)),
    ]);
    let made = value(&[pack(b"\xc0")], &table);
    assert_eq!(made, Ok(pack(b"\x83\xa1n\xcd\x01\x2c\xa1v\xc0\xa1f\xcb\x3f\xe0\0\0\0\0\0\0")));
}

#[test]
fn what_has_no_form_in_the_other_protocol_fails() {
    // An extension that is no timestamp, behind a JSON argument.
    let list = Expression::List(vec![text("{a}"), text("{b}")]);
    let error = value(&[json("1"), pack(b"\xd4\x05\0")], &list).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Step, "{error}");
}

#[test]
fn what_is_built_too_deep_fails() {
    let list = |inner| Expression::List(vec![inner]);
    for (deep, protocol) in [
        (json(&("[".repeat(61) + &"]".repeat(61))), "json"),
        (pack(&[vec![0x91; 60], vec![0x90]].concat()), "messagepack"),
    ] {
        assert!(value(std::slice::from_ref(&deep), &list(text("{a}"))).is_ok(), "{protocol}");
        let error = value(&[deep], &list(list(text("{a}")))).unwrap_err();
        assert!(error.to_string().contains("nested deeper than 62 levels"), "{protocol}: {error}");
    }
}
