//! Tests of the connection table: look-ups, refusals, ownership and expiry.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::*;
use crate::auth::Principal;
use crate::ids::UserId;
use crate::transport::connection_limit::ConnectionLimit;

const TIMEOUT: Duration = Duration::from_secs(15);

fn table() -> (ConnectionTable, Arc<ConnectionLimit>) {
    (ConnectionTable::new(TIMEOUT, Some(100)), Arc::new(ConnectionLimit::new(None)))
}

fn negotiate(table: &ConnectionTable, now: Instant) -> String {
    let token = ConnectionToken::random();
    table.insert_negotiated(token.clone(), ConnectionId::random(), false, now);
    token.as_str().to_owned()
}

#[test]
fn requests_are_checked_in_the_order_of_the_reference() {
    let (table, connection_limit) = table();
    let (kind, other) = (TransportKind::ServerSentEvents, TransportKind::LongPolling);
    let admit = || connection_limit.acquire();
    assert_eq!(table.attach("nope", kind, false, admit).unwrap_err(), Rejection::UnknownId);
    let token = negotiate(&table, Instant::now());
    assert_eq!(table.attach(&token, kind, false, admit).unwrap_err(), Rejection::TransportDisabled(kind));
    assert_eq!(table.delete(&token).unwrap_err(), Rejection::DeleteWithoutPolling);
    let attached = table.attach(&token, kind, true, admit).unwrap();
    assert!(attached.permit.is_some());
    assert_eq!(table.attach(&token, kind, true, admit).unwrap_err(), Rejection::AlreadyActive);
    assert_eq!(table.attach(&token, other, true, admit).unwrap_err(), Rejection::TransportMismatch);
    assert_eq!(table.delete(&token).unwrap_err(), Rejection::DeleteWithoutPolling);
    assert!(Arc::ptr_eq(&table.find_for_post(&token).unwrap(), &attached.connection));
}

#[test]
fn only_polling_connections_are_deleted() {
    let (table, connection_limit) = table();
    let token = negotiate(&table, Instant::now());
    table.attach(&token, TransportKind::LongPolling, true, || connection_limit.acquire()).unwrap();
    assert!(table.delete(&token).unwrap().is_some());
    assert_eq!(table.delete(&token).unwrap_err(), Rejection::UnknownId);
}

#[test]
fn a_full_server_starts_no_connection_and_keeps_the_entry() {
    let (table, _) = table();
    let full = Arc::new(ConnectionLimit::new(Some(0)));
    let token = negotiate(&table, Instant::now());
    let refused = table.attach(&token, TransportKind::WebSockets, true, || full.acquire());
    assert_eq!(refused.unwrap_err(), Rejection::TooManyConnections);
    let free = Arc::new(ConnectionLimit::new(None));
    assert!(table.attach(&token, TransportKind::LongPolling, true, || free.acquire()).is_ok());
}

#[test]
fn ten_thousand_unused_negotiations_expire() {
    let (table, _) = table();
    let start = Instant::now();
    for _ in 0..10_000 {
        negotiate(&table, start);
    }
    assert!(table.sweep(start + TIMEOUT / 2).is_empty());
    assert_eq!(table.len(), 10_000);
    assert!(table.sweep(start + TIMEOUT).is_empty(), "none had been started");
    assert_eq!(table.len(), 0);
    assert!(size_of::<ConnectionEntry>() <= 64, "an entry has {} bytes", size_of::<ConnectionEntry>());
}

#[test]
fn a_replaced_poll_does_not_start_the_disconnect_timeout() {
    let (table, connection_limit) = table();
    let start = Instant::now();
    let token = negotiate(&table, start);
    let key = ConnectionToken::from(token.as_str());
    let old = table.attach(&token, TransportKind::LongPolling, true, || connection_limit.acquire()).unwrap();
    let new = table.attach(&token, TransportKind::LongPolling, true, || connection_limit.acquire()).unwrap();
    assert!(new.permit.is_none());
    table.park(&key, old.poll, start);
    assert!(table.sweep(start + TIMEOUT * 9).is_empty());
    table.park(&key, new.poll, start);
    let expired = table.sweep(start + TIMEOUT);
    assert_eq!(expired.len(), 1);
    assert_eq!(table.find_for_post(&token).unwrap_err(), Rejection::UnknownId);
}

#[test]
fn posts_do_not_keep_a_connection_alive() {
    let (table, _) = table();
    let start = Instant::now();
    let token = negotiate(&table, start);
    table.find_for_post(&token).unwrap();
    assert_eq!(table.sweep(start + TIMEOUT).len(), 1);
}

#[test]
fn a_websocket_without_negotiate_accepts_no_posts_and_never_expires() {
    let (table, _) = table();
    let id = ConnectionId::random();
    table.insert_direct(ConnectionToken::from(&id), id.clone());
    assert_eq!(table.find_for_post(id.as_str()).unwrap_err(), Rejection::PostOnWebSocket);
    assert!(table.sweep(Instant::now() + TIMEOUT * 9).is_empty());
    assert_eq!(table.started_connections().len(), 1);
}

#[test]
fn a_connection_belongs_to_its_user() {
    let principal = |user: Option<&str>, expires: u64| Principal {
        user: user.map(UserId::from),
        expires: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(expires)),
        ..Principal::default()
    };
    let (ann, again, bob, unnamed) =
        (principal(Some("ann"), 10), principal(Some("ann"), 20), principal(Some("bob"), 30), principal(None, 40));
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let (table, connection_limit) = table();
    let token = negotiate(&table, Instant::now());
    assert!(table.is_allowed("nobody's", Some(&ann), true), "a later check rejects unknown tokens");

    table.set_owner(&ConnectionToken::from(token.as_str()), Some(&ann));
    assert!(!table.is_allowed(&token, Some(&bob), true) && !table.is_allowed(&token, None, true));
    assert!(!table.is_allowed(&token, Some(&unnamed), true));
    assert!(table.is_allowed(&token, Some(&ann), true) && table.is_allowed(&token, Some(&again), false));
    assert!(table.expired_tokens(at(99)).is_empty(), "it has not been started");
    table.attach(&token, TransportKind::LongPolling, true, || connection_limit.acquire()).unwrap();
    assert_eq!((table.expired_tokens(at(9)).len(), table.expired_tokens(at(10)).len()), (0, 1));
    // The access token of a poll replaces the expiry, that of a POST does not.
    assert!(table.is_allowed(&token, Some(&again), false));
    assert_eq!(table.expired_tokens(at(10)).len(), 1);
    assert!(table.is_allowed(&token, Some(&again), true));
    assert_eq!((table.expired_tokens(at(19)).len(), table.expired_tokens(at(20)).len()), (0, 1));

    // Negotiated without a user: it belongs to the first user that attaches.
    let token = negotiate(&table, Instant::now());
    assert!(table.is_allowed(&token, None, false) && table.is_allowed(&token, Some(&bob), true));
    assert!(!table.is_allowed(&token, Some(&ann), true), "it is bob's even before a transport is attached");
    let token = negotiate(&table, Instant::now());
    table.attach(&token, TransportKind::LongPolling, true, || connection_limit.acquire()).unwrap();
    assert!(table.is_allowed(&token, None, true) && table.is_allowed(&token, Some(&unnamed), true));
    assert!(!table.is_allowed(&token, Some(&ann), true), "it was started without a user");
}
