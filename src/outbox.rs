//! Layer 3: the queue of messages for one connection, bounded in bytes and in messages. Broadcasts never wait for a
//! slow client; only the connection's own stream items and completions do (docs/design.md#6, rule 6).
//!
//! Everything that is sent to a client passes through its outbox, so that there is one order and one writer. Messages
//! are queued with the framing of the client's transport, and batches are written unchanged.
//!
//! Once a connection is closing, further messages are dropped. Only those that were queued before are still written,
//! and then the close message, as in ASP.NET Core (docs/builders/signalr-protocol.md#4.9).
//!
//! With stateful reconnect, written messages are kept in a replay buffer (`replay_buffer`) until the client has
//! acknowledged them.

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

/// How many bytes may be queued before the connection's own stream items and completions wait. ASP.NET Core's pipe has
/// the same limit (docs/builders/signalr-protocol.md#1.9).
const HIGH_WATER_MARK: usize = 64 * 1024;

/// How long the connection's own messages wait for a client that does not acknowledge (docs/design.md#7).
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The queue of one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<OutboxState>,
    /// The encoding until the handshake.
    first_encoding: Encoding,
    /// The encoding after the handshake.
    encoding: OnceLock<Encoding>,
    /// The signal that closes the connection. Once it has been given, no further messages are queued.
    close: CloseSignal,
    /// Notified when a message has been queued, or when no more will be. The writer waits for it.
    not_empty: Notify,
    /// Notified when messages may have become acceptable. Stream items and completions wait for it.
    changed: Notify,
    max_bytes: usize,
    max_messages: usize,
}

#[derive(Debug)]
struct OutboxState {
    queue: VecDeque<QueuedMessage>,
    bytes: usize,
    /// The messages that have not been acknowledged, with stateful reconnect.
    replay: Option<Box<ReplayBuffer>>,
    /// A pong that has to be sent. It overtakes the queue, and a newer one replaces it (RFC 6455, 5.5.3).
    pong: Option<Bytes>,
    finished: bool,
}

#[derive(Debug)]
struct QueuedMessage {
    bytes: Bytes,
    /// Whether stateful reconnect numbers the message and keeps it until it is acknowledged.
    trackable: bool,
}

/// Why something could not be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    /// A bound is reached, or the client has not acknowledged for too long: the connection must be closed. The message
    /// was not queued.
    Full,
    /// The connection is closing; the message was dropped, as in ASP.NET Core.
    Finished,
    /// The message cannot be represented in the client's protocol.
    Value(ValueError),
}

// === pushing ===

impl Outbox {
    /// Makes an empty queue for the connection that `close` ends; a bound of `None` means no bound. The protocol is not
    /// known before the handshake, after which [`Outbox::set_encoding`] replaces `encoding`.
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

    /// Sets the encoding that results from the handshake. Only the first call has an effect.
    pub(crate) fn set_encoding(&self, encoding: Encoding) {
        let _ = self.encoding.set(encoding);
    }

    /// The current encoding. Takes no lock.
    pub(crate) fn encoding(&self) -> Encoding {
        *self.encoding.get().unwrap_or(&self.first_encoding)
    }

    /// Queues a message, and returns its length in bytes. Never waits.
    pub(crate) fn push(&self, message: &OutgoingMessage) -> Result<usize, PushError> {
        self.push_if(message, |_| true)
    }

    fn push_if(&self, message: &OutgoingMessage, fits: impl FnOnce(&OutboxState) -> bool) -> Result<usize, PushError> {
        // Encoded before locking, because the first recipient of a large broadcast has to do the work.
        let bytes = message.encoded(self.encoding()).map_err(PushError::Value)?;
        let length = bytes.len();
        self.try_enqueue(QueuedMessage { bytes, trackable: message.is_trackable() }, fits)?;
        Ok(length)
    }

    /// Queues the answer to a handshake, which is already framed for the client's transport and is never acknowledged.
    /// It is accepted even if the connection is closing, since the close message must follow it.
    pub(crate) fn push_bytes(&self, bytes: Bytes) -> Result<(), PushError> {
        self.put_always(QueuedMessage { bytes, trackable: false }, |_| true)
    }

    /// Queues a message of the connection's own, such as a completion, after waiting until the outbox has space for it.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] if the client did not make space by acknowledging messages within 5 s.
    pub(crate) async fn push_waiting(&self, message: &OutgoingMessage) -> Result<(), PushError> {
        let high_water = HIGH_WATER_MARK.min(self.max_bytes);
        let fits = |state: &OutboxState| state.bytes < high_water && state.queue.len() < self.max_messages;
        self.retry_until(|| {
            // Encoded only once there is space, so that what waits takes no memory of its own.
            let state = self.lock();
            if !state.finished && !self.is_closing() && !fits(&state) {
                return None;
            }
            drop(state);
            match self.push_if(message, fits) {
                Err(PushError::Full) => None,
                done => Some(done.map(drop)),
            }
        })
        .await?
    }

    /// Queues an item of a stream, like [`Outbox::push_waiting`]. It also waits while too much is unacknowledged, and
    /// while no socket is attached, so that streams leave the space in the replay buffer to other messages.
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

    /// Calls `attempt` again after each change until it succeeds. Fails with [`PushError::Full`] if only acks from the
    /// client could have helped, and they did not arrive within [`ACK_TIMEOUT`].
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

    /// Whether the queue is empty, so that only acks can make space.
    fn waits_for_acks(&self) -> bool {
        let state = self.lock();
        state.queue.is_empty() && state.replay.as_ref().is_some_and(|replay| replay.is_attached())
    }

    /// Queues a message if it is within the bounds and `fits` returns `true`, unless the connection is closing.
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
            // Pings and acks are meaningless while no socket is attached.
            Some(replay) if !message.trackable && !replay.is_attached() => return Ok(()),
            Some(replay) => {
                let has_slot = state.queue.len() < self.max_messages || state.queue.is_empty();
                has_slot && replay.has_room(state.bytes, message.bytes.len())
            }
            // An empty queue accepts a message of any size, since its size does not mean that the client is slow.
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

    /// Queues a pong, which replaces one that has not been written yet.
    pub(crate) fn push_pong(&self, framed: Bytes) {
        let mut state = self.lock();
        if state.finished {
            return;
        }
        state.pong = Some(framed);
        drop(state);
        self.not_empty.notify_one();
    }

    /// Finishes the outbox: `last` is queued regardless of the bounds, and nothing is accepted afterwards. Messages in
    /// the queue may still be written; after them, [`Outbox::next`] returns `false`.
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
    /// Keeps written messages from now on until they are acknowledged. `allowance` is how many bytes may be added while
    /// no socket is attached, and with how many unacknowledged bytes streams may continue.
    pub(crate) fn enable_replay(&self, allowance: usize) {
        let most = self.max_bytes;
        self.lock().replay.get_or_insert_with(|| Box::new(ReplayBuffer::new(allowance, most)));
    }

    /// Whether written messages are kept until they are acknowledged.
    pub(crate) fn has_replay_buffer(&self) -> bool {
        self.lock().replay.is_some()
    }

    /// Handles an ack: the client has received everything up to this id. Ignored without a replay buffer.
    pub(crate) fn acknowledge(&self, id: i64) {
        let mut state = self.lock();
        let waiting = state.bytes;
        let Some(replay) = &mut state.replay else { return };
        replay.acknowledge(id, waiting);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Detaches a socket that was lost. [`Outbox::next`] returns nothing until [`Outbox::resume`] is called with a
    /// later socket. Ignored for a socket that has been replaced already.
    pub(crate) fn detach(&self, socket: u64, now: Instant) {
        let mut state = self.lock();
        let waiting = state.bytes;
        if state.replay.as_mut().is_some_and(|replay| replay.detach(socket, now, waiting)) {
            state.drop_untrackable();
            drop(state);
            // Pushes that waited for acks wait for a socket now, without `ACK_TIMEOUT`.
            self.changed.notify_waiters();
        }
    }

    /// When the last socket was lost; `None` while one is attached.
    pub(crate) fn detached_since(&self) -> Option<Instant> {
        self.lock().replay.as_ref().and_then(|replay| replay.detached_since())
    }

    /// Resumes on another socket. Appends to `batch` what must be sent on it first: the Sequence message and every
    /// message that has not been acknowledged. Returns `false` if the connection is closing and cannot be resumed.
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

    /// Waits until messages are written to this socket or a newer one ([`Outbox::resume`]). Cancel safe.
    pub(crate) async fn attached(&self, socket: u64) {
        self.until(|state| state.replay.as_ref().is_none_or(|replay| replay.attached_socket() >= socket)).await;
    }
}

impl OutboxState {
    /// Drops messages that make sense on the lost socket only, such as pings.
    fn drop_untrackable(&mut self) {
        self.pong = None;
        self.queue.retain(|message| message.trackable);
        self.bytes = self.queue.iter().map(|message| message.bytes.len()).sum();
    }

    fn is_detached(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| !replay.is_attached())
    }
}

// === taking messages out ===

impl Outbox {
    /// Waits until there is something to write, and moves all of it into `batch`. Returns `false` if the outbox is
    /// finished, and is empty or has no socket.
    ///
    /// Only one writer may call this. It is cancel-safe.
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
                    // Frees the memory of a queue that has been long.
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

    /// Waits until the outbox is finished and nothing is left that could be written.
    pub(crate) async fn ended(&self) {
        self.until(|state| state.finished && (state.is_detached() || state.queue.is_empty() && state.pong.is_none()))
            .await;
    }

    /// Whether there is nothing to write.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.queue.is_empty() && state.pong.is_none()
    }

    fn is_closing(&self) -> bool {
        self.close.reason().is_some()
    }

    /// Waits until `condition` holds; looks again after each change. Cancel safe.
    async fn until(&self, condition: impl Fn(&OutboxState) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if condition(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        // Nothing but an allocation failure can panic while this lock is held, and the state is consistent even then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
