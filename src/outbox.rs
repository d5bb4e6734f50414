//! Layer 3: what waits for one client. Bounded in bytes and in messages; senders never wait for a slow client, only
//! a connection's own answers do (docs/design.md#6, rule 6).
//!
//! Every byte that leaves for a client goes through its outbox, so there is one order and one writer. Entries are
//! already framed for the client's transport: what a batch holds is written as it is.
//!
//! Once a connection has been asked to end, messages are dropped: only what was queued before, and then the Close
//! message, is still written, as in the reference (docs/builders/signalr-protocol.md#4.9).
//!
//! With stateful reconnect (`retained`) what was written is kept until the client has acknowledged it.

mod replay_buffer;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use self::replay_buffer::ReplayBuffer;
use crate::close::CloseSignal;
use crate::outgoing::{Encoding, OutgoingMessage};
use crate::protocol::{HubMessage, ValueError};

/// Above this many waiting bytes a connection's own stream items and completions wait (reference: 64 KiB pipe,
/// docs/builders/signalr-protocol.md#1.9).
const HIGH_WATER_MARK: usize = 64 * 1024;

/// How long a connection's own messages wait for a client that does not acknowledge (docs/design.md#7).
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The queue of one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<OutboxState>,
    /// How messages are framed until the handshake, and from then on.
    first_encoding: Encoding,
    encoding: OnceLock<Encoding>,
    /// The connection's: once it is given, no message is queued any more.
    close: CloseSignal,
    /// Tells the writer that something waits, or that no more will come.
    not_empty: Notify,
    /// Tells a waiting answer that there is room.
    changed: Notify,
    max_bytes: usize,
    max_messages: usize,
}

#[derive(Debug)]
struct OutboxState {
    queue: VecDeque<QueuedMessage>,
    bytes: usize,
    /// What is not acknowledged, where the client acknowledges.
    replay: Option<Box<ReplayBuffer>>,
    /// The latest pong that is owed; it overtakes the queue, and a newer one replaces it (RFC 6455, 5.5.3).
    pong: Option<Bytes>,
    finished: bool,
}

#[derive(Debug)]
struct QueuedMessage {
    bytes: Bytes,
    /// Whether stateful reconnect counts it.
    trackable: bool,
}

/// Why something could not be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    /// The bounds are reached, or the client has not acknowledged for too long: it must be closed. What was pushed is
    /// not queued.
    Full,
    /// The connection is ending; the message is dropped, as the reference does.
    Finished,
    /// The message has no form in the client's protocol.
    Value(ValueError),
}

// === making and filling it ===

impl Outbox {
    /// An empty queue of the connection that `close` ends. `None` is no bound. The protocol of `encoding` is known
    /// after the handshake only: see [`Outbox::set_encoding`].
    pub(crate) fn new(
        encoding: Encoding,
        max_bytes: Option<usize>,
        max_messages: Option<usize>,
        close: CloseSignal,
    ) -> Self {
        let state = OutboxState { queue: VecDeque::new(), bytes: 0, replay: None, pong: None, finished: false };
        Self {
            state: Mutex::new(state),
            first_encoding: encoding,
            encoding: OnceLock::new(),
            close,
            not_empty: Notify::new(),
            changed: Notify::new(),
            max_bytes: max_bytes.unwrap_or(usize::MAX),
            max_messages: max_messages.unwrap_or(usize::MAX),
        }
    }

    /// How messages are framed from now on, as the handshake has settled it; a second word changes nothing.
    pub(crate) fn set_encoding(&self, encoding: Encoding) {
        let _ = self.encoding.set(encoding);
    }

    /// How messages are framed. Takes no lock.
    pub(crate) fn encoding(&self) -> Encoding {
        *self.encoding.get().unwrap_or(&self.first_encoding)
    }

    /// Queues a message. Never waits.
    pub(crate) fn push(&self, message: &OutgoingMessage) -> Result<(), PushError> {
        // Encoding happens outside of the lock: the first receiver of a large broadcast does the work.
        let bytes = message.encoded(self.encoding()).map_err(PushError::Value)?;
        self.try_enqueue(QueuedMessage { bytes, trackable: message.is_trackable() }, |_| true)
    }

    /// Queues bytes that are already framed for this client's transport, and no message that is ever acknowledged: the
    /// answer to a handshake. It is taken while the connection is closing too, since the Close message must follow it.
    pub(crate) fn push_bytes(&self, bytes: Bytes) -> Result<(), PushError> {
        self.put_always(QueuedMessage { bytes, trackable: false }, |_| true)
    }

    /// Queues a message of the connection's own, after waiting for room: the back-pressure of answers. `Full`: there
    /// was none for 5 s because the client does not acknowledge.
    pub(crate) async fn push_waiting(&self, message: &OutgoingMessage) -> Result<(), PushError> {
        let bytes = message.encoded(self.encoding()).map_err(PushError::Value)?;
        let trackable = message.is_trackable();
        let high_water = HIGH_WATER_MARK.min(self.max_bytes);
        let fits = |state: &OutboxState| state.bytes < high_water && state.queue.len() < self.max_messages;
        self.retry_until(|| match self.try_enqueue(QueuedMessage { bytes: bytes.clone(), trackable }, fits) {
            Err(PushError::Full) => None,
            done => Some(done),
        })
        .await?
    }

    /// Queues an item of a stream. Beyond [`Outbox::push_waiting`] it waits until little enough is unacknowledged,
    /// and while there is no socket: what is kept then is kept for others.
    pub(crate) async fn push_item(&self, message: &OutgoingMessage) -> Result<(), PushError> {
        let may_send_item = |replay: &ReplayBuffer, bytes| replay.is_attached() && replay.is_acknowledged(bytes);
        self.retry_until(|| {
            let state = self.lock();
            let ready = state.finished
                || self.is_closing()
                || state.replay.as_ref().is_none_or(|replay| may_send_item(replay, state.bytes));
            ready.then_some(())
        })
        .await?;
        self.push_waiting(message).await
    }

    /// Tries again whenever something has left, come in or changed. `Full`: the client alone could have made room, by
    /// acknowledging, and had its time.
    async fn retry_until<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> Result<T, PushError> {
        let mut deadline = None;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(done) = attempt() {
                return Ok(done);
            }
            if self.waits_for_acks() {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + ACK_TIMEOUT);
                timeout_at(deadline, changed).await.map_err(|_| PushError::Full)?;
            } else {
                deadline = None;
                changed.await;
            }
        }
    }

    /// Whether nothing waits to be written, so that only Acks can make room.
    fn waits_for_acks(&self) -> bool {
        let state = self.lock();
        state.queue.is_empty() && state.replay.as_ref().is_some_and(|replay| replay.is_attached())
    }

    /// Queues what is within the bounds and `fits`, unless the connection has been asked to end.
    fn try_enqueue(&self, message: QueuedMessage, fits: impl FnOnce(&OutboxState) -> bool) -> Result<(), PushError> {
        if self.is_closing() {
            return Err(PushError::Finished);
        }
        self.put_always(message, fits)
    }

    fn put_always(&self, message: QueuedMessage, fits: impl FnOnce(&OutboxState) -> bool) -> Result<(), PushError> {
        let mut state = self.lock();
        if state.finished {
            return Err(PushError::Finished);
        }
        let within = match &state.replay {
            // Pings and Acks are worth nothing to a client that is not there.
            Some(replay) if !message.trackable && !replay.is_attached() => return Ok(()),
            Some(replay) => {
                let has_slot = state.queue.len() < self.max_messages || state.queue.is_empty();
                has_slot && replay.has_room(state.bytes, message.bytes.len())
            }
            // One message larger than the bound passes when nothing waits: it is no sign of a slow client.
            None if state.queue.is_empty() => true,
            None => {
                state.queue.len() < self.max_messages
                    && state.bytes.saturating_add(message.bytes.len()) <= self.max_bytes
            }
        };
        if !within || !fits(&state) {
            return Err(PushError::Full);
        }
        state.bytes += message.bytes.len();
        state.queue.push_back(message);
        drop(state);
        self.not_empty.notify_one();
        Ok(())
    }

    /// Owes the peer a pong. Only the latest is kept.
    pub(crate) fn push_pong(&self, framed: Bytes) {
        let mut state = self.lock();
        if state.finished {
            return;
        }
        state.pong = Some(framed);
        drop(state);
        self.not_empty.notify_one();
    }

    /// Takes nothing more; `last` is queued as the last message, whatever the bounds. What waits may still be
    /// written, and then [`Outbox::next`] ends.
    pub(crate) fn finish(&self, last: Option<&OutgoingMessage>) {
        let last = last.and_then(|message| message.encoded(self.encoding()).ok());
        let mut state = self.lock();
        if !state.finished {
            state.finished = true;
            if let Some(bytes) = last {
                state.bytes += bytes.len();
                state.queue.push_back(QueuedMessage { bytes, trackable: false });
            }
        }
        drop(state);
        self.not_empty.notify_one();
        self.changed.notify_waiters();
    }
}

// === stateful reconnect ===

impl Outbox {
    /// From now on what is written is kept until it is acknowledged. `allowance` is how many bytes may be added while
    /// no socket is attached, and how many of a stream's may be unacknowledged.
    pub(crate) fn enable_replay(&self, allowance: usize) {
        let most = self.max_bytes;
        self.lock().replay.get_or_insert_with(|| Box::new(ReplayBuffer::new(allowance, most)));
    }

    /// Whether what is written is kept.
    pub(crate) fn has_replay_buffer(&self) -> bool {
        self.lock().replay.is_some()
    }

    /// The client has everything up to this id. Of a client that does not acknowledge it means nothing.
    pub(crate) fn acknowledge(&self, id: i64) {
        let mut state = self.lock();
        let waiting = state.bytes;
        let Some(replay) = &mut state.replay else { return };
        replay.acknowledge(id, waiting);
        drop(state);
        self.changed.notify_waiters();
    }

    /// A socket is gone. Until [`Outbox::resume`] with a later one nothing is given out. Sockets that have been
    /// replaced already do not count.
    pub(crate) fn detach(&self, socket: u64, now: Instant) {
        let mut state = self.lock();
        let waiting = state.bytes;
        if state.replay.as_mut().is_some_and(|replay| replay.detach(socket, now, waiting)) {
            state.drop_untrackable();
            drop(state);
            // Whoever waits for Acks waits for a socket now, and that has its own time.
            self.changed.notify_waiters();
        }
    }

    /// Since when no socket is attached.
    pub(crate) fn detached_since(&self) -> Option<Instant> {
        self.lock().replay.as_ref().and_then(|replay| replay.detached_since())
    }

    /// Begins with another socket: `batch` gets what that one must be sent first, the Sequence and everything that is
    /// not acknowledged. Nothing else may be sent before. False: the connection is ending, and has no use for it.
    pub(crate) fn resume(&self, socket: u64, batch: &mut Vec<Bytes>) -> bool {
        let mut state = self.lock();
        if state.finished || self.is_closing() {
            return false;
        }
        let Some(replay) = &mut state.replay else { return false };
        replay.attach(socket);
        let sequence = OutgoingMessage::new(HubMessage::Sequence { sequence_id: replay.first_id() });
        batch.extend(sequence.encoded(self.encoding()));
        batch.extend(replay.messages());
        state.drop_untrackable();
        drop(state);
        self.not_empty.notify_one();
        self.changed.notify_waiters();
        true
    }
}

impl OutboxState {
    /// What was meant for a socket that is gone.
    fn drop_untrackable(&mut self) {
        self.pong = None;
        self.queue.retain(|message| message.trackable);
        self.bytes = self.queue.iter().map(|message| message.bytes.len()).sum();
    }

    fn is_detached(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| !replay.is_attached())
    }
}

// === draining it ===

impl Outbox {
    /// Waits until something is to be written and moves all of it into `batch`. False: it is finished and empty, or
    /// finished and without a socket.
    /// There is one writer; dropping the future loses nothing.
    pub(crate) async fn next(&self, batch: &mut Vec<Bytes>) -> bool {
        loop {
            {
                let mut guard = self.lock();
                let state = &mut *guard;
                let is_detached = state.is_detached();
                if !is_detached {
                    batch.extend(state.pong.take());
                }
                if !is_detached && !state.queue.is_empty() {
                    for QueuedMessage { bytes, trackable } in state.queue.drain(..) {
                        if trackable && let Some(replay) = &mut state.replay {
                            replay.push(bytes.clone());
                        }
                        batch.push(bytes);
                    }
                    state.bytes = 0;
                    // A queue that was long once gives its memory back.
                    if state.queue.capacity() > 256 {
                        state.queue = VecDeque::new();
                    }
                }
                if !batch.is_empty() {
                    drop(guard);
                    self.changed.notify_waiters();
                    return true;
                }
                if state.finished {
                    return false;
                }
            }
            self.not_empty.notified().await;
        }
    }

    /// Ends when it is finished and nothing can be written any more, whether the wire is ready or not.
    pub(crate) async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_ended() {
                return;
            }
            changed.await;
        }
    }

    #[cfg(test)]
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.queue.is_empty() && state.pong.is_none()
    }

    fn is_closing(&self) -> bool {
        self.close.reason().is_some()
    }

    fn is_ended(&self) -> bool {
        let state = self.lock();
        state.finished && (state.is_detached() || state.queue.is_empty() && state.pong.is_none())
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        // Nothing panics under this lock but an allocation failure; the state is whole either way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
