//! The bounds of the queue, who waits for room and who does not, and its end.

use futures_util::FutureExt;

use super::*;
use crate::frame::Framing;
use crate::protocol::Protocol;

fn outbox(bytes: usize, messages: usize) -> Outbox {
    let encoding = Encoding { protocol: Protocol::Json, framing: Framing::Raw };
    Outbox::new(encoding, Some(bytes), Some(messages))
}

fn drain(outbox: &Outbox) -> Option<Vec<Bytes>> {
    let mut batch = Vec::new();
    outbox.next(&mut batch).now_or_never().map(|more| if more { batch } else { Vec::new() })
}

#[test]
fn what_waits_leaves_in_order_and_at_once() {
    let outbox = outbox(100, 100);
    assert_eq!(drain(&outbox), None, "an empty queue waits");
    outbox.push_bytes("a".into()).unwrap();
    outbox.push_bytes("b".into()).unwrap();
    assert_eq!(drain(&outbox).unwrap(), ["a", "b"]);
    assert!(outbox.is_empty());
}

#[test]
fn the_bounds_are_in_bytes_and_in_messages() {
    let small = outbox(5, 100);
    small.push_bytes("abc".into()).unwrap();
    assert_eq!(small.push_bytes("def".into()), Err(PushError::Full));
    let few = outbox(100, 2);
    few.push_bytes("a".into()).unwrap();
    few.push_bytes("b".into()).unwrap();
    assert_eq!(few.push_bytes("c".into()), Err(PushError::Full));
    drain(&few);
    few.push_bytes("c".into()).unwrap();
}

#[test]
fn one_message_above_the_bound_passes_when_nothing_waits() {
    let outbox = outbox(5, 100);
    outbox.push_bytes("abcdefgh".into()).unwrap();
    assert_eq!(outbox.push_bytes("i".into()), Err(PushError::Full));
}

#[test]
fn an_answer_waits_for_room_where_a_broadcast_is_refused() {
    let outbox = outbox(5, 100);
    outbox.push_bytes("abcde".into()).unwrap();
    let ping = crate::frame::ping();
    let mut waiting = Box::pin(outbox.push_waiting(&ping));
    assert!(waiting.as_mut().now_or_never().is_none());
    drain(&outbox);
    assert_eq!(waiting.as_mut().now_or_never(), Some(Ok(())));
}

#[test]
fn a_waiting_answer_ends_with_the_connection() {
    let outbox = outbox(5, 100);
    outbox.push_bytes("abcde".into()).unwrap();
    let ping = crate::frame::ping();
    let mut waiting = Box::pin(outbox.push_waiting(&ping));
    assert!(waiting.as_mut().now_or_never().is_none());
    outbox.finish(None);
    assert_eq!(waiting.as_mut().now_or_never(), Some(Err(PushError::Finished)));
}

#[test]
fn the_last_message_comes_last_whatever_the_bounds() {
    let outbox = outbox(5, 1);
    outbox.push_bytes("abcde".into()).unwrap();
    outbox.finish(Some(&crate::frame::ping()));
    assert_eq!(outbox.push_bytes("x".into()), Err(PushError::Finished));
    assert!(outbox.ended().now_or_never().is_none(), "something waits still");
    assert_eq!(drain(&outbox).unwrap().len(), 2);
    assert!(outbox.ended().now_or_never().is_some());
    assert_eq!(drain(&outbox), Some(Vec::new()), "finished and empty");
}

#[test]
fn only_the_latest_pong_is_owed_and_it_goes_first() {
    let outbox = outbox(100, 100);
    outbox.push_bytes("a".into()).unwrap();
    outbox.push_pong("old".into());
    outbox.push_pong("new".into());
    assert_eq!(drain(&outbox).unwrap(), ["new", "a"]);
}
