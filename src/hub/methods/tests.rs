//! Tests of typed methods: binding, results, names, hooks.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::*;
use crate::hub::test_kit::{caller, json, pack, stage};

fn call(target: &str, arguments: &[&str]) -> Call {
    Call::new(target, arguments.iter().map(|text| json(text)).collect())
}

async fn invoke(hub: &Methods, call: Call) -> Result<RawValue, HubError> {
    match hub.invoke(caller("me", Some("ann")).await, call).await? {
        Reply::Value(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Point {
    x_axis: i32,
}

#[tokio::test]
async fn arguments_are_bound_in_order_and_results_returned() {
    let hub = Methods::new()
        .method("Sub", |_: Caller, a: i32, b: i32| async move { Ok(a - b) })
        .method("Eight", |_: Caller, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8| async move {
            Ok([a, b, c, d, e, f, g, h])
        })
        .method("Who", |caller: Caller| async move { Ok(caller.user_id().map(ToString::to_string)) });
    assert_eq!(invoke(&hub, call("sub", &["7", "5"])).await.unwrap().to::<i32>().unwrap(), 2);
    let eight = invoke(&hub, call("Eight", &["1", "2", "3", "4", "5", "6", "7", "8"])).await.unwrap();
    assert_eq!(eight.to::<Vec<u8>>().unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(invoke(&hub, call("Who", &[])).await.unwrap().to::<String>().unwrap(), "ann");
    assert_eq!(Hub::method(&hub, "EIGHT"), Some(MethodShape::plain(8)));
    assert_eq!(Hub::method(&hub, "Who"), Some(MethodShape::plain(0)));
    assert_eq!(Hub::method(&hub, "Nine"), None);
}

#[tokio::test]
async fn both_protocols_bind() {
    let hub = Methods::new().method("Move", |_: Caller, mut point: Point, by: i32| async move {
        point.x_axis += by;
        Ok(point)
    });
    let from_json = call("Move", &[r#"{"xAxis":1,"unknown":[]}"#, "2"]);
    // {"xAxis": 1}, 2
    let from_pack = Call::new("Move", vec![pack(b"\x81\xa5xAxis\x01"), pack(b"\x02")]);
    for call in [from_json, from_pack] {
        assert_eq!(invoke(&hub, call).await.unwrap().to::<Point>().unwrap(), Point { x_axis: 3 });
    }
}

#[tokio::test]
async fn a_raw_value_is_neither_read_nor_written() {
    let hub = Methods::new().method("Echo", |_: Caller, value: RawValue| async move { Ok(value) });
    for value in
        [json(r#"{"b":1.0,"a":1E+400}"#), json("null"), pack(b"\xc7\x01\x05x"), pack(b"\xd3\0\0\0\0\0\0\0\x05")]
    {
        let call = Call::new("Echo", vec![value.clone()]);
        assert_eq!(invoke(&hub, call).await.unwrap(), value);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_a_binding_error_and_nothing_runs() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let hub = Methods::new().method("Save", move |_: Caller, _: String, _: Option<i32>| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    });
    for arguments in [["1", "1"], ["null", "1"], ["{}", "1"], [r#""a""#, r#""1""#], [r#""a""#, "1.5"]] {
        let call = call("Save", &arguments);
        let expected = BindingError::argument_type();
        assert_eq!(hub.check(&call), Err(expected.clone()), "{arguments:?}");
        assert_eq!(invoke(&hub, call).await, Err(expected.into()), "{arguments:?}");
    }
    let few = call("Save", &[r#""a""#]);
    assert_eq!(hub.check(&few), Err(BindingError::argument_count(1, 2)));
    assert_eq!(invoke(&hub, few).await, Err(BindingError::argument_count(1, 2).into()));

    let fits = call("Save", &[r#""a""#, "null"]);
    assert_eq!(hub.check(&fits), Ok(()));
    assert_eq!(runs.load(Ordering::Relaxed), 0, "a check calls nothing");
    invoke(&hub, fits).await.unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_unknown_method_is_an_error() {
    let error = Methods::new().invoke(caller("me", None).await, call("Nope", &[])).await.unwrap_err();
    assert_eq!(error.to_string(), "HubException: Method does not exist.");
}

#[tokio::test]
async fn a_method_without_a_result_gives_null() {
    let hub = Methods::new().method("Void", |_: Caller| async { Ok(()) });
    assert_eq!(invoke(&hub, call("Void", &[])).await.unwrap(), pack(b"\xc0"));
}

#[tokio::test]
async fn errors_come_through_as_they_are() {
    let hub = Methods::new()
        .method("Hub", |_: Caller, text: String| async { Err::<(), _>(HubError::hub(text)) })
        .method("Other", |_: Caller| async { Err::<(), _>(HubError::failed("InvalidOperationException", "BOOM!")) });
    assert_eq!(invoke(&hub, call("Hub", &[r#""no""#])).await, Err(HubError::hub("no")));
    let other = invoke(&hub, call("Other", &[])).await.unwrap_err();
    assert_eq!(other, HubError::failed("InvalidOperationException", "BOOM!"));
}

#[tokio::test]
#[should_panic(expected = "in the future")]
async fn a_panic_waits_for_the_future() {
    let hub = Methods::new()
        .method("Panic", |_: Caller| -> std::future::Ready<Result<(), HubError>> { panic!("in the future") });
    let future = hub.invoke(caller("me", None).await, call("Panic", &[]));
    let _ = future.await;
}

#[tokio::test]
async fn a_name_given_twice_and_a_rule_for_nothing_are_errors_of_the_hub() {
    let hub = Methods::new()
        .method("Echo", |_: Caller, value: RawValue| async move { Ok(value) })
        .method("ECHO", |_: Caller| async { Ok(()) })
        .authorize("Ecko", Authorize::user());
    assert_eq!(
        hub.validate().unwrap_err().to_string(),
        "there are two methods \"ECHO\" (method names are case-insensitive); \
         there is a rule for the method \"Ecko\", which was not added before it"
    );
    assert_eq!(Methods::new().method("Echo", |_: Caller| async { Ok(()) }).validate(), Ok(()));
}

#[tokio::test]
async fn hooks_are_told_who_and_why() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (coming, going) = (told.clone(), told.clone());
    let hub = Methods::new()
        .on_connected(move |caller: Caller| {
            let told = coming.clone();
            async move {
                told.lock().unwrap().push(format!("{} came", caller.connection_id()));
                Err(HubError::hub("full"))
            }
        })
        .on_disconnected(move |caller: Caller, error: Option<String>| {
            let told = going.clone();
            async move {
                told.lock().unwrap().push(format!("{} went: {error:?}", caller.connection_id()));
                Ok(())
            }
        });
    assert_eq!(hub.connected(caller("a", None).await).await, Err(HubError::hub("full")));
    hub.disconnected(caller("a", None).await, None).await.unwrap();
    hub.disconnected(caller("b", None).await, Some("lost".to_owned())).await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["a came", "a went: None", "b went: Some(\"lost\")"]);

    let plain = Methods::new();
    plain.connected(caller("a", None).await).await.unwrap();
    plain.disconnected(caller("a", None).await, None).await.unwrap();
}

#[test]
fn debug_names_the_methods() {
    let hub = Methods::new().method("B", |_: Caller| async { Ok(()) }).method("A", |_: Caller| async { Ok(()) });
    assert_eq!(format!("{hub:?}"), r#"Methods { methods: ["A", "B"], .. }"#);
}

#[tokio::test]
async fn sends_and_groups_are_reached_through_the_caller() {
    let hub = Methods::new().method("Visit", |caller: Caller, room: String| async move {
        caller.groups().add(caller.connection_id(), room.as_str()).await?;
        caller.clients().group(room.as_str()).send("Notice", ("hi",)).await?;
        caller.groups().remove(caller.connection_id(), room).await?;
        Ok(())
    });
    let (caller, notes) = stage("me", None).await;
    hub.invoke(caller.clone(), call("Visit", &[r#""r""#])).await.unwrap();
    assert_eq!(
        notes.take(),
        ["hear group r", r#"send group r: {"type":1,"target":"Notice","arguments":["hi"]}"#, "forget group r"]
    );

    notes.go_down();
    let error = hub.invoke(caller, call("Visit", &[r#""r""#])).await.unwrap_err();
    assert!(error.to_string().starts_with("RedisConnectionException: No connection is active"), "{error}");
}
