//! Calls: one at a time by default, several where allowed, answered exactly once, and what is told of errors.

use super::kit::{Node, TestHub};
use crate::config::HubOptions;

fn call(id: &str, target: &str, arguments: &str) -> String {
    format!(r#"{{"type":1,"invocationId":"{id}","target":"{target}","arguments":{arguments}}}"#)
}

fn done(id: &str) -> String {
    format!(r#"{{"type":3,"invocationId":"{id}","result":null}}"#)
}

fn error(id: &str, text: &str) -> String {
    format!(r#"{{"type":3,"invocationId":"{id}","error":"{text}"}}"#)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_and_a_send_is_not() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(r#"{"type":1,"target":"Echo","arguments":[1]}"#).await;
    client.send(r#"{"type":1,"target":"Fail","arguments":[]}"#).await;
    client.send(&call("1", "eCHO", r#"[{"x":[1,2]}]"#)).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1","result":{"x":[1,2]}}"#]);
}

#[tokio::test(start_paused = true)]
async fn calls_run_one_after_the_other_and_all_else_goes_on() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(&call("1", "Wait", "[]")).await;
    client.send(r#"{"type":4,"invocationId":"s","target":"Count","arguments":[]}"#).await;
    let items = |n: u8| format!(r#"{{"type":2,"invocationId":"s","item":{n}}}"#);
    let end = r#"{"type":3,"invocationId":"s"}"#.to_owned();
    assert_eq!(client.all().await, [items(0), items(1), items(2), end]);
    client.send(&call("2", "Echo", "[2]")).await;
    assert!(client.all().await.is_empty(), "the second call waits for the first");
    node.gate.0.add_permits(1);
    assert_eq!(client.all().await, [done("1"), r#"{"type":3,"invocationId":"2","result":2}"#.to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn with_two_slots_the_third_call_waits() {
    let options = HubOptions { maximum_parallel_invocations_per_client: 2, ..HubOptions::default() };
    let node = Node::new(options);
    let mut client = node.join("a").await;
    client.send(&call("1", "Wait", "[]")).await;
    client.send(&call("2", "Wait", "[]")).await;
    client.send(&call("3", "Echo", "[3]")).await;
    assert!(client.all().await.is_empty());
    node.gate.0.add_permits(1);
    assert_eq!(client.all().await, [done("1"), r#"{"type":3,"invocationId":"3","result":3}"#.to_owned()]);
    node.gate.0.add_permits(1);
    assert_eq!(client.all().await, [done("2")]);
}

#[tokio::test(start_paused = true)]
async fn errors_say_what_the_reference_says() {
    for detailed_errors in [false, true] {
        let node = Node::new(HubOptions { detailed_errors, ..HubOptions::default() });
        let mut client = node.join("a").await;
        let detail = |text: &str| if detailed_errors { text.to_owned() } else { String::new() };
        for (target, arguments, text) in [
            (
                "No",
                "[]",
                "Failed to invoke 'No' due to an error on the server. HubException: Method does not exist.".to_owned(),
            ),
            (
                "Echo",
                "[]",
                format!(
                    "Failed to invoke 'Echo' due to an error on the server.{}",
                    detail(" InvalidDataException: Invocation provides 0 argument(s) but target expects 1.")
                ),
            ),
            (
                "Fail",
                "[]",
                format!(
                    "An unexpected error occurred invoking 'Fail' on the server.{}",
                    detail(" InvalidOperationException: BOOM!")
                ),
            ),
            (
                "failHub",
                "[]",
                "An unexpected error occurred invoking 'failHub' on the server. HubException: told".to_owned(),
            ),
            (
                "Count",
                "[]",
                "The client attempted to invoke the streaming 'Count' method with a non-streaming invocation."
                    .to_owned(),
            ),
            (
                "Panic",
                "[]",
                format!(
                    "An unexpected error occurred invoking 'Panic' on the server.{}",
                    detail(" PanicException: the application panicked")
                ),
            ),
        ] {
            client.send(&call("1", target, arguments)).await;
            assert_eq!(client.all().await, [error("1", &text)], "{target}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn streams_end_by_themselves_by_error_and_by_cancel() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(r#"{"type":4,"invocationId":"1","target":"Breaks","arguments":[]}"#).await;
    let broken = error("1", "An error occurred on the server while streaming results. HubException: the stream broke");
    assert_eq!(client.all().await, [r#"{"type":2,"invocationId":"1","item":"one"}"#.to_owned(), broken]);

    client.send(r#"{"type":4,"invocationId":"2","target":"Forever","arguments":[]}"#).await;
    client.send(r#"{"type":4,"invocationId":"2","target":"Forever","arguments":[]}"#).await;
    assert_eq!(client.all().await, [error("2", "Invocation ID '2' is already in use.")]);
    client.send(r#"{"type":5,"invocationId":"2"}"#).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"2"}"#]);

    client.send(r#"{"type":4,"invocationId":"3","target":"Echo","arguments":[1]}"#).await;
    let text = "The client attempted to invoke the non-streaming 'Echo' method with a streaming invocation.";
    assert_eq!(client.all().await, [error("3", text)]);
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_its_sender_before_the_completion() {
    let node = Node::with(HubOptions::default(), TestHub::default());
    let mut a = node.join("a").await;
    let mut b = node.join("b").await;
    a.send(&call("1", "All", "[7]")).await;
    let heard = r#"{"type":1,"target":"M","arguments":[7]}"#.to_owned();
    assert_eq!(a.all().await, [heard.clone(), done("1")]);
    assert_eq!(b.all().await, [heard]);
}
