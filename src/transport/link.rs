//! What a connection has beyond its entry in the table, from the first request that brings something for it: the
//! pipe that POSTs fill, the place where polls wait, and the signal that ends it.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::pipe::Pipe;
use super::polls::Polls;
use super::websocket::handover::Handover;
use crate::close::{CloseReason, CloseSignal};
use crate::ids::{ConnectionId, ConnectionToken};

/// One connection as its HTTP requests share it.
#[derive(Debug)]
pub(super) struct Link {
    /// Its public id.
    pub(super) id: ConnectionId,
    /// Its key in the table.
    pub(super) token: ConnectionToken,
    /// Ends it.
    pub(super) close: CloseSignal,
    /// What was posted for it.
    pub(super) inbound: Pipe,
    /// Held by the POST that is being read: POSTs are applied whole, one after the other.
    pub(super) posting: Mutex<()>,
    /// Where its polls wait.
    pub(super) polls: Polls,
    /// Where its next socket is laid down, if negotiate granted stateful reconnect.
    pub(super) handover: Option<Arc<Handover>>,
}

impl Link {
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
            posting: Mutex::new(()),
            polls: Polls::default(),
            handover: stateful.then(Arc::default),
        }
    }

    /// Whether another socket may take it over.
    pub(super) fn may_resume(&self) -> bool {
        self.handover.as_ref().is_some_and(|handover| handover.reconnect_state.is_open())
    }

    /// Ends a connection whose client may not come again: it has expired, or asked for its end.
    pub(super) fn give_up(&self, reason: CloseReason) {
        self.close.close(reason);
        self.inbound.close();
        self.polls.take_no_more();
    }
}
