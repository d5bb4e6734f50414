//! Tests of evaluating the expressions of steps.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use super::*;
use crate::config::steps::{Expression, Placeholder, TemplatePart};
use crate::hub::ErrorKind;
use crate::hub::declared::prepared::Preparation;
use crate::hub::test_kit::{json, pack, template};
use crate::ids::ConnectionId;

const PARAMS: [&str; 2] = ["a", "b"];

fn value(arguments: &[RawValue], expression: &Expression) -> Result<RawValue, HubError> {
    let connection = ConnectionId::from("me");
    let params = PARAMS.map(str::to_owned);
    StepContext { hub: "chat", connection: &connection, user: None, params: &params, arguments, allowed_groups: None }
        .value(&PreparedValue::new(expression, Preparation { hub: "chat" }))
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
fn ids_and_the_hub_name_are_strings() {
    assert_eq!(value(&[], &text("{connection_id}")), Ok(json(r#""me""#)));
    assert_eq!(value(&[], &text("{hub}")), Ok(json(r#""chat""#)));
    assert_eq!(value(&[], &text("{user_id}")).map(|value| value.is_null()), Ok(true));
    assert_eq!(value(&[], &text("")), Ok(json(r#""""#)));
}

#[test]
fn placeholders_inside_text_give_a_string() {
    let made = value(&[json("1.0"), pack(b"\xa3\"x\"")], &text("{connection_id} says {a} and {b}")).unwrap();
    assert_eq!(made.as_text().as_deref(), Some("me says 1.0 and \"x\""));
}

#[test]
fn literals_keep_their_values() {
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
    // A timestamp and binary data: in JSON both would lose their types.
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
fn arguments_of_both_protocols_are_converted_to_the_protocol_of_the_first() {
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
fn a_value_that_the_other_protocol_cannot_represent_fails() {
    // An extension that is not a timestamp, after a JSON argument.
    let list = Expression::List(vec![text("{a}"), text("{b}")]);
    let error = value(&[json("1"), pack(b"\xd4\x05\0")], &list).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Step, "{error}");
}

#[test]
fn a_value_that_is_nested_too_deeply_fails() {
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

/// Evaluates an expression without preparing it: each part is encoded by itself with the ordinary encoder.
fn ordinary(expression: &Expression, arguments: &[RawValue], protocol: Protocol) -> Vec<u8> {
    let shown = |placeholder| match placeholder {
        Placeholder::Param(index) => arguments[index].display_text().unwrap(),
        Placeholder::ConnectionId => "me".to_owned(),
        Placeholder::UserId => String::new(),
        Placeholder::Hub => "chat".to_owned(),
    };
    let value = match expression {
        Expression::Literal(literal) => json(&literal.to_string()),
        Expression::Text(template) => match template.0.as_slice() {
            [TemplatePart::Placeholder(Placeholder::Param(index))] => arguments[*index].clone(),
            [TemplatePart::Placeholder(Placeholder::UserId)] => RawValue::null(),
            _ => RawValue::text(
                &Vec::from_iter(template.0.iter().map(|part| match part {
                    TemplatePart::Text(text) => text.clone(),
                    TemplatePart::Placeholder(placeholder) => shown(*placeholder),
                }))
                .concat(),
            ),
        },
        Expression::List(items) => {
            let items: Vec<_> = items.iter().map(|item| ordinary(item, arguments, protocol)).collect();
            return match protocol {
                Protocol::Json => [&b"["[..], &items.join(&b','), b"]"].concat(),
                Protocol::MessagePack => [vec![0x90 | items.len() as u8], items.concat()].concat(),
            };
        }
        Expression::Table(entries) => {
            let entry = |(key, value): &(String, Expression)| {
                let key = RawValue::text(key).encoded(protocol).unwrap().to_vec();
                let between = if protocol == Protocol::Json { &b":"[..] } else { b"" };
                [&key, between, &ordinary(value, arguments, protocol)].concat()
            };
            let entries: Vec<_> = entries.iter().map(entry).collect();
            return match protocol {
                Protocol::Json => [&b"{"[..], &entries.join(&b','), b"}"].concat(),
                Protocol::MessagePack => [vec![0x80 | entries.len() as u8], entries.concat()].concat(),
            };
        }
    };
    value.encoded(protocol).unwrap().to_vec()
}

/// Expressions of every type: constants alone, placeholders alone, and constants around placeholders.
fn templates() -> Vec<Expression> {
    let mut templates = vec![
        text(""),
        text("hello"),
        text("\"quoted\" \\ \n\u{1f} <&'+> é ☃ 😀 \u{7f}\u{2028}"),
        text(&"long ".repeat(60)),
        text("{hub}"),
        text("in {hub}"),
        literal(0),
        literal(-1),
        literal(300),
        literal(i64::MIN),
        literal(u64::MAX),
        literal(0.5),
        literal(-0.25),
        literal(true),
        literal(false),
        text("{a}"),
        text("{connection_id}"),
        text("{user_id}"),
        text("é {a}\n\"{b}\" by {connection_id}{user_id} in {hub}"),
        Expression::List(vec![]),
        Expression::Table(vec![]),
    ];
    templates.push(Expression::List(templates[..15].to_vec()));
    templates.push(Expression::Table(vec![
        ("é \"key\"".to_owned(), Expression::List(templates[..6].to_vec())),
        ("kind".to_owned(), Expression::Table(vec![("deep".to_owned(), Expression::List(vec![literal(1)]))])),
    ]));
    templates.push(Expression::List(templates[10..].to_vec()));
    templates.push(Expression::Table(vec![
        ("from".to_owned(), text("{b}")),
        ("é \"key\"".to_owned(), templates[18].clone()),
        ("all".to_owned(), Expression::List(templates[20..].to_vec())),
    ]));
    templates
}

#[test]
fn prepared_values_equal_the_ordinary_encoding() {
    let arguments = [json(r#"{"k":["\u00e9\"",-7,true,null]}"#), json(r#""ü\t""#)];
    let packed = arguments.each_ref().map(|value| pack(&value.encoded(Protocol::MessagePack).unwrap()));
    for expression in templates() {
        for arguments in [arguments.clone(), packed.clone()] {
            let made = value(&arguments, &expression).unwrap();
            for protocol in Protocol::ALL {
                let bytes = made.encoded(protocol).unwrap();
                assert_eq!(bytes, ordinary(&expression, &arguments, protocol), "{protocol:?} {expression:?}");
            }
        }
    }
}

#[test]
fn constants_are_encoded_once() {
    let connection = ConnectionId::from("me");
    let context = StepContext {
        hub: "chat",
        connection: &connection,
        user: None,
        params: &[],
        arguments: &[],
        allowed_groups: None,
    };
    for expression in templates() {
        let prepared = PreparedValue::new(&expression, Preparation { hub: "chat" });
        let is_constant = !format!("{expression:?}").replace("Placeholder(Hub)", "").contains("Placeholder");
        assert_eq!(matches!(prepared, PreparedValue::Constant(_)), is_constant, "{expression:?}");
        if !is_constant {
            continue;
        }
        let (one, two) = (context.value(&prepared).unwrap(), context.value(&prepared).unwrap());
        for protocol in Protocol::ALL {
            let (one, two) = (one.encoded(protocol).unwrap(), two.encoded(protocol).unwrap());
            assert_eq!(one.as_ptr(), two.as_ptr(), "the same memory: {protocol:?} {expression:?}");
        }
    }
}

#[test]
fn a_constant_that_is_too_deep_fails_each_call() {
    let nested = |depth| (0..depth).fold(literal(1), |inner, _| Expression::List(vec![inner]));
    assert!(value(&[], &nested(62)).is_ok());
    for (depth, inner) in [(63, literal(1)), (300, literal(1)), (62, text("{connection_id}")), (70, text("{a}"))] {
        let expression = Expression::List(vec![inner, nested(depth)]);
        let error = value(&[json("1")], &expression).unwrap_err();
        assert!(error.to_string().contains("nested deeper than 62 levels"), "{depth}: {error}");
    }
}
