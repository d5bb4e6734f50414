//! The replay buffer: keeps what a client with stateful reconnect has not acknowledged, to send it again on its next
//! socket (docs/builders/signalr-protocol.md#4.13; for the limits, docs/design.md#7).

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

/// The outgoing half of stateful reconnect. Sockets are numbered as in [`crate::wire::ReconnectState`].
///
/// Several methods have a parameter `waiting`: the number of bytes in the outbox's queue.
#[derive(Debug)]
pub(super) struct ReplayBuffer {
    /// Messages that were written at least once, beginning with id `acknowledged + 1`.
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// The last id that the client has acknowledged.
    acknowledged: u64,
    /// The socket to which messages are written.
    attached_socket: u64,
    /// Sockets with lower numbers are lost.
    lost_below: u64,
    /// When the last socket was lost; `None` while one is attached.
    detached_since: Option<Instant>,
    /// How many bytes may be added while no socket is attached, and with how many unacknowledged bytes streams may
    /// continue.
    allowance: usize,
    /// How many bytes may be kept and queued together while a socket is attached.
    max_bytes: usize,
    /// How many bytes may be kept and queued together at the moment.
    limit: usize,
}

impl ReplayBuffer {
    pub(super) fn new(allowance: usize, max_bytes: usize) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            acknowledged: 0,
            attached_socket: 0,
            lost_below: 0,
            detached_since: None,
            allowance,
            max_bytes,
            limit: max_bytes,
        }
    }

    /// Keeps a message that is about to be written.
    pub(super) fn push(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    /// Drops the messages up to this id, which the client has received. An id that has not been sent yet is taken as
    /// the last one that has.
    pub(super) fn acknowledge(&mut self, id: i64, waiting: usize) {
        let acknowledged = u64::try_from(id).unwrap_or(0).min(self.acknowledged + self.messages.len() as u64);
        while self.acknowledged < acknowledged
            && let Some(message) = self.messages.pop_front()
        {
            self.bytes -= message.len();
            self.acknowledged += 1;
        }
        if self.messages.is_empty() && self.messages.capacity() > 256 {
            self.messages = VecDeque::new();
        }
        if self.is_attached() && self.bytes.saturating_add(waiting) <= self.max_bytes {
            self.limit = self.max_bytes;
        }
    }

    /// Records that a socket was lost. Returns whether no socket is attached any more.
    pub(super) fn detach(&mut self, socket: u64, now: Instant, waiting: usize) -> bool {
        self.lost_below = self.lost_below.max(socket + 1);
        if self.is_attached() || self.detached_since.is_some() {
            return false;
        }
        self.detached_since = Some(now);
        self.limit = self.bytes.saturating_add(waiting).min(self.max_bytes).saturating_add(self.allowance);
        true
    }

    /// Attaches another socket, to which messages are written from now on.
    pub(super) fn attach(&mut self, socket: u64) {
        self.attached_socket = self.attached_socket.max(socket);
        if self.is_attached() {
            self.detached_since = None;
            // The client must have a chance to acknowledge what was added in the meantime, before the usual limit
            // applies again.
            self.limit = self.limit.max(self.max_bytes);
        }
    }

    /// The number of the newest socket that has been attached.
    pub(super) fn attached_socket(&self) -> u64 {
        self.attached_socket
    }

    pub(super) fn is_attached(&self) -> bool {
        self.attached_socket >= self.lost_below
    }

    /// When the last socket was lost; `None` while one is attached.
    pub(super) fn detached_since(&self) -> Option<Instant> {
        self.detached_since
    }

    /// Whether another `more` bytes are within the limit.
    pub(super) fn has_room(&self, waiting: usize, more: usize) -> bool {
        let all = self.bytes.saturating_add(waiting);
        // If nothing is kept or queued, a message of any size is accepted: the client is not slow just because the
        // message is large.
        all == 0 || all.saturating_add(more) <= self.limit
    }

    /// Whether little enough is unacknowledged for streams to continue.
    pub(super) fn is_acknowledged(&self, waiting: usize) -> bool {
        self.bytes.saturating_add(waiting) <= self.allowance
    }

    /// The id of the first message that is not acknowledged, or of the next message if there is none.
    pub(super) fn first_id(&self) -> i64 {
        i64::try_from(self.acknowledged.saturating_add(1)).unwrap_or(i64::MAX)
    }

    /// All messages that are not acknowledged, in order.
    pub(super) fn messages(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.messages.iter().cloned()
    }
}
