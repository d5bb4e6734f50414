//! The half of a WebSocket that writes frames, as a [`Sink`].

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::codec::{NORMAL, close_frame};
use super::handover::{NewWriter, Next};
use super::io::{SocketWriter, write_all};
use super::source::WebSocketSource;
use crate::close::{CloseReason, CloseSignal};
use crate::wire::{Disconnected, Sink};

/// The half that writes frames.
#[derive(Debug)]
pub(super) struct WebSocketSink {
    pub(super) writer: SocketWriter,
    send_timeout: Duration,
    close: CloseSignal,
    pub(super) parted: Arc<AtomicBool>,
    /// A write failed or was given up: there is nobody to say farewell to.
    pub(super) broken: bool,
    pub(super) next: Next,
}

impl WebSocketSink {
    pub(super) fn new(
        writer: SocketWriter,
        source: &WebSocketSource,
        send_timeout: Duration,
        close: CloseSignal,
    ) -> Self {
        let (parted, next) = (source.parted.clone(), source.next.clone());
        Self { writer, send_timeout, close, parted, broken: false, next }
    }

    /// Writes to the newest socket from now on, if it is another.
    pub(super) fn catch_up(&mut self) {
        let Some(NewWriter { socket, writer, parted }) =
            self.next.handover.as_ref().and_then(|handover| handover.take_writer())
        else {
            return;
        };
        if !self.broken && !self.parted.load(Ordering::Relaxed) {
            // A client that listens still is told, if that takes no time.
            let mut frame = vec![Bytes::copy_from_slice(&close_frame(NORMAL))];
            let _ = write_all(&mut self.writer, &mut frame, Duration::ZERO).now_or_never();
        }
        (self.writer, self.parted, self.next.socket) = (writer, parted, socket);
        self.broken = false;
    }

    /// The number of the socket it writes to.
    pub(super) fn socket(&self) -> u64 {
        self.next.socket
    }
}

impl Sink for &mut WebSocketSink {
    /// Always: what the socket does not take waits in [`Sink::send`], under its timeout.
    async fn ready(&mut self) {}

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Disconnected> {
        if self.broken || self.parted.load(Ordering::Relaxed) {
            batch.clear();
            return Err(Disconnected);
        }
        let (timeout, next) = (self.send_timeout, self.next.clone());
        // Until all of it is out: nothing may follow a frame that is cut short, also when this is given up half-way.
        self.broken = true;
        let written = tokio::select! {
            biased;
            written = write_all(&mut self.writer, batch, timeout) => written,
            () = next.waits() => Err(ErrorKind::ConnectionAborted.into()),
        };
        self.broken = written.is_err();
        written.map_err(|error| {
            // A client whose side has ended already may come again over another socket.
            let may_come = self.next.handover.is_some() && self.parted.load(Ordering::Relaxed);
            if error.kind() == ErrorKind::TimedOut && !may_come {
                self.close.close(CloseReason::SendTimeout);
            }
            Disconnected
        })
    }

    async fn next_socket(&mut self) -> u64 {
        self.next.waits().await;
        self.catch_up();
        self.next.socket
    }
}
