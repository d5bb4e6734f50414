//! The writing half of a WebSocket, as a [`Sink`].

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::codec::{CLOSE_NORMAL, close_frame};
use super::reconnect_slot::{NewWriter, SocketSuccession};
use super::socket_io::{SocketWriter, write_all};
use super::websocket_source::WebSocketSource;
use crate::close::{CloseReason, CloseSignal};
use crate::wire::{Disconnected, Sink};

/// The writing half of a WebSocket.
#[derive(Debug)]
pub(super) struct WebSocketSink {
    pub(super) writer: SocketWriter,
    send_timeout: Duration,
    close: CloseSignal,
    pub(super) close_frame_only: Arc<AtomicBool>,
    /// A write has failed or has been cancelled, so no close frame can follow.
    pub(super) broken: bool,
    pub(super) succession: SocketSuccession,
}

impl WebSocketSink {
    pub(super) fn new(
        writer: SocketWriter,
        source: &WebSocketSource,
        send_timeout: Duration,
        close: CloseSignal,
    ) -> Self {
        let (close_frame_only, succession) = (source.close_frame_only.clone(), source.succession.clone());
        Self { writer, send_timeout, close, close_frame_only, broken: false, succession }
    }

    /// Switches to the newest socket, if there is one that has not been taken.
    pub(super) fn switch_to_newest(&mut self) {
        let Some(NewWriter { socket, writer, close_frame_only }) =
            self.succession.reconnect_slot.as_ref().and_then(|reconnect_slot| reconnect_slot.take_writer())
        else {
            return;
        };
        if !self.broken && !self.close_frame_only.load(Ordering::Relaxed) {
            // In case the client still reads the old socket; without waiting.
            let mut frame = vec![Bytes::copy_from_slice(&close_frame(CLOSE_NORMAL))];
            let _ = write_all(&mut self.writer, &mut frame, Duration::ZERO).now_or_never();
        }
        (self.writer, self.close_frame_only, self.succession.socket) = (writer, close_frame_only, socket);
        self.broken = false;
    }

    /// The number of the socket in use.
    pub(super) fn socket(&self) -> u64 {
        self.succession.socket
    }
}

impl Sink for &mut WebSocketSink {
    /// Always ready: waiting for the socket happens in [`Sink::send`], with a timeout.
    async fn ready(&mut self) {}

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Disconnected> {
        if self.broken || self.close_frame_only.load(Ordering::Relaxed) {
            batch.clear();
            return Err(Disconnected);
        }
        let (timeout, succession) = (self.send_timeout, self.succession.clone());
        // Nothing may follow a partially written frame. Set before the write, so that it also holds if this future is
        // dropped during the write.
        self.broken = true;
        let written = tokio::select! {
            biased;
            written = write_all(&mut self.writer, batch, timeout) => written,
            () = succession.next_available() => Err(ErrorKind::ConnectionAborted.into()),
        };
        self.broken = written.is_err();
        written.map_err(|error| {
            // A client whose stream has already ended may still resume on another socket.
            let may_resume = self.succession.reconnect_slot.is_some() && self.close_frame_only.load(Ordering::Relaxed);
            if error.kind() == ErrorKind::TimedOut && !may_resume {
                self.close.close(CloseReason::SendTimeout);
            }
            Disconnected
        })
    }

    async fn next_socket(&mut self) -> u64 {
        self.succession.next_available().await;
        self.switch_to_newest();
        self.succession.socket
    }
}
