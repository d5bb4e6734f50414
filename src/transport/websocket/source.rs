//! The half of a WebSocket that reads frames, as a [`Source`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;

use super::codec::{Decoder, Progress};
use super::handover::{Handover, NewReader, Next};
use super::io::SocketReader;
use crate::outbox::Outbox;
use crate::wire::{Source, SourceEnd};

/// What is decoded at a time of the bytes that came with the HTTP request.
const PIECE: usize = 64 * 1024;

/// The half that reads frames.
#[derive(Debug)]
pub(super) struct WebSocketSource {
    pub(super) reader: SocketReader,
    decoder: Decoder,
    /// Payload that was there before the socket: what had been posted.
    posted: BytesMut,
    /// Bytes that came right behind the HTTP request.
    early: BytesMut,
    pub(super) pongs: BytesMut,
    /// How often others have their turn before the next read: the outbox keeps one pong, so the writer must get at it
    /// before another replaces it.
    turns: u8,
    /// Where pongs are owed.
    outbox: Arc<Outbox>,
    /// How it ended.
    pub(super) end: Option<SourceEnd>,
    /// Shared with the sink: nothing but a close frame may be written any more.
    pub(super) parted: Arc<AtomicBool>,
    pub(super) next: Next,
}

impl WebSocketSource {
    pub(super) fn new(
        reader: SocketReader,
        posted: BytesMut,
        early: BytesMut,
        outbox: Arc<Outbox>,
        handover: Option<Arc<Handover>>,
    ) -> Self {
        Self {
            reader,
            decoder: Decoder::default(),
            posted,
            early,
            pongs: BytesMut::new(),
            turns: 0,
            outbox,
            end: None,
            parted: Arc::default(),
            next: Next { socket: 0, handover },
        }
    }

    /// Reads the newest socket from now on, if it is another.
    pub(super) fn catch_up(&mut self) {
        let Some(NewReader { socket, reader, early, parted }) =
            self.next.handover.as_ref().and_then(|handover| handover.take_reader())
        else {
            return;
        };
        (self.reader, self.early, self.parted, self.next.socket) = (reader, early, parted, socket);
        (self.decoder, self.end, self.turns) = (Decoder::default(), None, 0);
        self.posted.clear();
        self.pongs.clear();
    }

    /// The number of the socket it reads.
    pub(super) fn socket(&self) -> u64 {
        self.next.socket
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
        self.end = if self.early.is_empty() {
            self.reader.read(decode).await.unwrap_or(Some(SourceEnd::Lost))
        } else {
            let size = self.early.len().min(PIECE);
            decode(&mut self.early.split_to(size))
        };
        if self.early.is_empty() && self.early.capacity() > 0 {
            self.early = BytesMut::new();
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
            // Whatever the old socket has still to say, the client says it again on the new one.
            if self.next.is_there() {
                return Err(SourceEnd::Lost);
            }
            if let Some(end) = self.end {
                self.parted.store(true, Ordering::Relaxed);
                return Err(end);
            }
            while self.turns > 0 {
                self.turns -= 1;
                tokio::task::yield_now().await;
            }
            let next = self.next.clone();
            tokio::select! {
                biased;
                () = next.waits() => continue,
                () = self.read(into) => {}
            }
            if !self.pongs.is_empty() {
                self.outbox.push_pong(std::mem::take(&mut self.pongs).freeze());
                // Twice: in the first turn the writer may have been asked before the reader.
                self.turns = 2;
            }
            if into.len() > had {
                return Ok(());
            }
            // A peer may send what brings nothing (pongs, empty frames) as fast as it is read: it must not keep the
            // thread.
            self.turns = self.turns.max(1);
        }
    }

    async fn next_socket(&mut self) -> u64 {
        self.next.waits().await;
        self.catch_up();
        self.next.socket
    }
}
