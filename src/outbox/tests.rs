//! Tests of the outbox: its bounds, pushes that wait, closing, and stateful reconnect.
#![allow(clippy::unwrap_used)]

use futures_util::FutureExt;

use super::*;
use crate::close::CloseReason;
use crate::outgoing::Framing;
use crate::protocol::{Protocol, RawValue};

fn outbox(bytes: usize, messages: usize) -> Outbox {
    let encoding = Encoding { protocol: Protocol::Json, framing: Framing::Raw };
    Outbox::new(encoding, Some(bytes), Some(messages), CloseSignal::default())
}

fn drain(outbox: &Outbox) -> Option<Vec<Bytes>> {
    let mut batch = Vec::new();
    outbox.next(&mut batch).now_or_never().map(|more| if more { batch } else { Vec::new() })
}

#[test]
fn queued_messages_leave_in_order_in_one_batch() {
    let outbox = outbox(100, 100);
    assert_eq!(drain(&outbox), None, "an empty queue waits");
    outbox.push_bytes("a".into()).unwrap();
    outbox.push_bytes("b".into()).unwrap();
    assert_eq!(drain(&outbox).unwrap(), ["a", "b"]);
    assert!(outbox.is_empty());
}

#[test]
fn the_queue_is_bounded_in_bytes_and_messages() {
    let small = outbox(5, 100);
    small.push_bytes("abc".into()).unwrap();
    assert_eq!(small.push_bytes("def".into()), Err(PushError::Full));
    let short = outbox(100, 2);
    short.push_bytes("a".into()).unwrap();
    short.push_bytes("b".into()).unwrap();
    assert_eq!(short.push_bytes("c".into()), Err(PushError::Full));
    drain(&short);
    short.push_bytes("c".into()).unwrap();
}

#[test]
fn one_oversized_message_is_accepted_by_an_empty_queue() {
    let outbox = outbox(5, 100);
    outbox.push_bytes("abcdefgh".into()).unwrap();
    assert_eq!(outbox.push_bytes("i".into()), Err(PushError::Full));
}

#[test]
fn a_waiting_push_completes_when_the_queue_is_drained() {
    let outbox = outbox(5, 100);
    outbox.push_bytes("abcde".into()).unwrap();
    let ping = crate::outgoing::ping();
    let mut waiting = Box::pin(outbox.push_waiting(&ping));
    assert!(waiting.as_mut().now_or_never().is_none());
    drain(&outbox);
    assert_eq!(waiting.as_mut().now_or_never(), Some(Ok(())));
}

#[test]
fn a_waiting_push_ends_with_the_connection() {
    let outbox = outbox(5, 100);
    outbox.push_bytes("abcde".into()).unwrap();
    let ping = crate::outgoing::ping();
    let mut waiting = Box::pin(outbox.push_waiting(&ping));
    assert!(waiting.as_mut().now_or_never().is_none());
    outbox.finish(None);
    assert_eq!(waiting.as_mut().now_or_never(), Some(Err(PushError::Finished)));
}

#[test]
fn the_final_message_ignores_the_bounds_and_comes_last() {
    let outbox = outbox(5, 1);
    outbox.push_bytes("abcde".into()).unwrap();
    outbox.finish(Some(&crate::outgoing::ping()));
    assert_eq!(outbox.push_bytes("x".into()), Err(PushError::Finished));
    assert!(outbox.ended().now_or_never().is_none(), "something is still queued");
    assert_eq!(drain(&outbox).unwrap().len(), 2);
    assert!(outbox.ended().now_or_never().is_some());
    assert_eq!(drain(&outbox), Some(Vec::new()), "finished and empty");
}

#[test]
fn only_the_latest_pong_is_sent_and_it_goes_first() {
    let outbox = outbox(100, 100);
    outbox.push_bytes("a".into()).unwrap();
    outbox.push_pong("old".into());
    outbox.push_pong("new".into());
    assert_eq!(drain(&outbox).unwrap(), ["new", "a"]);
}

// === stateful reconnect ===

fn with_replay(allowance: usize, bytes: usize) -> Outbox {
    let outbox = outbox(bytes, 10_000);
    outbox.enable_replay(allowance);
    outbox
}

fn message(number: usize) -> OutgoingMessage {
    crate::outgoing::invocation("M", vec![RawValue::new(&number).unwrap()])
}

fn text(number: usize) -> Bytes {
    message(number).hub_framed(Protocol::Json).unwrap()
}

fn sequence(id: i64) -> Bytes {
    OutgoingMessage::new(HubMessage::Sequence { sequence_id: id }).hub_framed(Protocol::Json).unwrap()
}

fn resumed(outbox: &Outbox, socket: u64) -> Vec<Bytes> {
    let mut batch = Vec::new();
    assert!(outbox.resume(socket, &mut batch));
    batch
}

#[test]
fn only_unacknowledged_messages_are_resent() {
    let outbox = with_replay(1 << 20, 1 << 20);
    for number in 1..=1000 {
        outbox.push(&message(number)).unwrap();
    }
    assert_eq!(drain(&outbox).unwrap().len(), 1000);
    outbox.acknowledge(437);
    let batch = resumed(&outbox, 1);
    assert_eq!(batch.len(), 1 + 1000 - 437);
    assert_eq!((&batch[0], &batch[1]), (&sequence(438), &text(438)));
    // Ids that are too low acknowledge nothing, and an id that is too high acknowledges only what was sent.
    for too_low in [0, -1, i64::MIN, 400] {
        outbox.acknowledge(too_low);
        assert_eq!(resumed(&outbox, 2)[0], sequence(438), "{too_low}");
    }
    outbox.acknowledge(i64::MAX);
    assert_eq!(resumed(&outbox, 3), [sequence(1001)]);
}

#[test]
fn messages_queued_without_a_socket_follow_the_resent_ones() {
    let outbox = with_replay(1000, 1000);
    outbox.push(&message(1)).unwrap();
    drain(&outbox);
    outbox.detach(0, Instant::now());
    outbox.push(&message(2)).unwrap();
    outbox.push(&crate::outgoing::ping()).unwrap();
    outbox.push_pong("pong".into());
    assert_eq!(drain(&outbox), None, "nothing can be written without a socket");
    assert_eq!(resumed(&outbox, 1), [sequence(1), text(1)]);
    assert_eq!(drain(&outbox).unwrap(), [text(2)]);
    assert_eq!(resumed(&outbox, 2), [sequence(1), text(1), text(2)]);
}

#[test]
fn losing_a_replaced_socket_changes_nothing() {
    let outbox = with_replay(1000, 1000);
    resumed(&outbox, 1);
    outbox.detach(0, Instant::now());
    assert!(outbox.detached_since().is_none(), "a later socket is attached");
    // The reader may notice the end of a socket before the writer has attached it.
    outbox.detach(2, Instant::now());
    assert!(outbox.detached_since().is_some());
    resumed(&outbox, 2);
    assert!(outbox.detached_since().is_some());
    resumed(&outbox, 3);
    assert!(outbox.detached_since().is_none());
}

#[test]
fn the_bound_covers_the_queue_and_the_replay_buffer() {
    let size = text(1).len();
    let outbox = with_replay(size, 2 * size);
    for number in 1..=2 {
        outbox.push(&message(number)).unwrap();
        drain(&outbox);
    }
    assert_eq!(outbox.push(&message(3)), Err(PushError::Full));
    outbox.acknowledge(1);
    outbox.push(&message(3)).unwrap();
    outbox.detach(0, Instant::now());
    outbox.push(&message(4)).unwrap();
    assert_eq!(outbox.push(&message(5)), Err(PushError::Full));
    // The acks for what was added without a socket may take a moment, so the limit is not lowered at once.
    resumed(&outbox, 1);
    assert_eq!(drain(&outbox).unwrap().len(), 2);
    assert_eq!(outbox.push(&message(5)), Err(PushError::Full));
    outbox.acknowledge(2);
    assert_eq!(outbox.push(&message(5)), Err(PushError::Full), "the usual bound again");
    outbox.acknowledge(3);
    outbox.push(&message(5)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn stream_items_wait_for_acks_up_to_a_timeout() {
    let outbox = with_replay(text(1).len(), 1 << 20);
    for number in 1..=2 {
        outbox.push_item(&message(number)).await.unwrap();
    }
    let third = message(3);
    let mut waiting = Box::pin(outbox.push_item(&third));
    assert!(waiting.as_mut().now_or_never().is_none());
    drain(&outbox);
    assert!(waiting.as_mut().now_or_never().is_none(), "writing alone is not enough without an ack");
    outbox.acknowledge(1);
    assert_eq!(waiting.as_mut().now_or_never(), Some(Ok(())));
    drain(&outbox);
    let start = Instant::now();
    assert_eq!(outbox.push_item(&third).await, Err(PushError::Full));
    assert_eq!(start.elapsed(), ACK_TIMEOUT);
    // The item that timed out was not numbered: the next message gets id 4.
    outbox.push_waiting(&message(4)).await.unwrap();
    assert_eq!(resumed(&outbox, 1), [sequence(2), text(2), text(3)]);
    outbox.acknowledge(3);
    assert_eq!(drain(&outbox).unwrap(), [text(4)]);
    assert_eq!(resumed(&outbox, 2), [sequence(4), text(4)]);
}

#[tokio::test(start_paused = true)]
async fn stream_items_wait_for_a_socket_without_a_timeout() {
    let outbox = with_replay(1000, 1000);
    outbox.detach(0, Instant::now());
    let first = message(1);
    let mut waiting = Box::pin(outbox.push_item(&first));
    assert!(tokio::time::timeout(ACK_TIMEOUT * 2, waiting.as_mut()).await.is_err());
    resumed(&outbox, 1);
    assert_eq!(waiting.await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_ack_timeout_is_suspended_without_a_socket() {
    let outbox = with_replay(0, 1000);
    outbox.push_item(&message(1)).await.unwrap();
    drain(&outbox);
    let second = message(2);
    let mut waiting = Box::pin(outbox.push_item(&second));
    assert!(tokio::time::timeout(ACK_TIMEOUT / 2, waiting.as_mut()).await.is_err());
    outbox.detach(0, Instant::now());
    assert!(tokio::time::timeout(ACK_TIMEOUT * 2, waiting.as_mut()).await.is_err(), "the client could not acknowledge");
    // The timeout begins again with the next socket.
    resumed(&outbox, 1);
    assert!(tokio::time::timeout(ACK_TIMEOUT / 2, waiting.as_mut()).await.is_err());
    outbox.acknowledge(1);
    assert_eq!(waiting.await, Ok(()));
}

#[test]
fn finishing_without_a_socket_ends_at_once() {
    let outbox = with_replay(1000, 1000);
    outbox.push(&message(1)).unwrap();
    outbox.detach(0, Instant::now());
    outbox.finish(Some(&crate::outgoing::ping()));
    assert!(outbox.ended().now_or_never().is_some());
    assert_eq!(drain(&outbox), Some(Vec::new()));
    assert!(!outbox.resume(1, &mut Vec::new()));
}

#[tokio::test]
async fn a_closing_connection_accepts_only_its_handshake_and_close_messages() {
    let close = CloseSignal::default();
    let encoding = Encoding { protocol: Protocol::Json, framing: Framing::Raw };
    let outbox = Outbox::new(encoding, Some(10), None, close.clone());
    let ping = crate::outgoing::ping();
    outbox.push(&ping).unwrap();
    let mut waiting = Box::pin(outbox.push_waiting(&ping));
    assert!(waiting.as_mut().now_or_never().is_none(), "the queue is full");
    close.close(CloseReason::Aborted);
    assert_eq!(outbox.push(&ping), Err(PushError::Finished));
    assert_eq!(outbox.push_item(&ping).await, Err(PushError::Finished));
    assert_eq!(drain(&outbox).unwrap(), ["{\"type\":6}\u{1e}"], "what was queued before");
    assert_eq!(waiting.await, Err(PushError::Finished), "there is space now, but it is too late");
    outbox.push_bytes("{}\u{1e}".into()).unwrap();
    outbox.finish(CloseReason::Aborted.close_message(false).map(OutgoingMessage::new).as_ref());
    assert_eq!(
        drain(&outbox).unwrap(),
        ["{}\u{1e}", "{\"type\":7}\u{1e}"],
        "the close message follows the handshake's answer"
    );
    assert_eq!(drain(&outbox).unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_message_that_waits_for_space_is_not_encoded_yet() {
    let encoding = Encoding { protocol: Protocol::Json, framing: Framing::Raw };
    let outbox = Outbox::new(encoding, Some(10), None, CloseSignal::default());
    outbox.push(&crate::outgoing::ping()).unwrap();
    let message = crate::outgoing::invocation("M", vec![RawValue::text("x")]);
    let mut waiting = Box::pin(outbox.push_waiting(&message));
    assert!(waiting.as_mut().now_or_never().is_none(), "the queue is full");
    assert!(!message.is_encoded(encoding));
    drain(&outbox).unwrap();
    waiting.await.unwrap();
    assert!(message.is_encoded(encoding));
}

#[test]
fn a_closing_connection_cannot_be_resumed() {
    let close = CloseSignal::default();
    let encoding = Encoding { protocol: Protocol::Json, framing: Framing::Raw };
    let outbox = Outbox::new(encoding, None, None, close.clone());
    outbox.enable_replay(1000);
    outbox.detach(0, Instant::now());
    close.close(CloseReason::Aborted);
    let mut batch = Vec::new();
    assert!(!outbox.resume(1, &mut batch) && batch.is_empty(), "{batch:?}");
}
