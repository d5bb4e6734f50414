//! The closing handshake of a WebSocket after its connection has ended (docs/builders/signalr-protocol.md#1.6).

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::codec::{CLOSE_NORMAL, close_frame};
use super::socket_io::write_all;
use super::websocket_sink::WebSocketSink;
use super::websocket_source::WebSocketSource;
use crate::wire::SourceEnd;

/// The maximum number of bytes that are read and discarded while the socket closes.
const MAX_DRAINED_BYTES: usize = 1 << 20;

/// How long a peer may take to close its side of the TCP connection after the closing handshake.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Closes the socket after its connection has ended. If the peer closed first, it gets a close frame in return;
/// otherwise it has `timeout` to answer ours.
pub(super) async fn close_socket(mut source: WebSocketSource, mut sink: WebSocketSink, timeout: Duration) {
    let code = match source.end {
        // Half-closed or gone: no close frame is sent, as in ASP.NET Core.
        Some(SourceEnd::Lost) => return,
        Some(SourceEnd::Closed) | None => CLOSE_NORMAL,
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
        match tokio::time::timeout_at(deadline, wait_for_close_frame(&mut source)).await {
            Ok(()) => {}
            Err(_) => return sink.writer.abort(),
        }
    }
    if sink.writer.shutdown().await.is_ok() {
        // Closing a socket with unread data resets it, and the peer might lose our close frame.
        let _ = tokio::time::timeout(LINGER_TIMEOUT.min(timeout), drain(&mut source)).await;
    }
}

/// Waits for the peer's close frame, or for any other end of its stream.
async fn wait_for_close_frame(source: &mut WebSocketSource) {
    let (mut nothing, mut seen) = (BytesMut::new(), 0);
    while source.end.is_none() && seen < MAX_DRAINED_BYTES {
        source.read(&mut nothing).await;
        seen += nothing.len();
        nothing.clear();
        source.pongs.clear();
        // Otherwise a peer that keeps sending would prevent the timeout from firing.
        tokio::task::yield_now().await;
    }
}

/// Reads to the end of the stream.
async fn drain(source: &mut WebSocketSource) {
    let mut seen = 0;
    while let Ok(size @ 1..) = source.reader.read(|bytes| bytes.len()).await
        && seen < MAX_DRAINED_BYTES
    {
        seen += size;
    }
}
