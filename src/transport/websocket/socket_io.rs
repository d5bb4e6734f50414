//! The two halves of a socket under a WebSocket: a plain TCP socket, and anything else that reads and writes (TLS).
//! Idle, neither holds a buffer: reads go through one buffer a thread.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What one read takes at most.
const READ_SIZE: usize = 64 * 1024;

/// How many pieces go into one system call.
const MAX_SLICES: usize = 64;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// The half that reads.
#[derive(Debug)]
pub(super) enum SocketReader {
    Tcp(OwnedReadHalf),
    Any(ReadHalf<AnyStream>),
}

/// The half that writes.
#[derive(Debug)]
pub(super) enum SocketWriter {
    Tcp(OwnedWriteHalf),
    Any(WriteHalf<AnyStream>),
}

/// Whatever reads and writes and is no plain TCP socket.
pub(super) struct AnyStream(Box<dyn ReadWrite>);

/// The two halves of a plain TCP socket.
pub(super) fn tcp(socket: TcpStream) -> (SocketReader, SocketWriter) {
    // A ping is a few bytes, and must not wait for more. The listener may be somebody else's, which leaves it off.
    let _ = socket.set_nodelay(true);
    let (reader, writer) = socket.into_split();
    (SocketReader::Tcp(reader), SocketWriter::Tcp(writer))
}

/// The two halves of anything else.
pub(super) fn any(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> (SocketReader, SocketWriter) {
    let (reader, writer) = tokio::io::split(AnyStream(Box::new(stream)));
    (SocketReader::Any(reader), SocketWriter::Any(writer))
}

impl SocketReader {
    /// Waits for bytes and gives them to `take`, which may change them; none at the end of the stream. Dropped
    /// half-way it has read nothing. `take` must not read.
    pub(super) async fn read<T>(&mut self, mut take: impl FnMut(&mut [u8]) -> T + Send) -> io::Result<T> {
        match self {
            Self::Tcp(socket) => loop {
                socket.readable().await?;
                let read =
                    BUFFER.with_borrow_mut(|buffer| socket.try_read(buffer).map(|size| take(&mut buffer[..size])));
                match read {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    done => return done,
                }
            },
            Self::Any(stream) => {
                poll_fn(|context| {
                    BUFFER.with_borrow_mut(|bytes| {
                        let mut buffer = ReadBuf::new(bytes);
                        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
                        Poll::Ready(Ok(take(buffer.filled_mut())))
                    })
                })
                .await
            }
        }
    }
}

impl SocketWriter {
    /// Writes a part of what is there.
    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => loop {
                match socket.try_write_vectored(slices) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    done => return Poll::Ready(done),
                }
                ready!(socket.as_ref().poll_write_ready(context))?;
            },
            Self::Any(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    /// Sends what is held back below, if anything is.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Any(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    /// Tells the peer that nothing more will come.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown().await,
            Self::Any(stream) => stream.shutdown().await,
        }
    }

    /// Lets go of the socket; it is reset instead of closed, where it can be.
    pub(super) fn abort(self) {
        if let Self::Tcp(socket) = self {
            // Fails on a socket that is gone already, which is as good.
            let _ = socket.as_ref().set_zero_linger();
            socket.forget();
        }
    }
}

// === anything else ===

trait ReadWrite: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ReadWrite for S {}

impl fmt::Debug for AnyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyStream")
    }
}

impl AsyncRead for AnyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for AnyStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}

// === batches ===

/// Writes a whole batch in as few calls as it takes. Once it has to wait it may take `may_wait`, then it is an error
/// of kind `TimedOut`; only then is there a timer.
pub(super) async fn write_all(writer: &mut SocketWriter, batch: &mut Vec<Bytes>, may_wait: Duration) -> io::Result<()> {
    let mut first = 0;
    let mut writing = poll_fn(|context| {
        while first < batch.len() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
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
