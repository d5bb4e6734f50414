//! The state that the HTTP requests of one connection share: the pipe that POSTs fill, the channel to its polls, and
//! the signal that closes it. It is created by the connection's first transport request or POST.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::pipe::Pipe;
use super::poll_channel::PollChannel;
use super::websocket::reconnect_slot::ReconnectSlot;
use crate::close::{CloseReason, CloseSignal};
use crate::ids::{ConnectionId, ConnectionToken};

/// The shared state of one connection's HTTP requests.
#[derive(Debug)]
pub(super) struct TransportConnection {
    pub(super) id: ConnectionId,
    /// Its key in the connection table.
    pub(super) token: ConnectionToken,
    /// Closes it.
    pub(super) close: CloseSignal,
    /// The bytes that POSTs have brought; the connection's task reads them.
    pub(super) inbound: Pipe,
    /// Held by the POST whose body is being read, so that bodies are not interleaved.
    pub(super) post_lock: Mutex<()>,
    /// Passes data from the connection's task to its polls.
    pub(super) polls: PollChannel,
    /// Passes the next socket to the connection's task; present if negotiate granted stateful reconnect.
    pub(super) reconnect_slot: Option<Arc<ReconnectSlot>>,
}

impl TransportConnection {
    pub(super) fn new(
        id: ConnectionId,
        token: ConnectionToken,
        incoming_buffer_size: Option<usize>,
        stateful: bool,
    ) -> Self {
        Self {
            id,
            token,
            close: CloseSignal::default(),
            inbound: Pipe::new(incoming_buffer_size),
            post_lock: Mutex::new(()),
            polls: PollChannel::default(),
            reconnect_slot: stateful.then(Arc::default),
        }
    }

    /// Whether the connection may be resumed on another socket.
    pub(super) fn may_resume(&self) -> bool {
        self.reconnect_slot.as_ref().is_some_and(|reconnect_slot| reconnect_slot.reconnect_state.is_open())
    }

    /// Ends a connection whose client will send no further polls, because it has expired or has been deleted.
    pub(super) fn abandon(&self, reason: CloseReason) {
        self.close.close(reason);
        self.inbound.close();
        self.polls.stop_accepting_polls();
    }
}
