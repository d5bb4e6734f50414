//! Tests of the testing tools: what a test sees when its hub succeeds, fails, or does not answer.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::{TestError, TestHub};
use crate::auth::Principal;
use crate::config::{Authorize, HubOptions, OptionsError};
use crate::hub::{Caller, Cancellation, ClientMethod, HubContext, HubError, HubRoute, Methods};

fn hub() -> Methods {
    Methods::new()
        .method("Add", |_: Caller, a: i64, b: i64| async move { Ok(a + b) })
        .method("Fail", |_: Caller| async { Err::<(), _>(HubError::client("no")) })
        .method("Wait", |caller: Caller| async move {
            caller.closed().await;
            Ok(())
        })
        .method("Shout", |caller: Caller, times: usize| async move {
            for number in 0..times {
                caller.clients().all().send("Heard", (number, "x")).await?;
            }
            Ok(())
        })
        .method("Leave", |caller: Caller| async move {
            caller.abort();
            Ok(())
        })
        .method("Who", |caller: Caller| async move {
            let request = caller.request();
            Ok((
                caller.user_id().map(|user| user.to_string()),
                request.query("room"),
                request.header("x-a").map(str::to_owned),
            ))
        })
        .method("Secret", |_: Caller| async { Ok(7) })
        .authorize("Secret", Authorize::user().role("admin"))
}

#[tokio::test]
async fn calls_return_values_and_errors() {
    let hub = TestHub::new(hub()).unwrap();
    let ann = hub.connect().await.unwrap();
    assert_eq!(ann.invoke::<i64>("add", (1, 2)).await, Ok(3));
    let failed = |text: &str| Err(TestError::Invocation(text.to_owned()));
    let error = "An unexpected error occurred invoking 'Fail' on the server. HubException: no";
    assert_eq!(ann.invoke::<()>("Fail", ()).await, failed(error));
    let error = "Failed to invoke 'Nothing' due to an error on the server. HubException: Method does not exist.";
    assert_eq!(ann.invoke::<()>("Nothing", ()).await, failed(error));
    let wrong = ann.invoke::<String>("Add", (1, 2)).await.unwrap_err().to_string();
    assert!(wrong.starts_with("the result of Add: "), "{wrong}");
}

#[tokio::test]
async fn a_client_has_its_user_and_its_request() {
    let hub = TestHub::new(hub()).unwrap();
    let named = hub.connect().user("ann").query("room", "a b").header("x-a".parse().unwrap(), "1".parse().unwrap());
    let who: (Option<String>, Option<String>, Option<String>) = named.await.unwrap().invoke("Who", ()).await.unwrap();
    assert_eq!(who, (Some("ann".to_owned()), Some("a b".to_owned()), Some("1".to_owned())));

    let refused = Err(TestError::Invocation("Failed to invoke 'Secret' because user is unauthorized".to_owned()));
    assert_eq!(hub.connect().user("ann").await.unwrap().invoke::<i64>("Secret", ()).await, refused);
    let root = Principal::named("root").with_roles(["admin"]);
    assert_eq!(hub.connect().principal(root).await.unwrap().invoke::<i64>("Secret", ()).await, Ok(7));

    let by_query = TestHub::new(self::hub()).unwrap().user_id(|request| request.query("user").map(Into::into));
    let client = by_query.connect().query("user", "bob").await.unwrap();
    let who: (Option<String>, Option<String>, Option<String>) = client.invoke("Who", ()).await.unwrap();
    assert_eq!(who.0.as_deref(), Some("bob"));
}

#[tokio::test]
async fn a_route_applies_its_rule_its_options_and_its_context() {
    let context = HubContext::new();
    let options = HubOptions { maximum_receive_message_size: Some(100), ..HubOptions::default() };
    let route = || HubRoute::new("/chat", hub()).authorize(Authorize::user().role("admin")).context(&context);
    let hub = TestHub::route(route().options(options)).unwrap();
    assert_eq!(hub.connect().await.unwrap_err(), TestError::Refused(401));
    assert_eq!(hub.connect().user("ann").await.unwrap_err(), TestError::Refused(403));
    let root = Principal::named("root").with_roles(["admin"]);
    let root = hub.connect().principal(root).await.unwrap();
    context.clients().all().send("Notice", (1, [true])).await.unwrap();
    let call = root.next_call().await.unwrap();
    assert_eq!((call.target.as_str(), &call.arguments[..]), ("Notice", &[json!(1), json!([true])][..]));
    assert_eq!(call.read::<(u8, Vec<bool>)>(), Ok((1, vec![true])));
    assert!(call.read::<(String,)>().unwrap_err().to_string().starts_with("the arguments of Notice[1,[true]]: "));

    root.send("Shout", ("x".repeat(100),)).await.unwrap();
    let ended = root.ended().await.unwrap();
    assert_eq!((ended.reason, ended.allow_reconnect), ("protocol_error", true));

    assert_eq!(TestHub::route(route()).unwrap_err(), TestError::Context);
    let broken = Methods::new().method("A", |_: Caller| async { Ok(()) }).method("a", |_: Caller| async { Ok(()) });
    assert!(matches!(TestHub::new(broken), Err(TestError::Hub(_))));
    let options = HubOptions { protocols: Vec::new(), ..HubOptions::default() };
    let built = TestHub::route(HubRoute::new("/a", self::hub()).options(options));
    assert_eq!(built.unwrap_err(), TestError::Options(OptionsError::NoProtocols));
}

#[tokio::test]
async fn streams_end_fail_and_are_cancelled() {
    let cancelled = Arc::new(Mutex::new(0));
    let counter = cancelled.clone();
    let hub = Methods::new()
        .stream("Count", |_: Caller, to: i32| async move { Ok(stream::iter(0..to).map(Ok)) })
        .stream("Break", |_: Caller| async { Ok(stream::iter([Ok(1), Err(HubError::client("broke"))])) })
        .stream("Forever", move |_: Caller, cancellation: Cancellation| {
            let counter = counter.clone();
            async move {
                Ok(stream::once(async move {
                    cancellation.cancelled().await;
                    *counter.lock().unwrap() += 1;
                    Ok(0)
                }))
            }
        });
    let hub = TestHub::new(hub).unwrap();
    let ann = hub.connect().await.unwrap();
    let mut count = ann.stream::<i32>("Count", (3,)).await.unwrap();
    assert_eq!(count.next().await, Ok(Some(0)));
    assert_eq!(count.collect().await, Ok(vec![1, 2]));
    let mut breaks = ann.stream::<i32>("Break", ()).await.unwrap();
    assert_eq!(breaks.next().await, Ok(Some(1)));
    let error = "An error occurred on the server while streaming results. HubException: broke";
    assert_eq!(breaks.next().await, Err(TestError::Invocation(error.to_owned())));
    assert_eq!(breaks.next().await, Ok(None));

    ann.stream::<i32>("Forever", ()).await.unwrap().cancel().await.unwrap();
    drop(ann.stream::<i32>("Forever", ()).await.unwrap());
    ann.close().await.unwrap();
    assert_eq!(*cancelled.lock().unwrap(), 2);
}

#[tokio::test]
async fn answers_and_errors_of_clients_reach_the_hub() {
    let hub = Methods::new().method("Ask", |caller: Caller, id: String| async move {
        caller.clients().client(id).invoke::<i64, _>("Question", ("?",)).await
    });
    let hub = TestHub::new(hub).unwrap();
    let (ann, bob) = (hub.connect().await.unwrap(), hub.connect().await.unwrap());
    let ask = || ann.invoke::<i64>("Ask", (bob.connection_id().as_str(),));
    let answer = async {
        let call = bob.next_call().await?;
        assert!(call.wants_answer() && call.to_string() == r#"Question["?"]"#, "{call:?}");
        call.answer(42).await
    };
    assert_eq!(tokio::try_join!(ask(), answer), Ok((42, ())));
    let refuse = async { bob.next_call().await?.fail("I will not").await };
    let error = "An unexpected error occurred invoking 'Ask' on the server. HubException: I will not";
    assert_eq!(tokio::join!(ask(), refuse), (Err(TestError::Invocation(error.to_owned())), Ok(())));
}

#[tokio::test]
async fn the_end_of_a_connection_is_reported() {
    let disconnects = Arc::new(Mutex::new(Vec::new()));
    let recorder = disconnects.clone();
    let hub = hub().on_disconnected(move |caller: Caller, error| {
        let recorder = recorder.clone();
        async move {
            tokio::task::yield_now().await;
            recorder.lock().unwrap().push((caller.user_id().map(|user| user.to_string()), error));
            Ok(())
        }
    });
    let hub = TestHub::new(hub).unwrap();
    let ann = hub.connect().user("ann").await.unwrap();
    let ended = ann.close().await.unwrap();
    assert_eq!((ended.reason, ended.error), ("client_closed", None));
    // `close` has waited for the handler.
    assert_eq!(disconnects.lock().unwrap().pop(), Some((Some("ann".to_owned()), None)));
    assert!(matches!(ann.send("Add", (1, 2)).await, Err(TestError::Ended { .. })));

    let bob = hub.connect().user("bob").await.unwrap();
    bob.send("Leave", ()).await.unwrap();
    let ended = bob.ended().await.unwrap();
    assert_eq!((ended.reason, ended.allow_reconnect), ("aborted", false));
    let error = bob.next_call().await.unwrap_err();
    assert_eq!(error.to_string(), "a call was not received before the connection ended (aborted)");

    let closed = Methods::new().on_connected(|_: Caller| async { Err(HubError::client("full")) });
    let hub = TestHub::new(closed).unwrap();
    let ended = hub.connect().await.unwrap().ended().await.unwrap();
    assert_eq!(ended.to_string(), "connected_failed: Connection closed with an error. HubException: full");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_names_what_was_waited_for() {
    let hub = TestHub::new(hub()).unwrap().timeout(Duration::from_secs(3));
    let ann = hub.connect().await.unwrap();
    let error = ann.next_call().await.unwrap_err().to_string();
    assert_eq!(error, "a call was not received within 3s; no other call was received");
    ann.invoke::<()>("Shout", (2,)).await.unwrap();
    let error = ann.invoke::<()>("Wait", ()).await.unwrap_err().to_string();
    let seen = r#"calls that were received and not taken: Heard[0,"x"], Heard[1,"x"]"#;
    assert_eq!(error, format!("the result of Wait was not received within 3s; {seen}"));
    assert_eq!(ann.try_next_call().unwrap().arguments[0], 0);
    assert_eq!(ann.try_next_call().unwrap().arguments[0], 1);
    assert!(ann.try_next_call().is_none());
}

#[tokio::test]
async fn calls_are_kept_for_a_test_that_takes_them_late() {
    // More messages than the outbox holds with the default options.
    let options = HubOptions { outgoing_buffer_messages: None, outgoing_buffer_size: None, ..HubOptions::default() };
    let hub = TestHub::route(HubRoute::new("/a", hub()).options(options)).unwrap();
    let ann = hub.connect().await.unwrap();
    let many = 20_000;
    ann.send("Shout", (many,)).await.unwrap();
    for number in 0..many {
        assert_eq!(ann.next_call().await.unwrap().arguments[0], number);
    }
}

#[tokio::test]
async fn a_call_is_read_with_the_types_of_its_client_method() {
    const PING: ClientMethod<()> = ClientMethod::new("Ping");
    const NOTICE: ClientMethod<(String, i64)> = ClientMethod::new("Notice");
    let hub = TestHub::new(Methods::new()).unwrap();
    let ann = hub.connect().await.unwrap();
    let all = hub.context().clients().all();
    all.send(NOTICE, ("up", 5)).await.unwrap();
    all.send(PING, ()).await.unwrap();
    let call = ann.next_call().await.unwrap();
    assert_eq!(call.read_as(NOTICE), Ok(("up".to_owned(), 5)));
    assert!(call.read_as(PING).unwrap_err().to_string().contains("another call: Notice"));
    assert_eq!(ann.next_call().await.unwrap().read_as(PING), Ok(()));
}
