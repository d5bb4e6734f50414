//! What a client with stateful reconnect has not acknowledged: kept until it has, and sent again over its next socket
//! (docs/builders/signalr-protocol.md#4.13; limits as in docs/design.md#7).

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

/// The outgoing half of stateful reconnect. Sockets are numbered as in [`crate::wire::ReconnectState`].
#[derive(Debug)]
pub(super) struct ReplayBuffer {
    /// Messages that were written at least once, from id `acked + 1` on.
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// Up to here the client has acknowledged.
    acknowledged: u64,
    /// The socket that is written to.
    attached_socket: u64,
    /// Sockets below this one are gone.
    lost_below: u64,
    /// Since when there is none.
    detached_since: Option<Instant>,
    /// What may be added while there is no socket, and what streams may have unacknowledged.
    allowance: usize,
    /// What may be kept and wait while there is one.
    max_bytes: usize,
    /// What may be kept and wait now.
    limit: usize,
}

impl ReplayBuffer {
    pub(super) fn new(allowance: usize, max_bytes: usize) -> Self {
        let (sent, bytes, acknowledged) = (VecDeque::new(), 0, 0);
        Self {
            messages: sent,
            bytes,
            acknowledged,
            attached_socket: 0,
            lost_below: 0,
            detached_since: None,
            allowance,
            max_bytes,
            limit: max_bytes,
        }
    }

    /// A message is being written.
    pub(super) fn push(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    /// The client has everything up to this id. One that was not sent yet cannot be meant: it counts as the last that
    /// was.
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

    /// A socket is gone. True: it was the last there was.
    pub(super) fn detach(&mut self, socket: u64, now: Instant, waiting: usize) -> bool {
        self.lost_below = self.lost_below.max(socket + 1);
        if self.is_attached() || self.detached_since.is_some() {
            return false;
        }
        self.detached_since = Some(now);
        self.limit = self.bytes.saturating_add(waiting).min(self.max_bytes).saturating_add(self.allowance);
        true
    }

    /// Another socket is written to from now on.
    pub(super) fn attach(&mut self, socket: u64) {
        self.attached_socket = self.attached_socket.max(socket);
        if self.is_attached() {
            self.detached_since = None;
            // What was added meanwhile is not held against the client before it could acknowledge it.
            self.limit = self.limit.max(self.max_bytes);
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.attached_socket >= self.lost_below
    }

    /// Since when there is no socket.
    pub(super) fn detached_since(&self) -> Option<Instant> {
        self.detached_since
    }

    /// Whether so many bytes more may be taken while `waiting` wait.
    pub(super) fn has_room(&self, waiting: usize, more: usize) -> bool {
        let all = self.bytes.saturating_add(waiting);
        // One message larger than the bound passes where there is nothing else: it is no sign of a slow client.
        all == 0 || all.saturating_add(more) <= self.limit
    }

    /// Whether so little is unacknowledged that streams may go on.
    pub(super) fn is_acknowledged(&self, waiting: usize) -> bool {
        self.bytes.saturating_add(waiting) <= self.allowance
    }

    /// The id of the first message that is not acknowledged, or of the next one.
    pub(super) fn first_id(&self) -> i64 {
        i64::try_from(self.acknowledged.saturating_add(1)).unwrap_or(i64::MAX)
    }

    /// All that is not acknowledged, in order.
    pub(super) fn messages(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.messages.iter().cloned()
    }
}
