//! Tests of a WebSocket over a stream that is not a TCP socket: an in-memory pipe.
#![allow(clippy::unwrap_used)]

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::closing_handshake::close_socket;
use super::socket_io::any;
use super::websocket_sink::WebSocketSink;
use super::websocket_source::WebSocketSource;
use crate::close::{CloseReason, CloseSignal};
use crate::outbox::Outbox;
use crate::outgoing::{Encoding, Framing};
use crate::protocol::Protocol;
use crate::wire::{Disconnected, Sink, Source, SourceEnd};

fn outbox() -> Arc<Outbox> {
    let encoding = Encoding { protocol: Protocol::Json, framing: Framing::WebSocket };
    Arc::new(Outbox::new(encoding, None, None, CloseSignal::default()))
}

/// For timeouts that a test waits for; [`LONG`] is for timeouts that must not expire.
const TIMEOUT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn any_stream_can_carry_a_websocket() {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let (reader, writer) = any(ours);
    let (outbox, close) = (outbox(), CloseSignal::default());
    let mut source = WebSocketSource::new(reader, BytesMut::new(), BytesMut::new(), outbox.clone(), None);
    let mut sink = WebSocketSink::new(writer, &source, LONG, close.clone());

    theirs.write_all(&[0x81, 0x83, 0, 0, 0, 0, b'a', b'b', b'c', 0x89, 0x80, 0, 0, 0, 0]).await.unwrap();
    let mut into = BytesMut::new();
    (&mut source).recv(&mut into).await.unwrap();
    assert_eq!(&into[..], b"abc");
    let mut batch = Vec::new();
    assert!(outbox.next(&mut batch).await);
    (&mut sink).send(&mut batch).await.unwrap();
    let mut pong = [0; 2];
    theirs.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, [0x8a, 0]);

    // More buffers than go into one call, and more bytes than the pipe holds.
    let mut batch: Vec<Bytes> = (0..=255_u8).map(|byte| Bytes::from(vec![byte; 3])).collect();
    let expected = batch.concat();
    let mut seen = vec![0; expected.len()];
    let mut writer = &mut sink;
    let (sent, read) = tokio::join!(writer.send(&mut batch), theirs.read_exact(&mut seen));
    assert_eq!((sent, read.unwrap()), (Ok(()), expected.len()));
    assert!(seen == expected && batch.is_empty());

    theirs.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert_eq!((&mut source).recv(&mut into).await, Err(SourceEnd::Closed));
    assert_eq!((&mut sink).send(&mut vec![Bytes::from_static(b"late")]).await, Err(Disconnected));
    let mut rest = Vec::new();
    tokio::join!(close_socket(source, sink, LONG), async { theirs.read_to_end(&mut rest).await.unwrap() });
    assert_eq!(rest, [0x88, 2, 0x03, 0xe8]);
}

#[tokio::test]
async fn a_write_that_takes_too_long_closes_the_connection() {
    let (ours, _theirs) = tokio::io::duplex(8);
    let (reader, writer) = any(ours);
    let close = CloseSignal::default();
    let source = WebSocketSource::new(reader, BytesMut::new(), BytesMut::new(), outbox(), None);
    let mut sink = WebSocketSink::new(writer, &source, TIMEOUT, close.clone());
    assert_eq!((&mut sink).send(&mut vec![Bytes::from_static(&[0; 100])]).await, Err(Disconnected));
    assert_eq!(close.reason(), Some(&CloseReason::SendTimeout));
}

#[tokio::test]
async fn every_ping_is_answered_while_the_writer_keeps_up() {
    const PINGS: u8 = 100;
    let (ours, mut theirs) = tokio::io::duplex(7);
    let (reader, _writer) = any(ours);
    let outbox = outbox();
    let mut source = WebSocketSource::new(reader, BytesMut::new(), BytesMut::new(), outbox.clone(), None);
    let pinging = async {
        for number in 0..PINGS {
            theirs.write_all(&[0x89, 0x81, 0, 0, 0, 0, number]).await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let writing = async {
        let (mut pongs, mut batch) = (Vec::new(), Vec::new());
        while pongs.len() < usize::from(PINGS) * 3 {
            assert!(outbox.next(&mut batch).await);
            batch.drain(..).for_each(|pong: Bytes| pongs.extend_from_slice(&pong));
        }
        pongs
    };
    let reading = async {
        let mut source = &mut source;
        source.recv(&mut BytesMut::new()).await
    };
    // `select!` polls its branches in random order.
    let all = async {
        tokio::select! {
            pongs = writing => pongs,
            () = pinging => unreachable!(),
            _ = reading => unreachable!(),
        }
    };
    let pongs = tokio::time::timeout(LONG, all).await.unwrap();
    let expected: Vec<u8> = (0..PINGS).flat_map(|number| [0x8a, 1, number]).collect();
    assert_eq!(pongs, expected);
}

const MANY: u32 = 10_000;

/// A peer that sends pongs as fast as they are read. After [`MANY`] it falls silent, so that a failing test ends.
struct Pongs(Arc<AtomicU32>);

impl AsyncRead for Pongs {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= MANY {
            return Poll::Pending;
        }
        buffer.put_slice(&[0x8a, 0x80, 0, 0, 0, 0]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pongs {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_flood_of_empty_frames_does_not_block_other_tasks() {
    let read = Arc::new(AtomicU32::new(0));
    let (reader, writer) = any(Pongs(read.clone()));
    let mut source = WebSocketSource::new(reader, BytesMut::new(), BytesMut::new(), outbox(), None);
    let sink = WebSocketSink::new(writer, &source, TIMEOUT, CloseSignal::default());
    {
        let (mut source, mut into) = (&mut source, BytesMut::new());
        assert!(futures_util::poll!(pin!(source.recv(&mut into))).is_pending());
        assert!(read.load(Ordering::Relaxed) < MANY, "the reader should yield before it has read all of them");
    }
    // The same while it waits for the peer's close frame.
    read.store(0, Ordering::Relaxed);
    tokio::task::yield_now().await;
    assert!(futures_util::poll!(pin!(close_socket(source, sink, Duration::from_secs(3600)))).is_pending());
    assert!(read.load(Ordering::Relaxed) < MANY, "the closing handshake should yield too");
}

#[tokio::test]
async fn nothing_follows_a_partially_written_frame() {
    let (ours, mut theirs) = tokio::io::duplex(8);
    let (reader, writer) = any(ours);
    let source = WebSocketSource::new(reader, BytesMut::new(), BytesMut::new(), outbox(), None);
    let mut sink = WebSocketSink::new(writer, &source, Duration::from_secs(3600), CloseSignal::default());
    {
        let (mut sink, mut batch) = (&mut sink, vec![Bytes::from_static(&[0; 100])]);
        let mut sending = pin!(sink.send(&mut batch));
        assert!(futures_util::poll!(sending.as_mut()).is_pending());
    }
    let mut rest = Vec::new();
    tokio::join!(close_socket(source, sink, TIMEOUT), async { theirs.read_to_end(&mut rest).await.unwrap() });
    assert_eq!(rest, [0; 8], "there should be no close frame in the middle of another frame");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_but_steadily_is_not_slow() {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let (reader, writer) = any(ours);
    let (outbox, close) = (outbox(), CloseSignal::default());
    let source = WebSocketSource::new(reader, BytesMut::new(), BytesMut::new(), outbox, None);
    let mut sink = WebSocketSink::new(writer, &source, TIMEOUT, close.clone());
    let mut batch = vec![Bytes::from(vec![b'x'; 640])];
    let read = async {
        let mut seen = [0; 64];
        for _ in 0..10 {
            tokio::time::sleep(TIMEOUT * 9 / 10).await;
            theirs.read_exact(&mut seen).await.unwrap();
        }
    };
    let mut writer = &mut sink;
    assert_eq!(tokio::join!(writer.send(&mut batch), read).0, Ok(()), "it took nine times the timeout");
    assert_eq!(close.reason(), None);

    let mut batch = vec![Bytes::from(vec![b'x'; 640])];
    let began = tokio::time::Instant::now();
    assert_eq!(writer.send(&mut batch).await, Err(Disconnected), "now it reads nothing");
    assert_eq!(close.reason(), Some(&CloseReason::SendTimeout));
    assert_eq!(began.elapsed(), TIMEOUT);
}
