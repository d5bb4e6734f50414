//! A WebSocket as [`Source`] and [`Sink`], and how it says farewell (reference/signalr-protocol.md 1.6).

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::codec::{Decoder, NORMAL, Progress, close_frame};
use super::io::{Reader, Writer, write_all};
use crate::close::{CloseReason, CloseSignal};
use crate::outbox::Outbox;
use crate::wire::{Gone, Sink, Source, SourceEnd};

/// What is decoded at a time of the bytes that came with the HTTP request.
const PIECE: usize = 64 * 1024;

/// What a peer may still send after its end before nobody listens any more.
const FAREWELL_BYTES: usize = 1 << 20;

/// How long a peer may take to end its side of TCP after the closing handshake.
const LINGER: Duration = Duration::from_secs(1);

/// The half that reads frames.
#[derive(Debug)]
pub(super) struct WebSocketSource<R> {
    reader: R,
    decoder: Decoder,
    /// Payload that was there before the socket: what had been posted.
    posted: BytesMut,
    /// Bytes that came right behind the HTTP request.
    early: BytesMut,
    pongs: BytesMut,
    /// How often the rest of the task has its turn before the next read: the outbox keeps one pong, so the writer
    /// must get at it before another replaces it.
    turns: u8,
    /// Where pongs are owed.
    outbox: Arc<Outbox>,
    /// How it ended.
    end: Option<SourceEnd>,
    /// Shared with the sink: nothing but a close frame may be written any more.
    parted: Arc<AtomicBool>,
}

impl<R: Reader> WebSocketSource<R> {
    pub(super) fn new(reader: R, posted: BytesMut, early: BytesMut, outbox: Arc<Outbox>) -> Self {
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
        }
    }

    /// Reads and decodes once.
    async fn read(&mut self, into: &mut BytesMut) {
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

impl<R: Reader> Source for &mut WebSocketSource<R> {
    async fn recv(&mut self, into: &mut BytesMut) -> Result<(), SourceEnd> {
        if !self.posted.is_empty() {
            into.extend_from_slice(&std::mem::take(&mut self.posted));
            return Ok(());
        }
        let had = into.len();
        loop {
            if let Some(end) = self.end {
                self.parted.store(true, Ordering::Relaxed);
                return Err(end);
            }
            while self.turns > 0 {
                self.turns -= 1;
                tokio::task::yield_now().await;
            }
            self.read(into).await;
            if !self.pongs.is_empty() {
                self.outbox.push_pong(std::mem::take(&mut self.pongs).freeze());
                // Twice: in the first turn the writer may have been asked before the reader.
                self.turns = 2;
            }
            if into.len() > had {
                return Ok(());
            }
        }
    }
}

/// The half that writes frames.
#[derive(Debug)]
pub(super) struct WebSocketSink<W> {
    writer: W,
    send_timeout: Duration,
    close: CloseSignal,
    parted: Arc<AtomicBool>,
    /// A write failed: there is nobody to say farewell to.
    broken: bool,
}

impl<W: Writer> WebSocketSink<W> {
    pub(super) fn new<R>(writer: W, source: &WebSocketSource<R>, send_timeout: Duration, close: CloseSignal) -> Self {
        Self { writer, send_timeout, close, parted: source.parted.clone(), broken: false }
    }
}

impl<W: Writer> Sink for &mut WebSocketSink<W> {
    /// Always: what the socket does not take waits in [`Sink::send`], under its timeout.
    async fn ready(&mut self) {}

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Gone> {
        if self.broken || self.parted.load(Ordering::Relaxed) {
            batch.clear();
            return Err(Gone);
        }
        let timeout = self.send_timeout;
        write_all(&mut self.writer, batch, timeout).await.map_err(|error| {
            if error.kind() == ErrorKind::TimedOut {
                self.close.close(CloseReason::SendTimeout);
            }
            self.broken = true;
            Gone
        })
    }
}

// === farewell ===

/// Ends the socket after its connection has ended. Who closed first gets a close frame back and no more; otherwise the
/// peer has `timeout` to answer ours.
pub(super) async fn part<R: Reader, W: Writer>(
    mut source: WebSocketSource<R>,
    mut sink: WebSocketSink<W>,
    timeout: Duration,
) {
    let code = match source.end {
        // Half-closed or gone: simply ended, as the reference does.
        Some(SourceEnd::Lost) => return,
        Some(SourceEnd::Closed) | None => NORMAL,
        Some(SourceEnd::Violation(code)) => code,
    };
    if sink.broken {
        return sink.writer.abort();
    }
    let answers = source.end.is_some();
    let deadline = tokio::time::Instant::now() + timeout;
    let mut frame = vec![Bytes::copy_from_slice(&close_frame(code))];
    if write_all(&mut sink.writer, &mut frame, timeout).await.is_err() {
        return sink.writer.abort();
    }
    if !answers {
        match tokio::time::timeout_at(deadline, answered(&mut source)).await {
            Ok(()) => {}
            Err(_) => return sink.writer.abort(),
        }
    }
    if sink.writer.shutdown().await.is_ok() {
        // A socket that is closed with something unread is reset, which may cost the peer our close frame.
        let _ = tokio::time::timeout(LINGER.min(timeout), unread(&mut source)).await;
    }
}

/// Waits for the peer's close frame, or whatever else ends its side.
async fn answered<R: Reader>(source: &mut WebSocketSource<R>) {
    let (mut nothing, mut seen) = (BytesMut::new(), 0);
    while source.end.is_none() && seen < FAREWELL_BYTES {
        source.read(&mut nothing).await;
        seen += nothing.len();
        nothing.clear();
        source.pongs.clear();
    }
}

/// Reads to the end of the stream.
async fn unread<R: Reader>(source: &mut WebSocketSource<R>) {
    let mut seen = 0;
    while let Ok(size @ 1..) = source.reader.read(|bytes| bytes.len()).await
        && seen < FAREWELL_BYTES
    {
        seen += size;
    }
}
