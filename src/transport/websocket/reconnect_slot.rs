//! Passes a new socket to a connection with stateful reconnect: the task that handled the upgrade request offers the
//! socket here, and the connection's own task takes its two halves (docs/builders/signalr-protocol.md#4.13).

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::sync::Notify;

use super::socket_io::{SocketReader, SocketWriter};
use crate::wire::ReconnectState;

/// Holds at most one socket. Offering another one drops the halves of an older socket that have not been taken, because
/// the client has given that socket up.
#[derive(Debug, Default)]
pub(in crate::transport) struct ReconnectSlot {
    /// Whether the connection may still get another socket.
    pub(in crate::transport) reconnect_state: ReconnectState,
    state: Mutex<SlotState>,
    socket_arrived: Notify,
}

#[derive(Debug, Default)]
struct SlotState {
    /// The number of the newest socket; the first socket of a connection has number 0.
    newest: u64,
    reader: Option<NewReader>,
    writer: Option<NewWriter>,
}

/// The reading half of a new socket.
#[derive(Debug)]
pub(super) struct NewReader {
    pub(super) socket: u64,
    pub(super) reader: SocketReader,
    /// Bytes that arrived directly after the HTTP request.
    pub(super) leading_bytes: BytesMut,
    /// Shared by the two halves: once set, only a close frame may still be written.
    pub(super) close_frame_only: Arc<AtomicBool>,
}

/// The writing half of a new socket.
#[derive(Debug)]
pub(super) struct NewWriter {
    pub(super) socket: u64,
    pub(super) writer: SocketWriter,
    pub(super) close_frame_only: Arc<AtomicBool>,
}

impl ReconnectSlot {
    /// Offers a socket to the connection. Returns the socket as an error if the connection has ended meanwhile.
    pub(super) fn offer(
        &self,
        (reader, writer): (SocketReader, SocketWriter),
        leading_bytes: BytesMut,
    ) -> Result<(), (SocketReader, SocketWriter)> {
        let mut state = self.lock();
        // Checked under the lock: the connection's task first closes `reconnect_state` and then looks here, so it finds
        // every socket that was accepted before.
        if !self.reconnect_state.is_open() {
            return Err((reader, writer));
        }
        state.newest += 1;
        let (socket, close_frame_only) = (state.newest, Arc::default());
        state.reader =
            Some(NewReader { socket, reader, leading_bytes, close_frame_only: Arc::clone(&close_frame_only) });
        state.writer = Some(NewWriter { socket, writer, close_frame_only });
        drop(state);
        self.socket_arrived.notify_waiters();
        Ok(())
    }

    /// Waits for a socket that is newer than this one.
    pub(super) async fn newer_than(&self, socket: u64) {
        loop {
            let socket_arrived = self.socket_arrived.notified();
            tokio::pin!(socket_arrived);
            socket_arrived.as_mut().enable();
            if self.lock().newest > socket {
                return;
            }
            socket_arrived.await;
        }
    }

    /// Whether a socket that is newer than this one has been offered.
    pub(super) fn has_newer_than(&self, socket: u64) -> bool {
        self.lock().newest > socket
    }

    pub(super) fn take_reader(&self) -> Option<NewReader> {
        self.lock().reader.take()
    }

    pub(super) fn take_writer(&self) -> Option<NewWriter> {
        self.lock().writer.take()
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The socket that one half of a WebSocket uses, and where its next socket comes from, if there may be one.
#[derive(Clone, Debug, Default)]
pub(super) struct SocketSuccession {
    /// The number of the socket in use.
    pub(super) socket: u64,
    pub(super) reconnect_slot: Option<Arc<ReconnectSlot>>,
}

impl SocketSuccession {
    /// Waits until another socket is available; forever if there cannot be one.
    pub(super) async fn next_available(&self) {
        match &self.reconnect_slot {
            Some(reconnect_slot) => reconnect_slot.newer_than(self.socket).await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn has_next(&self) -> bool {
        self.reconnect_slot.as_ref().is_some_and(|reconnect_slot| reconnect_slot.has_newer_than(self.socket))
    }
}
