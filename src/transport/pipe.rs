//! What clients POST on its way to their connection: one bounded buffer of bytes, whose limit holds back whoever
//! posts (docs/builders/signalr-protocol.md#1.4, #1.9).

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use crate::wire::Disconnected;

/// Most bytes one `read` hands over.
const MAX_READ: usize = 64 * 1024;

/// A bounded buffer between POSTs and one reader.
#[derive(Debug)]
pub(super) struct Pipe {
    state: Mutex<PipeState>,
    /// Tells the reader that something has come, or nothing more will.
    not_empty: Notify,
    /// Tells whoever posts that there is room, or that nobody reads any more.
    not_full: Notify,
    max_bytes: usize,
}

/// Nobody reads the pipe any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PipeClosed {
    /// Already when the bytes came.
    Before,
    /// Since they were held back.
    Meanwhile,
}

#[derive(Debug, Default)]
struct PipeState {
    buffer: BytesMut,
    closed: bool,
}

impl Pipe {
    /// An empty pipe, which takes no memory before the first byte. `None` is no limit.
    pub(super) fn new(max_bytes: Option<usize>) -> Self {
        Self {
            state: Mutex::default(),
            not_empty: Notify::new(),
            not_full: Notify::new(),
            max_bytes: max_bytes.unwrap_or(usize::MAX).max(1),
        }
    }

    /// Appends bytes, waiting while the buffer is full. What has been appended stays when this is dropped half-way.
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
                let room = self.max_bytes.saturating_sub(state.buffer.len()).min(bytes.len());
                state.buffer.extend_from_slice(&bytes.split_to(room));
            }
            self.not_empty.notify_one();
            if bytes.is_empty() {
                return Ok(());
            }
            closed = PipeClosed::Meanwhile;
            not_full.await;
        }
    }

    /// Waits for bytes and moves some to `into`. `Err`: the pipe is closed and empty. Loses nothing when dropped.
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

    /// Takes nothing more, and gives out what it holds: for a WebSocket, which begins with what was posted before.
    pub(super) fn close(&self) -> BytesMut {
        let mut state = self.lock();
        state.closed = true;
        let rest = std::mem::take(&mut state.buffer);
        drop(state);
        self.not_empty.notify_one();
        self.not_full.notify_waiters();
        rest
    }

    /// Whether nobody reads it any more.
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
    async fn closing_wakes_both_sides() {
        let pipe = Pipe::new(Some(2));
        let mut write = Box::pin(pipe.write(Bytes::from_static(b"abcd")));
        assert!(write.as_mut().now_or_never().is_none());
        assert_eq!(&pipe.close()[..], b"ab");
        assert_eq!(write.await, Err(PipeClosed::Meanwhile));
        assert_eq!(pipe.read(&mut BytesMut::new()).await, Err(Disconnected));
        assert_eq!(pipe.write(Bytes::new()).await, Err(PipeClosed::Before));
    }
}
