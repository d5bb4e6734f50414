//! Passes data from a connection's writer to its long polls (docs/builders/signalr-protocol.md#1.8).
//!
//! The connection's writer sees a [`crate::wire::Sink`] that is ready while a poll waits. What it sends is kept here
//! until a poll takes it, so an aborted poll loses no data.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::wire::{Disconnected, Sink};

/// The state that the polls of one connection share with its writer.
#[derive(Debug, Default)]
pub(super) struct PollChannel {
    state: Mutex<PollState>,
    /// Wakes the polls when something has changed for them.
    polls_notify: Notify,
    /// Wakes the writer when a poll waits, or when no further poll will come.
    writer_notify: Notify,
}

#[derive(Debug, Default)]
struct PollState {
    /// The number of the newest poll.
    newest_poll: u32,
    /// Whether the newest poll is waiting.
    waiting: bool,
    /// What the writer has sent and no poll has taken yet; at most one batch.
    data: Vec<Bytes>,
    /// The connection has ended: no data will follow.
    finished: bool,
    /// No poll will come after the one that is waiting.
    no_more_polls: bool,
    /// A poll has been answered with the end of the connection.
    end_delivered: bool,
}

/// How a poll ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PollOutcome {
    Data(Vec<Bytes>),
    /// No data came in time.
    TimedOut,
    /// A newer poll has replaced this one.
    Replaced,
    /// The connection has ended and no data is left.
    Finished,
}

// === polls ===

impl PollChannel {
    /// Waits for data as poll number `number`. Cancel-safe: dropping the future loses no data.
    pub(super) async fn wait(&self, number: u32, timeout: Duration) -> PollOutcome {
        let _waiting_poll = self.register(number);
        let timeout = tokio::time::sleep(timeout);
        tokio::pin!(timeout);
        loop {
            let polls_notify = self.polls_notify.notified();
            tokio::pin!(polls_notify);
            polls_notify.as_mut().enable();
            if let Some(polled) = self.try_take(number) {
                return polled;
            }
            tokio::select! {
                () = polls_notify => {}
                () = &mut timeout => return self.try_take(number).unwrap_or(PollOutcome::TimedOut),
            }
        }
    }

    fn register(&self, number: u32) -> WaitingPoll<'_> {
        let mut state = self.lock();
        // The connection table assigns numbers in order, but two requests may reach this point in reverse order.
        if number.wrapping_sub(state.newest_poll) <= u32::MAX / 2 {
            state.newest_poll = number;
            state.waiting = true;
        }
        drop(state);
        self.polls_notify.notify_waiters();
        self.writer_notify.notify_one();
        WaitingPoll { polls: self, number }
    }

    fn try_take(&self, number: u32) -> Option<PollOutcome> {
        let mut state = self.lock();
        if state.newest_poll != number {
            Some(PollOutcome::Replaced)
        } else if !state.data.is_empty() {
            Some(PollOutcome::Data(std::mem::take(&mut state.data)))
        } else if state.finished {
            state.end_delivered = true;
            drop(state);
            self.writer_notify.notify_one();
            Some(PollOutcome::Finished)
        } else {
            None
        }
    }
}

/// A waiting poll. Dropping it, for whatever reason, marks it as no longer waiting.
struct WaitingPoll<'a> {
    polls: &'a PollChannel,
    number: u32,
}

impl Drop for WaitingPoll<'_> {
    fn drop(&mut self) {
        let mut state = self.polls.lock();
        if state.newest_poll == self.number {
            state.waiting = false;
        }
        drop(state);
        self.polls.writer_notify.notify_one();
    }
}

// === the writer ===

impl PollChannel {
    /// Marks the connection as ended; polls still get the data that is left.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.polls_notify.notify_waiters();
    }

    /// Waits until a poll has been answered with the end of the connection, or no further poll will come. To be called
    /// only after the writer has finished, because both wait on the same [`Notify`].
    pub(super) async fn end_delivered(&self) {
        loop {
            {
                let state = self.lock();
                if state.end_delivered || state.no_more_polls {
                    return;
                }
            }
            self.writer_notify.notified().await;
        }
    }

    /// Declares that no further poll will come after the one that is waiting now, so that the writer does not wait for
    /// one.
    pub(super) fn stop_accepting_polls(&self) {
        self.lock().no_more_polls = true;
        self.writer_notify.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, PollState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The half of a [`PollChannel`] that the connection's writer uses.
#[derive(Debug)]
pub(super) struct PollSink<'a>(pub(super) &'a PollChannel);

impl Sink for PollSink<'_> {
    async fn ready(&mut self) {
        loop {
            {
                let state = self.0.lock();
                if (state.waiting && state.data.is_empty()) || (state.no_more_polls && !state.waiting) {
                    return;
                }
            }
            self.0.writer_notify.notified().await;
        }
    }

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Disconnected> {
        let mut state = self.0.lock();
        if state.no_more_polls && !state.waiting {
            batch.clear();
            return Err(Disconnected);
        }
        state.data.append(batch);
        drop(state);
        self.0.polls_notify.notify_waiters();
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
        let polls = PollChannel::default();
        let mut sink = PollSink(&polls);
        assert!(sink.ready().now_or_never().is_none());
        let mut poll = Box::pin(polls.wait(1, LONG));
        assert!(poll.as_mut().now_or_never().is_none());
        sink.ready().await;
        sink.send(&mut batch("a")).await.unwrap();
        assert!(sink.ready().now_or_never().is_none(), "the poll has been answered");
        assert_eq!(poll.await, PollOutcome::Data(batch("a")));
        assert!(sink.ready().now_or_never().is_none());
    }

    #[tokio::test]
    async fn data_of_an_abandoned_poll_goes_to_the_next() {
        let polls = PollChannel::default();
        let mut sink = PollSink(&polls);
        let mut poll = Box::pin(polls.wait(1, LONG));
        assert!(poll.as_mut().now_or_never().is_none());
        sink.send(&mut batch("a")).await.unwrap();
        drop(poll);
        assert!(sink.ready().now_or_never().is_none());
        polls.finish();
        assert_eq!(polls.wait(2, LONG).await, PollOutcome::Data(batch("a")));
        assert_eq!(polls.wait(3, LONG).await, PollOutcome::Finished);
    }

    #[tokio::test]
    async fn a_new_poll_replaces_the_waiting_one() {
        let polls = PollChannel::default();
        let mut old = Box::pin(polls.wait(1, LONG));
        assert!(old.as_mut().now_or_never().is_none());
        let mut new = Box::pin(polls.wait(2, LONG));
        assert!(new.as_mut().now_or_never().is_none());
        assert_eq!(old.await, PollOutcome::Replaced);
        let mut sink = PollSink(&polls);
        sink.ready().await;
        sink.send(&mut batch("b")).await.unwrap();
        assert_eq!(new.await, PollOutcome::Data(batch("b")));
        assert_eq!(polls.wait(1, LONG).await, PollOutcome::Replaced, "an older poll that arrives late");
    }

    #[tokio::test]
    async fn the_writer_does_not_wait_after_the_last_poll() {
        let polls = PollChannel::default();
        let mut poll = Box::pin(polls.wait(1, LONG));
        assert!(poll.as_mut().now_or_never().is_none());
        polls.stop_accepting_polls();
        let mut sink = PollSink(&polls);
        sink.ready().await;
        sink.send(&mut batch("close")).await.unwrap();
        assert_eq!(poll.await, PollOutcome::Data(batch("close")));
        sink.ready().await;
        assert_eq!(sink.send(&mut batch("more")).await, Err(Disconnected));
    }

    #[tokio::test]
    async fn the_end_is_delivered_with_the_last_poll() {
        let polls = PollChannel::default();
        polls.finish();
        let mut end_delivered = Box::pin(polls.end_delivered());
        assert!(end_delivered.as_mut().now_or_never().is_none());
        assert_eq!(polls.wait(1, LONG).await, PollOutcome::Finished);
        end_delivered.await;
        let polls = PollChannel::default();
        polls.stop_accepting_polls();
        polls.end_delivered().await;
    }

    #[tokio::test]
    async fn a_poll_times_out() {
        let polls = PollChannel::default();
        assert_eq!(polls.wait(1, Duration::ZERO).await, PollOutcome::TimedOut);
    }
}
