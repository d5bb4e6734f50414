//! What a connection has beyond its entry in the table, from the first request that brings something for it: the
//! pipe that POSTs fill, the place where polls wait, and the signal that ends it.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::pipe::Pipe;
use super::poll_channel::PollChannel;
use super::websocket::reconnect_slot::ReconnectSlot;
use crate::close::{CloseReason, CloseSignal};
use crate::ids::{ConnectionId, ConnectionToken};

/// One connection as its HTTP requests share it.
#[derive(Debug)]
pub(super) struct TransportConnection {
    /// Its public id.
    pub(super) id: ConnectionId,
    /// Its key in the table.
    pub(super) token: ConnectionToken,
    /// Ends it.
    pub(super) close: CloseSignal,
    /// What was posted for it.
    pub(super) inbound: Pipe,
    /// Held by the POST that is being read: POSTs are applied whole, one after the other.
    pub(super) post_lock: Mutex<()>,
    /// Where its polls wait.
    pub(super) polls: PollChannel,
    /// Where its next socket is laid down, if negotiate granted stateful reconnect.
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

    /// Whether another socket may take it over.
    pub(super) fn may_resume(&self) -> bool {
        self.reconnect_slot.as_ref().is_some_and(|reconnect_slot| reconnect_slot.reconnect_state.is_open())
    }

    /// Ends a connection whose client may not come again: it has expired, or asked for its end.
    pub(super) fn abandon(&self, reason: CloseReason) {
        self.close.close(reason);
        self.inbound.close();
        self.polls.stop_accepting_polls();
    }
}
