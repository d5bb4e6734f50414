//! Tests of the table of subscriptions: the commands it sends, and how it handles the answers.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::backplane::Channel;

fn topic(name: &str) -> Topic {
    Topic { hub: "h".into(), channel: Channel::Group(name.into()) }
}

fn commands(subscriptions: &mut Subscriptions) -> Vec<Vec<String>> {
    let mut out = BytesMut::new();
    subscriptions.flush(&mut out, Instant::now());
    let mut commands = Vec::new();
    let text = String::from_utf8(out.to_vec()).unwrap();
    for command in text.split('*').skip(1) {
        commands.push(command.split("\r\n").skip(2).step_by(2).map(str::to_owned).collect());
    }
    commands
}

#[test]
fn a_reverted_change_sends_nothing() {
    let mut subscriptions = Subscriptions::default();
    assert!(subscriptions.add("a", &topic("a"), None));
    subscriptions.remove("a", &topic("a"));
    assert!(commands(&mut subscriptions).is_empty());
    assert!(subscriptions.is_idle() && subscriptions.entries.is_empty());
    // The same applies in the other order; and subscribing to a channel twice sends only one SUBSCRIBE.
    subscriptions.remove("a", &topic("a"));
    assert!(!subscriptions.add("a", &topic("a"), None));
    assert!(subscriptions.entries.is_empty());
    subscriptions.add("a", &topic("a"), None);
    subscriptions.add("a", &topic("a"), None);
    assert_eq!(commands(&mut subscriptions), [["SUBSCRIBE", "a"]]);
}

#[test]
fn batches_are_bounded() {
    let mut subscriptions = Subscriptions::default();
    for i in 0..1100 {
        subscriptions.add(&i.to_string(), &topic("x"), None);
    }
    assert_eq!(commands(&mut subscriptions).iter().map(Vec::len).collect::<Vec<_>>(), [513, 513, 77]);
    for i in 0..1100 {
        subscriptions.subscribed(&i.to_string());
    }
    assert!(subscriptions.is_idle() && subscriptions.is_ready());
}

#[test]
fn a_waiter_waits_for_the_confirmation_of_its_own_subscribe() {
    let confirmed = TaskTracker::new();
    let mut subscriptions = Subscriptions::default();
    subscriptions.add("a", &topic("a"), None);
    commands(&mut subscriptions);
    subscriptions.remove("a", &topic("a"));
    commands(&mut subscriptions);
    subscriptions.add("a", &topic("a"), Some(&confirmed));
    commands(&mut subscriptions);
    subscriptions.subscribed("a");
    subscriptions.unsubscribed("a");
    assert!(!subscriptions.is_confirmed("a"));
    assert!(!confirmed.is_empty());
    subscriptions.subscribed("a");
    assert!(subscriptions.is_confirmed("a"));
    assert!(confirmed.is_empty());
}

#[test]
fn a_refused_batch_is_retried_channel_by_channel() {
    let confirmed = TaskTracker::new();
    let mut subscriptions = Subscriptions::default();
    for name in ["a", "b"] {
        subscriptions.add(name, &topic(name), Some(&confirmed));
    }
    assert_eq!(commands(&mut subscriptions), [["SUBSCRIBE", "a", "b"]]);
    assert_eq!(subscriptions.error_received(), RefusedCommand::Batch);
    assert!(!subscriptions.is_ready());
    assert_eq!(commands(&mut subscriptions), [["SUBSCRIBE", "a"], ["SUBSCRIBE", "b"]]);
    assert_eq!(subscriptions.error_received(), RefusedCommand::Channel("a".into()));
    assert!(!subscriptions.is_ready() && !subscriptions.is_confirmed("a"));
    subscriptions.subscribed("b");
    assert!(subscriptions.is_ready() && subscriptions.is_confirmed("b") && !subscriptions.all_refused());
    assert!(confirmed.is_empty());
    subscriptions.remove("a", &topic("a"));
    assert!(commands(&mut subscriptions).is_empty(), "a refused channel needs no UNSUBSCRIBE");
}

#[test]
fn a_lost_connection_resubscribes_everything() {
    let confirmed = TaskTracker::new();
    let mut subscriptions = Subscriptions::default();
    for name in ["a", "b"] {
        subscriptions.add(name, &topic(name), Some(&confirmed));
    }
    commands(&mut subscriptions);
    subscriptions.remove("b", &topic("b"));
    subscriptions.connection_lost();
    assert!(confirmed.is_empty(), "no caller waits any more");
    assert!(!subscriptions.is_confirmed("a") && !subscriptions.is_ready());
    assert_eq!(commands(&mut subscriptions), [["SUBSCRIBE", "a"]]);
    subscriptions.subscribed("a");
    assert!(subscriptions.is_ready() && subscriptions.is_confirmed("a"));
}
