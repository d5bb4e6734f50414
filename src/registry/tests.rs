//! Tests of the registry: groups, users, snapshots and slow members.

use tokio::time::Instant;

use super::*;
use crate::outgoing::{Encoding, Framing};
use crate::protocol::Protocol;

fn member(id: &str, user: Option<&str>) -> Arc<Member> {
    let close = CloseSignal::default();
    let encoding = Encoding { protocol: Protocol::Json, framing: Framing::Raw };
    Arc::new(Member {
        id: id.into(),
        user: user.map(UserId::from),
        outbox: Arc::new(Outbox::new(encoding, Some(100), Some(2), close.clone())),
        close,
        keep_alive: KeepAlive::new(Instant::now(), false),
        receive_tracker: None,
    })
}

#[allow(clippy::needless_pass_by_value, reason = "takes what the registry gives")]
fn names(snapshot: Option<MemberSnapshot>) -> Vec<String> {
    let mut names: Vec<String> = snapshot.iter().flat_map(|s| s.iter()).map(|m| m.id.to_string()).collect();
    names.sort();
    names
}

#[test]
fn groups_are_case_sensitive_and_joining_twice_is_one_membership() {
    let registry = Registry::default();
    registry.add(member("a", None));
    assert_eq!(registry.join(&"a".into(), &"Room".into()), JoinOutcome::Joined);
    assert_eq!(registry.join(&"a".into(), &"Room".into()), JoinOutcome::AlreadyMember);
    assert_eq!(registry.join(&"a".into(), &"room".into()), JoinOutcome::Joined);
    assert_eq!(names(registry.group(&"Room".into())), ["a"]);
    assert_eq!(registry.leave(&"a".into(), &"Room".into()), Some(true));
    assert!(registry.group(&"Room".into()).is_none());
    assert_eq!(names(registry.group(&"room".into())), ["a"]);
    assert_eq!(registry.join(&"nobody".into(), &"room".into()), JoinOutcome::NotHere);
}

#[test]
fn a_connection_joins_at_most_the_maximum_number_of_groups() {
    let registry = Registry::new(Some(2));
    registry.add(member("a", None));
    registry.add(member("b", None));
    let join = |id: &str, group: &str| registry.join(&id.into(), &group.into());
    assert_eq!([join("a", "1"), join("a", "2")], [JoinOutcome::Joined; 2]);
    assert_eq!(join("a", "3"), JoinOutcome::TooManyGroups);
    assert_eq!(join("a", "2"), JoinOutcome::AlreadyMember);
    assert_eq!(join("b", "3"), JoinOutcome::Joined, "the limit is each connection's own");
    assert_eq!(registry.leave(&"a".into(), &"1".into()), Some(true));
    assert_eq!(join("a", "3"), JoinOutcome::Joined);
}

#[test]
fn removing_a_connection_leaves_many_groups() {
    let registry = Registry::default();
    registry.add(member("a", None));
    let names: Vec<GroupName> =
        (0..3 * MAX_GROUPS_PER_LOCK + 1).map(|n| GroupName::from(n.to_string().as_str())).collect();
    for name in &names {
        assert_eq!(registry.join(&"a".into(), name), JoinOutcome::Joined);
    }
    assert_eq!(registry.remove(&"a".into()).unwrap().1.len(), names.len());
    assert!(names.iter().all(|name| registry.group(name).is_none()));
}

#[test]
fn removing_a_connection_leaves_its_groups_and_its_user() {
    let registry = Registry::default();
    registry.add(member("a", Some("u")));
    registry.add(member("b", Some("u")));
    registry.join(&"a".into(), &"g".into());
    registry.join(&"b".into(), &"g".into());
    let (_, groups) = registry.remove(&"a".into()).unwrap();
    assert_eq!(groups, [GroupName::from("g")]);
    assert_eq!(names(registry.group(&"g".into())), ["b"]);
    assert_eq!(names(registry.user(&"u".into())), ["b"]);
    assert_eq!(names(Some(registry.all())), ["b"]);
    assert!(registry.remove(&"a".into()).is_none());
}

#[test]
fn a_snapshot_is_shared_until_membership_changes() {
    let registry = Registry::default();
    registry.add(member("a", None));
    let (first, second) = (registry.all(), registry.all());
    assert!(Arc::ptr_eq(&first, &second));
    registry.add(member("b", None));
    assert_eq!(registry.all().len(), 2);
    assert_eq!(first.len(), 1);
}

#[test]
fn only_the_member_with_a_full_queue_is_closed() {
    let slow = member("slow", None);
    let message = crate::outgoing::ping();
    slow.outbox.push_bytes("x".into()).unwrap();
    slow.outbox.push_bytes("x".into()).unwrap();
    assert_eq!(slow.push(&message), PushOutcome::TooSlow);
    assert_eq!(slow.close.reason(), Some(&CloseReason::SlowClient));
}
