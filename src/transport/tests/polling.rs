//! Tests of long polling over real sockets.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::kit::*;
use crate::config::HubOptions;
use crate::protocol::TransportKind;

const BINARY: Option<&str> = Some("application/octet-stream");
const TEXT: Option<&str> = Some("text/plain");

#[tokio::test]
async fn the_first_poll_is_empty_and_data_goes_to_the_next() {
    let mut server = serve_default().await;
    let token = server.negotiate().await;
    let target = format!("/echo?id={token}");
    assert_eq!(server.ask("POST", &target, "early").await.short(), (200, TEXT, ""));
    assert_eq!(server.ask("GET", &format!("{target}&_=1"), "").await.short(), (200, BINARY, ""));
    let request = server.connected().await;
    assert_eq!((request.transport, request.query("_")), (TransportKind::LongPolling, Some("1".to_owned())));
    assert_eq!(server.ask("GET", &target, "").await.short(), (200, BINARY, "early"));
    assert_eq!(server.ask("POST", &target, "more").await.status, 200);
    assert_eq!(server.ask("GET", &target, "").await.short(), (200, BINARY, "more"));
}

#[tokio::test]
async fn a_waiting_poll_receives_new_data() {
    let server = serve_default().await;
    let token = server.polling().await;
    let target = format!("/echo?id={token}");
    let mut poll = server.client().await;
    poll.request(&format!("GET {target}"), &[], "").await;
    server.post(&target, "hello").await;
    assert_eq!(poll.response().await.short(), (200, BINARY, "hello"));
}

#[tokio::test]
async fn a_poll_without_data_times_out_and_another_may_follow() {
    let options = HubOptions { long_polling_poll_timeout: Duration::from_millis(20), ..HubOptions::default() };
    let server = serve(options, None).await;
    let token = server.polling().await;
    let target = format!("/echo?id={token}");
    let answer = server.ask("GET", &target, "").await;
    assert_eq!(answer.short(), (200, TEXT, ""));
    assert_eq!(answer.header("expires"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    assert_eq!(server.ask("GET", &target, "").await.status, 200);
}

#[tokio::test]
async fn a_new_poll_ends_the_old_one_with_204() {
    let server = serve_default().await;
    let token = server.polling().await;
    let target = format!("/echo?id={token}");
    let (mut old, mut new) = (server.client().await, server.client().await);
    // Either poll may be served first; the other one keeps waiting.
    old.request(&format!("GET {target}"), &[], "").await;
    new.request(&format!("GET {target}"), &[], "").await;
    let first = tokio::select! {
        answer = old.response() => { std::mem::swap(&mut old, &mut new); answer }
        answer = new.response() => answer,
    };
    assert_eq!(first.short(), (204, TEXT, ""));
    server.post(&target, "x").await;
    assert_eq!(old.response().await.short(), (200, BINARY, "x"));
}

#[tokio::test]
async fn remaining_data_is_delivered_before_204_and_404() {
    let mut server = serve_default().await;
    let token = server.polling().await;
    let target = format!("/echo?id={token}");
    server.connected().await;
    server.post(&target, "last").await;
    // "bye" ends the echo, after it has sent "last".
    let mut poll = server.client().await;
    poll.request(&format!("GET {target}"), &[], "").await;
    assert_eq!(poll.response().await.short(), (200, BINARY, "last"));
    server.post(&target, "bye").await;
    server.disconnected().await;
    assert_eq!(server.ask("GET", &target, "").await.short(), (204, TEXT, ""));
    assert_eq!(server.ask("GET", &target, "").await.short(), (404, TEXT, "No Connection with that ID"));
}

#[tokio::test]
async fn delete_ends_the_connection_at_once() {
    let mut server = serve_default().await;
    let token = server.polling().await;
    let target = format!("/echo?id={token}");
    server.connected().await;
    assert_eq!(server.ask("DELETE", &target, "").await.short(), (202, TEXT, ""));
    server.disconnected().await;
    for method in ["DELETE", "GET", "POST"] {
        assert_eq!(server.ask(method, &target, "").await.short(), (404, TEXT, "No Connection with that ID"));
    }
}

#[tokio::test]
async fn an_abandoned_poll_loses_no_data() {
    let mut server = serve_default().await;
    let token = server.polling().await;
    let target = format!("/echo?id={token}");
    server.connected().await;
    let mut poll = server.client().await;
    poll.request(&format!("GET {target}"), &[], "").await;
    drop(poll);
    server.post(&target, "kept").await;
    // The server may not have noticed yet that the poll is gone: only an answer written to the dead socket may be lost.
    let mut seen = String::new();
    while seen.is_empty() {
        server.post(&target, "kept").await;
        seen = server.ask("GET", &target, "").await.text();
    }
    assert!(seen.starts_with("kept"));
}

#[tokio::test]
async fn a_client_that_stops_polling_expires() {
    let mut server = serve_default().await;
    let token = server.polling().await;
    server.connected().await;
    let timeout = HubOptions::default().disconnect_timeout;
    server.transports.sweep(Instant::now() + timeout / 2);
    assert_eq!(server.ask("POST", &format!("/echo?id={token}"), "").await.status, 200);
    server.transports.sweep(Instant::now() + timeout);
    server.disconnected().await;
    assert_eq!(server.ask("GET", &format!("/echo?id={token}"), "").await.status, 404);
}

#[tokio::test]
async fn posts_are_applied_whole_and_blocked_when_the_pipe_is_full() {
    let options = HubOptions { incoming_buffer_size: Some(1000), ..HubOptions::default() };
    let server = serve(options, None).await;
    let token = server.negotiate().await;
    let target = format!("/echo?id={token}");
    let mut posts = Vec::new();
    for letter in ["a", "b", "c", "d"] {
        let mut client = server.client().await;
        client.request(&format!("POST {target}"), &[], &letter.repeat(3000)).await;
        posts.push(client);
    }
    assert_eq!(server.ask("GET", &target, "").await.status, 200);
    let mut all = String::new();
    while all.len() < 12_000 {
        all.push_str(&server.ask("GET", &target, "").await.text());
    }
    for client in &mut posts {
        assert_eq!(client.response().await.status, 200);
    }
    all.as_bytes().chunks(3000).for_each(|run| assert!(run.iter().all(|byte| *byte == run[0]), "torn"));
}

#[tokio::test]
async fn a_post_waits_for_an_earlier_one() {
    let server = serve_default().await;
    let token = server.polling().await;
    let target = format!("/echo?id={token}");
    let mut first = server.client().await;
    first.write(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\naaa").as_bytes()).await;
    assert_eq!(server.ask("GET", &target, "").await.text(), "aaa");
    let mut second = server.client().await;
    second.request(&format!("POST {target}"), &[], "bbb").await;
    // A POST that did not wait would have been answered by the time later requests are.
    for _ in 0..10 {
        assert_eq!(server.ask("POST", "/echo?id=none", "").await.status, 404);
    }
    first.write(b"AAA").await;
    let mut all = String::new();
    while all.len() < 6 {
        all.push_str(&server.ask("GET", &target, "").await.text());
    }
    assert_eq!((all.as_str(), first.response().await.status, second.response().await.status), ("AAAbbb", 200, 200));
}

#[tokio::test]
async fn the_received_part_of_an_incomplete_post_is_kept() {
    let server = serve_default().await;
    let token = server.polling().await;
    let target = format!("/echo?id={token}");
    let mut post = server.client().await;
    post.write(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf").as_bytes()).await;
    assert_eq!(server.ask("GET", &target, "").await.text(), "half");
    post.socket.shutdown().await.unwrap();
    assert_eq!(post.response().await.short(), (400, TEXT, ""));
    assert_eq!(server.ask("POST", &target, "whole").await.status, 200);
    assert_eq!(server.ask("GET", &target, "").await.text(), "whole");
}
