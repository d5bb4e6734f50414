//! Tests of declared hubs through the `Hub` trait: methods, results, failing steps.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use super::*;
use crate::config::HubOptions;
use crate::config::load::{Flags, Sources, load};
use crate::config::steps::{Expression, Recipient, Step};
use crate::hub::ErrorKind;
use crate::hub::test_kit::{caller, caller_and_backplane, json, template};

fn method(name: &str, params: &[&str], steps: Vec<Step>, returns: Option<&str>) -> MethodConfig {
    MethodConfig {
        name: name.to_owned(),
        params: params.iter().map(|param| (*param).to_owned()).collect(),
        authorize: None,
        allowed_groups: None,
        upload: None,
        steps,
        streams: None,
        returns: returns.map(|text| Expression::Text(template(params, text))),
    }
}

fn hub(methods: Vec<MethodConfig>, hooks: Vec<Step>) -> DeclaredHub {
    DeclaredHub::new(&HubConfig {
        name: "chat".to_owned(),
        path: "/chat".parse().unwrap(),
        backplane_name: "Chat.ChatHub".to_owned(),
        options: HubOptions::default(),
        authorize: None,
        allowed_groups: None,
        on_connected: hooks.clone(),
        on_disconnected: hooks,
        methods,
    })
}

fn join(params: &[&str], group: &str) -> Step {
    Step::Join { group: template(params, group) }
}

fn send(to: Vec<Recipient>) -> Step {
    Step::Send { method: template(&[], "Told"), to, except: vec![], args: vec![] }
}

async fn call(hub: &DeclaredHub, caller: &Caller, target: &str, arguments: &[&str]) -> Result<Reply, HubError> {
    let arguments = arguments.iter().map(|text| json(text)).collect();
    hub.resolve(target).unwrap().invoke(caller.clone(), Call::new(arguments)).await
}

async fn invoke(hub: &DeclaredHub, target: &str, arguments: &[&str]) -> Result<Option<RawValue>, HubError> {
    match call(hub, &caller("me", None).await, target, arguments).await? {
        Reply::Empty => Ok(None),
        Reply::Value(value) => Ok(Some(value)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_method_is_described_by_its_parameters() {
    let hub = hub(vec![method("SendMessage", &["user", "message"], vec![], None)], vec![]);
    let found = hub.resolve("SENDMESSAGE").unwrap();
    assert_eq!((found.name(), found.shape()), ("SendMessage", &MethodShape::new(2)));
    assert!(hub.resolve("Nope").is_none());
}

#[tokio::test]
async fn a_method_returns_what_is_declared_or_nothing() {
    let hub = hub(
        vec![
            method("Echo", &["value"], vec![], Some("{value}")),
            method("Join", &["room"], vec![join(&["room"], "{room}")], None),
        ],
        vec![],
    );
    assert_eq!(invoke(&hub, "echo", &[r#"{"b":1.0}"#]).await, Ok(Some(json(r#"{"b":1.0}"#))));
    assert_eq!(invoke(&hub, "Join", &[r#""r""#]).await, Ok(None));
}

#[tokio::test]
async fn the_first_step_that_fails_ends_the_method() {
    let steps = vec![join(&["a", "b"], "{a}"), join(&["a", "b"], "{b}")];
    let hub = hub(vec![method("Join", &["a", "b"], steps, Some("{a}"))], vec![]);
    let not_a_string = |name| Err(HubError::step(format!("a group's name must be a string, but {name} is not")));
    assert_eq!(invoke(&hub, "Join", &["1", "2"]).await, not_a_string("{a}"));
    assert_eq!(invoke(&hub, "Join", &[r#""x""#, "2"]).await, not_a_string("{b}"));
    assert_eq!(invoke(&hub, "Join", &[r#""x""#, r#""y""#]).await, Ok(Some(json(r#""x""#))));
}

#[tokio::test]
async fn steps_run_in_order() {
    let params = ["room"];
    let room = || template(&params, "{room}");
    let steps = vec![
        Step::Join { group: room() },
        send(vec![Recipient::Group(room()), Recipient::All, Recipient::User(template(&params, "{user_id}"))]),
        Step::Leave { group: room() },
    ];
    let hub = hub(vec![method("Visit", &params, steps, None)], vec![]);
    let (caller, notes) = caller_and_backplane("me", Some("ann")).await;
    call(&hub, &caller, "Visit", &[r#""r""#]).await.unwrap();
    assert_eq!(
        notes.take(),
        [
            "subscribe group r",
            r#"send group r: {"type":1,"target":"Told","arguments":[]}"#,
            r#"send all: {"type":1,"target":"Told","arguments":[]}"#,
            r#"send user ann: {"type":1,"target":"Told","arguments":[]}"#,
            "unsubscribe group r"
        ]
    );
}

/// The hub of the built-in configuration, read in the same way as the binary reads it.
fn built_in() -> DeclaredHub {
    let sources = Sources {
        flags: &Flags::default(),
        environment: &[],
        read: &|_| Err(std::io::ErrorKind::NotFound.into()),
        check_connection: &|_| Ok(Vec::new()),
    };
    let loaded = load(&sources).unwrap_or_else(|invalid| panic!("{invalid:?}"));
    DeclaredHub::new(loaded.config.hubs.iter().find(|hub| hub.name == "chat").expect("the hub `chat`"))
}

#[tokio::test]
async fn the_built_in_chat_works_as_documented() {
    let hub = built_in();
    let (caller, notes) = caller_and_backplane("me", None).await;

    hub.connected(caller.clone()).await.unwrap();
    assert_eq!(notes.take(), [r#"send all but me: {"type":1,"target":"UserConnected","arguments":["me"]}"#]);

    let void: [(&str, &[&str], &[&str]); 4] = [
        (
            "SendMessage",
            &[r#""ann""#, r#"{"b":1.0,"a":[]}"#],
            &[r#"send all: {"type":1,"target":"ReceiveMessage","arguments":["ann",{"b":1.0,"a":[]}]}"#],
        ),
        (
            "joinroom",
            &[r#""r""#],
            &["subscribe group r", r#"send group r: {"type":1,"target":"Notice","arguments":["me joined r"]}"#],
        ),
        (
            "SendToRoom",
            &[r#""r""#, "1"],
            &[r#"send group r but me: {"type":1,"target":"ReceiveMessage","arguments":["r",1]}"#],
        ),
        ("LeaveRoom", &[r#""r""#], &["unsubscribe group r"]),
    ];
    for (target, arguments, expected) in void {
        assert_eq!(hub.resolve(target).unwrap().shape(), &MethodShape::new(arguments.len()), "{target}");
        let reply = call(&hub, &caller, target, arguments).await;
        assert!(matches!(reply, Ok(Reply::Empty)), "{target}: {reply:?}");
        assert_eq!(notes.take(), expected, "{target}");
    }
    assert_eq!(invoke(&hub, "ECHO", &["[1.0]"]).await, Ok(Some(json("[1.0]"))));

    hub.disconnected(caller, Some(DisconnectError::TimedOut)).await.unwrap();
    assert_eq!(notes.take(), [r#"send all but me: {"type":1,"target":"UserDisconnected","arguments":["me"]}"#]);
}

#[tokio::test]
async fn a_value_that_one_protocol_cannot_represent_fails_the_step() {
    let params = ["value"];
    let steps = vec![Step::Send {
        method: template(&[], "Told"),
        to: vec![Recipient::All],
        except: vec![],
        args: vec![Expression::Text(template(&params, "{value}"))],
    }];
    let hub = hub(vec![method("Tell", &params, steps, None)], vec![]);
    for value in ["1e400", &"[".repeat(63)] {
        let value = if value.starts_with('[') { format!("{value}{}", "]".repeat(63)) } else { value.to_owned() };
        let error = invoke(&hub, "Tell", &[&value]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Step, "{error}");
    }
}

#[tokio::test]
async fn a_backplane_that_is_down_has_its_own_error() {
    let steps = vec![join(&[], "r"), send(vec![Recipient::All]), join(&[], "never")];
    let hub = hub(vec![method("Tell", &[], steps, None)], vec![]);
    let (caller, notes) = caller_and_backplane("me", None).await;
    notes.fail_publishes();
    let error = call(&hub, &caller, "Tell", &[]).await.unwrap_err();
    assert_eq!(
        error.wire_text(),
        "RedisConnectionException: No connection is active/available to service this operation: test"
    );
    assert_eq!(notes.take(), ["subscribe group r"], "the steps after the one that failed do not run");
}

#[tokio::test]
async fn a_failed_hook_step_closes_no_connection_and_later_steps_run() {
    // The caller is anonymous, so the first step fails.
    let hub = hub(vec![], vec![join(&[], "{user_id}"), join(&[], "lobby")]);
    let (caller, notes) = caller_and_backplane("me", None).await;
    assert_eq!(hub.connected(caller.clone()).await, Ok(()));
    assert_eq!(notes.take(), ["subscribe group lobby"]);
    assert_eq!(hub.disconnected(caller, None).await, Ok(()));
}

#[tokio::test]
async fn a_streamed_group_stays_subscribed_until_its_stream_is_dropped() {
    let mut watch = method("Watch", &["room"], vec![send(vec![Recipient::Group(template(&["room"], "{room}"))])], None);
    watch.streams = Some(template(&["room"], "{room}"));
    let hub = hub(vec![watch], vec![]);
    assert!(hub.resolve("watch").unwrap().shape().streams);
    let (caller, notes) = caller_and_backplane("me", None).await;
    let reply = call(&hub, &caller, "Watch", &[r#""r""#]).await.unwrap();
    let sent = r#"send group r: {"type":1,"target":"Told","arguments":[]}"#;
    assert_eq!(notes.take(), ["subscribe group r", sent], "the steps run after the subscription");
    assert!(matches!(reply, Reply::Stream(_)));
    drop(reply);
    assert_eq!(notes.take(), ["unsubscribe group r"]);

    // If a step fails, the group is unsubscribed as well.
    notes.fail_publishes();
    call(&hub, &caller, "Watch", &[r#""r""#]).await.unwrap_err();
    assert_eq!(notes.take(), ["subscribe group r", "unsubscribe group r"]);
}
