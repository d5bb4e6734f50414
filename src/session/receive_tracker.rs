//! Counts a client's messages for stateful reconnect: recognises those that the client sends again after a reconnect,
//! and determines what to acknowledge (docs/builders/signalr-protocol.md#4.13).

use std::sync::Mutex;
use std::sync::{MutexGuard, PoisonError};

use crate::exception::Exception;
use crate::protocol::ProtocolError;

/// The sequence numbers of what one connection with stateful reconnect receives. The connection's own task updates it;
/// the sweep asks it once a second whether an ack is due.
///
/// Every trackable message is counted ([`crate::protocol::HubMessage::is_trackable`]), even one that is then ignored,
/// because clients number it too. ASP.NET Core gives items of unknown streams no number, and is off by one from then on
/// (tests/probes/FINDINGS.md#1, row 4.13).
#[derive(Debug)]
pub(crate) struct ReceiveTracker(Mutex<TrackerState>);

#[derive(Debug)]
struct TrackerState {
    /// The sequence number of the next message.
    next: i64,
    /// The highest sequence number received.
    highest: i64,
    /// The sequence number that was acknowledged last.
    acked: i64,
    /// A message has been received twice, so the client may have missed the ack for it.
    repeated: bool,
}

/// The sequence number of a connection's first message.
const FIRST: i64 = 1;

impl Default for ReceiveTracker {
    fn default() -> Self {
        Self(Mutex::new(TrackerState { next: FIRST, highest: 0, acked: 0, repeated: false }))
    }
}

impl ReceiveTracker {
    /// Counts a trackable message. Returns false if it has been received before and must not be processed again.
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

    /// Processes a Sequence message: `id` is the sequence number of the client's next message.
    ///
    /// A number beyond the messages received is an error, which ends the connection. So is one below the first: no
    /// client sends such a number, and accepting it, as ASP.NET Core does, would drop messages as duplicates until the
    /// count has caught up. Any other number is accepted at any time.
    pub(crate) fn sequence(&self, id: i64) -> Result<(), ProtocolError> {
        let refused =
            |detail: &str| ProtocolError { exception: Exception::InvalidOperation.name(), detail: detail.to_owned() };
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

    /// The sequence number to acknowledge, if an ack is due. The caller must send it: it is regarded as acknowledged.
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
