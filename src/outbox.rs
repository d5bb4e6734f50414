//! Floor 3: what waits for one client. Bounded in bytes and in messages; senders never wait for a slow client, only
//! a connection's own answers do (design.md section 6, rule 6).
//!
//! Every byte that leaves for a client goes through its outbox, so there is one order and one writer. Entries are
//! already framed for the client's transport: what a batch holds is written as it is.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::frame::{Encoding, Frame};
use crate::protocol::ValueError;

/// Above this many waiting bytes a connection's own stream items and completions wait (reference: 64 KiB pipe,
/// reference/signalr-protocol.md 1.9).
const HIGH_WATER: usize = 64 * 1024;

/// The queue of one connection.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    /// Tells the writer that something waits, or that no more will come.
    filled: Notify,
    /// Tells a waiting answer that there is room.
    drained: Notify,
    most_bytes: usize,
    most_messages: usize,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Bytes>,
    bytes: usize,
    encoding: Encoding,
    /// The latest pong that is owed; it overtakes the queue, and a newer one replaces it (RFC 6455, 5.5.3).
    pong: Option<Bytes>,
    finished: bool,
}

/// Why something could not be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The bounds are reached: the client is too slow and must be closed. What was pushed is not queued.
    Full,
    /// The connection is ending; the message is dropped, as the reference does.
    Finished,
    /// The message has no form in the client's protocol.
    Value(ValueError),
}

// === making and filling it ===

impl Outbox {
    /// An empty queue. `None` is no bound. The protocol of `encoding` is known after the handshake only: see
    /// [`Outbox::set_encoding`].
    pub fn new(encoding: Encoding, most_bytes: Option<usize>, most_messages: Option<usize>) -> Self {
        let state = State { queue: VecDeque::new(), bytes: 0, encoding, pong: None, finished: false };
        Self {
            state: Mutex::new(state),
            filled: Notify::new(),
            drained: Notify::new(),
            most_bytes: most_bytes.unwrap_or(usize::MAX),
            most_messages: most_messages.unwrap_or(usize::MAX),
        }
    }

    /// How messages are framed from now on.
    pub fn set_encoding(&self, encoding: Encoding) {
        self.lock().encoding = encoding;
    }

    /// How messages are framed.
    pub fn encoding(&self) -> Encoding {
        self.lock().encoding
    }

    /// Queues a message. Never waits.
    pub fn push(&self, frame: &Frame) -> Result<(), PushError> {
        let encoding = self.encoding();
        // Encoding happens outside of the lock: the first receiver of a large broadcast does the work.
        let bytes = frame.framed(encoding).map_err(PushError::Value)?;
        self.push_bytes(bytes)
    }

    /// Queues bytes that are already framed for this client's transport.
    pub fn push_bytes(&self, bytes: Bytes) -> Result<(), PushError> {
        let mut state = self.lock();
        if state.finished {
            return Err(PushError::Finished);
        }
        if state.queue.len() >= self.most_messages || state.bytes.saturating_add(bytes.len()) > self.most_bytes {
            // One message larger than the bound still passes when nothing waits: it is no sign of a slow client.
            if !state.queue.is_empty() {
                return Err(PushError::Full);
            }
        }
        state.bytes += bytes.len();
        state.queue.push_back(bytes);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Queues a message of the connection's own, after waiting for room: the back-pressure of streams and answers.
    pub async fn push_waiting(&self, frame: &Frame) -> Result<(), PushError> {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            let has_room = {
                let state = self.lock();
                let full = state.queue.len() >= self.most_messages || state.bytes >= HIGH_WATER.min(self.most_bytes);
                state.finished || !full
            };
            if has_room {
                match self.push(frame) {
                    // It fitted a moment ago: a broadcast came between, or it is larger than the rest of the bound.
                    Err(PushError::Full) => {}
                    done => return done,
                }
            }
            drained.await;
        }
    }

    /// Owes the peer a pong. Only the latest is kept.
    pub fn push_pong(&self, framed: Bytes) {
        let mut state = self.lock();
        if state.finished {
            return;
        }
        state.pong = Some(framed);
        drop(state);
        self.filled.notify_one();
    }

    /// Takes nothing more; `last` is queued as the last message, whatever the bounds. What waits may still be
    /// written, and then [`Outbox::next`] ends.
    pub fn finish(&self, last: Option<&Frame>) {
        let encoding = self.encoding();
        let last = last.and_then(|frame| frame.framed(encoding).ok());
        let mut state = self.lock();
        if !state.finished {
            state.finished = true;
            if let Some(bytes) = last {
                state.bytes += bytes.len();
                state.queue.push_back(bytes);
            }
        }
        drop(state);
        self.filled.notify_one();
        self.drained.notify_waiters();
    }
}

// === draining it ===

impl Outbox {
    /// Waits until something is to be written and moves all of it into `batch`. False: it is finished and empty.
    /// There is one writer; dropping the future loses nothing.
    pub async fn next(&self, batch: &mut Vec<Bytes>) -> bool {
        loop {
            {
                let mut state = self.lock();
                batch.extend(state.pong.take());
                if !state.queue.is_empty() {
                    batch.extend(state.queue.drain(..));
                    state.bytes = 0;
                    // A queue that was long once gives its memory back.
                    if state.queue.capacity() > 256 {
                        state.queue = VecDeque::new();
                    }
                }
                if !batch.is_empty() {
                    drop(state);
                    self.drained.notify_waiters();
                    return true;
                }
                if state.finished {
                    return false;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Ends when it is finished and nothing waits: there is nothing left to write, whether the wire is ready or not.
    pub async fn ended(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if self.is_finished() && self.is_empty() {
                return;
            }
            drained.await;
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.queue.is_empty() && state.pong.is_none()
    }

    fn is_finished(&self) -> bool {
        self.lock().finished
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock but an allocation failure; the state is whole either way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
