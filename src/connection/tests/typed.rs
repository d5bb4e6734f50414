//! Tests of typed methods that return streams, take uploads, and are cancelled.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::kit::{Client, Node};
use crate::backplane::memory;
use crate::config::HubOptions;
use crate::hub::{Caller, Cancellation, Hub, HubError, Items, MethodShape, Methods, Upload};
use crate::protocol::RawValue;

fn hub() -> Methods {
    Methods::new()
        .stream("Count", |_: Caller, from: i32, to: i32| async move {
            if from > to { Err(HubError::client("backwards")) } else { Ok(stream::iter(from..to).map(Ok)) }
        })
        .stream("Back", |_: Caller, items: Upload| async move { Ok(items) })
        .stream("NoForm", |_: Caller| async {
            Ok(stream::iter([RawValue::new(&1.5), RawValue::new(&f64::NAN)]).map(|item| item.map_err(HubError::from)))
        })
        .stream("Polite", |caller: Caller, cancellation: Cancellation| async move {
            let end = async move {
                cancellation.cancelled().await;
                caller.clients().caller().send("Cancelled", ()).await.err().map(|error| Err::<(), _>(error.into()))
            };
            Ok(stream::once(end).filter_map(std::future::ready).boxed())
        })
        .stream("Stubborn", |_: Caller, cancellation: Cancellation| async move {
            Ok(stream::once(async move {
                std::future::pending::<()>().await;
                drop(cancellation);
                Ok(1)
            })
            .boxed())
        })
        .method("Total", |_: Caller, mut prices: Items<i64>, factor: i64, mut more: Items<i64>| async move {
            let mut total = 0;
            while let Some(price) = prices.next().await {
                total += price?;
            }
            while let Some(price) = more.next().await {
                total += price?;
            }
            Ok(total * factor)
        })
}

async fn client() -> Client {
    let (backplane, _nothing_arrives) = memory::standalone();
    Node::of(HubOptions::default(), Arc::new(hub()), backplane, "n").join("a").await
}

fn stream_call(target: &str, arguments: &str, uploads: &str) -> String {
    format!(r#"{{"type":4,"invocationId":"1","target":"{target}","arguments":{arguments},"streamIds":{uploads}}}"#)
}

#[test]
fn method_shapes_count_arguments_and_uploads() {
    let shape = |name: &str| hub().resolve(name).unwrap().shape().clone();
    assert_eq!(shape("Count"), MethodShape::new(2).streaming());
    assert_eq!(shape("back"), MethodShape::new(0).streaming().with_uploads(1));
    assert_eq!(shape("Polite"), MethodShape::new(0).streaming());
    assert_eq!(shape("Total"), MethodShape::new(1).with_uploads(2));
}

#[tokio::test(start_paused = true)]
async fn streams_end_and_fail_before_the_first_item() {
    let mut client = client().await;
    client.send(&stream_call("Count", "[1,3]", "[]")).await;
    let item = |n: i32| format!(r#"{{"type":2,"invocationId":"1","item":{n}}}"#);
    assert_eq!(client.all().await, [item(1), item(2), r#"{"type":3,"invocationId":"1"}"#.to_owned()]);
    client.send(&stream_call("Count", "[3,1]", "[]")).await;
    let error = r#"{"type":3,"invocationId":"1","error":"An unexpected error occurred invoking 'Count' on the server. HubException: backwards"}"#;
    assert_eq!(client.all().await, [error]);
    client.send(&stream_call("Count", r#"["x"]"#, "[]")).await;
    client.send(&stream_call("Count", "[1]", "[]")).await;
    let failed = r#"{"type":3,"invocationId":"1","error":"Failed to invoke 'Count' due to an error on the server."}"#;
    assert_eq!(client.all().await, [failed, failed]);
}

#[tokio::test(start_paused = true)]
async fn errors_use_the_declared_method_name() {
    let mut client = client().await;
    let wrong = "An unexpected error occurred invoking 'Total' on the server. HubException: Client sent 0 stream(s), Hub method expects 2.";
    for (kind, target, arguments, text) in [
        (
            1,
            "cOUNT",
            "[1,2]",
            "The client attempted to invoke the streaming 'Count' method with a non-streaming invocation.",
        ),
        (
            4,
            "tOTAL",
            "[1]",
            "The client attempted to invoke the non-streaming 'Total' method with a streaming invocation.",
        ),
        (1, "tOTAL", "[1]", wrong),
        (1, "tOTAL", "[]", "Failed to invoke 'Total' due to an error on the server."),
        (4, "cOUNT", "[2,1]", "An unexpected error occurred invoking 'Count' on the server. HubException: backwards"),
        (
            1,
            "nOPE",
            "[]",
            "Failed to invoke 'nOPE' due to an error on the server. HubException: Method does not exist.",
        ),
    ] {
        let call = format!(r#"{{"type":{kind},"invocationId":"1","target":"{target}","arguments":{arguments}}}"#);
        client.send(&call).await;
        assert_eq!(client.all().await, [format!(r#"{{"type":3,"invocationId":"1","error":"{text}"}}"#)], "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_with_invalid_unicode_ends_its_stream_with_an_error() {
    for (detailed_errors, detail) in
        [(false, ""), (true, " JsonException: The JSON value could not be converted to System.String.")]
    {
        let (backplane, _nothing_arrives) = memory::standalone();
        let options = HubOptions { detailed_errors, ..HubOptions::default() };
        let mut client = Node::of(options, Arc::new(hub()), backplane, "n").join("a").await;
        client.send(r#"{"type":1,"invocationId":"1","target":"Total","arguments":[2],"streamIds":["p","q"]}"#).await;
        client.send(r#"{"type":2,"invocationId":"p","item":1}"#).await;
        assert!(client.all().await.is_empty());
        client.send_bytes(b"{\"type\":2,\"invocationId\":\"p\",\"item\":\"\xff\"}\x1e"[..].into()).await;
        client.send(r#"{"type":2,"invocationId":"p","item":1}"#).await;
        client.send(r#"{"type":2,"invocationId":"unknown","item":"\ud83d"}"#).await;
        let error = format!(
            r#"{{"type":3,"invocationId":"1","error":"An unexpected error occurred invoking 'Total' on the server. HubException: Failed to bind Stream message.{detail}"}}"#
        );
        assert_eq!(client.all().await, [error]);
        client.send(&stream_call("Count", "[1,1]", "[]")).await;
        assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1"}"#], "the connection stays open");
    }
}

/// Adds its name to the list when it is dropped.
struct DropRecorder(Arc<Mutex<Vec<&'static str>>>, &'static str);

impl Drop for DropRecorder {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1);
    }
}

#[tokio::test(start_paused = true)]
async fn streams_and_uploads_end_when_the_client_leaves() {
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let recorder = |name| {
        let dropped = dropped.clone();
        move || DropRecorder(dropped.clone(), name)
    };
    let (silent, polite, upload) = (recorder("silent"), recorder("polite"), recorder("upload"));
    let hub = Methods::new()
        .stream("Silent", move |_: Caller| {
            let guard = silent();
            async move {
                Ok(stream::pending::<Result<i32, HubError>>().map(move |item| {
                    let _ = &guard;
                    item
                }))
            }
        })
        .stream("Polite", move |_: Caller, cancellation: Cancellation| {
            let guard = polite();
            async move {
                let end = async move {
                    cancellation.cancelled().await;
                    drop(guard);
                    None::<Result<i32, HubError>>
                };
                Ok(stream::once(end).filter_map(std::future::ready).boxed())
            }
        })
        .method("Reads", move |_: Caller, mut first: Upload, mut second: Upload| {
            let guard = upload();
            async move {
                assert_eq!(first.next().await, Some(Ok(RawValue::text("item"))));
                for upload in [&mut first, &mut second] {
                    let error = upload.next().await.unwrap().unwrap_err().to_string();
                    assert!(error.contains("The underlying connection was closed."), "{error}");
                }
                drop(guard);
                Ok(())
            }
        });
    let (backplane, _nothing_arrives) = memory::standalone();
    let node = Node::of(HubOptions::default(), Arc::new(hub), backplane, "n");
    let mut client = node.join("a").await;
    for record in [
        r#"{"type":4,"invocationId":"1","target":"Silent","arguments":[]}"#,
        r#"{"type":4,"invocationId":"2","target":"Polite","arguments":[]}"#,
        r#"{"type":1,"invocationId":"3","target":"Reads","arguments":[],"streamIds":["u","v"]}"#,
        r#"{"type":2,"invocationId":"u","item":"item"}"#,
    ] {
        client.send(record).await;
    }
    assert!(client.all().await.is_empty());
    assert!(dropped.lock().unwrap().is_empty());
    client.leave();
    client.served.await.unwrap();
    node.host.tasks.close();
    let ended = tokio::time::timeout(Duration::from_secs(60), node.host.tasks.wait()).await;
    assert!(ended.is_ok(), "a task is still running");
    let mut dropped = dropped.lock().unwrap().clone();
    dropped.sort_unstable();
    assert_eq!(dropped, ["polite", "silent", "upload"]);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_cannot_be_encoded_ends_its_stream_with_an_error() {
    let mut client = client().await;
    client.send(&stream_call("NoForm", "[]", "[]")).await;
    let error = r#"{"type":3,"invocationId":"1","error":"An error occurred on the server while streaming results."}"#;
    assert_eq!(client.all().await, [r#"{"type":2,"invocationId":"1","item":1.5}"#, error]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_can_be_returned_as_a_stream() {
    let mut client = client().await;
    client.send(&stream_call("Back", "[]", r#"["u"]"#)).await;
    client.send(r#"{"type":2,"invocationId":"u","item":{"x":1.0}}"#).await;
    client.send(r#"{"type":3,"invocationId":"u"}"#).await;
    let item = r#"{"type":2,"invocationId":"1","item":{"x":1.0}}"#;
    assert_eq!(client.all().await, [item, r#"{"type":3,"invocationId":"1"}"#]);
}

#[tokio::test(start_paused = true)]
async fn uploads_may_be_declared_between_arguments_and_their_items_are_bound() {
    let mut client = client().await;
    let call = r#"{"type":1,"invocationId":"1","target":"Total","arguments":[10],"streamIds":["a","b"]}"#;
    let item = |stream: &str, item: &str| format!(r#"{{"type":2,"invocationId":"{stream}","item":{item}}}"#);
    let end = |stream: &str| format!(r#"{{"type":3,"invocationId":"{stream}"}}"#);
    for record in [call.to_owned(), item("b", "4"), item("a", "1"), item("a", "2"), end("b"), end("a")] {
        client.send(&record).await;
    }
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1","result":70}"#]);
    for record in [call.to_owned(), item("a", r#""x""#), item("a", "2")] {
        client.send(&record).await;
    }
    let error = r#"{"type":3,"invocationId":"1","error":"An unexpected error occurred invoking 'Total' on the server. HubException: Failed to bind Stream message."}"#;
    assert_eq!(client.all().await, [error]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_observes_cancellation_may_finish() {
    let mut client = client().await;
    client.send(&stream_call("Polite", "[]", "[]")).await;
    assert!(client.all().await.is_empty());
    client.send(r#"{"type":5,"invocationId":"1"}"#).await;
    let notice = r#"{"type":1,"target":"Cancelled","arguments":[]}"#;
    assert_eq!(client.all().await, [notice, r#"{"type":3,"invocationId":"1"}"#]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ignores_its_cancellation_is_dropped_after_five_seconds() {
    let mut client = client().await;
    client.send(&stream_call("Stubborn", "[]", "[]")).await;
    client.send(r#"{"type":5,"invocationId":"1"}"#).await;
    assert!(client.all().await.is_empty());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1"}"#]);
}

/// A hub whose streams have many large items ready at once, and then never end. `taken` counts the items that were
/// polled, so that a test notices if all of them were, instead of hanging.
fn flood(taken: &Arc<AtomicU32>) -> Methods {
    let items = |taken: Arc<AtomicU32>| {
        let item = RawValue::text(&"x".repeat(8000));
        let items = std::iter::repeat_n(item, MAX_MESSAGES as usize);
        stream::iter(items.inspect(move |_| _ = taken.fetch_add(1, Ordering::Relaxed)).map(Ok)).chain(stream::pending())
    };
    let (plain, held) = (taken.clone(), taken.clone());
    Methods::new()
        .method("Echo", |_: Caller, value: i32| async move { Ok(value) })
        .stream("Flood", move |_: Caller| std::future::ready(Ok(items(plain.clone()))))
        .stream("HeldFlood", move |_: Caller, cancellation: Cancellation| {
            std::future::ready(Ok(items(held.clone()).inspect(move |_| _ = cancellation.is_cancelled())))
        })
}

const MAX_MESSAGES: u32 = 100_000;

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_waits_ends_when_it_is_cancelled() {
    let taken = Arc::new(AtomicU32::new(0));
    let (backplane, _nothing_arrives) = memory::standalone();
    let mut client = Node::of(HubOptions::default(), Arc::new(flood(&taken)), backplane, "n").join("a").await;
    // Repeated, because it depends on chance whether the outbox has room when the cancellation arrives.
    for _ in 0..50 {
        taken.store(0, Ordering::Relaxed);
        client.send(&stream_call("Flood", "[]", "[]")).await;
        for _ in 0..20 {
            client.next().await.unwrap();
        }
        client.send(r#"{"type":5,"invocationId":"1"}"#).await;
        assert_eq!(client.all().await.pop().as_deref(), Some(r#"{"type":3,"invocationId":"1"}"#));
        assert!(taken.load(Ordering::Relaxed) < MAX_MESSAGES, "the rest of the stream is not polled");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_stream_that_never_waits_yields_to_other_tasks() {
    let taken = Arc::new(AtomicU32::new(0));
    let (backplane, _nothing_arrives) = memory::standalone();
    let node = Node::of(HubOptions::default(), Arc::new(flood(&taken)), backplane, "n");
    let (mut client, mut other) = (node.join("a").await, node.join("b").await);
    client.send(&stream_call("HeldFlood", "[]", "[]")).await;
    client.next().await.unwrap();
    client.send(r#"{"type":5,"invocationId":"1"}"#).await;
    // The stream holds its cancellation, so it keeps running; its items are discarded.
    while taken.load(Ordering::Relaxed) < 1000 {
        let _ = tokio::time::timeout(Duration::ZERO, client.next()).await;
    }
    other.send(r#"{"type":1,"invocationId":"2","target":"Echo","arguments":[2]}"#).await;
    assert_eq!(other.next().await.as_deref(), Some(r#"{"type":3,"invocationId":"2","result":2}"#));
    assert!(taken.load(Ordering::Relaxed) < MAX_MESSAGES, "the completion does not wait for the end of the stream");
}

#[tokio::test(start_paused = true)]
async fn a_caller_kept_from_on_connected_may_request_results_afterwards() {
    let kept: Arc<Mutex<Option<Caller>>> = Arc::default();
    let keep = kept.clone();
    let hub = Methods::new().on_connected(move |caller: Caller| {
        let keep = keep.clone();
        async move {
            let early = caller.clients().caller().invoke::<i32, _>("Question", ()).await.unwrap_err();
            assert!(early.to_string().contains("inside OnConnectedAsync"), "{early}");
            *keep.lock().unwrap() = Some(caller);
            Ok(())
        }
    });
    let (backplane, _nothing_arrives) = memory::standalone();
    let mut client = Node::of(HubOptions::default(), Arc::new(hub), backplane, "n").join("a").await;
    assert!(client.all().await.is_empty());
    let caller = kept.lock().unwrap().take().unwrap();
    let asking = tokio::spawn(async move { caller.clients().caller().invoke::<i32, _>("Question", ()).await });
    let question = r#"{"type":1,"invocationId":"s1","target":"Question","arguments":[]}"#;
    assert_eq!(client.next().await.as_deref(), Some(question));
    client.send(r#"{"type":3,"invocationId":"s1","result":7}"#).await;
    assert_eq!(asking.await.unwrap(), Ok(7));
}
