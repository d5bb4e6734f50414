//! The reading and writing halves of the socket under a WebSocket: a plain TCP socket, or any other stream such as TLS.
//! Idle sockets hold no buffers, because all reads of a thread go through one buffer.

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

/// The maximum number of bytes in one read.
const READ_SIZE: usize = 64 * 1024;

/// The maximum number of buffers in one system call.
const MAX_SLICES: usize = 64;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// The reading half of a socket.
#[derive(Debug)]
pub(super) enum SocketReader {
    Tcp(OwnedReadHalf),
    Any(ReadHalf<AnyStream>),
}

/// The writing half of a socket.
#[derive(Debug)]
pub(super) enum SocketWriter {
    Tcp(OwnedWriteHalf),
    Any(WriteHalf<AnyStream>),
}

/// Any stream that is not a plain TCP socket.
pub(super) struct AnyStream(Box<dyn ReadWrite>);

/// Splits a plain TCP socket.
pub(super) fn tcp(socket: TcpStream) -> (SocketReader, SocketWriter) {
    // Small messages such as pings must not be delayed by Nagle's algorithm. Set here because the socket may come from
    // a listener of the host, which may not have set it.
    let _ = socket.set_nodelay(true);
    let (reader, writer) = socket.into_split();
    (SocketReader::Tcp(reader), SocketWriter::Tcp(writer))
}

/// Splits any other stream.
pub(super) fn any(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> (SocketReader, SocketWriter) {
    let (reader, writer) = tokio::io::split(AnyStream(Box::new(stream)));
    (SocketReader::Any(reader), SocketWriter::Any(writer))
}

impl SocketReader {
    /// Waits for bytes and passes them to `take`, which may modify them; at the end of the stream, `take` gets an empty
    /// slice. Cancel-safe: dropping the future loses no bytes. `take` must not read from a socket itself, because the
    /// thread's buffer is in use.
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
    /// Writes some of the bytes, and returns how many.
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

    /// Flushes what lower layers have buffered, if they buffer.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Any(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    /// Ends the writing direction, so that the peer sees the end of the stream.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown().await,
            Self::Any(stream) => stream.shutdown().await,
        }
    }

    /// Drops the socket. A TCP socket is reset instead of closed.
    pub(super) fn abort(self) {
        if let Self::Tcp(socket) = self {
            // An error means that the socket is already gone, which is fine.
            let _ = socket.as_ref().set_zero_linger();
            socket.forget();
        }
    }
}

// === other streams ===

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

/// Writes a whole batch in as few system calls as possible, and clears it. Fails with an error of kind `TimedOut` if the
/// socket accepts nothing for `timeout`; a client that reads slowly but steadily may take as long as it needs. A timer
/// is only created while the socket accepts nothing.
pub(super) async fn write_all(writer: &mut SocketWriter, batch: &mut Vec<Bytes>, timeout: Duration) -> io::Result<()> {
    let mut first = 0;
    let result = loop {
        let mut step = poll_fn(|context| {
            if first == batch.len() {
                return writer.poll_flush(context).map_ok(|()| true);
            }
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(&batch[first..]) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let written = ready!(writer.poll_write(context, &slices[..count]))?;
            first += advance(&mut batch[first..], written)?;
            Poll::Ready(Ok(false))
        });
        let finished = match futures_util::poll!(&mut step) {
            Poll::Ready(finished) => finished,
            Poll::Pending => match tokio::time::timeout(timeout, step).await {
                Ok(finished) => finished,
                Err(_) => Err(ErrorKind::TimedOut.into()),
            },
        };
        match finished {
            Ok(false) => {}
            Ok(true) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    batch.clear();
    result
}

/// Removes the written bytes from the front of the batch, and returns how many buffers have been written completely.
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
