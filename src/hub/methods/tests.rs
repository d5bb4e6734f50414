//! Tests of typed methods: binding of arguments, results, names, hooks and state.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::*;
use crate::hub::test_kit::{caller, caller_and_backplane, json, pack};
use crate::hub::{ErrorKind, FromRef, Inputs, Parameter, State};
use crate::protocol::BindingError;

fn call(arguments: &[&str]) -> Call {
    Call::new(arguments.iter().map(|text| json(text)).collect())
}

async fn invoke(hub: &impl Hub, target: &str, call: Call) -> Result<RawValue, HubError> {
    match hub.resolve(target).unwrap().invoke(caller("me", Some("ann")).await, call).await? {
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
    assert_eq!(invoke(&hub, "sub", call(&["7", "5"])).await.unwrap().to::<i32>().unwrap(), 2);
    let eight = invoke(&hub, "Eight", call(&["1", "2", "3", "4", "5", "6", "7", "8"])).await.unwrap();
    assert_eq!(eight.to::<Vec<u8>>().unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(invoke(&hub, "Who", call(&[])).await.unwrap().to::<String>().unwrap(), "ann");
    let found = hub.resolve("EIGHT").unwrap();
    assert_eq!((found.name(), found.shape()), ("Eight", &MethodShape::new(8)));
    assert_eq!(hub.resolve("Who").unwrap().shape(), &MethodShape::new(0));
    assert!(hub.resolve("Nine").is_none());
}

#[tokio::test]
async fn arguments_of_both_protocols_are_bound() {
    let hub = Methods::new().method("Move", |_: Caller, mut point: Point, by: i32| async move {
        point.x_axis += by;
        Ok(point)
    });
    let from_json = call(&[r#"{"xAxis":1,"unknown":[]}"#, "2"]);
    // {"xAxis": 1}, 2
    let from_pack = Call::new(vec![pack(b"\x81\xa5xAxis\x01"), pack(b"\x02")]);
    for call in [from_json, from_pack] {
        assert_eq!(invoke(&hub, "Move", call).await.unwrap().to::<Point>().unwrap(), Point { x_axis: 3 });
    }
}

#[tokio::test]
async fn a_raw_value_keeps_its_bytes() {
    let hub = Methods::new().method("Echo", |_: Caller, value: RawValue| async move { Ok(value) });
    for value in
        [json(r#"{"b":1.0,"a":1E+400}"#), json("null"), pack(b"\xc7\x01\x05x"), pack(b"\xd3\0\0\0\0\0\0\0\x05")]
    {
        let call = Call::new(vec![value.clone()]);
        assert_eq!(invoke(&hub, "Echo", call).await.unwrap(), value);
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_a_binding_error_and_the_method_does_not_run() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let hub = Methods::new().method("Save", move |_: Caller, _: String, _: Option<i32>| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    });
    let (save, me) = (hub.resolve("Save").unwrap(), caller("me", None).await);
    let check = |arguments: &[&str]| save.check(&me, &call(arguments).arguments);
    for arguments in [["1", "1"], ["null", "1"], ["{}", "1"], [r#""a""#, r#""1""#], [r#""a""#, "1.5"]] {
        let expected = HubError::from(BindingError::argument_type());
        assert_eq!(check(&arguments), Err(expected.clone()), "{arguments:?}");
        assert_eq!(invoke(&hub, "Save", call(&arguments)).await, Err(expected), "{arguments:?}");
    }
    let few = [r#""a""#];
    let expected = HubError::from(BindingError::argument_count(1, 2));
    assert_eq!(check(&few), Err(expected.clone()));
    assert_eq!(invoke(&hub, "Save", call(&few)).await, Err(expected));

    let fits = [r#""a""#, "null"];
    assert_eq!(check(&fits), Ok(()));
    assert_eq!(runs.load(Ordering::Relaxed), 0, "a check does not call the function");
    invoke(&hub, "Save", call(&fits)).await.unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_method_without_a_result_returns_null() {
    let hub = Methods::new().method("Void", |_: Caller| async { Ok(()) });
    assert_eq!(invoke(&hub, "Void", call(&[])).await.unwrap(), pack(b"\xc0"));
}

#[tokio::test]
async fn errors_of_a_method_are_returned_unchanged() {
    let hub = Methods::new()
        .method("Hub", |_: Caller, text: String| async { Err::<(), _>(HubError::client(text)) })
        .method("Other", |_: Caller| async { Err::<(), _>(HubError::internal("BOOM!")) });
    assert_eq!(invoke(&hub, "Hub", call(&[r#""no""#])).await, Err(HubError::client("no")));
    let other = invoke(&hub, "Other", call(&[])).await.unwrap_err();
    assert_eq!(other, HubError::internal("BOOM!"));
}

#[tokio::test]
#[should_panic(expected = "in the future")]
async fn a_panic_before_the_first_await_occurs_when_the_future_is_polled() {
    let hub = Methods::new()
        .method("Panic", |_: Caller| -> std::future::Ready<Result<(), HubError>> { panic!("in the future") });
    let method = hub.resolve("Panic").unwrap();
    let future = method.invoke(caller("me", None).await, call(&[]));
    let _ = future.await;
}

#[tokio::test]
async fn duplicate_methods_and_rules_without_a_method_are_errors() {
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
async fn hooks_get_the_caller_and_the_error() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let (connects, disconnects) = (events.clone(), events.clone());
    let hub = Methods::new()
        .on_connected(move |caller: Caller| {
            let events = connects.clone();
            async move {
                events.lock().unwrap().push(format!("{} connected", caller.connection_id()));
                Err(HubError::client("full"))
            }
        })
        .on_disconnected(move |caller: Caller, error: Option<DisconnectError>| {
            let events = disconnects.clone();
            async move {
                events.lock().unwrap().push(format!("{} disconnected: {error:?}", caller.connection_id()));
                Ok(())
            }
        });
    assert_eq!(hub.connected(caller("a", None).await).await, Err(HubError::client("full")));
    hub.disconnected(caller("a", None).await, None).await.unwrap();
    hub.disconnected(caller("b", None).await, Some(DisconnectError::TimedOut)).await.unwrap();
    assert_eq!(*events.lock().unwrap(), ["a connected", "a disconnected: None", "b disconnected: Some(TimedOut)"]);

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
    let (caller, notes) = caller_and_backplane("me", None).await;
    let visit = hub.resolve("Visit").unwrap();
    visit.invoke(caller.clone(), call(&[r#""r""#])).await.unwrap();
    assert_eq!(
        notes.take(),
        [
            "subscribe group r",
            r#"send group r: {"type":1,"target":"Notice","arguments":["hi"]}"#,
            "unsubscribe group r"
        ]
    );

    notes.fail_publishes();
    let error = visit.invoke(caller, call(&[r#""r""#])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BackplaneUnavailable);
    assert!(error.wire_text().starts_with("RedisConnectionException: No connection is active"), "{error}");
}

/// The state of a hub.
#[derive(Clone)]
struct App {
    name: Arc<str>,
    count: Arc<AtomicUsize>,
}

impl FromRef<App> for Arc<AtomicUsize> {
    fn from_ref(app: &App) -> Self {
        app.count.clone()
    }
}

fn app() -> App {
    App { name: "app".into(), count: Arc::default() }
}

#[tokio::test]
async fn state_and_its_parts_can_be_parameters_in_any_position() {
    let app = app();
    let hub = Methods::with_state(app.clone())
        .on_connected(|State(count): State<Arc<AtomicUsize>>, _: Caller| async move {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .on_disconnected(|_: Caller, error: Option<DisconnectError>, State(app): State<App>| async move {
            app.count.fetch_add(10, Ordering::Relaxed);
            assert_eq!(error, None);
            Ok(())
        })
        .method("Add", |by: usize, State(count): State<Arc<AtomicUsize>>, times: usize, app: State<App>| async move {
            Ok(format!("{}: {}", app.name, count.fetch_add(by * times, Ordering::Relaxed)))
        })
        .stream(
            "Name",
            |State(app): State<App>| async move { Ok(futures_util::stream::iter([Ok(app.name.to_string())])) },
        );
    hub.connected(caller("a", None).await).await.unwrap();
    assert_eq!(invoke(&hub, "Add", call(&["30", "5"])).await.unwrap().to::<String>().unwrap(), "app: 1");
    hub.disconnected(caller("a", None).await, None).await.unwrap();
    assert_eq!(app.count.load(Ordering::Relaxed), 161);
    assert_eq!(hub.resolve("Add").unwrap().shape(), &MethodShape::new(2));
    assert_eq!(hub.resolve("Name").unwrap().shape(), &MethodShape::new(0).streaming());
}

/// A parameter made of two arguments and the state.
#[derive(Debug)]
struct Range(u32, u32);

impl Parameter<App> for Range {
    const ARGUMENTS: usize = 2;

    fn take(inputs: &mut Inputs<'_, App>) -> Result<Self, HubError> {
        let (from, to) = (inputs.next_argument()?, inputs.next_argument()?);
        if from <= to {
            Ok(Self(from, to))
        } else {
            let name = &inputs.state().name;
            Err(HubError::invalid_arguments(format!("{name} and {} refuse", inputs.caller().connection_id())))
        }
    }
}

#[tokio::test]
async fn custom_parameters_can_take_arguments() {
    let hub = Methods::with_state(app())
        .method("Mid", |Range(from, to): Range, add: u32| async move { Ok((from + to) / 2 + add) });
    let (mid, me) = (hub.resolve("Mid").unwrap(), caller("me", None).await);
    assert_eq!(mid.shape(), &MethodShape::new(3));
    assert_eq!(invoke(&hub, "Mid", call(&["2", "4", "1"])).await.unwrap().to::<u32>().unwrap(), 4);
    let refused = Err(HubError::invalid_arguments("app and me refuse"));
    assert_eq!(invoke(&hub, "Mid", call(&["4", "2", "1"])).await, refused);
    let check = |arguments: &[&str]| mid.check(&me, &call(arguments).arguments);
    assert_eq!(check(&["4", "2", "1"]), refused.clone().map(drop));
    assert_eq!(check(&["4", "2", "\"x\""]), refused.map(drop), "the first error is returned");
    assert_eq!(check(&["4"]), Err(BindingError::argument_count(1, 3).into()), "a parameter is not made from too few");
    assert_eq!(check(&["2", "4", "1"]), Ok(()));
}
