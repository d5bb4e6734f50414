//! What a client with stateful reconnect has not acknowledged: kept until it has, and sent again over its next socket
//! (docs/builders/signalr-protocol.md#4.13; limits as in docs/design.md#7).

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

/// The outgoing half of stateful reconnect. Sockets are numbered as in [`crate::wire::Resumption`].
#[derive(Debug)]
pub(super) struct Retained {
    /// Messages that were written at least once, from id `acked + 1` on.
    sent: VecDeque<Bytes>,
    bytes: usize,
    /// Up to here the client has acknowledged.
    acked: u64,
    /// The socket that is written to.
    current: u64,
    /// Sockets below this one are gone.
    lost: u64,
    /// Since when there is none.
    since: Option<Instant>,
    /// What may be added while there is no socket, and what streams may have unacknowledged.
    allowance: usize,
    /// What may be kept and wait while there is one.
    most: usize,
    /// What may be kept and wait now.
    bound: usize,
}

impl Retained {
    pub(super) fn new(allowance: usize, most: usize) -> Self {
        let (sent, bytes, acked) = (VecDeque::new(), 0, 0);
        Self { sent, bytes, acked, current: 0, lost: 0, since: None, allowance, most, bound: most }
    }

    /// A message is being written.
    pub(super) fn keep(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.sent.push_back(message);
    }

    /// The client has everything up to this id. One that was not sent yet cannot be meant: it counts as the last that
    /// was.
    pub(super) fn ack(&mut self, id: i64, waiting: usize) {
        let acked = u64::try_from(id).unwrap_or(0).min(self.acked + self.sent.len() as u64);
        while self.acked < acked
            && let Some(message) = self.sent.pop_front()
        {
            self.bytes -= message.len();
            self.acked += 1;
        }
        if self.sent.is_empty() && self.sent.capacity() > 256 {
            self.sent = VecDeque::new();
        }
        if self.is_attached() && self.bytes.saturating_add(waiting) <= self.most {
            self.bound = self.most;
        }
    }

    /// A socket is gone. True: it was the last there was.
    pub(super) fn detach(&mut self, socket: u64, now: Instant, waiting: usize) -> bool {
        self.lost = self.lost.max(socket + 1);
        if self.is_attached() || self.since.is_some() {
            return false;
        }
        self.since = Some(now);
        self.bound = self.bytes.saturating_add(waiting).min(self.most).saturating_add(self.allowance);
        true
    }

    /// Another socket is written to from now on.
    pub(super) fn attach(&mut self, socket: u64) {
        self.current = self.current.max(socket);
        if self.is_attached() {
            self.since = None;
            // What was added meanwhile is not held against the client before it could acknowledge it.
            self.bound = self.bound.max(self.most);
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.current >= self.lost
    }

    /// Since when there is no socket.
    pub(super) fn detached_since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether so many bytes more may be taken while `waiting` wait.
    pub(super) fn has_room(&self, waiting: usize, more: usize) -> bool {
        let all = self.bytes.saturating_add(waiting);
        // One message larger than the bound passes where there is nothing else: it is no sign of a slow client.
        all == 0 || all.saturating_add(more) <= self.bound
    }

    /// Whether so little is unacknowledged that streams may go on.
    pub(super) fn is_acknowledged(&self, waiting: usize) -> bool {
        self.bytes.saturating_add(waiting) <= self.allowance
    }

    /// The id of the first message that is not acknowledged, or of the next one.
    pub(super) fn first(&self) -> i64 {
        i64::try_from(self.acked.saturating_add(1)).unwrap_or(i64::MAX)
    }

    /// All that is not acknowledged, in order.
    pub(super) fn sent(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.sent.iter().cloned()
    }
}
