//! The TCP socket under HTTP, for connections of our own listener. It differs from a plain socket in two ways: bytes
//! that were read can be put back, and each `#` in a request's target is escaped as `%23`. To ASP.NET Core a `#` is an
//! ordinary character of the path or query (tests/probes/FINDINGS.md#2, HTTP), but the `http` crate takes it for the
//! start of a fragment and cuts it off.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The maximum number of bytes in one read while a request line is being inspected.
const LINE_READ_SIZE: usize = 4096;

/// A TCP socket for an HTTP server.
#[derive(Debug)]
pub(crate) struct HttpSocket {
    io: TokioIo<TcpStream>,
    /// Bytes that are read before those of the socket.
    held: Bytes,
    line: RequestLine,
    starts: RequestStart,
}

/// Tells an [`HttpSocket`] that a request has been received completely, so that the next byte begins another one.
/// Clones share the flag.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestStart(Arc<AtomicBool>);

impl RequestStart {
    /// Says whether the next byte that is read from the socket begins a request; otherwise it belongs to a body.
    pub(crate) fn set(&self, begins: bool) {
        self.0.store(begins, Ordering::Relaxed);
    }
}

impl HttpSocket {
    /// Wraps a socket whose next byte begins a request.
    pub(crate) fn new(socket: TcpStream) -> Self {
        let (line, starts) = (RequestLine::Start, RequestStart::default());
        Self { io: TokioIo::new(socket), held: Bytes::new(), line, starts }
    }

    /// The flag to set whenever a request has been received completely.
    pub(crate) fn starts(&self) -> RequestStart {
        self.starts.clone()
    }

    /// The socket itself.
    pub(crate) fn tcp(&self) -> &TcpStream {
        self.io.inner()
    }

    /// Whether there are bytes that were put back and have not been read again.
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Puts back the bytes that were read last; they are read again before anything else.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        self.held =
            if self.held.is_empty() { bytes } else { [bytes, self.held.split_to(self.held.len())].concat().into() };
    }

    /// Returns the socket, and the bytes that were put back.
    pub(crate) fn into_tcp(self) -> (TcpStream, Bytes) {
        (self.io.into_inner(), self.held)
    }
}

impl Read for HttpSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held.is_empty() {
            if this.starts.0.swap(false, Ordering::Relaxed) {
                this.line = RequestLine::Start;
            }
            if this.line == RequestLine::Past {
                return Pin::new(&mut this.io).poll_read(context, buffer);
            }
            let mut space = [0; LINE_READ_SIZE];
            let size = space.len().min(buffer.remaining());
            let mut read = ReadBuf::new(&mut space[..size]);
            ready!(Pin::new(&mut this.io).poll_read(context, read.unfilled()))?;
            match this.line.escape(read.filled()) {
                Some(longer) => this.held = longer.into(),
                None => {
                    buffer.put_slice(read.filled());
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let size = this.held.len().min(buffer.remaining());
        buffer.put_slice(&this.held[..size]);
        this.held.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl Write for HttpSocket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}

/// The state of a scanner that finds the target in a request line, which may arrive in any number of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestLine {
    /// Before the line; empty lines may precede it (RFC 9112, section 2.2).
    Start,
    Method,
    /// Before the first byte of the target.
    Gap,
    /// Within the target. `keeps` says whether a `#` is kept as part of it; before the query of an absolute URL it is
    /// not.
    Target {
        keeps: bool,
    },
    /// After the target, or where no request begins.
    Past,
}

impl RequestLine {
    /// Scans more bytes. Returns the bytes with each `#` of the target replaced by `%23`, or `None` if there is none.
    fn escape(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut escaped: Option<Vec<u8>> = None;
        for (at, &byte) in bytes.iter().enumerate() {
            *self = match (*self, byte) {
                (Self::Past, _) => {
                    if let Some(escaped) = &mut escaped {
                        escaped.extend_from_slice(&bytes[at..]);
                    }
                    break;
                }
                (Self::Target { keeps: true }, b'#') => {
                    escaped.get_or_insert_with(|| bytes[..at].to_vec()).extend_from_slice(b"%23");
                    continue;
                }
                (Self::Start, b'\r' | b'\n') => Self::Start,
                (Self::Start | Self::Method, b'A'..=b'Z') => Self::Method,
                (Self::Method, b' ') => Self::Gap,
                (Self::Gap, b'/') => Self::Target { keeps: true },
                (Self::Gap | Self::Target { .. }, b' ' | b'\r' | b'\n') => Self::Past,
                (Self::Gap, _) => Self::Target { keeps: false },
                (Self::Target { .. }, b'?') => Self::Target { keeps: true },
                (target @ Self::Target { .. }, _) => target,
                _ => Self::Past,
            };
            if let Some(escaped) = &mut escaped {
                escaped.push(byte);
            }
        }
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The escaped form of a request's head, which must not depend on the pieces it arrives in.
    fn escaped(head: &str) -> String {
        let mut results: Vec<Vec<u8>> = Vec::new();
        for size in [1, 2, 3, 7, head.len()] {
            let mut line = RequestLine::Start;
            let pieces = head.as_bytes().chunks(size);
            results.push(pieces.flat_map(|piece| line.escape(piece).unwrap_or_else(|| piece.to_vec())).collect());
        }
        assert!(results.iter().all(|result| *result == results[0]), "{head}: {results:?}");
        String::from_utf8_lossy(&results[0]).into_owned()
    }

    #[test]
    fn a_hash_in_the_target_is_escaped_and_nothing_else() {
        for (head, kept) in [
            ("GET /a#b?c#d HTTP/1.1\r\nReferer: /x#y\r\n\r\n#", "GET /a%23b?c%23d HTTP/1.1\r\nReferer: /x#y\r\n\r\n#"),
            ("\r\nPOST /a?# HTTP/1.1\r\n", "\r\nPOST /a?%23 HTTP/1.1\r\n"),
            ("GET http://h/a?b#c HTTP/1.1\r\n", "GET http://h/a?b%23c HTTP/1.1\r\n"),
            ("GET http://h/a#b HTTP/1.1\r\n", "GET http://h/a#b HTTP/1.1\r\n"),
            ("GET #/a HTTP/1.1\r\n", "GET #/a HTTP/1.1\r\n"),
            ("GET  #/a\r\n", "GET  #/a\r\n"),
            ("x-a: /b#c\r\n", "x-a: /b#c\r\n"),
            ("{\"a\":\" /b#c\"}", "{\"a\":\" /b#c\"}"),
        ] {
            assert_eq!(escaped(head), kept);
        }
    }
}
