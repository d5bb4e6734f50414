//! A WebSocket as [`Source`] and [`Sink`], and how it says farewell (reference/signalr-protocol.md 1.6).

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;

use super::codec::{Decoder, NORMAL, Progress, close_frame};
use super::handover::{Handover, NewReader, NewWriter};
use super::io::{SocketReader, SocketWriter, write_all};
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
pub(super) struct WebSocketSource {
    reader: SocketReader,
    decoder: Decoder,
    /// Payload that was there before the socket: what had been posted.
    posted: BytesMut,
    /// Bytes that came right behind the HTTP request.
    early: BytesMut,
    pongs: BytesMut,
    /// How often others have their turn before the next read: the outbox keeps one pong, so the writer must get at it
    /// before another replaces it.
    turns: u8,
    /// Where pongs are owed.
    outbox: Arc<Outbox>,
    /// How it ended.
    end: Option<SourceEnd>,
    /// Shared with the sink: nothing but a close frame may be written any more.
    parted: Arc<AtomicBool>,
    next: Next,
}

/// The way to the next socket, where there may be one.
#[derive(Clone, Debug, Default)]
struct Next {
    /// The number of the one in use.
    socket: u64,
    handover: Option<Arc<Handover>>,
}

impl Next {
    /// Waits until another socket is there; for ever where there is none to come.
    async fn waits(&self) {
        match &self.handover {
            Some(handover) => handover.newer_than(self.socket).await,
            None => std::future::pending().await,
        }
    }

    fn is_there(&self) -> bool {
        self.handover.as_ref().is_some_and(|handover| handover.has_newer_than(self.socket))
    }
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

    async fn renewed(&mut self) -> u64 {
        self.next.waits().await;
        self.catch_up();
        self.next.socket
    }
}

/// The half that writes frames.
#[derive(Debug)]
pub(super) struct WebSocketSink {
    writer: SocketWriter,
    send_timeout: Duration,
    close: CloseSignal,
    parted: Arc<AtomicBool>,
    /// A write failed or was given up: there is nobody to say farewell to.
    broken: bool,
    next: Next,
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

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Gone> {
        if self.broken || self.parted.load(Ordering::Relaxed) {
            batch.clear();
            return Err(Gone);
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
            Gone
        })
    }

    async fn renewed(&mut self) -> u64 {
        self.next.waits().await;
        self.catch_up();
        self.next.socket
    }
}

// === farewell ===

/// Ends the socket after its connection has ended. Who closed first gets a close frame back and no more; otherwise the
/// peer has `timeout` to answer ours.
pub(super) async fn part(mut source: WebSocketSource, mut sink: WebSocketSink, timeout: Duration) {
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
async fn answered(source: &mut WebSocketSource) {
    let (mut nothing, mut seen) = (BytesMut::new(), 0);
    while source.end.is_none() && seen < FAREWELL_BYTES {
        source.read(&mut nothing).await;
        seen += nothing.len();
        nothing.clear();
        source.pongs.clear();
        // Else a peer that sends and sends would keep the time from running out.
        tokio::task::yield_now().await;
    }
}

/// Reads to the end of the stream.
async fn unread(source: &mut WebSocketSource) {
    let mut seen = 0;
    while let Ok(size @ 1..) = source.reader.read(|bytes| bytes.len()).await
        && seen < FAREWELL_BYTES
    {
        seen += size;
    }
}
