//! Tests of the log lines about application code that fails, and of their rate limits.

use std::sync::Arc;
use std::time::Duration;

use testkit::log::Capture;
use tokio::time::advance;

use super::kit::{Client, Node, ScriptedHub};
use crate::backplane::memory;
use crate::config::HubOptions;
use crate::hub::{Caller, HubError, Methods};

async fn client(hub: Methods) -> Client {
    let (backplane, _nothing_arrives) = memory::standalone();
    Node::of(HubOptions::default(), Arc::new(hub), backplane, "n").join("a").await
}

async fn call(client: &mut Client, target: &str, arguments: &str) {
    let call = format!(r#"{{"type":1,"invocationId":"1","target":"{target}","arguments":{arguments}}}"#);
    client.send(&call).await;
    assert_eq!(client.all().await.len(), 1, "{target} is answered");
}

#[tokio::test(start_paused = true)]
async fn a_failed_rust_method_is_logged_without_its_text() {
    let log = Capture::start();
    let hub = Methods::new()
        .method("Refuse", |_: Caller, text: String| async move { Err::<(), _>(HubError::client(text)) })
        .method("Fail", |_: Caller, text: String| async move { Err::<(), _>(HubError::internal(text)) });
    let mut client = client(hub).await;
    call(&mut client, "refuse", r#"["SECRET"]"#).await;
    log.wait(
        r#"WARN hubplane::connection::invocation_runner: a method failed method="Refuse" reason="HubException""#,
        1,
    );
    advance(Duration::from_secs(10)).await;
    call(&mut client, "Fail", r#"["SECRET"]"#).await;
    log.wait(r#"a method failed method="Fail" reason="InvalidOperationException""#, 1);
    // Arguments that do not fit are rejected when the method binds them.
    call(&mut client, "Fail", r#"[{"SECRET":1}]"#).await;
    let reason = r#"reason="the types of the arguments do not match the parameters""#;
    log.wait(&format!(r#"INFO hubplane::connection::invocation_runner: a call was refused method="Fail" {reason}"#), 1);
    assert!(!log.text().contains("SECRET"), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn failures_of_one_kind_are_logged_once_in_ten_seconds() {
    let log = Capture::start();
    let node = Node::new(HubOptions::default());
    let (mut one, mut other) = (node.join("a").await, node.join("b").await);
    for _ in 0..50 {
        call(&mut one, "Fail", "[]").await;
        call(&mut other, "FailHub", "[]").await;
        call(&mut one, "Nope", "[]").await;
    }
    // Each call took one second, in which `all` waited for more: 100 failures in 150 s, an unknown method every 3 s.
    let lines: Vec<_> = log.lines().into_iter().filter(|line| line.contains("a method failed")).collect();
    assert_eq!(lines.len(), 15, "{lines:#?}");
    assert!(!lines[0].contains("suppressed"), "{}", lines[0]);
    assert!(lines[1..].iter().all(|line| line.ends_with("suppressed=6")), "{lines:#?}");
    assert_eq!(log.count("a client called a method that the hub does not have"), 13, "one every 12 s");
}

#[tokio::test(start_paused = true)]
async fn failed_streams_are_logged() {
    let log = Capture::start();
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(r#"{"type":4,"invocationId":"1","target":"Bursts","arguments":[]}"#).await;
    assert_eq!(client.all().await.len(), 2);
    log.wait(r#"a method failed method="Bursts" reason="InvalidOperationException""#, 1);
    assert!(!log.text().contains("BOOM"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_that_names_the_method() {
    let log = Capture::start();
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    for _ in 0..5 {
        call(&mut client, "Panic", "[]").await;
    }
    log.wait("ERROR hubplane::connection::invocation_runner: application code panicked", 1);
    log.wait(r#"a method failed method="Panic" reason="PanicException""#, 1);
    assert_eq!(log.count("panicked;"), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_refuses_every_client_is_logged_once() {
    let log = Capture::start();
    let node = Node::with(HubOptions::default(), ScriptedHub { refuses_clients: true, ..ScriptedHub::default() });
    for _ in 0..5 {
        let mut client = node.join("a").await;
        assert_eq!(client.next().await.as_deref().map(|close| close.starts_with(r#"{"type":7"#)), Some(true));
    }
    let line = r#"a client could not connect: the hub's `connected` failed reason="InvalidOperationException: no""#;
    log.wait(line, 1);
    assert_eq!(log.count("could not connect"), 1, "{}", log.text());
}
