//! Where long polls wait for their data, and data for the next poll (docs/builders/signalr-protocol.md#1.8).
//!
//! The connection's writer sees a [`crate::wire::Sink`] that is ready while a poll waits. What it hands over stays
//! here until a poll takes it: a poll that is given up loses nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::wire::{Disconnected, Sink};

/// The meeting point of one connection's polls and its writer.
#[derive(Debug, Default)]
pub(super) struct Polls {
    state: Mutex<State>,
    /// Tells polls that something has changed for them.
    told: Notify,
    /// Tells the writer that a poll waits, or that none will.
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the newest poll.
    newest: u32,
    /// Whether that poll waits.
    waiting: bool,
    /// What the writer has handed over and no poll has taken yet; at most one batch.
    data: Vec<Bytes>,
    /// The connection has ended: what is left is all there is.
    finished: bool,
    /// No poll will come after the one that waits.
    last: bool,
    /// A poll has been told that the connection has ended.
    parted: bool,
}

/// How a poll ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// With data.
    Data(Vec<Bytes>),
    /// Nothing came in time.
    TimedOut,
    /// A newer poll has taken over.
    Replaced,
    /// The connection has ended and nothing is left.
    Finished,
}

// === polls ===

impl Polls {
    /// Waits as poll number `number` for data. May be dropped half-way.
    pub(super) async fn wait(&self, number: u32, timeout: Duration) -> Polled {
        let _leaving = self.enter(number);
        let timeout = tokio::time::sleep(timeout);
        tokio::pin!(timeout);
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if let Some(polled) = self.look(number) {
                return polled;
            }
            tokio::select! {
                () = told => {}
                () = &mut timeout => return self.look(number).unwrap_or(Polled::TimedOut),
            }
        }
    }

    fn enter(&self, number: u32) -> Waiting<'_> {
        let mut state = self.lock();
        // Numbers come from the table in order, but two requests may get here in the other one.
        if number.wrapping_sub(state.newest) <= u32::MAX / 2 {
            state.newest = number;
            state.waiting = true;
        }
        drop(state);
        self.told.notify_waiters();
        self.asked.notify_one();
        Waiting { polls: self, number }
    }

    fn look(&self, number: u32) -> Option<Polled> {
        let mut state = self.lock();
        if state.newest != number {
            Some(Polled::Replaced)
        } else if !state.data.is_empty() {
            Some(Polled::Data(std::mem::take(&mut state.data)))
        } else if state.finished {
            state.parted = true;
            drop(state);
            self.asked.notify_one();
            Some(Polled::Finished)
        } else {
            None
        }
    }
}

/// A poll that waits; when it is dropped, for whatever cause, it does not any more.
struct Waiting<'a> {
    polls: &'a Polls,
    number: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.polls.lock();
        if state.newest == self.number {
            state.waiting = false;
        }
        drop(state);
        self.polls.asked.notify_one();
    }
}

// === the writer ===

impl Polls {
    /// The connection has ended; polls may have what is left.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.told.notify_waiters();
    }

    /// Waits until a poll has been told so, or none will come. For when the writer is gone.
    pub(super) async fn parted(&self) {
        loop {
            {
                let state = self.lock();
                if state.parted || state.last {
                    return;
                }
            }
            self.asked.notified().await;
        }
    }

    /// No poll will come any more, but for the one that waits now: the writer need not wait for one.
    pub(super) fn take_no_more(&self) {
        self.lock().last = true;
        self.asked.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's half.
#[derive(Debug)]
pub(super) struct PollSink<'a>(pub(super) &'a Polls);

impl Sink for PollSink<'_> {
    async fn ready(&mut self) {
        loop {
            {
                let state = self.0.lock();
                if (state.waiting && state.data.is_empty()) || (state.last && !state.waiting) {
                    return;
                }
            }
            self.0.asked.notified().await;
        }
    }

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Disconnected> {
        let mut state = self.0.lock();
        if state.last && !state.waiting {
            batch.clear();
            return Err(Disconnected);
        }
        state.data.append(batch);
        drop(state);
        self.0.told.notify_waiters();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::FutureExt as _;

    const LONG: Duration = Duration::from_secs(90);

    fn batch(text: &'static str) -> Vec<Bytes> {
        vec![Bytes::from_static(text.as_bytes())]
    }

    #[tokio::test]
    async fn the_writer_is_ready_only_while_a_poll_waits() {
        let polls = Polls::default();
        let mut sink = PollSink(&polls);
        assert!(sink.ready().now_or_never().is_none());
        let mut poll = Box::pin(polls.wait(1, LONG));
        assert!(poll.as_mut().now_or_never().is_none());
        sink.ready().await;
        sink.send(&mut batch("a")).await.unwrap();
        assert!(sink.ready().now_or_never().is_none(), "the poll has its answer");
        assert_eq!(poll.await, Polled::Data(batch("a")));
        assert!(sink.ready().now_or_never().is_none());
    }

    #[tokio::test]
    async fn what_a_poll_did_not_take_is_the_next_ones() {
        let polls = Polls::default();
        let mut sink = PollSink(&polls);
        let mut poll = Box::pin(polls.wait(1, LONG));
        assert!(poll.as_mut().now_or_never().is_none());
        sink.send(&mut batch("a")).await.unwrap();
        drop(poll);
        assert!(sink.ready().now_or_never().is_none());
        polls.finish();
        assert_eq!(polls.wait(2, LONG).await, Polled::Data(batch("a")));
        assert_eq!(polls.wait(3, LONG).await, Polled::Finished);
    }

    #[tokio::test]
    async fn a_new_poll_takes_over() {
        let polls = Polls::default();
        let mut old = Box::pin(polls.wait(1, LONG));
        assert!(old.as_mut().now_or_never().is_none());
        let mut new = Box::pin(polls.wait(2, LONG));
        assert!(new.as_mut().now_or_never().is_none());
        assert_eq!(old.await, Polled::Replaced);
        let mut sink = PollSink(&polls);
        sink.ready().await;
        sink.send(&mut batch("b")).await.unwrap();
        assert_eq!(new.await, Polled::Data(batch("b")));
        assert_eq!(polls.wait(1, LONG).await, Polled::Replaced, "one that comes late");
    }

    #[tokio::test]
    async fn nobody_waits_for_polls_that_will_not_come() {
        let polls = Polls::default();
        let mut poll = Box::pin(polls.wait(1, LONG));
        assert!(poll.as_mut().now_or_never().is_none());
        polls.take_no_more();
        let mut sink = PollSink(&polls);
        sink.ready().await;
        sink.send(&mut batch("close")).await.unwrap();
        assert_eq!(poll.await, Polled::Data(batch("close")));
        sink.ready().await;
        assert_eq!(sink.send(&mut batch("more")).await, Err(Disconnected));
    }

    #[tokio::test]
    async fn a_connection_parts_with_its_last_poll() {
        let polls = Polls::default();
        polls.finish();
        let mut parted = Box::pin(polls.parted());
        assert!(parted.as_mut().now_or_never().is_none());
        assert_eq!(polls.wait(1, LONG).await, Polled::Finished);
        parted.await;
        let polls = Polls::default();
        polls.take_no_more();
        polls.parted().await;
    }

    #[tokio::test]
    async fn a_poll_ends_in_time() {
        let polls = Polls::default();
        assert_eq!(polls.wait(1, Duration::ZERO).await, Polled::TimedOut);
    }
}
