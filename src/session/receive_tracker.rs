//! Which of a client's messages have been received, as stateful reconnect counts them: what it sends again after a
//! loss is told from what is new, and it learns what it need not keep (docs/builders/signalr-protocol.md#4.13).

use std::sync::Mutex;
use std::sync::{MutexGuard, PoisonError};

use crate::protocol::ProtocolError;

/// The incoming half of one connection with stateful reconnect. Written by the connection's own task; the sweep asks
/// it once a second for the Ack that is due.
///
/// Every trackable message counts ([`crate::protocol::HubMessage::is_trackable`]), also one that nobody wants: clients
/// count it too. The reference forgets items of unknown streams, and is off by one from then on
/// (tests/probes/FINDINGS.md#1, row 4.13).
#[derive(Debug)]
pub(crate) struct ReceiveTracker(Mutex<TrackerState>);

#[derive(Debug)]
struct TrackerState {
    /// The id of the next message.
    next: i64,
    /// The highest id seen.
    highest: i64,
    /// What the client was told last.
    acked: i64,
    /// Something came twice: the client may have lost the Ack for it.
    repeated: bool,
}

/// The id of a connection's first message.
const FIRST: i64 = 1;

impl Default for ReceiveTracker {
    fn default() -> Self {
        Self(Mutex::new(TrackerState { next: FIRST, highest: 0, acked: 0, repeated: false }))
    }
}

impl ReceiveTracker {
    /// A trackable message has come. False: it has come before and must not be dispatched again.
    pub(crate) fn is_new(&self) -> bool {
        let mut state = self.lock();
        let id = state.next;
        state.next = id.saturating_add(1);
        let new = id > state.highest;
        if new {
            state.highest = id;
        } else {
            state.repeated = true;
        }
        new
    }

    /// The client says which id its next message has. One that it cannot have reached ends the connection, and so does
    /// one below the first: no client counts so, and obeyed, as in the reference, it would have every message dropped
    /// as a duplicate until the count is made up. Others are obeyed whenever they come.
    pub(crate) fn sequence(&self, id: i64) -> Result<(), ProtocolError> {
        let refused =
            |detail: &str| ProtocolError { exception: "InvalidOperationException", detail: detail.to_owned() };
        let mut state = self.lock();
        if id > state.next {
            return Err(refused("Sequence ID greater than amount of messages we've received."));
        }
        if id < FIRST {
            return Err(refused("Sequence ID less than that of the first message."));
        }
        state.next = id;
        Ok(())
    }

    /// The id to acknowledge, if there is something to acknowledge; it counts as told.
    pub(crate) fn take_due_ack(&self) -> Option<i64> {
        let mut state = self.lock();
        let due = state.highest > state.acked || state.repeated;
        state.acked = state.highest;
        state.repeated = false;
        due.then_some(state.highest)
    }

    fn lock(&self) -> MutexGuard<'_, TrackerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn received_messages_are_acknowledged_once() {
        let received = ReceiveTracker::default();
        assert_eq!(received.take_due_ack(), None);
        assert!(received.is_new() && received.is_new());
        assert_eq!((received.take_due_ack(), received.take_due_ack()), (Some(2), None));
        assert!(received.is_new());
        assert_eq!(received.take_due_ack(), Some(3));
    }

    #[test]
    fn resent_messages_are_new_only_beyond_the_highest_seen() {
        let received = ReceiveTracker::default();
        assert!(received.is_new() && received.is_new());
        received.sequence(2).unwrap();
        assert!(!received.is_new());
        assert!(received.is_new());
        assert_eq!(received.take_due_ack(), Some(3));
    }

    #[test]
    fn an_ack_that_may_have_been_lost_is_repeated() {
        let received = ReceiveTracker::default();
        received.is_new();
        assert_eq!(received.take_due_ack(), Some(1));
        received.sequence(1).unwrap();
        assert!(!received.is_new());
        assert_eq!((received.take_due_ack(), received.take_due_ack()), (Some(1), None));
    }

    #[test]
    fn a_sequence_beyond_the_received_messages_is_an_error() {
        let received = ReceiveTracker::default();
        let error = received.sequence(2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "InvalidOperationException: Sequence ID greater than amount of messages we've received."
        );
        received.sequence(1).unwrap();
        received.is_new();
        received.sequence(2).unwrap();
    }

    #[test]
    fn a_sequence_below_the_first_message_is_an_error() {
        let received = ReceiveTracker::default();
        assert!(received.is_new());
        for id in [0, -1, i64::MIN] {
            assert_eq!(
                received.sequence(id).unwrap_err().to_string(),
                "InvalidOperationException: Sequence ID less than that of the first message."
            );
        }
        assert!(received.is_new());
    }
}
