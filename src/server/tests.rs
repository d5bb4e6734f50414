//! Tests of a whole server over raw sockets.
#![allow(clippy::unwrap_used)]

mod auth;
mod build;

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use testkit::http::{Response, request};
use testkit::hub::handshake;
use testkit::nonblocking::{self, Connection};
use testkit::stream::ReadEnd;
use testkit::ws;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::*;
use crate::hub::{Hub, HubMethod};

mod close_on_stop;
#[cfg(unix)]
mod open_files;
#[cfg(target_os = "linux")]
mod unread_responses;

struct Running {
    address: SocketAddr,
    stop: Shutdown,
    ended: JoinHandle<Result<(), ServeError>>,
}

fn config() -> Config {
    Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() }
}

/// Starts a server, and waits until it is ready.
async fn start(builder: Builder) -> Running {
    let running = serve(builder).await;
    running.becomes("/readyz", 200).await;
    running
}

/// Starts a server, which accepts connections when this returns.
async fn serve(builder: Builder) -> Running {
    let bound = builder.build().await.unwrap().bind().unwrap();
    let address = bound.local_addr();
    let stop = Shutdown::default();
    let ended = tokio::spawn({
        let stop = stop.clone();
        async move { bound.run_until(&stop).await }
    });
    Running { address, stop, ended }
}

impl Running {
    async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    /// Sends one request on a connection of its own.
    async fn ask(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Response {
        nonblocking::ask(self.address, line, headers, body).await
    }

    async fn get(&self, path: &str) -> Response {
        self.ask(&format!("GET {path}"), &[], "").await
    }

    /// Repeats a request until the response has this status, and returns the response.
    async fn until(&self, path: &str, status: u16) -> Response {
        nonblocking::until(&format!("{path} says {status}"), async || {
            Some(self.get(path).await).filter(|answer| answer.status == status)
        })
        .await
    }

    /// Repeats a request until the response has this status.
    async fn becomes(&self, path: &str, status: u16) {
        drop(self.until(path, status).await);
    }

    /// Waits until the server has ended.
    async fn ends(self) -> Result<(), ServeError> {
        self.ended.await.unwrap()
    }
}

/// A hub without methods.
struct Nothing;

impl Hub for Nothing {
    fn resolve(&self, _target: &str) -> Option<Arc<dyn HubMethod>> {
        None
    }
}

/// A server with the route `/slow`. Its handler notifies the first value when it is called, and answers when the second
/// one is notified.
fn with_slow_route(config: Config) -> (Builder, Arc<Notify>, Arc<Notify>) {
    let (asked, allowed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (asked, allowed) = (asked.clone(), allowed.clone());
        move || async move {
            asked.notify_one();
            allowed.notified().await;
            "done"
        }
    };
    (Server::builder(config).routes(axum::Router::new().route("/slow", get(handler))), asked, allowed)
}

// === metrics ===

#[cfg(feature = "metrics")]
#[tokio::test]
async fn a_connection_whose_task_panics_is_removed_from_the_metrics() {
    let builder = Server::builder(config())
        .hub(crate::hub::HubRoute::new("/hub", Nothing).name("Hub"))
        .user_id(|_| panic!("a deliberate panic in the host's code"));
    let server = start(builder).await;
    let mut client = server.connect().await;
    assert_eq!(client.upgrade("/hub").await.status, 101);
    client.send(ws::TEXT, &handshake("json", 1)).await;
    // It does not matter whether the connection ends in an orderly way or by a reset.
    client.end().await;
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("\nsignalr_connections{hub=\"Hub\",transport=\"web_sockets\"} 0\n"), "{metrics}");
}

// === responses ===

#[tokio::test]
async fn unknown_paths_are_404_without_a_body() {
    let server = start(Server::builder(config())).await;
    for path in ["/", "/chat", "/healthz/x"] {
        assert_eq!(server.get(path).await.short(), (404, None, ""), "{path}");
    }
}

#[tokio::test]
async fn own_pages_and_host_routes_share_one_http_connection() {
    let routes = axum::Router::new()
        .route("/who", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }));
    let server = start(Server::builder(Config { demo: true, ..config() }).routes(routes)).await;
    let mut client = server.connect().await;
    let peer = client.socket.local_addr().unwrap().to_string();
    client.write([request("GET /healthz", &[], b""), request("GET /who", &[], b"")].concat()).await;
    client.request("GET /", &[("connection", "close")], "").await;
    assert_eq!(client.response().await.short(), (200, Some("text/plain; charset=utf-8"), "ok\n"));
    assert_eq!(client.response().await.text(), peer);
    let page = client.response().await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn invalid_http_is_refused() {
    let server = start(Server::builder(config())).await;
    let huge = |length| format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(length));
    let (huge, endless) = (huge(40_000), huge(1_000_000));
    let cases = [
        ("hello\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: abc\r\n\r\n", 400),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
        (&huge, 431),
    ];
    // Longer than what the server reads. The server answers and closes while the client is still writing, so the system
    // may report a reset instead of the response, to the writer or to the reader. The connection must end in any case.
    let mut client = server.connect().await;
    let written = client.socket.write_all(endless.as_bytes()).await;
    let (answer, end) = client.end().await;
    assert!(written.is_err() || end == ReadEnd::Reset || answer.starts_with(b"HTTP/1.1 431 "), "{end:?}");
    for (request, status) in cases {
        let mut client = server.connect().await;
        client.write(request).await;
        assert_eq!(client.response().await.status, status, "{request}");
    }
}

#[tokio::test]
async fn errors_and_preflights_carry_cors_headers() {
    let server =
        start(Server::builder(Config { cors_origins: vec!["http://page.example".parse().unwrap()], ..config() })).await;
    let origin = ("origin", "http://page.example");
    let answer = server.ask("GET /no", &[origin], "").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://page.example"));
    assert_eq!(answer.header("vary"), Some("Origin"));
    let answer = server.ask("OPTIONS /no", &[origin, ("access-control-request-method", "POST")], "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
}

// === limits ===

/// A timeout for which a test waits, and which is long enough for requests that are sent at once.
const SHORT_TIMEOUT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_slow_head_gets_408_and_an_idle_connection_does_not() {
    let server = start(Server::builder(Config { request_timeout: SHORT_TIMEOUT, ..config() })).await;
    let mut idle = server.connect().await;
    idle.request("GET /healthz", &[], "").await;
    assert_eq!(idle.response().await.text(), "ok\n");
    // Started after the other connection became idle: if idle connections had the same timeout, that one would be
    // closed by the time this one is.
    let mut slow = server.connect().await;
    slow.write("GET /healthz HTTP/1.1\r\nho").await;
    assert_eq!(slow.response().await.status, 408);
    assert_eq!(slow.rest().await, b"");
    idle.request("GET /healthz", &[("connection", "close")], "").await;
    assert_eq!(idle.response().await.status, 200);
    assert_eq!(idle.rest().await, b"");
}

#[tokio::test]
async fn a_head_on_an_idle_connection_gets_the_full_timeout() {
    let window = Duration::from_secs(2);
    let server = start(Server::builder(Config { request_timeout: window, ..config() })).await;
    let (mut late, mut slow) = (server.connect().await, server.connect().await);
    for client in [&mut late, &mut slow] {
        client.request("GET /healthz", &[], "").await;
        assert_eq!(client.response().await.text(), "ok\n");
    }
    let began = Instant::now();
    sleep_until(began + window * 3 / 4).await;
    for client in [&mut late, &mut slow] {
        client.write("GET /healthz HT").await;
    }
    sleep_until(began + window * 5 / 4).await;
    late.write("TP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(late.response().await.status, 200);
    // A head that is still incomplete after that time is refused.
    assert_eq!(slow.response().await.status, 408);
}

#[tokio::test]
async fn bodies_are_limited_in_size_and_time() {
    let routes = axum::Router::new().route("/length", post(|body: String| async move { body.len().to_string() }));
    let short = Config { request_timeout: SHORT_TIMEOUT, ..config() };
    let server = start(Server::builder(short).routes(routes)).await;
    let answer = server.ask("POST /length", &[], "hello").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "5"));
    for (rest, status) in [("content-length: 30000001\r\n\r\n", 413), ("content-length: 5\r\n\r\nhe", 408)] {
        let mut client = server.connect().await;
        client.write(format!("POST /length HTTP/1.1\r\nhost: a\r\n{rest}")).await;
        let answer = client.response().await;
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")));
        assert_eq!(client.rest().await, b"");
    }
}

#[tokio::test]
async fn a_chunked_body_is_limited() {
    let body = post(|body: axum::body::Body| async move {
        axum::body::to_bytes(body, usize::MAX).await.map(|bytes| bytes.len().to_string()).unwrap_or_default()
    });
    let server = start(Server::builder(config()).routes(axum::Router::new().route("/length", body))).await;
    let mut client = server.connect().await;
    client.write("POST /length HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = format!("{:x}\r\n{}\r\n", 1_000_000, "a".repeat(1_000_000));
    for _ in 0..30 {
        client.write(&chunk).await;
    }
    client.write("1\r\na").await;
    assert_eq!(client.head().await.status, 413);
}

// === stopping ===

#[tokio::test]
async fn readyz_reports_draining_and_requests_in_progress_finish() {
    let long = Duration::from_secs(600);
    let (builder, asked, allowed) =
        with_slow_route(Config { drain_delay: Duration::from_secs(3), shutdown_timeout: long, ..config() });
    let server = start(builder).await;
    let mut idle = server.connect().await;
    idle.request("GET /healthz", &[], "").await;
    assert_eq!(idle.response().await.text(), "ok\n");
    let mut slow = server.connect().await;
    slow.request("GET /slow", &[], "").await;
    asked.notified().await;

    server.stop.request();
    assert_eq!(server.until("/readyz", 503).await.text(), r#"{"ready":false,"reasons":["draining"]}"#);
    assert_eq!(server.get("/healthz").await.status, 200);
    // The idle connection is closed with the listener, the one with a request in progress is not.
    assert_eq!(idle.rest().await, b"");
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.ended.is_finished());
    allowed.notify_one();
    let answer = slow.response().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    server.ends().await.unwrap();
}

#[tokio::test]
async fn a_second_stop_request_ends_at_once() {
    let long = Duration::from_secs(600);
    let (builder, asked, _never) = with_slow_route(Config { drain_delay: long, shutdown_timeout: long, ..config() });
    let server = start(builder).await;
    let mut slow = server.connect().await;
    slow.request("GET /slow", &[], "").await;
    asked.notified().await;
    server.stop.request();
    server.becomes("/readyz", 503).await;
    server.stop.request();
    assert!(matches!(server.ends().await, Err(ServeError::Forced)));
    // There is no response. Whether the connection ends in an orderly way or by a reset depends on the system.
    assert_eq!(slow.end().await.0, b"");
}

#[tokio::test]
async fn shutdown_timeout_bounds_the_whole_shutdown() {
    let short = Duration::from_millis(50);
    let long = Duration::from_secs(600);
    let (builder, asked, _never) = with_slow_route(Config { drain_delay: long, shutdown_timeout: short, ..config() });
    let server = start(builder).await;
    let mut slow = server.connect().await;
    slow.request("GET /slow", &[], "").await;
    asked.notified().await;
    server.stop.request();
    server.ends().await.unwrap();
}

#[tokio::test]
async fn a_future_can_stop_the_server() {
    let server = Server::builder(config()).build().await.unwrap();
    server.run(std::future::ready(())).await.unwrap();
}

// === binding ===

#[tokio::test]
async fn an_address_in_use_is_named_in_the_error() {
    let server = start(Server::builder(config())).await;
    let again = Server::builder(Config { listen: server.address, ..config() }).build().await.unwrap();
    let error = again.bind().unwrap_err().to_string();
    assert_eq!(error, format!("cannot listen on {}: another program already listens there", server.address));
}
