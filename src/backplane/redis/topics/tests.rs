//! The table of subscriptions, against a model of what Redis would answer.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::backplane::Channel;

fn topic(name: &str) -> Topic {
    Topic { hub: "h".into(), channel: Channel::Group(name.into()) }
}

fn commands(topics: &mut Topics) -> Vec<Vec<String>> {
    let mut out = BytesMut::new();
    topics.flush(&mut out, Instant::now());
    let mut commands = Vec::new();
    let text = String::from_utf8(out.to_vec()).unwrap();
    for command in text.split('*').skip(1) {
        commands.push(command.split("\r\n").skip(2).step_by(2).map(str::to_owned).collect());
    }
    commands
}

#[test]
fn a_change_back_and_forth_sends_nothing() {
    let mut topics = Topics::default();
    assert!(topics.want("a", &topic("a"), None));
    topics.unwant("a", &topic("a"));
    assert!(commands(&mut topics).is_empty());
    assert!(topics.is_settled() && topics.entries.is_empty());
    // The other order too, and the second subscribe of a channel costs nothing.
    topics.unwant("a", &topic("a"));
    assert!(!topics.want("a", &topic("a"), None));
    assert!(topics.entries.is_empty());
    topics.want("a", &topic("a"), None);
    topics.want("a", &topic("a"), None);
    assert_eq!(commands(&mut topics), [["SUBSCRIBE", "a"]]);
}

#[test]
fn batches_are_bounded() {
    let mut topics = Topics::default();
    for i in 0..1100 {
        topics.want(&i.to_string(), &topic("x"), None);
    }
    assert_eq!(commands(&mut topics).iter().map(Vec::len).collect::<Vec<_>>(), [513, 513, 77]);
    for i in 0..1100 {
        topics.subscribed(&i.to_string());
    }
    assert!(topics.is_settled() && topics.is_ready());
}

#[test]
fn a_waiter_waits_for_the_confirmation_of_its_own_subscribe() {
    let confirmed = TaskTracker::new();
    let mut topics = Topics::default();
    topics.want("a", &topic("a"), None);
    commands(&mut topics);
    topics.unwant("a", &topic("a"));
    commands(&mut topics);
    topics.want("a", &topic("a"), Some(&confirmed));
    commands(&mut topics);
    topics.subscribed("a");
    topics.unsubscribed("a");
    assert!(!topics.hears("a"));
    assert!(!confirmed.is_empty());
    topics.subscribed("a");
    assert!(topics.hears("a"));
    assert!(confirmed.is_empty());
}

#[test]
fn a_refused_batch_is_asked_for_one_by_one() {
    let confirmed = TaskTracker::new();
    let mut topics = Topics::default();
    for name in ["a", "b"] {
        topics.want(name, &topic(name), Some(&confirmed));
    }
    assert_eq!(commands(&mut topics), [["SUBSCRIBE", "a", "b"]]);
    assert_eq!(topics.refused(), Refusal::Batch);
    assert!(!topics.is_ready());
    assert_eq!(commands(&mut topics), [["SUBSCRIBE", "a"], ["SUBSCRIBE", "b"]]);
    assert_eq!(topics.refused(), Refusal::Channel("a".into()));
    assert!(!topics.is_ready() && !topics.hears("a"));
    topics.subscribed("b");
    assert!(topics.is_ready() && topics.hears("b") && !topics.all_refused());
    assert!(confirmed.is_empty());
    topics.unwant("a", &topic("a"));
    assert!(commands(&mut topics).is_empty(), "what was refused need not be given up");
}

#[test]
fn a_lost_connection_asks_again_for_what_is_wanted() {
    let confirmed = TaskTracker::new();
    let mut topics = Topics::default();
    for name in ["a", "b"] {
        topics.want(name, &topic(name), Some(&confirmed));
    }
    commands(&mut topics);
    topics.unwant("b", &topic("b"));
    topics.lost();
    assert!(confirmed.is_empty(), "nobody waits any more");
    assert!(!topics.hears("a") && !topics.is_ready());
    assert_eq!(commands(&mut topics), [["SUBSCRIBE", "a"]]);
    topics.subscribed("a");
    assert!(topics.is_ready() && topics.hears("a"));
}
