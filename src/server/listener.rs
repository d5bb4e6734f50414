//! The listener: accepts TCP connections and serves HTTP on each. It survives running out of open files.

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

/// The number of connections that may wait to be accepted, for example after a deployment, when all clients reconnect
/// at once.
const ACCEPT_BACKLOG: u32 = 4096;
/// How long a connection may be idle between two requests, as in ASP.NET Core's web server. It is longer than the
/// default of the usual proxies, so that the proxy closes first.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(130);
/// How long accepting pauses after an error, such as too many open files.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The maximum size of a request's head, as for the headers in ASP.NET Core's web server. A larger one is answered
/// with 431.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How many bytes of a connection may wait in the kernel before they are sent. Without a limit, Linux lets a socket accept
/// megabytes and then nothing until about a third of that has been sent: a client that reads 50 kB/s steadily would look
/// as if it had stopped for a minute.
#[cfg(target_os = "linux")]
const MAX_UNSENT_BYTES: u32 = 128 * 1024;

/// Binds an address. With port 0 the system chooses a port.
///
/// The system closes the connection of a peer that accepts nothing of what is sent to it for longer than
/// `user_timeout`. HTTP itself has no such timeout, and an event stream or the response of a poll could wait forever.
pub(super) fn listen(address: SocketAddr, user_timeout: Duration) -> Result<TcpListener, ServeError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Accepted sockets inherit the option from the listener. Other systems do not have it.
        #[cfg(target_os = "linux")]
        {
            let socket = socket2::SockRef::from(&socket);
            socket.set_tcp_user_timeout(Some(user_timeout))?;
            socket.set_tcp_notsent_lowat(MAX_UNSENT_BYTES)?;
        }
        #[cfg(not(target_os = "linux"))]
        let _ = user_timeout;
        // Otherwise a restart would have to wait for the connections of the previous run. On Windows the option has a
        // different meaning.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(ACCEPT_BACKLOG)
    };
    bind().map_err(|source| ServeError::Listen { address, source })
}

/// A listener with all HTTP connections that it has accepted.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) listener: TcpListener,
    pub(super) handler: Arc<RequestHandler>,
    /// How long the head of a request may take to arrive.
    pub(super) head_timeout: Duration,
    /// Cancelled to stop: no more connections are accepted, and no more requests on open connections.
    pub(super) stop: CancellationToken,
}

impl Listener {
    /// Serves until `stop` is cancelled, and then until every request in progress has been answered. A request whose
    /// head has not arrived completely gets [`UNFINISHED_TIMEOUT`]. Dropping the future cuts off all requests.
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
                    // Small messages such as pings must not wait for more data.
                    let _ = stream.set_nodelay(true);
                    let one = serve(stream, remote, self.handler.clone(), self.head_timeout, self.stop.clone());
                    connections.spawn(one);
                }
                Err(error) if is_transient(&error) => {
                    tracing::debug!(%error, "a connection ended before it was accepted")
                }
                Err(error) => {
                    if !std::mem::replace(&mut paused, true) {
                        let open_files = super::open_files::open_files();
                        tracing::warn!(%error, open_files, "cannot accept connections; trying again every second");
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
    if let Err(panicked) = ended.map_err(|error| error.is_panic()) {
        tracing::error!(panicked, "the handler of an HTTP request failed; its connection was closed");
    }
}

/// Whether an error of `accept` concerns only one peer (accept(2): pending errors of the new socket).
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | HostUnreachable | Interrupted | TimedOut
    )
}

/// Serves HTTP on one connection until it ends or becomes a WebSocket.
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
            // Wait for the first byte here, so that the timeout of the head starts with it.
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
            // A peer that cannot receive these few bytes immediately does without them.
            let _ = timed_out.tcp().try_write(REQUEST_TIMEOUT_RESPONSE);
            return;
        }
        // hyper's timer also runs between requests. Either nothing has arrived: the connection is idle, which is
        // allowed. Or a head has started to arrive since the last response, perhaps just now: it gets a new timeout
        // from here.
        socket = timed_out;
        idle_until = Instant::now() + KEEP_ALIVE_TIMEOUT.saturating_sub(head_timeout);
    }
}

/// One HTTP connection, shared by its requests.
struct HttpConnection {
    remote: SocketAddr,
    handler: Arc<RequestHandler>,
    head_timeout: Duration,
    stop: CancellationToken,
}

impl HttpConnection {
    /// Serves requests until the connection ends (`None`), or until no complete head has arrived within the timeout.
    /// Then it returns the socket, which holds the bytes of an incomplete head, and whether a request was answered
    /// before.
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
                // The connection is now either waiting for the rest of a head or answering a request.
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

/// Answers a request from `remote`. Handlers get the address as `ConnectInfo<SocketAddr>`.
async fn answer(handler: &RequestHandler, mut request: Request<TrackedBody<Incoming>>, remote: SocketAddr) -> Response {
    // RFC 9112, section 3.2: a server must reject an HTTP/1.1 request with no Host header or with two.
    if request.version() == Version::HTTP_11 && request.headers().get_all(HOST).iter().count() != 1 {
        return close_with(StatusCode::BAD_REQUEST);
    }
    request.extensions_mut().insert(ConnectInfo(remote));
    handler.answer(request).await
}
