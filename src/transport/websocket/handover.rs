//! How a connection with stateful reconnect comes to its next socket: whoever answers the request for it lays it down
//! here, and the connection's own task takes its two halves when it gets there
//! (docs/builders/signalr-protocol.md#4.13).

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::sync::Notify;

use super::io::{SocketReader, SocketWriter};
use crate::wire::ReconnectState;

/// Room for one socket. A newer one drops what was not taken of an older one: the client has given that up.
#[derive(Debug, Default)]
pub(in crate::transport) struct Handover {
    /// Whether there may be another socket.
    pub(in crate::transport) reconnect_state: ReconnectState,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the newest socket; the connection began with 0.
    newest: u64,
    reader: Option<NewReader>,
    writer: Option<NewWriter>,
}

/// The reading half of a new socket.
#[derive(Debug)]
pub(super) struct NewReader {
    pub(super) socket: u64,
    pub(super) reader: SocketReader,
    /// Bytes that came right behind the HTTP request.
    pub(super) early: BytesMut,
    /// Shared by the two halves: nothing but a close frame may be written any more.
    pub(super) parted: Arc<AtomicBool>,
}

/// The writing half of a new socket.
#[derive(Debug)]
pub(super) struct NewWriter {
    pub(super) socket: u64,
    pub(super) writer: SocketWriter,
    pub(super) parted: Arc<AtomicBool>,
}

impl Handover {
    /// Lays a socket down. It comes back if the connection has ended meanwhile.
    pub(super) fn offer(
        &self,
        (reader, writer): (SocketReader, SocketWriter),
        early: BytesMut,
    ) -> Result<(), (SocketReader, SocketWriter)> {
        let mut state = self.lock();
        // Under the lock: who has ended the connection and looks here afterwards finds what was laid down before.
        if !self.reconnect_state.is_open() {
            return Err((reader, writer));
        }
        state.newest += 1;
        let (socket, parted) = (state.newest, Arc::default());
        state.reader = Some(NewReader { socket, reader, early, parted: Arc::clone(&parted) });
        state.writer = Some(NewWriter { socket, writer, parted });
        drop(state);
        self.arrived.notify_waiters();
        Ok(())
    }

    /// Waits for a socket after this one.
    pub(super) async fn newer_than(&self, socket: u64) {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if self.lock().newest > socket {
                return;
            }
            arrived.await;
        }
    }

    /// Whether there has been a socket after this one.
    pub(super) fn has_newer_than(&self, socket: u64) -> bool {
        self.lock().newest > socket
    }

    pub(super) fn take_reader(&self) -> Option<NewReader> {
        self.lock().reader.take()
    }

    pub(super) fn take_writer(&self) -> Option<NewWriter> {
        self.lock().writer.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the next socket, where there may be one.
#[derive(Clone, Debug, Default)]
pub(super) struct Next {
    /// The number of the one in use.
    pub(super) socket: u64,
    pub(super) handover: Option<Arc<Handover>>,
}

impl Next {
    /// Waits until another socket is there; for ever where there is none to come.
    pub(super) async fn waits(&self) {
        match &self.handover {
            Some(handover) => handover.newer_than(self.socket).await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.handover.as_ref().is_some_and(|handover| handover.has_newer_than(self.socket))
    }
}
