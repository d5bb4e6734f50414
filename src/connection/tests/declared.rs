//! Tests of declared methods that stream a group, take an upload, and request client results.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::kit::{Client, Node};
use crate::backplane::memory;
use crate::config::load::{Flags, Sources, load};
use crate::delivery::inbound::InboundDispatcher;
use crate::hub::declared::DeclaredHub;

const CONFIG: &str = r#"
[hubs.test]
detailed_errors = true
allowed_groups = ["room-*"]
[hubs.test.methods.Join]
params = ["room"]
do = [{ join = "{room}" }]
[hubs.test.methods.Say]
params = ["room", "text"]
do = [{ send = "Said", to = "group:{room}", args = ["{text}", { from = "{connection_id}" }] }]
[hubs.test.methods.SayToOthers]
params = ["room"]
do = [{ send = "Said", to = "others_in_group:{room}" }]
[hubs.test.methods.Watch]
params = ["room"]
do = [{ send = "Watching", to = "caller", args = ["{room}"] }]
streams = "group:{room}"
[hubs.test.methods.AskAndWatch]
params = ["room"]
do = [{ ask = "Ready", to = "caller" }]
streams = "group:{room}"
[hubs.test.methods.Import]
params = ["room"]
upload = "line"
each = [{ send = "Line", to = "caller", args = ["{room}", "{line}"] }]
do = [{ send = "Done", to = "caller" }]
returns = "imported into {room}"
[hubs.test.methods.JoinEach]
upload = "room"
each = [{ join = "{room}" }, { send = "Joined", to = "caller", args = ["{room}"] }]
do = [{ send = "Done", to = "caller" }]
[hubs.test.methods.Ask]
params = ["id", "question"]
do = [
  { ask = "Answer", to = "connection:{id}", args = ["{question}"], timeout = "5s", as = "answer" },
  { ask = "Sure", to = "caller", args = ["{answer}"], as = "sure" },
]
returns = ["{answer}", "{sure}"]
"#;

fn node() -> Node {
    let flags = Flags::default();
    let read = |_: &Path| -> io::Result<String> { Ok(CONFIG.to_owned()) };
    let loaded = load(&Sources { flags: &flags, environment: &[], read: &read, check_connection: &|_| Ok(Vec::new()) });
    let hub = loaded.unwrap().config.hubs.remove(0);
    let (backplane, arrived) = memory::standalone();
    let node = Node::of(hub.options.clone(), Arc::new(DeclaredHub::new(&hub)), backplane, "n");
    tokio::spawn(InboundDispatcher::new([node.host.delivery.clone()]).run(arrived));
    node
}

async fn call(client: &Client, target: &str, arguments: &str) {
    client.send(&format!(r#"{{"type":1,"invocationId":"1","target":"{target}","arguments":{arguments}}}"#)).await;
}

async fn watch(client: &Client, room: &str) {
    client.send(&format!(r#"{{"type":4,"invocationId":"w","target":"Watch","arguments":["{room}"]}}"#)).await;
}

const DONE: &str = r#"{"type":3,"invocationId":"1","result":null}"#;

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cancelled_during_its_steps_ends_after_them() {
    let node = node();
    let mut client = node.join("a").await;
    client.send(r#"{"type":4,"invocationId":"w","target":"AskAndWatch","arguments":["room-1"]}"#).await;
    assert_eq!(client.all().await, [r#"{"type":1,"invocationId":"s1","target":"Ready","arguments":[]}"#]);
    client.send(r#"{"type":5,"invocationId":"w"}"#).await;
    assert!(client.all().await.is_empty(), "the step is not cut off");
    client.send(r#"{"type":3,"invocationId":"s1","result":1}"#).await;
    assert_eq!(client.all().await, [r#"{"type":3,"invocationId":"w"}"#]);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_streamed_until_it_is_cancelled() {
    let node = node();
    let (mut a, b) = (node.join("a").await, node.join("b").await);
    watch(&a, "room-1").await;
    assert_eq!(a.all().await, [r#"{"type":1,"target":"Watching","arguments":["room-1"]}"#]);
    call(&b, "Say", r#"["room-1",[1.0]]"#).await;
    call(&b, "Say", r#"["room-2",2]"#).await;
    let item = r#"{"type":2,"invocationId":"w","item":{"target":"Said","arguments":[[1.0],{"from":"b"}]}}"#;
    assert_eq!(a.all().await, [item], "one item, and no invocation, since the client is not a member");
    call(&a, "SayToOthers", r#"["room-1"]"#).await;
    assert_eq!(a.all().await, [DONE], "a message that excludes a connection is not streamed to it");
    a.send(r#"{"type":5,"invocationId":"w"}"#).await;
    assert_eq!(a.all().await, [r#"{"type":3,"invocationId":"w"}"#]);
    call(&a, "Say", r#"["room-1",3]"#).await;
    assert_eq!(a.all().await, [DONE]);
}

#[tokio::test(start_paused = true)]
async fn a_message_nested_too_deep_for_an_item_is_skipped() {
    let node = node();
    let (mut a, b) = (node.join("a").await, node.join("b").await);
    watch(&a, "room-1").await;
    a.all().await;
    let deep = "[".repeat(62) + &"]".repeat(62);
    call(&b, "Say", &format!(r#"["room-1",{deep}]"#)).await;
    call(&b, "Say", r#"["room-1",2]"#).await;
    let item = r#"{"type":2,"invocationId":"w","item":{"target":"Said","arguments":[2,{"from":"b"}]}}"#;
    assert_eq!(a.all().await, [item]);
}

#[tokio::test(start_paused = true)]
async fn only_groups_that_may_be_joined_can_be_streamed() {
    let node = node();
    let mut a = node.join("a").await;
    watch(&a, "secret").await;
    let error = r#"{"type":3,"invocationId":"w","error":"An unexpected error occurred invoking 'Watch' on the server. HubException: the caller may not join that group (allowed_groups)"}"#;
    assert_eq!(a.all().await, [error]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_its_stream_and_blocks_nobody() {
    let node = node();
    let (mut a, b) = (node.join("a").await, node.join("b").await);
    watch(&a, "room-1").await;
    a.all().await;
    // 16 messages fit into the channel to the client, 64 KiB into the outbox, and 256 messages into the buffer of the
    // stream.
    let text = "x".repeat(8 * 1024);
    for _ in 0..400 {
        b.send(&format!(r#"{{"type":1,"target":"Say","arguments":["room-1","{text}"]}}"#)).await;
    }
    let received = a.all().await;
    let error = r#"{"type":3,"invocationId":"w","error":"An error occurred on the server while streaming results. HubException: the stream fell behind the group and has lost messages"}"#;
    assert_eq!(received.last().map(String::as_str), Some(error));
    assert!((256..400).contains(&(received.len() - 1)), "{}", received.len());
    assert_eq!(a.close.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn steps_run_for_each_item_of_an_upload() {
    let node = node();
    let mut a = node.join("a").await;
    a.send(r#"{"type":1,"invocationId":"1","target":"Import","arguments":["r"],"streamIds":["u"]}"#).await;
    a.send(r#"{"type":2,"invocationId":"u","item":{"n":1}}"#).await;
    assert_eq!(a.all().await, [r#"{"type":1,"target":"Line","arguments":["r",{"n":1}]}"#]);
    a.send(r#"{"type":2,"invocationId":"u","item":"two"}"#).await;
    a.send(r#"{"type":3,"invocationId":"u"}"#).await;
    let rest = [
        r#"{"type":1,"target":"Line","arguments":["r","two"]}"#,
        r#"{"type":1,"target":"Done","arguments":[]}"#,
        r#"{"type":3,"invocationId":"1","result":"imported into r"}"#,
    ];
    assert_eq!(a.all().await, rest);

    a.send(r#"{"type":1,"invocationId":"1","target":"Import","arguments":["r"],"streamIds":["u"]}"#).await;
    a.send(r#"{"type":3,"invocationId":"u","error":"no more"}"#).await;
    let error = r#"{"type":3,"invocationId":"1","error":"An unexpected error occurred invoking 'Import' on the server. HubException: no more"}"#;
    assert_eq!(a.all().await, [error]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_step_of_an_item_ends_the_method() {
    let node = node();
    let mut a = node.join("a").await;
    a.send(r#"{"type":1,"invocationId":"1","target":"JoinEach","arguments":[],"streamIds":["u"]}"#).await;
    for room in ["room-1", "lobby", "room-2"] {
        a.send(&format!(r#"{{"type":2,"invocationId":"u","item":"{room}"}}"#)).await;
    }
    a.send(r#"{"type":3,"invocationId":"u"}"#).await;
    let joined = r#"{"type":1,"target":"Joined","arguments":["room-1"]}"#;
    let error = r#"{"type":3,"invocationId":"1","error":"An unexpected error occurred invoking 'JoinEach' on the server. HubException: the caller may not join that group (allowed_groups)"}"#;
    assert_eq!(a.all().await, [joined, error]);
}

#[tokio::test(start_paused = true)]
async fn client_results_are_used_by_later_steps_and_returned() {
    let node = node();
    let (mut a, mut b) = (node.join("a").await, node.join("b").await);
    call(&a, "Ask", r#"["b",{"q":1}]"#).await;
    assert_eq!(b.all().await, [r#"{"type":1,"invocationId":"s1","target":"Answer","arguments":[{"q":1}]}"#]);
    b.send(r#"{"type":3,"invocationId":"s1","result":{"yes":1.0}}"#).await;
    assert_eq!(a.all().await, [r#"{"type":1,"invocationId":"s2","target":"Sure","arguments":[{"yes":1.0}]}"#]);
    a.send(r#"{"type":3,"invocationId":"s2","result":null}"#).await;
    assert_eq!(a.all().await, [r#"{"type":3,"invocationId":"1","result":[{"yes":1.0},null]}"#]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_client_result_fails_the_step() {
    let node = node();
    let (mut a, mut b) = (node.join("a").await, node.join("b").await);
    let error = |text: &str| {
        format!(
            r#"{{"type":3,"invocationId":"1","error":"An unexpected error occurred invoking 'Ask' on the server. HubException: {text}"}}"#
        )
    };
    call(&a, "Ask", r#"["nobody",1]"#).await;
    assert_eq!(a.all().await, [error("Connection 'nobody' does not exist.")]);
    call(&a, "Ask", r#"["b",1]"#).await;
    assert_eq!(b.all().await.len(), 1);
    b.send(r#"{"type":3,"invocationId":"s1","error":"ask somebody else"}"#).await;
    assert_eq!(a.all().await, [error("ask somebody else")]);
    call(&a, "Ask", r#"["b",1]"#).await;
    assert_eq!(b.all().await.len(), 1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(a.all().await, [error("Invocation canceled by the server.")]);
    call(&a, "Ask", r#"["b",1]"#).await;
    assert_eq!(b.all().await.len(), 1);
    b.leave();
    assert_eq!(a.all().await, [error("Connection 'b' disconnected.")]);
}
