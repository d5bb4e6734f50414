//! The two halves of a socket under a WebSocket: a plain TCP socket, and anything else that reads and writes (TLS).
//! Idle, neither holds a buffer: reads go through one buffer a thread.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What one read takes at most.
const READ_SIZE: usize = 64 * 1024;

/// How many pieces go into one system call.
const SLICES: usize = 64;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// The half that reads.
pub(super) trait Reader: Send {
    /// Waits for bytes and gives them to `take`, which may change them; none at the end of the stream. Dropped
    /// half-way it has read nothing. `take` must not read.
    fn read<T>(&mut self, take: impl FnMut(&mut [u8]) -> T + Send) -> impl Future<Output = io::Result<T>> + Send;
}

/// The half that writes.
pub(super) trait Writer: Send {
    /// Writes a part of what is there.
    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Sends what is held back below, if anything is.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tells the peer that nothing more will come.
    fn shutdown(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Lets go of the socket; it is reset instead of closed, where it can be.
    fn abort(self);
}

// === TCP ===

impl Reader for OwnedReadHalf {
    async fn read<T>(&mut self, mut take: impl FnMut(&mut [u8]) -> T + Send) -> io::Result<T> {
        loop {
            self.readable().await?;
            let read = BUFFER.with_borrow_mut(|buffer| self.try_read(buffer).map(|size| take(&mut buffer[..size])));
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }
}

impl Writer for OwnedWriteHalf {
    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write_vectored(slices) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
            ready!(self.as_ref().poll_write_ready(context))?;
        }
    }

    fn poll_flush(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        tokio::io::AsyncWriteExt::shutdown(self).await
    }

    fn abort(self) {
        // Fails on a socket that is gone already, which is as good.
        let _ = self.as_ref().set_zero_linger();
        self.forget();
    }
}

// === anything else ===

/// Reads from any stream.
#[derive(Debug)]
pub(super) struct AnyReader<S>(pub(super) ReadHalf<S>);

impl<S: AsyncRead + Send> Reader for AnyReader<S> {
    async fn read<T>(&mut self, mut take: impl FnMut(&mut [u8]) -> T + Send) -> io::Result<T> {
        poll_fn(|context| {
            BUFFER.with_borrow_mut(|bytes| {
                let mut buffer = ReadBuf::new(bytes);
                ready!(Pin::new(&mut self.0).poll_read(context, &mut buffer))?;
                Poll::Ready(Ok(take(buffer.filled_mut())))
            })
        })
        .await
    }
}

/// Writes to any stream.
#[derive(Debug)]
pub(super) struct AnyWriter<S>(pub(super) WriteHalf<S>);

impl<S: AsyncWrite + Send> Writer for AnyWriter<S> {
    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }

    fn abort(self) {}
}

// === batches ===

/// Writes a whole batch in as few calls as it takes. Once it has to wait it may take `may_wait`, then it is an error
/// of kind `TimedOut`; only then is there a timer.
pub(super) async fn write_all<W: Writer>(writer: &mut W, batch: &mut Vec<Bytes>, may_wait: Duration) -> io::Result<()> {
    let mut first = 0;
    let mut writing = poll_fn(|context| {
        while first < batch.len() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(&batch[first..]) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let written = ready!(writer.poll_write(context, &slices[..count]))?;
            first += advance(&mut batch[first..], written)?;
        }
        writer.poll_flush(context)
    });
    let result = match futures_util::poll!(&mut writing) {
        Poll::Ready(done) => done,
        Poll::Pending => match tokio::time::timeout(may_wait, writing).await {
            Ok(done) => done,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        },
    };
    batch.clear();
    result
}

/// Takes what was written off the front; tells how many pieces are done.
fn advance(batch: &mut [Bytes], mut written: usize) -> io::Result<usize> {
    if written == 0 && batch.iter().any(|bytes| !bytes.is_empty()) {
        return Err(ErrorKind::WriteZero.into());
    }
    let mut done = 0;
    for bytes in batch {
        if bytes.len() > written {
            bytes.advance(written);
            break;
        }
        written -= bytes.len();
        done += 1;
    }
    Ok(done)
}
