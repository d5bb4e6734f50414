//! A bounded byte buffer between a client's POSTs and its connection. While it is full, POSTs wait, which slows down
//! the client (docs/builders/signalr-protocol.md#1.4, #1.9).

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use crate::wire::Disconnected;

/// The maximum number of bytes that one `read` returns.
const MAX_READ: usize = 64 * 1024;

/// A bounded buffer between POSTs and one reader.
#[derive(Debug)]
pub(super) struct Pipe {
    state: Mutex<PipeState>,
    /// Wakes the reader when bytes have been written or the pipe has been closed.
    not_empty: Notify,
    /// Wakes the writers when there is space or the pipe has been closed.
    not_full: Notify,
    max_bytes: usize,
}

/// The pipe is closed: its bytes are no longer read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PipeClosed {
    /// It was closed before the write began.
    Before,
    /// It was closed while the write was waiting for space.
    Meanwhile,
}

#[derive(Debug, Default)]
struct PipeState {
    buffer: BytesMut,
    closed: bool,
}

impl Pipe {
    /// Creates an empty pipe, which allocates no buffer before the first byte. `None` means no limit.
    pub(super) fn new(max_bytes: Option<usize>) -> Self {
        Self {
            state: Mutex::default(),
            not_empty: Notify::new(),
            not_full: Notify::new(),
            max_bytes: max_bytes.unwrap_or(usize::MAX).max(1),
        }
    }

    /// Appends bytes, and waits while the buffer is full. If the future is dropped early, the bytes that have already
    /// been appended remain in the pipe.
    pub(super) async fn write(&self, mut bytes: Bytes) -> Result<(), PipeClosed> {
        let mut closed = PipeClosed::Before;
        loop {
            let not_full = self.not_full.notified();
            tokio::pin!(not_full);
            not_full.as_mut().enable();
            {
                let mut state = self.lock();
                if state.closed {
                    return Err(closed);
                }
                let size = self.max_bytes.saturating_sub(state.buffer.len()).min(bytes.len());
                state.buffer.extend_from_slice(&bytes.split_to(size));
            }
            self.not_empty.notify_one();
            if bytes.is_empty() {
                return Ok(());
            }
            closed = PipeClosed::Meanwhile;
            not_full.await;
        }
    }

    /// Waits for bytes and appends some to `into`. Returns an error once the pipe is closed and empty. Cancel-safe:
    /// dropping the future loses no bytes.
    pub(super) async fn read(&self, into: &mut BytesMut) -> Result<(), Disconnected> {
        loop {
            {
                let mut state = self.lock();
                if !state.buffer.is_empty() {
                    let size = state.buffer.len().min(MAX_READ);
                    into.extend_from_slice(&state.buffer.split_to(size));
                    if state.buffer.is_empty() {
                        state.buffer = BytesMut::new();
                    }
                    drop(state);
                    self.not_full.notify_waiters();
                    return Ok(());
                }
                if state.closed {
                    return Err(Disconnected);
                }
            }
            self.not_empty.notified().await;
        }
    }

    /// Closes the pipe and returns the bytes that are left in it. A WebSocket starts with those: they were posted
    /// before it was opened.
    pub(super) fn close(&self) -> BytesMut {
        let mut state = self.lock();
        state.closed = true;
        let rest = std::mem::take(&mut state.buffer);
        drop(state);
        self.not_empty.notify_one();
        self.not_full.notify_waiters();
        rest
    }

    /// Whether the pipe has been closed.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, PipeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_full_pipe_blocks_the_writer_and_keeps_the_order() {
        let pipe = Pipe::new(Some(4));
        let mut write = Box::pin(pipe.write(Bytes::from_static(b"abcdefgh")));
        assert!(write.as_mut().now_or_never().is_none());
        let mut into = BytesMut::new();
        pipe.read(&mut into).await.unwrap();
        assert_eq!(&into[..], b"abcd");
        write.await.unwrap();
        pipe.read(&mut into).await.unwrap();
        assert_eq!(&into[..], b"abcdefgh");
    }

    #[tokio::test]
    async fn closing_wakes_the_writer_and_ends_reading() {
        let pipe = Pipe::new(Some(2));
        let mut write = Box::pin(pipe.write(Bytes::from_static(b"abcd")));
        assert!(write.as_mut().now_or_never().is_none());
        assert_eq!(&pipe.close()[..], b"ab");
        assert_eq!(write.await, Err(PipeClosed::Meanwhile));
        assert_eq!(pipe.read(&mut BytesMut::new()).await, Err(Disconnected));
        assert_eq!(pipe.write(Bytes::new()).await, Err(PipeClosed::Before));
    }
}
