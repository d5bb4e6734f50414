//! The table's rules: who is found, who is refused, who expires.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::*;
use crate::auth::Principal;
use crate::ids::UserId;
use crate::transport::limits::Limits;

const TIMEOUT: Duration = Duration::from_secs(15);

fn table() -> (Table, Arc<Limits>) {
    (Table::new(TIMEOUT, Some(100)), Arc::new(Limits::new(None)))
}

fn negotiate(table: &Table, now: Instant) -> String {
    let token = ConnectionToken::random();
    table.negotiated(token.clone(), ConnectionId::random(), false, now);
    token.as_str().to_owned()
}

#[test]
fn the_checks_come_in_the_order_of_the_reference() {
    let (table, limits) = table();
    let (kind, other) = (TransportKind::ServerSentEvents, TransportKind::LongPolling);
    let admit = || limits.admit();
    assert_eq!(table.attach("nope", kind, false, admit).unwrap_err(), Refusal::IdUnknown);
    let token = negotiate(&table, Instant::now());
    assert_eq!(table.attach(&token, kind, false, admit).unwrap_err(), Refusal::NotOffered(kind));
    assert_eq!(table.delete(&token).unwrap_err(), Refusal::DeleteOnOther);
    let attached = table.attach(&token, kind, true, admit).unwrap();
    assert!(attached.first.is_some());
    assert_eq!(table.attach(&token, kind, true, admit).unwrap_err(), Refusal::Active);
    assert_eq!(table.attach(&token, other, true, admit).unwrap_err(), Refusal::OtherTransport);
    assert_eq!(table.delete(&token).unwrap_err(), Refusal::DeleteOnOther);
    assert!(Arc::ptr_eq(&table.posted_to(&token).unwrap(), &attached.link));
}

#[test]
fn only_polling_connections_are_deleted() {
    let (table, limits) = table();
    let token = negotiate(&table, Instant::now());
    table.attach(&token, TransportKind::LongPolling, true, || limits.admit()).unwrap();
    assert!(table.delete(&token).unwrap().is_some());
    assert_eq!(table.delete(&token).unwrap_err(), Refusal::IdUnknown);
}

#[test]
fn a_full_server_starts_nobody_and_keeps_the_entry_unbound() {
    let (table, _) = table();
    let full = Arc::new(Limits::new(Some(0)));
    let token = negotiate(&table, Instant::now());
    let refused = table.attach(&token, TransportKind::WebSockets, true, || full.admit());
    assert_eq!(refused.unwrap_err(), Refusal::Full);
    let free = Arc::new(Limits::new(None));
    assert!(table.attach(&token, TransportKind::LongPolling, true, || free.admit()).is_ok());
}

#[test]
fn ten_thousand_who_never_come_are_swept_away() {
    let (table, _) = table();
    let start = Instant::now();
    for _ in 0..10_000 {
        negotiate(&table, start);
    }
    assert!(table.sweep(start + TIMEOUT / 2).is_empty());
    assert_eq!(table.len(), 10_000);
    assert!(table.sweep(start + TIMEOUT).is_empty(), "none had been started");
    assert_eq!(table.len(), 0);
    assert!(size_of::<Entry>() <= 64, "an entry has {} bytes", size_of::<Entry>());
}

#[test]
fn a_poll_keeps_its_connection_and_one_that_was_replaced_does_not_park_it() {
    let (table, limits) = table();
    let start = Instant::now();
    let token = negotiate(&table, start);
    let key = ConnectionToken::from(token.as_str());
    let old = table.attach(&token, TransportKind::LongPolling, true, || limits.admit()).unwrap();
    let new = table.attach(&token, TransportKind::LongPolling, true, || limits.admit()).unwrap();
    assert!(new.first.is_none());
    table.park(&key, old.poll, start);
    assert!(table.sweep(start + TIMEOUT * 9).is_empty());
    table.park(&key, new.poll, start);
    let expired = table.sweep(start + TIMEOUT);
    assert_eq!(expired.len(), 1);
    assert_eq!(table.posted_to(&token).unwrap_err(), Refusal::IdUnknown);
}

#[test]
fn what_is_posted_does_not_keep_a_connection_alive() {
    let (table, _) = table();
    let start = Instant::now();
    let token = negotiate(&table, start);
    table.posted_to(&token).unwrap();
    assert_eq!(table.sweep(start + TIMEOUT).len(), 1);
}

#[test]
fn a_websocket_without_id_takes_no_posts_and_never_expires() {
    let (table, _) = table();
    let id = ConnectionId::random();
    table.unasked(ConnectionToken::from(&id), id.clone());
    assert_eq!(table.posted_to(id.as_str()).unwrap_err(), Refusal::PostOnWebSocket);
    assert!(table.sweep(Instant::now() + TIMEOUT * 9).is_empty());
    assert_eq!(table.links().len(), 1);
}

#[test]
fn a_connection_is_its_users() {
    let principal = |user: Option<&str>, expires: u64| Principal {
        user: user.map(UserId::from),
        expires: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(expires)),
        ..Principal::default()
    };
    let (ann, again, bob, unnamed) =
        (principal(Some("ann"), 10), principal(Some("ann"), 20), principal(Some("bob"), 30), principal(None, 40));
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let (table, limits) = table();
    let token = negotiate(&table, Instant::now());
    assert!(table.claim("nobody's", Some(&ann), true), "what is not there is found out later");

    table.own(&ConnectionToken::from(token.as_str()), Some(&ann));
    assert!(!table.claim(&token, Some(&bob), true) && !table.claim(&token, None, true));
    assert!(!table.claim(&token, Some(&unnamed), true));
    assert!(table.claim(&token, Some(&ann), true) && table.claim(&token, Some(&again), false));
    assert!(table.lapsed(at(99)).is_empty(), "it has not been started");
    table.attach(&token, TransportKind::LongPolling, true, || limits.admit()).unwrap();
    assert_eq!((table.lapsed(at(9)).len(), table.lapsed(at(10)).len()), (0, 1));
    // A poll's token counts from then on, a POST's does not.
    assert!(table.claim(&token, Some(&again), false));
    assert_eq!(table.lapsed(at(10)).len(), 1);
    assert!(table.claim(&token, Some(&again), true));
    assert_eq!((table.lapsed(at(19)).len(), table.lapsed(at(20)).len()), (0, 1));

    // Negotiated by nobody: whoever attaches first has it.
    let token = negotiate(&table, Instant::now());
    assert!(table.claim(&token, None, false) && table.claim(&token, Some(&bob), true));
    assert!(!table.claim(&token, Some(&ann), true), "bob's, before it is even bound");
    let token = negotiate(&table, Instant::now());
    table.attach(&token, TransportKind::LongPolling, true, || limits.admit()).unwrap();
    assert!(table.claim(&token, None, true) && table.claim(&token, Some(&unnamed), true));
    assert!(!table.claim(&token, Some(&ann), true), "it began without a user");
}
