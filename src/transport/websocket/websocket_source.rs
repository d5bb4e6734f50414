//! The reading half of a WebSocket, as a [`Source`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;

use super::codec::{FrameDecoder, Progress};
use super::reconnect_slot::{NewReader, ReconnectSlot, SocketSuccession};
use super::socket_io::SocketReader;
use crate::outbox::Outbox;
use crate::wire::{Source, SourceEnd};

/// How many of the bytes that arrived with the HTTP request are decoded at a time.
const DECODE_CHUNK: usize = 64 * 1024;

/// The reading half of a WebSocket.
#[derive(Debug)]
pub(super) struct WebSocketSource {
    pub(super) reader: SocketReader,
    decoder: FrameDecoder,
    /// Payload that was posted before the socket was opened.
    posted: BytesMut,
    /// Bytes that arrived directly after the HTTP request.
    leading_bytes: BytesMut,
    pub(super) pongs: BytesMut,
    /// How many times to yield before the next read: the outbox keeps only one batch of pongs, so the writer must have
    /// had a chance to take it before the next one replaces it.
    yields: u8,
    /// Receives the pongs to write.
    outbox: Arc<Outbox>,
    /// How the stream has ended, if it has.
    pub(super) end: Option<SourceEnd>,
    /// Shared with the sink: once set, only a close frame may still be written.
    pub(super) close_frame_only: Arc<AtomicBool>,
    pub(super) succession: SocketSuccession,
}

impl WebSocketSource {
    pub(super) fn new(
        reader: SocketReader,
        posted: BytesMut,
        leading_bytes: BytesMut,
        outbox: Arc<Outbox>,
        reconnect_slot: Option<Arc<ReconnectSlot>>,
    ) -> Self {
        Self {
            reader,
            decoder: FrameDecoder::default(),
            posted,
            leading_bytes,
            pongs: BytesMut::new(),
            yields: 0,
            outbox,
            end: None,
            close_frame_only: Arc::default(),
            succession: SocketSuccession { socket: 0, reconnect_slot },
        }
    }

    /// Switches to the newest socket, if there is one that has not been taken.
    pub(super) fn switch_to_newest(&mut self) {
        let Some(NewReader { socket, reader, leading_bytes, close_frame_only }) =
            self.succession.reconnect_slot.as_ref().and_then(|reconnect_slot| reconnect_slot.take_reader())
        else {
            return;
        };
        (self.reader, self.leading_bytes, self.close_frame_only, self.succession.socket) =
            (reader, leading_bytes, close_frame_only, socket);
        (self.decoder, self.end, self.yields) = (FrameDecoder::default(), None, 0);
        self.posted.clear();
        self.pongs.clear();
    }

    /// The number of the socket in use.
    pub(super) fn socket(&self) -> u64 {
        self.succession.socket
    }

    /// Reads and decodes once.
    pub(super) async fn read(&mut self, into: &mut BytesMut) {
        let (decoder, pongs) = (&mut self.decoder, &mut self.pongs);
        let mut decode = |bytes: &mut [u8]| match decoder.feed(bytes, into, pongs) {
            _ if bytes.is_empty() => Some(SourceEnd::Lost),
            Progress::Open => None,
            Progress::Closed => Some(SourceEnd::Closed),
            Progress::Violation(code) => Some(SourceEnd::Violation(code)),
        };
        self.end = if self.leading_bytes.is_empty() {
            self.reader.read(decode).await.unwrap_or(Some(SourceEnd::Lost))
        } else {
            let size = self.leading_bytes.len().min(DECODE_CHUNK);
            decode(&mut self.leading_bytes.split_to(size))
        };
        if self.leading_bytes.is_empty() && self.leading_bytes.capacity() > 0 {
            self.leading_bytes = BytesMut::new();
        }
    }
}

impl Source for &mut WebSocketSource {
    async fn recv(&mut self, into: &mut BytesMut) -> Result<(), SourceEnd> {
        if !self.posted.is_empty() {
            into.extend_from_slice(&std::mem::take(&mut self.posted));
            return Ok(());
        }
        let had = into.len();
        loop {
            // Whatever is still unread on the old socket, the client sends again on the new one.
            if self.succession.has_next() {
                return Err(SourceEnd::Lost);
            }
            if let Some(end) = self.end {
                self.close_frame_only.store(true, Ordering::Relaxed);
                return Err(end);
            }
            while self.yields > 0 {
                self.yields -= 1;
                tokio::task::yield_now().await;
            }
            let succession = self.succession.clone();
            tokio::select! {
                biased;
                () = succession.next_available() => continue,
                () = self.read(into) => {}
            }
            if !self.pongs.is_empty() {
                self.outbox.push_pong(std::mem::take(&mut self.pongs).freeze());
                // Twice: in the current round, the writer may already have been polled before the reader.
                self.yields = 2;
            }
            if into.len() > had {
                return Ok(());
            }
            // A peer may send frames without payload (pongs, empty frames) as fast as they are read. It must not
            // monopolise the thread.
            self.yields = self.yields.max(1);
        }
    }

    async fn next_socket(&mut self) -> u64 {
        self.succession.next_available().await;
        self.switch_to_newest();
        self.succession.socket
    }
}
