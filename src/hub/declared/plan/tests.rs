//! Tests of planning steps: recipients, names, and the errors.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use super::*;
use crate::config::steps::{Expression, Recipient, Step, Template};
use crate::hub::declared::prepared::Preparation;
use crate::hub::test_kit::{json, pack, template};

const PARAMS: [&str; 2] = ["a", "b"];

/// Plans a step of a method with the parameters `a` and `b`, which connection `me` calls at hub `chat`.
fn plan_as(user: Option<&str>, arguments: &[RawValue], step: &Step) -> Result<StepAction, HubError> {
    let (connection, user) = (ConnectionId::from("me"), user.map(UserId::from));
    let params = PARAMS.map(str::to_owned);
    StepContext {
        hub: "chat",
        connection: &connection,
        user: user.as_ref(),
        params: &params,
        arguments,
        allowed_groups: None,
    }
    .plan(&Preparation { hub: "chat" }.step(step))
}

/// Like [`plan_as`], for the user `ann`.
fn plan(arguments: &[RawValue], step: &Step) -> Result<StepAction, HubError> {
    plan_as(Some("ann"), arguments, step)
}

fn t(text: &str) -> Template {
    template(&PARAMS, text)
}

fn send(to: Vec<Recipient>, except: &[&str]) -> Step {
    let except = except.iter().map(|text| t(text)).collect();
    Step::Send { method: t("Told"), to, except, args: vec![Expression::Text(t("{b}"))] }
}

fn targets(action: StepAction) -> Vec<Recipients> {
    match action {
        StepAction::Send { recipients, .. } => recipients,
        other => panic!("{other:?}"),
    }
}

fn reason(result: Result<StepAction, HubError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn each_kind_of_recipient_is_resolved() {
    let a = json(r#""x""#);
    let cases = [
        (Recipient::All, Recipients::all()),
        (Recipient::Others, Recipients::all().except(["me".into()])),
        (Recipient::Caller, Recipients::connection("me")),
        (Recipient::Group(t("{a}")), Recipients::group("x")),
        (Recipient::Group(t("room-{a}-{hub}")), Recipients::group("room-x-chat")),
        (Recipient::OthersInGroup(t("{a}")), Recipients::group("x").except(["me".into()])),
        (Recipient::User(t("{a}")), Recipients::user("x")),
        (Recipient::User(t("{user_id}")), Recipients::user("ann")),
        (Recipient::Connection(t("{a}")), Recipients::connection("x")),
        (Recipient::Connection(t("{connection_id}")), Recipients::connection("me")),
    ];
    for (recipient, recipients) in cases {
        let step = send(vec![recipient.clone()], &[]);
        let expected = StepAction::Send {
            recipients: vec![recipients],
            method: "Told".into(),
            arguments: vec![json(r#"{"k":1.0}"#)],
        };
        assert_eq!(plan(&[a.clone(), json(r#"{"k":1.0}"#)], &step), Ok(expected), "{recipient:?}");
    }
}

#[test]
fn a_list_delivers_once_per_entry() {
    let step = send(vec![Recipient::All, Recipient::Group(t("{a}")), Recipient::Group(t("{a}"))], &[]);
    let actions = plan(&[json(r#""x""#), json("1")], &step).unwrap();
    assert_eq!(targets(actions), [Recipients::all(), Recipients::group("x"), Recipients::group("x")]);
}

#[test]
fn except_applies_to_all_and_to_groups() {
    let ids = ["{connection_id}", "{a}", "c-{b}"];
    let except = ["me", "x", "c-2"].map(ConnectionId::from);
    let step = send(vec![Recipient::All, Recipient::Group(t("g"))], &ids);
    let actions = plan(&[json(r#""x""#), json("2")], &step).unwrap();
    assert_eq!(targets(actions), [Recipients::all().except(except.clone()), Recipients::group("g").except(except)]);
}

#[test]
fn join_and_leave_name_the_group() {
    let arguments = [json(r#""Ä \"quoted\"""#), pack(b"\xa1g")];
    assert_eq!(plan(&arguments, &Step::Join { group: t("{a}") }), Ok(StepAction::Join("Ä \"quoted\"".into())));
    assert_eq!(plan(&arguments, &Step::Leave { group: t("{b}") }), Ok(StepAction::Leave("g".into())));
    assert_eq!(plan(&arguments, &Step::Join { group: t("lobby") }), Ok(StepAction::Join("lobby".into())));
}

#[test]
fn an_empty_string_is_a_valid_group_name() {
    assert_eq!(plan(&[json(r#""""#)], &Step::Join { group: t("{a}") }), Ok(StepAction::Join("".into())));
}

#[test]
fn a_name_that_is_not_a_string_fails_the_step() {
    let not_strings =
        [json("null"), json("5"), json("true"), json("[]"), json("{}"), pack(b"\xc0"), pack(b"\xc4\x01x")];
    for value in not_strings {
        let arguments = [value, json("1")];
        for recipient in [Recipient::Group(t("{a}")), Recipient::OthersInGroup(t("{a}"))] {
            let text = reason(plan(&arguments, &send(vec![recipient], &[])));
            assert_eq!(text, "a group's name must be a string, but {a} is not");
        }
        let text = reason(plan(&arguments, &Step::Join { group: t("{a}") }));
        assert_eq!(text, "a group's name must be a string, but {a} is not");
        let text = reason(plan(&arguments, &send(vec![Recipient::User(t("{a}"))], &[])));
        assert_eq!(text, "a user's id must be a string, but {a} is not");
        let connection = "a connection's id must be a string, but {a} is not";
        assert_eq!(reason(plan(&arguments, &send(vec![Recipient::Connection(t("{a}"))], &[]))), connection);
        assert_eq!(reason(plan(&arguments, &send(vec![Recipient::All], &["{a}"]))), connection);
    }
}

#[test]
fn one_bad_entry_fails_the_whole_step() {
    let step = send(vec![Recipient::All, Recipient::Group(t("{a}"))], &[]);
    assert!(plan(&[json("null"), json("1")], &step).is_err());
}

#[test]
fn an_anonymous_caller_has_no_user_id() {
    let step = send(vec![Recipient::User(t("{user_id}"))], &[]);
    let text = reason(plan_as(None, &[json("1"), json("1")], &step));
    assert_eq!(text, "a user's id must be a string, but {user_id} is not");
    let mixed = Step::Join { group: t("user-{user_id}") };
    assert_eq!(plan_as(None, &[], &mixed), Ok(StepAction::Join("user-".into())));
}

#[test]
fn values_are_inserted_into_text() {
    let cases = [
        (json("null"), "<>"),
        (json("1.50"), "<1.50>"),
        (json("-0"), "<-0>"),
        (json("true"), "<true>"),
        (json(r#""a\n\u00e4""#), "<a\nä>"),
        (json(r#"{"a":[1,null]}"#), r#"<{"a":[1,null]}>"#),
        (pack(b"\xa1x"), "<x>"),
        (pack(b"\xc0"), "<>"),
    ];
    for (value, expected) in cases {
        assert_eq!(
            plan(std::slice::from_ref(&value), &Step::Join { group: t("<{a}>") }),
            Ok(StepAction::Join(expected.into()))
        );
    }
}

#[test]
fn messagepack_values_are_inserted_into_text_as_json() {
    let cases = [
        (pack(b"\xcd\x01\x2c"), "<300>"),
        (pack(b"\xc3"), "<true>"),
        (pack(b"\xc4\x01\x07"), "<Bw==>"),
        (pack(b"\x81\xa1k\x92\x01\xc0"), r#"<{"k":[1,null]}>"#),
    ];
    for (value, expected) in cases {
        assert_eq!(
            plan(std::slice::from_ref(&value), &Step::Join { group: t("<{a}>") }),
            Ok(StepAction::Join(expected.into()))
        );
    }
    // An extension that is not a timestamp cannot be converted to text.
    let text = reason(plan(&[pack(b"\xd4\x05\0")], &Step::Join { group: t("<{a}>") }));
    assert!(text.starts_with("{a} cannot be converted to text: "), "{text}");
}

#[test]
fn the_client_method_can_come_from_an_argument_but_not_be_empty() {
    let step = Step::Send { method: t("{a}"), to: vec![Recipient::All], except: vec![], args: vec![] };
    let expected = StepAction::Send { recipients: vec![Recipients::all()], method: "Told".into(), arguments: vec![] };
    assert_eq!(plan(&[json(r#""Told""#)], &step), Ok(expected));
    assert_eq!(reason(plan(&[json(r#""""#)], &step)), "the method to call has an empty name");
    let text = reason(plan(&[json("{}")], &step));
    assert_eq!(text, "the method to call must be a string, but {a} is not");
}

#[test]
fn a_parameter_without_an_argument_is_an_error() {
    let text = reason(plan(&[], &Step::Join { group: t("{b}") }));
    assert_eq!(text, "there is no argument 2");
}

#[test]
fn constant_names_are_shared_by_all_calls() {
    let connection = ConnectionId::from("me");
    let context = StepContext {
        hub: "chat",
        connection: &connection,
        user: None,
        params: &[],
        arguments: &[],
        allowed_groups: None,
    };
    let step = Preparation { hub: "chat" }.step(&send(vec![Recipient::Group(t("lobby of {hub}"))], &[]));
    let PreparedStep::Send { to, method, .. } = &step else { panic!("{step:?}") };
    let names = || {
        let recipients = context.recipients(&to[0], &[]).unwrap();
        let crate::recipients::RecipientScope::Groups(groups) = recipients.scope else { panic!() };
        (context.method(method).unwrap(), groups[0].clone())
    };
    let (one, two) = (names(), names());
    assert_eq!((&*one.0, one.1.as_str()), ("Told", "lobby of chat"));
    assert_eq!(one.0.as_ptr(), two.0.as_ptr());
    assert_eq!(one.1.as_str().as_ptr(), two.1.as_str().as_ptr());
}
