//! The closing handshake of a WebSocket whose connection has ended (docs/builders/signalr-protocol.md#1.6).

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::codec::{CLOSE_NORMAL, close_frame};
use super::socket_io::write_all;
use super::websocket_sink::WebSocketSink;
use super::websocket_source::WebSocketSource;
use crate::wire::SourceEnd;

/// What a peer may still send after its end before nobody listens any more.
const MAX_DRAINED_BYTES: usize = 1 << 20;

/// How long a peer may take to end its side of TCP after the closing handshake.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Ends the socket after its connection has ended. Who closed first gets a close frame back and no more; otherwise the
/// peer has `timeout` to answer ours.
pub(super) async fn close_socket(mut source: WebSocketSource, mut sink: WebSocketSink, timeout: Duration) {
    let code = match source.end {
        // Half-closed or gone: simply ended, as the reference does.
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
        // A socket that is closed with something unread is reset, which may cost the peer our close frame.
        let _ = tokio::time::timeout(LINGER_TIMEOUT.min(timeout), drain(&mut source)).await;
    }
}

/// Waits for the peer's close frame, or whatever else ends its side.
async fn wait_for_close_frame(source: &mut WebSocketSource) {
    let (mut nothing, mut seen) = (BytesMut::new(), 0);
    while source.end.is_none() && seen < MAX_DRAINED_BYTES {
        source.read(&mut nothing).await;
        seen += nothing.len();
        nothing.clear();
        source.pongs.clear();
        // Else a peer that sends and sends would keep the time from running out.
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
