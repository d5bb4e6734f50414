//! The listener: takes TCP connections, serves HTTP on each, and outlives a lack of open files.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::error::ServeError;
use super::site::Site;

/// Connections that wait to be accepted, e.g. after a deployment, when all clients come back at once.
const BACKLOG: u32 = 4096;
/// How long a connection may wait between two requests, as the reference's web server has it. Longer than what the
/// usual proxies keep theirs, so that it is they who close.
const IDLE: Duration = Duration::from_secs(130);
/// How long accepting pauses when it cannot go on.
const PAUSE: Duration = Duration::from_secs(1);
/// Most bytes of a request's head, as the reference's web server has it for the headers; beyond it 431.
const MOST_HEAD: usize = 32 * 1024;

/// Binds an address; port 0 takes any.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Else a restart would have to wait for the connections of the last run. Windows means something else by it.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| ServeError::Listen { address, source })
}

/// A listener with all connections that came through it.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) listener: TcpListener,
    pub(super) site: Arc<Site>,
    /// How long the head of a request may take.
    pub(super) head_timeout: Duration,
    /// Ends it: no more connections, and no more requests on those that are open.
    pub(super) stop: CancellationToken,
}

impl Front {
    /// Serves until `stop`, and then until every request in work has been answered. Dropping it cuts them off.
    pub(super) async fn run(self) {
        let mut connections = JoinSet::new();
        let mut paused = false;
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    report(ended);
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    if std::mem::take(&mut paused) {
                        tracing::info!("accepting connections again");
                    }
                    // A ping is a few bytes, and must not wait for more.
                    let _ = stream.set_nodelay(true);
                    let one = serve(stream, remote, self.site.clone(), self.head_timeout, self.stop.clone());
                    connections.spawn(one);
                }
                Err(error) if passing(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted")
                }
                Err(error) => {
                    if !std::mem::replace(&mut paused, true) {
                        let open_files = super::limits::open_files();
                        tracing::warn!(%error, open_files, "cannot accept connections; trying each second");
                    }
                    tokio::select! {
                        () = sleep(PAUSE) => {}
                        () = self.stop.cancelled() => break,
                    }
                }
            }
        }
        drop(self.listener);
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended.map_err(|error| error.is_panic()) {
        tracing::error!(panicked = error, "an HTTP request ended its connection by a mistake in its handler");
    }
}

/// Whether an error of `accept` is about one peer only (accept(2): pending errors of the new socket).
fn passing(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | HostUnreachable | Interrupted | TimedOut
    )
}

/// Serves HTTP on one connection, until it ends or has become a WebSocket.
async fn serve(
    stream: TcpStream,
    remote: SocketAddr,
    site: Arc<Site>,
    head_timeout: Duration,
    stop: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_header_size(MOST_HEAD)
        .max_buf_size(2 * MOST_HEAD);
    let service = service_fn(move |request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.answer(request, remote).await) }
    });
    let mut io = TokioIo::new(stream);
    let mut idle_until = Instant::now() + IDLE;
    loop {
        // Waits for the first byte by itself: the head's time begins with it.
        tokio::select! {
            () = stop.cancelled() => return,
            readable = timeout_at(idle_until, io.inner().readable()) => if !matches!(readable, Ok(Ok(()))) {
                return;
            }
        }
        let mut connection = http.serve_connection(io, service.clone()).with_upgrades();
        let outcome = tokio::select! {
            outcome = &mut connection => outcome,
            () = stop.cancelled() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
        };
        let Err(error) = outcome else { return };
        if !error.is_timeout() {
            tracing::debug!(%remote, %error, "an HTTP connection ended early");
            return;
        }
        // The HTTP server's timer runs between requests too. Nothing came: the connection is idle, and may be.
        let Some(parts) = connection.into_parts() else { return };
        if !parts.read_buf.is_empty() {
            const SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // A peer that does not take these few bytes at once need not have them.
            let _ = parts.io.inner().try_write(SLOW);
            return;
        }
        io = parts.io;
        idle_until = Instant::now() + IDLE.saturating_sub(head_timeout);
    }
}
