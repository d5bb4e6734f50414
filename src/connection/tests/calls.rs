//! Tests of invocations: how many run in parallel, their completions and error texts, client results and uploads.

use super::kit::{Node, ScriptedHub};
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
async fn an_invocation_is_completed_and_a_send_is_not() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(r#"{"type":1,"target":"Echo","arguments":[1]}"#).await;
    client.send(r#"{"type":1,"target":"Fail","arguments":[]}"#).await;
    client.send(&call("1", "eCHO", r#"[{"x":[1,2]}]"#)).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1","result":{"x":[1,2]}}"#]);
}

#[tokio::test(start_paused = true)]
async fn calls_run_one_at_a_time_and_other_messages_are_still_handled() {
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
async fn with_two_slots_a_third_call_waits() {
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

fn too_many(id: &str, target: &str, what: &str) -> String {
    error(id, &format!("Failed to invoke '{target}' because the client has too many {what} in flight."))
}

#[tokio::test(start_paused = true)]
async fn streams_of_one_client_are_limited() {
    let node = Node::new(HubOptions { maximum_streams_per_client: Some(2), ..HubOptions::default() });
    let (mut client, mut other) = (node.join("a").await, node.join("b").await);
    let forever = |id: &str| format!(r#"{{"type":4,"invocationId":"{id}","target":"Forever","arguments":[]}}"#);
    client.send(&(forever("1") + "\u{1e}" + &forever("2") + "\u{1e}" + &forever("3"))).await;
    assert_eq!(client.all().await, [too_many("3", "Forever", "streams")]);
    other.send(&forever("1")).await;
    assert!(other.all().await.is_empty(), "the limit is each client's own");
    client.send(r#"{"type":5,"invocationId":"1"}"#).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1"}"#]);
    client.send(&forever("4")).await;
    assert!(client.all().await.is_empty(), "a stream that has ended makes room");
}

#[tokio::test(start_paused = true)]
async fn uploads_of_one_client_are_limited() {
    let node = Node::new(HubOptions { maximum_uploads_per_client: Some(1), ..HubOptions::default() });
    let mut client = node.join("a").await;
    let upload = |id: &str, target: &str| {
        format!(r#"{{"type":1,"invocationId":"{id}","target":"{target}","arguments":[],"streamIds":["s{id}"]}}"#)
    };
    client.send(&(upload("1", "Concat") + "\u{1e}" + &upload("2", "Concat"))).await;
    assert_eq!(client.all().await, [too_many("2", "Concat", "uploads")]);
    client.send(r#"{"type":3,"invocationId":"s1"}"#).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1","result":""}"#]);
    client.send(&upload("3", "Concat")).await;
    assert!(client.all().await.is_empty(), "a stream that has ended makes room");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_the_client_has_ended_counts_until_its_call_returns() {
    let node = Node::new(HubOptions { maximum_uploads_per_client: Some(1), ..HubOptions::default() });
    let mut client = node.join("a").await;
    let hold = |id: &str| {
        format!(r#"{{"type":1,"invocationId":"{id}","target":"Hold","arguments":[],"streamIds":["s"]}}"#)
            + "\u{1e}"
            + r#"{"type":3,"invocationId":"s"}"#
    };
    client.send(&(hold("1") + "\u{1e}" + &hold("2"))).await;
    assert_eq!(client.all().await, [too_many("2", "Hold", "uploads")]);
    node.gate.0.add_permits(1);
    assert_eq!(client.all().await, [done("1")]);
    client.send(&hold("3")).await;
    assert!(client.all().await.is_empty(), "a call that has returned makes room");
    node.gate.0.add_permits(1);
    assert_eq!(client.all().await, [done("3")]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_client_results_are_limited() {
    let node = Node::new(HubOptions { maximum_asks_per_client: Some(2), ..HubOptions::default() });
    let mut client = node.join("a").await;
    for id in ["1", "2", "3"] {
        client.send(&call(id, "Ask", r#"["a"]"#)).await;
    }
    let question = |n: u8| format!(r#"{{"type":1,"invocationId":"s{n}","target":"Question","arguments":[]}}"#);
    assert_eq!(client.all().await, [question(1), question(2), too_many("3", "Ask", "asks")]);
    client.send(r#"{"type":3,"invocationId":"s1","result":1}"#).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1","result":1}"#]);
    client.send(&call("4", "Ask", r#"["a"]"#)).await;
    assert_eq!(client.all().await, [question(3)], "a call that has ended makes room");
}

#[tokio::test(start_paused = true)]
async fn error_texts_match_aspnet_core() {
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
                "An unexpected error occurred invoking 'FailHub' on the server. HubException: told".to_owned(),
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
async fn streams_end_by_completion_by_error_and_by_cancel() {
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
    let node = Node::with(HubOptions::default(), ScriptedHub::default());
    let mut a = node.join("a").await;
    let mut b = node.join("b").await;
    a.send(&call("1", "All", "[7]")).await;
    let message = r#"{"type":1,"target":"M","arguments":[7]}"#.to_owned();
    assert_eq!(a.all().await, [message.clone(), done("1")]);
    assert_eq!(b.all().await, [message]);
}

#[tokio::test(start_paused = true)]
async fn a_call_can_request_a_result_from_its_own_caller() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(&call("1", "Ask", r#"["a"]"#)).await;
    assert_eq!(client.all().await, [r#"{"type":1,"invocationId":"s1","target":"Question","arguments":[]}"#]);
    // The first call has released its slot, so a second call can run.
    client.send(&call("2", "Echo", "[2]")).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"2","result":2}"#]);
    client.send(r#"{"type":3,"invocationId":"s1","result":"yes"}"#).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1","result":"yes"}"#]);
    // A result that arrives late is ignored.
    client.send(r#"{"type":3,"invocationId":"s1","result":"yes"}"#).await;
    assert!(client.all().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_missing_client_result_is_an_error_for_the_requester() {
    let node = Node::new(HubOptions { detailed_errors: true, ..HubOptions::default() });
    let mut requester = node.join("requester").await;
    let mut responder = node.join("responder").await;
    let base = "An unexpected error occurred invoking 'Ask' on the server.";
    let mut number = 0;
    for (answer, text) in [
        (r#""error":"no""#, "HubException: no"),
        (r#""error":"""#, "HubException: "),
        (r#""headers":{}"#, "HubException: Exception of type 'Microsoft.AspNetCore.SignalR.HubException' was thrown."),
    ] {
        number += 1;
        requester.send(&call("1", "Ask", r#"["responder"]"#)).await;
        assert_eq!(responder.all().await.len(), 1);
        responder.send(&format!(r#"{{"type":3,"invocationId":"s{number}",{answer}}}"#)).await;
        assert_eq!(requester.all().await, [error("1", &format!("{base} {text}"))]);
    }
    requester.send(&call("1", "Ask", r#"["nobody"]"#)).await;
    assert_eq!(
        requester.all().await,
        [error("1", &format!("{base} IOException: Connection 'nobody' does not exist."))]
    );

    requester.send(&call("1", "Ask", r#"["responder"]"#)).await;
    assert!(requester.all().await.is_empty());
    responder.leave();
    let text = error("1", &format!("{base} IOException: Connection 'responder' disconnected."));
    assert_eq!(requester.all().await, [text]);
}

#[tokio::test(start_paused = true)]
async fn a_result_for_another_connection_closes_its_sender() {
    let node = Node::new(HubOptions { detailed_errors: true, ..HubOptions::default() });
    let mut requester = node.join("requester").await;
    let mut responder = node.join("responder").await;
    requester.send(&call("1", "Ask", r#"["responder"]"#)).await;
    assert_eq!(responder.all().await.len(), 1);
    requester.send(r#"{"type":3,"invocationId":"s1","result":"mine"}"#).await;
    let close = r#"{"type":7,"error":"Connection closed with an error. InvalidOperationException: Connection ID 'requester' is not valid for invocation ID 's1'.","allowReconnect":true}"#;
    assert_eq!(requester.all().await, [close]);
    // The result is still pending. It is accepted, although its requester is closed.
    responder.send(r#"{"type":3,"invocationId":"s1","result":"yes"}"#).await;
    assert!(responder.all().await.is_empty());
    assert_eq!(responder.close.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_client_result_times_out_after_thirty_seconds() {
    let node = Node::new(HubOptions::default());
    let mut requester = node.join("requester").await;
    let mut responder = node.join("responder").await;
    requester.send(&call("1", "Ask", r#"["responder"]"#)).await;
    assert_eq!(responder.all().await.len(), 1);
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    let text =
        "An unexpected error occurred invoking 'Ask' on the server. HubException: Invocation canceled by the server.";
    assert_eq!(requester.all().await, [error("1", text)]);
}

#[tokio::test(start_paused = true)]
async fn uploads_reach_their_call_and_end_with_it() {
    let node = Node::new(HubOptions { stream_buffer_capacity: 1, ..HubOptions::default() });
    let mut client = node.join("a").await;
    let upload = |id: &str, stream: &str| {
        format!(r#"{{"type":1,"invocationId":"{id}","target":"Concat","arguments":[],"streamIds":["{stream}"]}}"#)
    };
    let item = |stream: &str, text: &str| format!(r#"{{"type":2,"invocationId":"{stream}","item":"{text}"}}"#);
    // All records arrive in one read: the stream must exist before the items are handled.
    let together =
        [upload("1", "x"), item("x", "a"), item("x", "b"), item("x", "c"), r#"{"type":3,"invocationId":"x"}"#.into()];
    client.send(&together.join("\u{1e}")).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"1","result":"abc"}"#]);
    // An item that arrives too late is ignored, and the stream id may be used again.
    client.send(&item("x", "late")).await;
    client.send(&[upload("2", "x"), upload("3", "x")].join("\u{1e}")).await;
    let in_use =
        "An unexpected error occurred invoking 'Concat' on the server. HubException: Stream ID 'x' is already in use.";
    assert_eq!(client.all().await, [error("3", in_use)]);
    client.send(r#"{"type":3,"invocationId":"x","error":"bad"}"#).await;
    let bad = "An unexpected error occurred invoking 'Concat' on the server. HubException: bad";
    assert_eq!(client.all().await, [error("2", bad)]);
    let count = "An unexpected error occurred invoking 'Concat' on the server. HubException: Client sent 0 stream(s), Hub method expects 1.";
    client.send(&call("4", "Concat", "[]")).await;
    assert_eq!(client.all().await, [error("4", count)]);
}

#[tokio::test(start_paused = true)]
async fn a_full_upload_blocks_the_reader_and_nothing_else() {
    let node = Node::new(HubOptions { stream_buffer_capacity: 2, ..HubOptions::default() });
    let mut client = node.join("a").await;
    client.send(r#"{"type":1,"invocationId":"1","target":"Hold","arguments":[],"streamIds":["x"]}"#).await;
    for _ in 0..3 {
        client.send(r#"{"type":2,"invocationId":"x","item":0}"#).await;
    }
    client.send(&call("2", "Echo", "[2]")).await;
    assert!(client.all().await.is_empty(), "the third item waits, and so does everything after it");
    node.gate.0.add_permits(1);
    assert_eq!(client.all().await, [done("1"), r#"{"type":3,"invocationId":"2","result":2}"#.to_owned()]);
    // The method has dropped the stream, so its id may be used again although the client has not completed it.
    client.send(r#"{"type":1,"invocationId":"3","target":"Hold","arguments":[],"streamIds":["x"]}"#).await;
    node.gate.0.add_permits(1);
    assert_eq!(client.all().await, [done("3")]);
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_failed_stream_is_sent_only_with_detailed_errors() {
    for (detailed_errors, detail) in [(false, ""), (true, " InvalidOperationException: BOOM!")] {
        let node = Node::new(HubOptions { detailed_errors, ..HubOptions::default() });
        let mut client = node.join("a").await;
        client.send(r#"{"type":4,"invocationId":"1","target":"Bursts","arguments":[]}"#).await;
        let text = format!("An error occurred on the server while streaming results.{detail}");
        assert_eq!(client.all().await, [r#"{"type":2,"invocationId":"1","item":"one"}"#.to_owned(), error("1", &text)]);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_request_client_results_release_their_slots() {
    let options = HubOptions { maximum_parallel_invocations_per_client: 2, ..HubOptions::default() };
    let node = Node::new(options);
    let mut client = node.join("a").await;
    client.send(&call("1", "Wait", "[]")).await;
    for id in ["2", "3", "4"] {
        client.send(&call(id, "Ask", r#"["a"]"#)).await;
    }
    let question = |n: u8| format!(r#"{{"type":1,"invocationId":"s{n}","target":"Question","arguments":[]}}"#);
    assert_eq!(
        client.all().await,
        [question(1), question(2), question(3)],
        "one slot is taken, and three calls wait for results"
    );
    for n in [3, 1, 2] {
        client.send(&format!(r#"{{"type":3,"invocationId":"s{n}","result":{n}}}"#)).await;
    }
    let answer = |id: u8, n: u8| format!(r#"{{"type":3,"invocationId":"{id}","result":{n}}}"#);
    assert_eq!(client.all().await, [answer(4, 3), answer(2, 1), answer(3, 2)]);
    node.gate.0.add_permits(1);
    assert_eq!(client.all().await, [done("1")]);
}
