//! Tests of connecting and logging in: passwords, ACL users, databases, Unix sockets and both versions of Redis's
//! protocol.

use testkit::log::Capture;
use testkit::nonblocking::until;

use super::kit::{Node, TIMEOUT, options, start};
use crate::backplane::redis::{RedisBackplane, RedisOptions};
use crate::backplane::{BackplaneError, Channel, LinkState};

async fn round_trip_works(mut node: Node) {
    node.wait_for_link(LinkState::Up).await;
    node.subscribe([Channel::All]).await;
    assert_eq!(node.publish_text("hello").await, Ok(1));
    assert_eq!(node.next_text().await, "hello");
}

async fn refused(options: RedisOptions) -> String {
    let options = RedisOptions { abort_connect: true, connect_retry: 1, ..options };
    let error = RedisBackplane::connect(options, "a".into(), Vec::new()).await.unwrap_err().to_string();
    assert!(!error.contains("hunter"), "{error}");
    error
}

#[tokio::test]
async fn a_password_works_in_both_resp_versions() {
    testkit::needs!("redis-server");
    let redis = start(&["--requirepass", "hunter2"]).await;
    for protocol in ["resp2", "resp3"] {
        let more = |password: &str| options(&redis, &format!("password={password},protocol={protocol}"));
        round_trip_works(Node::on_redis(more("hunter2"), "a").await).await;
        assert!(refused(more("hunter3")).await.contains("WRONGPASS"));
        assert!(refused(options(&redis, &format!("protocol={protocol}"))).await.contains("NOAUTH"));
    }
    let url = format!("redis://:hunter2@127.0.0.1:{}/3", redis.port());
    round_trip_works(Node::on_redis(RedisOptions::parse(&url).unwrap(), "a").await).await;
}

/// Redis repeats the arguments of an unknown command in its error. Old servers do not know HELLO, and managed ones may
/// rename AUTH.
#[tokio::test]
async fn an_error_that_echoes_the_command_does_not_leak_the_password() {
    testkit::needs!("redis-server");
    for (command, protocol) in [("AUTH", "resp2"), ("HELLO", "resp3")] {
        let redis = start(&["--rename-command", command, ""]).await;
        let error = refused(options(&redis, &format!("password=hunter2,protocol={protocol}"))).await;
        assert!(error.contains(&format!("{command} was refused: ERR unknown command")), "{error}");
        assert!(!error.contains("args"), "{error}");
    }
}

#[tokio::test]
async fn an_error_that_echoes_the_command_does_not_leak_the_message() {
    testkit::needs!("redis-server");
    let redis = start(&["--rename-command", "PUBLISH", ""]).await;
    let node = Node::on_redis(options(&redis, ""), "a").await;
    node.wait_for_link(LinkState::Up).await;
    let answer = node.publish_text("hunter2").await;
    let Err(BackplaneError::Refused(error)) = answer else { panic!("{answer:?}") };
    assert!(error.starts_with("ERR unknown command") && error.ends_with(['\'', '`']), "{error}");
}

#[tokio::test]
async fn a_user_with_minimal_rights_works() {
    testkit::needs!("redis-server");
    let redis = start(&[]).await;
    for (prefix, protocol) in [("My", "resp2"), ("My", "resp3")] {
        let rights = ["+subscribe", "+unsubscribe", "+publish", "+ping", "+hello", "+auth", "&My*"];
        let mut rule = vec!["ACL", "SETUSER", "u", "reset", "resetchannels", "on", ">hunter2", "-@all"];
        rule.extend(rights);
        assert_eq!(redis.command(&rule), "+OK");
        let options = options(&redis, &format!("user=u,password=hunter2,channelPrefix={prefix},protocol={protocol}"));
        round_trip_works(Node::on_redis(options, "a").await).await;
    }
}

#[tokio::test]
async fn refused_channels_are_named_in_the_log() {
    testkit::needs!("redis-server");
    let log = Capture::start();
    let redis = start(&[]).await;
    let rule = ["ACL", "SETUSER", "u", "reset", "on", ">hunter2", "+@all", "resetchannels", "&Chat:Hub:group:*"];
    assert_eq!(redis.command(&rule), "+OK");
    let node = Node::on_redis(options(&redis, "user=u,password=hunter2"), "a").await;
    node.wait_for_link(LinkState::Up).await;
    node.subscribe([Channel::All, Channel::Group("g".into()), Channel::Group("h".into())]).await;
    let answer = node.publish_text("x").await;
    assert!(matches!(&answer, Err(BackplaneError::Refused(text)) if text.contains("NOPERM")), "{answer:?}");
    assert_eq!(node.publish(Channel::Group("h".into()), super::kit::text_envelope("x")).await, Ok(1));
    let errors: Vec<_> = log.lines().into_iter().filter(|line| line.contains("ERROR")).collect();
    assert!(
        matches!(&errors[..], [one] if one.contains("channel=\"Chat:Hub:all\"") && one.contains("&*")),
        "{errors:#?}"
    );
}

#[tokio::test]
async fn a_user_without_channels_keeps_the_link_down_and_is_logged_once() {
    testkit::needs!("redis-server");
    let log = Capture::start();
    let redis = start(&[]).await;
    let rule = ["ACL", "SETUSER", "u", "reset", "on", ">hunter2", "+@all", "resetchannels"];
    assert_eq!(redis.command(&rule), "+OK");
    let node = Node::on_redis(options(&redis, "user=u,password=hunter2,channelPrefix=My"), "a").await;
    let mut link = node.backplane.link();
    tokio::time::timeout(TIMEOUT, node.backplane.subscribe(vec![super::kit::topic(Channel::All)])).await.unwrap();
    if *link.borrow() == LinkState::Up {
        // The link was up before the channel was wanted. A new connection subscribes to it first.
        assert_eq!(redis.command(&["CLIENT", "KILL", "TYPE", "normal"]), ":2", "both of its connections");
        tokio::time::timeout(TIMEOUT, link.wait_for(|state| *state == LinkState::Down)).await.unwrap().unwrap();
    }
    let failures = || log.lines().iter().filter(|line| line.contains("Connection to Redis failed")).count();
    until("the failure is logged", async || (failures() > 0).then_some(())).await;
    // It tries again without logging anything: wait for two more pairs of connections. Each `stat` makes one more.
    let (connections, mut asked) = (redis.stat("total_connections_received"), 0);
    until("it has tried again", async || {
        asked += 1;
        (redis.stat("total_connections_received") >= connections + asked + 4).then_some(())
    })
    .await;
    assert_ne!(*link.borrow(), LinkState::Up);
    assert_eq!(failures(), 1, "{:#?}", log.lines());
}

#[tokio::test]
async fn a_unix_socket_and_several_endpoints_work() {
    testkit::needs!("redis-server");
    let path = std::env::temp_dir().join(format!("hubplane-redis-{}.sock", std::process::id()));
    let path = path.to_str().unwrap();
    let redis = start(&["--unixsocket", path]).await;
    for text in [format!("unix://{path}"), format!("!{path}")] {
        round_trip_works(Node::on_redis(RedisOptions::parse(&text).unwrap(), "a").await).await;
    }
    let text = format!("127.0.0.1:1,127.0.0.1:{},defaultDatabase=2,name=me", redis.port());
    round_trip_works(Node::on_redis(RedisOptions::parse(&text).unwrap(), "a").await).await;
    std::fs::remove_file(path).unwrap();
}
