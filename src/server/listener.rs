//! The listener: takes TCP connections, serves HTTP on each, and outlives a lack of open files.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::response::Response;
use http::header::HOST;
use http::{Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::drain::UNFINISHED_TIMEOUT;
use super::request_handler::{RequestHandler, close_with};
use super::serve_error::ServeError;
use super::tracked_body::TrackedBody;
use crate::transport::http_socket::HttpSocket;

/// Connections that wait to be accepted, e.g. after a deployment, when all clients come back at once.
const ACCEPT_BACKLOG: u32 = 4096;
/// How long a connection may wait between two requests, as the reference's web server has it. Longer than what the
/// usual proxies keep theirs, so that it is they who close.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(130);
/// How long accepting pauses when it cannot go on.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Most bytes of a request's head, as the reference's web server has it for the headers; beyond it 431.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Binds an address; port 0 takes any. A peer that takes none of what is sent to it for longer than `user_timeout` loses
/// its connection: HTTP itself has no such bound, and an event stream or a poll's answer could stay for ever.
pub(super) fn listen(address: SocketAddr, user_timeout: Duration) -> Result<TcpListener, ServeError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Every accepted socket has it from the listener. Other systems know no such option.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(user_timeout))?;
        #[cfg(not(target_os = "linux"))]
        let _ = user_timeout;
        // Else a restart would have to wait for the connections of the last run. Windows means something else by it.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(ACCEPT_BACKLOG)
    };
    bind().map_err(|source| ServeError::Listen { address, source })
}

/// A listener with all connections that came through it.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) listener: TcpListener,
    pub(super) handler: Arc<RequestHandler>,
    /// How long the head of a request may take.
    pub(super) head_timeout: Duration,
    /// Ends it: no more connections, and no more requests on those that are open.
    pub(super) stop: CancellationToken,
}

impl Listener {
    /// Serves until `stop`, and then until every request in work has been answered; one whose head is not whole has
    /// [`UNFINISHED_TIMEOUT`]. Dropping it cuts them off.
    pub(super) async fn run(self) {
        let mut connections = JoinSet::new();
        let mut paused = false;
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    log_panic(ended);
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
                    let one = serve(stream, remote, self.handler.clone(), self.head_timeout, self.stop.clone());
                    connections.spawn(one);
                }
                Err(error) if is_transient(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted")
                }
                Err(error) => {
                    if !std::mem::replace(&mut paused, true) {
                        let open_files = super::open_files::open_files();
                        tracing::warn!(%error, open_files, "cannot accept connections; trying each second");
                    }
                    tokio::select! {
                        () = sleep(ACCEPT_RETRY_DELAY) => {}
                        () = self.stop.cancelled() => break,
                    }
                }
            }
        }
        drop(self.listener);
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended.map_err(|error| error.is_panic()) {
        tracing::error!(panicked = error, "an HTTP request ended its connection by a mistake in its handler");
    }
}

/// Whether an error of `accept` is about one peer only (accept(2): pending errors of the new socket).
fn is_transient(error: &io::Error) -> bool {
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
    handler: Arc<RequestHandler>,
    head_timeout: Duration,
    stop: CancellationToken,
) {
    let connection = HttpConnection { remote, handler, head_timeout, stop };
    let mut idle_until = Instant::now() + KEEP_ALIVE_TIMEOUT;
    let mut socket = HttpSocket::new(stream);
    loop {
        if !socket.holds() {
            // Waits for the first byte by itself: the head's time begins with it.
            tokio::select! {
                () = connection.stop.cancelled() => return,
                readable = timeout_at(idle_until, socket.tcp().readable()) => if !matches!(readable, Ok(Ok(()))) {
                    return;
                }
            }
        }
        let Some((timed_out, answered)) = connection.serve_until_head_timeout(socket).await else { return };
        if timed_out.holds() && !answered {
            const REQUEST_TIMEOUT_RESPONSE: &[u8] =
                b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // A peer that does not take these few bytes at once need not have them.
            let _ = timed_out.tcp().try_write(REQUEST_TIMEOUT_RESPONSE);
            return;
        }
        // The HTTP server's timer runs between requests too. Nothing came: the connection is idle, and may be. Or a
        // head has begun since the last answer, perhaps a moment ago: it has its own time from here.
        socket = timed_out;
        idle_until = Instant::now() + KEEP_ALIVE_TIMEOUT.saturating_sub(head_timeout);
    }
}

/// What all requests on one connection share.
struct HttpConnection {
    remote: SocketAddr,
    handler: Arc<RequestHandler>,
    head_timeout: Duration,
    stop: CancellationToken,
}

impl HttpConnection {
    /// Serves requests. Some: until none came whole within the head's time. The socket holds the bytes of one that
    /// began; and whether requests were answered before it.
    async fn serve_until_head_timeout(&self, socket: HttpSocket) -> Option<(HttpSocket, bool)> {
        let answered = Arc::new(AtomicBool::new(false));
        let starts = socket.starts();
        let service = service_fn(|request: Request<Incoming>| {
            answered.store(true, Ordering::Relaxed);
            let request = request.map(|body| TrackedBody::new(body, starts.clone()));
            let (handler, remote) = (self.handler.clone(), self.remote);
            async move { Ok::<_, Infallible>(answer(&handler, request, remote).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(2 * MAX_HEAD_BYTES);
        let mut connection = http.serve_connection(socket, service).with_upgrades();
        let ended = tokio::select! {
            outcome = &mut connection => Some(outcome),
            () = self.stop.cancelled() => None,
        };
        let outcome = match ended {
            Some(outcome) => outcome,
            None => {
                Pin::new(&mut connection).graceful_shutdown();
                // What is left now waits for a head, or is being answered.
                match timeout(UNFINISHED_TIMEOUT, &mut connection).await {
                    Ok(outcome) => outcome,
                    Err(_) if !answered.load(Ordering::Relaxed) => return None,
                    Err(_) => (&mut connection).await,
                }
            }
        };
        let error = outcome.err()?;
        if !error.is_timeout() {
            tracing::debug!(remote = %self.remote, %error, "an HTTP connection ended early");
            return None;
        }
        let http1::Parts { mut io, read_buf, .. } = connection.into_parts()?;
        io.put_back(read_buf);
        Some((io, answered.load(Ordering::Relaxed)))
    }
}

/// Answers a request that came from `remote`. Handlers find the address as `ConnectInfo<SocketAddr>`.
async fn answer(handler: &RequestHandler, mut request: Request<TrackedBody<Incoming>>, remote: SocketAddr) -> Response {
    // RFC 9112, section 3.2: a request of HTTP/1.1 without Host, or with two, must be refused.
    if request.version() == Version::HTTP_11 && request.headers().get_all(HOST).iter().count() != 1 {
        return close_with(StatusCode::BAD_REQUEST);
    }
    request.extensions_mut().insert(ConnectInfo(remote));
    handler.answer(request).await
}
