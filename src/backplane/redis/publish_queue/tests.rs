//! Tests of the publish queue: how answers and echoes complete a publish, and the bounds.
#![allow(clippy::unwrap_used)]

use super::*;

type Answer = oneshot::Receiver<Result<u64, BackplaneError>>;

fn publish(publish_queue: &mut PublishQueue, id: u64, echo: bool, size: usize) -> Result<Answer, BackplaneError> {
    let (caller, answer) = oneshot::channel();
    let payload = vec![0; size];
    let echo = echo.then_some(Envelope::Ack { id: 1 });
    publish_queue
        .publish(Publish { id, channel: "c", payload: &payload, echo }, caller, Instant::now())
        .map(|()| answer)
}

fn state(answer: &mut Answer) -> Option<Result<u64, BackplaneError>> {
    answer.try_recv().ok()
}

#[test]
fn a_publish_completes_after_reply_and_echo_in_either_order() {
    let mut publish_queue = PublishQueue::default();
    let mut plain = publish(&mut publish_queue, 1, false, 1).unwrap();
    let mut answered_first = publish(&mut publish_queue, 2, true, 1).unwrap();
    let mut heard_first = publish(&mut publish_queue, 3, true, 1).unwrap();
    publish_queue.reply_received(Ok(7), Instant::now());
    assert_eq!(state(&mut plain), Some(Ok(7)));
    publish_queue.reply_received(Ok(8), Instant::now());
    assert_eq!(state(&mut answered_first), None);
    assert!(publish_queue.echo_pending_since().is_some());
    assert!(publish_queue.echo_received(2).is_some() && publish_queue.echo_received(2).is_none());
    assert_eq!(state(&mut answered_first), Some(Ok(8)));
    assert!(publish_queue.echo_received(3).is_some());
    assert_eq!(state(&mut heard_first), None);
    publish_queue.reply_received(Ok(9), Instant::now());
    assert_eq!(state(&mut heard_first), Some(Ok(9)));
    assert!(publish_queue.is_idle() && publish_queue.echo_bytes == 0);
}

#[test]
fn an_error_reply_fails_only_its_own_publish() {
    let mut publish_queue = PublishQueue::default();
    let mut refused = publish(&mut publish_queue, 1, true, 1).unwrap();
    publish_queue.ping(Instant::now());
    let mut next = publish(&mut publish_queue, 2, false, 1).unwrap();
    publish_queue.reply_received(Err("NOPERM".to_owned()), Instant::now());
    publish_queue.reply_received(Ok(0), Instant::now());
    publish_queue.reply_received(Ok(2), Instant::now());
    assert_eq!(state(&mut refused), Some(Err(BackplaneError::Refused("NOPERM".to_owned()))));
    assert_eq!(state(&mut next), Some(Ok(2)));
    assert!(publish_queue.echoes.is_empty());
}

#[test]
fn a_lost_link_fails_every_pending_publish() {
    let mut publish_queue = PublishQueue::default();
    let mut answers: Vec<_> = (1..=3).map(|id| publish(&mut publish_queue, id, id != 3, 1).unwrap()).collect();
    publish_queue.reply_received(Ok(1), Instant::now());
    publish_queue.fail_all("gone");
    for answer in &mut answers {
        assert_eq!(state(answer), Some(Err(BackplaneError::Lost("gone".to_owned()))));
    }
    assert!(publish_queue.is_idle() && publish_queue.take_buffer().is_empty());
}

#[test]
fn unsubscribing_a_channel_resolves_its_pending_echoes() {
    let mut publish_queue = PublishQueue::default();
    let mut answered = publish(&mut publish_queue, 1, true, 1).unwrap();
    let mut open = publish(&mut publish_queue, 2, true, 1).unwrap();
    publish_queue.reply_received(Ok(1), Instant::now());
    publish_queue.channel_unsubscribed("other");
    assert_eq!(state(&mut answered), None);
    publish_queue.channel_unsubscribed("c");
    assert_eq!(state(&mut answered), Some(Ok(1)));
    publish_queue.reply_received(Ok(2), Instant::now());
    assert_eq!(state(&mut open), Some(Ok(2)));
}

#[test]
fn both_queues_are_bounded() {
    let mut publish_queue = PublishQueue::default();
    // An empty queue accepts a message of any size.
    publish(&mut publish_queue, 1, true, MAX_BUFFERED_BYTES + 1).unwrap();
    assert!(publish_queue.echoes.is_empty(), "too large to be kept for its echo");
    assert_eq!(publish(&mut publish_queue, 2, false, 1).unwrap_err(), BackplaneError::Full(1));
    publish_queue.take_buffer();
    let mut answers: Vec<_> =
        (2..=MAX_PENDING_REPLIES as u64).map(|id| publish(&mut publish_queue, id, true, 1).unwrap()).collect();
    assert_eq!(publish(&mut publish_queue, 0, false, 1).unwrap_err(), BackplaneError::Full(MAX_PENDING_REPLIES));
    assert_eq!(publish_queue.echoes.len(), MAX_ECHOES);
    // A publish whose echo is no longer kept succeeds with the answer.
    for _ in 0..2 {
        publish_queue.reply_received(Ok(3), Instant::now());
    }
    assert_eq!(state(&mut answers[0]), Some(Ok(3)));
}
