//! Answers, echoes and who gets what when.
#![allow(clippy::unwrap_used)]

use super::*;

type Answer = oneshot::Receiver<Result<u64, BackplaneError>>;

fn publish(outgoing: &mut Outgoing, id: u64, echo: bool, size: usize) -> Result<Answer, BackplaneError> {
    let (caller, answer) = oneshot::channel();
    let payload = vec![0; size];
    let echo = echo.then_some(Envelope::Ack { id: 1 });
    outgoing.publish(Publish { id, channel: "c", payload: &payload, echo }, caller, Instant::now()).map(|()| answer)
}

fn state(answer: &mut Answer) -> Option<Result<u64, BackplaneError>> {
    answer.try_recv().ok()
}

#[test]
fn a_publish_ends_with_answer_and_echo_in_either_order() {
    let mut outgoing = Outgoing::default();
    let mut plain = publish(&mut outgoing, 1, false, 1).unwrap();
    let mut answered_first = publish(&mut outgoing, 2, true, 1).unwrap();
    let mut heard_first = publish(&mut outgoing, 3, true, 1).unwrap();
    outgoing.answered(Ok(7), Instant::now());
    assert_eq!(state(&mut plain), Some(Ok(7)));
    outgoing.answered(Ok(8), Instant::now());
    assert_eq!(state(&mut answered_first), None);
    assert!(outgoing.unheard_since().is_some());
    assert!(outgoing.heard(2).is_some() && outgoing.heard(2).is_none());
    assert_eq!(state(&mut answered_first), Some(Ok(8)));
    assert!(outgoing.heard(3).is_some());
    assert_eq!(state(&mut heard_first), None);
    outgoing.answered(Ok(9), Instant::now());
    assert_eq!(state(&mut heard_first), Some(Ok(9)));
    assert!(outgoing.is_idle() && outgoing.echo_bytes == 0);
}

#[test]
fn an_error_answers_its_own_caller() {
    let mut outgoing = Outgoing::default();
    let mut refused = publish(&mut outgoing, 1, true, 1).unwrap();
    outgoing.ping(Instant::now());
    let mut next = publish(&mut outgoing, 2, false, 1).unwrap();
    outgoing.answered(Err("NOPERM".to_owned()), Instant::now());
    outgoing.answered(Ok(0), Instant::now());
    outgoing.answered(Ok(2), Instant::now());
    assert_eq!(state(&mut refused), Some(Err(BackplaneError::Refused("NOPERM".to_owned()))));
    assert_eq!(state(&mut next), Some(Ok(2)));
    assert!(outgoing.echoes.is_empty());
}

#[test]
fn a_lost_link_fails_all_who_wait() {
    let mut outgoing = Outgoing::default();
    let mut answers: Vec<_> = (1..=3).map(|id| publish(&mut outgoing, id, id != 3, 1).unwrap()).collect();
    outgoing.answered(Ok(1), Instant::now());
    outgoing.lost("gone");
    for answer in &mut answers {
        assert_eq!(state(answer), Some(Err(BackplaneError::Lost("gone".to_owned()))));
    }
    assert!(outgoing.is_idle() && outgoing.take().is_empty());
}

#[test]
fn a_channel_given_up_keeps_nobody_waiting() {
    let mut outgoing = Outgoing::default();
    let mut answered = publish(&mut outgoing, 1, true, 1).unwrap();
    let mut open = publish(&mut outgoing, 2, true, 1).unwrap();
    outgoing.answered(Ok(1), Instant::now());
    outgoing.deaf_to("other");
    assert_eq!(state(&mut answered), None);
    outgoing.deaf_to("c");
    assert_eq!(state(&mut answered), Some(Ok(1)));
    outgoing.answered(Ok(2), Instant::now());
    assert_eq!(state(&mut open), Some(Ok(2)));
}

#[test]
fn both_queues_are_bounded() {
    let mut outgoing = Outgoing::default();
    // One message of any size passes alone.
    publish(&mut outgoing, 1, true, MOST_BYTES + 1).unwrap();
    assert!(outgoing.echoes.is_empty(), "too large to be kept for its echo");
    assert_eq!(publish(&mut outgoing, 2, false, 1).unwrap_err(), BackplaneError::Full(1));
    outgoing.take();
    let mut answers: Vec<_> =
        (2..=MOST_WAITING as u64).map(|id| publish(&mut outgoing, id, true, 1).unwrap()).collect();
    assert_eq!(publish(&mut outgoing, 0, false, 1).unwrap_err(), BackplaneError::Full(MOST_WAITING));
    assert_eq!(outgoing.echoes.len(), MOST_ECHOES);
    // Whose echo is not kept any more succeeds with the answer.
    for _ in 0..2 {
        outgoing.answered(Ok(3), Instant::now());
    }
    assert_eq!(state(&mut answers[0]), Some(Ok(3)));
}
