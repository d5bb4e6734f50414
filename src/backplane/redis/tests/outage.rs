//! Tests of outages: Redis is killed, paused, restarted, or closes one of the two connections (docs/design.md#7).

use std::time::Duration;

use testkit::log::Capture;
use testkit::nonblocking::until;
use testkit::redis::free_port;
use testkit::{Redis, Stopwatch};

use tokio::net::TcpListener;

use super::kit::{Node, TIMEOUT, default_options, options, run, start, text_envelope};
use crate::backplane::redis::{RedisBackplane, RedisOptions};
use crate::backplane::{BackplaneError, Channel, LinkState};

async fn pair_on(redis: &Redis) -> (Node, Node) {
    let a = Node::on_redis(default_options(redis, ""), "a").await;
    let b = Node::on_redis(default_options(redis, ""), "b").await;
    for node in [&a, &b] {
        node.wait_for_link(LinkState::Up).await;
        node.subscribe([Channel::All]).await;
    }
    (a, b)
}

/// Listens in place of a Redis that is down, and closes every connection, until `times` connections have been made. A
/// node makes two at a time.
async fn hang_up(redis: &Redis, times: u32) {
    let listener = TcpListener::bind(("127.0.0.1", redis.port())).await.unwrap();
    for _ in 0..times {
        tokio::time::timeout(TIMEOUT, listener.accept()).await.expect("nodes try again").unwrap();
    }
}

/// Checks that everything works again within two seconds after `since`, when Redis began to answer.
async fn works_again(a: &Node, b: &mut Node, since: Stopwatch) {
    a.wait_for_link(LinkState::Up).await;
    b.wait_for_link(LinkState::Up).await;
    a.publish_text("again").await.unwrap();
    while b.next_text().await != "again" {}
    since.within(Duration::from_secs(2), "everything works again");
}

#[tokio::test]
async fn the_link_recovers_when_redis_is_killed_and_restarted() {
    testkit::needs!("redis-server");
    let log = Capture::start();
    let mut redis = start(&[]).await;
    let (a, mut b) = pair_on(&redis).await;
    b.subscribe((0..1500).map(|i| Channel::Group(i.to_string().into()))).await;
    redis.kill();
    a.wait_for_link(LinkState::Down).await;
    b.wait_for_link(LinkState::Down).await;
    assert!(matches!(a.publish_text("nobody").await, Err(BackplaneError::Down(_))));
    // Subscriptions change during the outage; no caller has to wait.
    b.subscribe([Channel::Group("late".into())]).await;
    b.unsubscribe(Channel::Group("7".into()));
    run(&mut redis).await;
    works_again(&a, &mut b, Stopwatch::start()).await;
    for (group, count) in [("0", 1), ("1499", 1), ("late", 1), ("7", 0)] {
        assert_eq!(a.publish(Channel::Group(group.into()), text_envelope("g")).await, Ok(count), "group {group}");
    }
    let lines = log.lines();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("Connection to Redis failed"), 2, "{lines:#?}");
    assert_eq!(count("Connection to Redis restored"), 2, "{lines:#?}");
    assert_eq!(lines.len(), 6, "and twice 'Connected': {lines:#?}");
}

#[tokio::test]
async fn a_node_starts_while_redis_is_down() {
    testkit::needs!("redis-server");
    let log = Capture::start();
    let mut redis = Redis::with(&["--requirepass", "hunter2"]);
    let port = redis.port();
    let a = Node::on_redis(default_options(&redis, "password=hunter2"), "a").await;
    let mut b = Node::on_redis(default_options(&redis, "password=hunter2"), "b").await;
    a.subscribe([Channel::All]).await;
    b.subscribe([Channel::All]).await;
    assert_eq!(*a.backplane.link().borrow(), LinkState::Connecting);
    let Err(BackplaneError::Down(reason)) = a.publish_text("nobody").await else { panic!() };
    assert!(reason.contains(&format!("127.0.0.1:{port}")) && !reason.contains("hunter2"), "{reason}");
    until("both have tried", async || (log.count("Connection to Redis failed") == 2).then_some(())).await;
    hang_up(&redis, 8).await;
    run(&mut redis).await;
    works_again(&a, &mut b, Stopwatch::start()).await;
    let lines = log.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("Connection to Redis failed")).count(), 2, "{lines:#?}");
    assert!(!lines.concat().contains("hunter2"));
}

#[tokio::test]
async fn with_abort_connect_a_node_does_not_start_while_redis_is_down() {
    testkit::needs!("redis-server");
    let port = free_port();
    let absent = RedisOptions::parse(&format!("127.0.0.1:{port},abortConnect=true,connectRetry=2")).unwrap();
    let error = RedisBackplane::connect(absent, "a".into(), Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("abortConnect=false") && error.contains(&port.to_string()), "{error}");
    let redis = start(&[]).await;
    let node = Node::on_redis(options(&redis, "abortConnect=true"), "a").await;
    node.wait_for_link(LinkState::Up).await;
}

/// Publishes one message after another, with `disrupt` in between, until everything works again. Checks that both nodes
/// receive, in order, every message whose publish succeeded.
async fn nothing_is_lost_silently(redis: &mut Redis, disrupt: impl AsyncFnOnce(&mut Redis)) {
    let (mut a, mut b) = pair_on(redis).await;
    let mut sent = Vec::new();
    let mut failed = 0;
    let mut disrupt = Some(disrupt);
    for i in 0_u32.. {
        if sent.len() == 200
            && let Some(disrupt) = disrupt.take()
        {
            disrupt(redis).await;
        }
        match a.publish_text(&i.to_string()).await {
            Ok(_) => sent.push(i.to_string()),
            Err(_) => {
                failed += 1;
                tokio::task::yield_now().await;
                a.wait_for_link(LinkState::Up).await;
            }
        }
        if sent.len() == 1000 {
            break;
        }
    }
    assert!(failed > 0, "the disruption had an effect");
    a.publish_text("end").await.unwrap();
    for node in [&mut a, &mut b] {
        let mut received = Vec::new();
        loop {
            match node.next_text().await {
                text if text == "end" => break,
                text => received.push(text),
            }
        }
        // A message whose publish failed may have arrived nevertheless.
        received.retain(|text| sent.contains(text));
        assert_eq!(received, sent);
    }
}

#[tokio::test]
async fn killed_subscription_connections_recover() {
    testkit::needs!("redis-server");
    let mut redis = start(&[]).await;
    nothing_is_lost_silently(&mut redis, async |redis| {
        assert_eq!(redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]), ":2");
    })
    .await;
}

#[tokio::test]
async fn killed_command_connections_recover() {
    testkit::needs!("redis-server");
    let mut redis = start(&[]).await;
    nothing_is_lost_silently(&mut redis, async |redis| {
        assert_eq!(redis.command(&["CLIENT", "KILL", "TYPE", "normal"]), ":2");
    })
    .await;
}

#[tokio::test]
async fn a_restart_while_publishing_loses_nothing_silently() {
    testkit::needs!("redis-server");
    let mut redis = start(&[]).await;
    nothing_is_lost_silently(&mut redis, async |redis| {
        redis.kill();
        hang_up(redis, 20).await;
        run(redis).await;
    })
    .await;
}

#[tokio::test]
async fn a_paused_redis_is_detected_and_recovers() {
    testkit::needs!("redis-server");
    let redis = start(&[]).await;
    let (a, mut b) = pair_on(&redis).await;
    redis.pause();
    let paused = Stopwatch::start();
    let answer = a.publish_text("into the void").await;
    let Err(BackplaneError::Lost(reason)) = answer else { panic!("{answer:?}") };
    // The silence ended it after 3 s, and not the timeout of 5 s.
    assert!(reason.contains("does not answer") && !reason.contains("5s"), "{reason}");
    a.wait_for_link(LinkState::Down).await;
    // This node notices it without any traffic of its own.
    b.wait_for_link(LinkState::Down).await;
    paused.within(Duration::from_millis(5500), "both have noticed");
    assert!(matches!(a.publish_text("at once").await, Err(BackplaneError::Down(_))));
    redis.resume();
    works_again(&a, &mut b, Stopwatch::start()).await;
}

#[tokio::test]
async fn async_timeout_bounds_the_wait_for_a_reply() {
    testkit::needs!("redis-server");
    let redis = start(&[]).await;
    let a = Node::on_redis(options(&redis, "asyncTimeout=300"), "a").await;
    a.wait_for_link(LinkState::Up).await;
    redis.pause();
    let since = Stopwatch::start();
    let answer = a.publish_text("x").await;
    assert!(matches!(answer, Err(BackplaneError::Lost(_))), "{answer:?}");
    since.within(Duration::from_secs(1), "the call has failed");
    redis.resume();
    a.wait_for_link(LinkState::Up).await;
}

#[tokio::test]
async fn a_node_with_a_backlog_does_not_declare_redis_dead() {
    testkit::needs!("redis-server");
    let redis = start(&[]).await;
    // Only the timeout of b matters; a gets a long one, since ten thousand answers may take a while.
    let a = Node::on_redis(options(&redis, "asyncTimeout=60000"), "a").await;
    let mut b = Node::on_redis(options(&redis, "asyncTimeout=1000"), "b").await;
    a.wait_for_link(LinkState::Up).await;
    b.wait_for_link(LinkState::Up).await;
    b.subscribe([Channel::All]).await;
    let sends: Vec<_> = (0..10_000)
        .map(|i| a.backplane.publish(super::kit::topic(Channel::All), text_envelope(&i.to_string())))
        .collect();
    for send in sends {
        send.await.unwrap();
    }
    // More messages wait for b than its queue holds, for longer than asyncTimeout.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(*b.backplane.link().borrow(), LinkState::Up);
    for i in 0..10_000 {
        assert_eq!(b.next_text().await, i.to_string());
    }
    b.subscribe([Channel::Group("g".into())]).await;
    assert_eq!(a.publish(Channel::Group("g".into()), text_envelope("g")).await, Ok(1));
}
