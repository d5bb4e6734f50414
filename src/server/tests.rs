//! Tests of the server as a client meets it: raw sockets on port 0.
#![allow(clippy::unwrap_used)]

mod auth;
mod build;

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::*;
use crate::hub::{Hub, HubMethod};

#[cfg(target_os = "linux")]
mod deaf;
mod farewell;
#[cfg(unix)]
mod open_files;

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
    running.until("/readyz", "200").await;
    running
}

/// Starts a server, which takes connections from then on.
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
    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends a request on a connection of its own; the whole answer as text.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.rest().await
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await
    }

    /// Asks until the answer has this status.
    async fn until(&self, path: &str, status: &str) -> String {
        loop {
            let answer = self.get(path).await;
            if answer.starts_with(&format!("HTTP/1.1 {status} ")) {
                return answer;
            }
        }
    }

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

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn exactly(&mut self, into: &mut [u8]) {
        self.0.read_exact(into).await.unwrap();
    }

    /// Everything until the server closes.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Until these bytes came.
    async fn read_to(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            text.push(char::from(self.0.read_u8().await.unwrap()));
        }
        text
    }
}

/// Serves `/slow`, which says that it was asked and answers when it is allowed to.
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

const SLOW: &str = "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";

// === counting ===

#[cfg(feature = "metrics")]
#[tokio::test]
async fn a_connection_whose_task_breaks_is_counted_out() {
    let builder = Server::builder(config())
        .hub(crate::hub::HubRoute::new("/hub", Nothing).name("Hub"))
        .user_id(|_| panic!("a planted panic of the host's own code"));
    let server = start(builder).await;
    let mut client = server.connect().await;
    let upgrade = "GET /hub HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.send(upgrade).await;
    client.read_to("\r\n\r\n").await;
    let handshake = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
    client.bytes(&[&[0x81, 0x80 | handshake.len() as u8, 0, 0, 0, 0], handshake.as_bytes()].concat()).await;
    let _ = client.0.read_to_end(&mut Vec::new()).await;
    let metrics = server.get("/metrics").await;
    assert!(metrics.contains("\nsignalr_connections{hub=\"Hub\",transport=\"web_sockets\"} 0\n"), "{metrics}");
}

// === answering ===

#[tokio::test]
async fn unknown_paths_are_bare_404() {
    let server = start(Server::builder(config())).await;
    for path in ["/", "/chat", "/healthz/x"] {
        let answer = server.get(path).await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 404 not found\r\n"), "{answer}");
        assert!(!answer.contains("content-type"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn own_pages_and_the_hosts_routes_answer_on_one_connection() {
    let routes = axum::Router::new()
        .route("/who", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }));
    let server = start(Server::builder(Config { demo: true, ..config() }).routes(routes)).await;
    let mut client = server.connect().await;
    let peer = client.0.local_addr().unwrap().to_string();
    client.send("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\nGET /who HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let answers = client.rest().await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answers}");
    assert!(answers.contains("\r\n\r\nok\n") && answers.contains(&peer) && answers.contains("text/html"), "{answers}");
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = start(Server::builder(config())).await;
    let huge = |length| format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(length));
    let (huge, endless) = (huge(40_000), huge(1_000_000));
    let cases = [
        ("hello\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: abc\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.0\r\n\r\n", "200"),
        (&huge, "431"),
    ];
    // Longer than what is read at all: whether the answer or a reset comes first is up to the system.
    let _ = server.connect().await.0.write_all(endless.as_bytes()).await;
    for (request, status) in cases {
        let answer = server.ask(request).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
}

#[tokio::test]
async fn errors_and_preflights_carry_cors() {
    let server =
        start(Server::builder(Config { cors_origins: vec!["http://page.example".parse().unwrap()], ..config() })).await;
    let answer =
        server.ask("GET /no HTTP/1.1\r\nhost: a\r\norigin: http://page.example\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("\r\naccess-control-allow-origin: http://page.example\r\n"), "{answer}");
    assert!(answer.contains("\r\nvary: Origin\r\n"), "{answer}");
    let asks = "origin: http://page.example\r\naccess-control-request-method: POST\r\nconnection: close\r\n\r\n";
    let answer = server.ask(&format!("OPTIONS /no HTTP/1.1\r\nhost: a\r\n{asks}")).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert!(answer.contains("\r\naccess-control-allow-methods: POST\r\n"), "{answer}");
}

// === bounds ===

/// A bound that is waited for, and long enough that what is sent at once never comes too late.
const BRIEF: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_slow_head_is_408_and_an_idle_connection_is_no_slow_head() {
    let server = start(Server::builder(Config { request_timeout: BRIEF, ..config() })).await;
    let mut idle = server.connect().await;
    idle.send("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.read_to("ok\n").await;
    // Begun after the other one fell idle: when this one's time is over, so would be that one's.
    let mut slow = server.connect().await;
    slow.send("GET /healthz HTTP/1.1\r\nho").await;
    let answer = slow.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer:?}");
    idle.send("GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(idle.rest().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_head_that_begins_on_an_idle_connection_has_its_own_time() {
    let window = Duration::from_secs(2);
    let server = start(Server::builder(Config { request_timeout: window, ..config() })).await;
    let (mut late, mut slow) = (server.connect().await, server.connect().await);
    for client in [&mut late, &mut slow] {
        client.send("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.read_to("ok\n").await;
    }
    let began = Instant::now();
    sleep_until(began + window * 3 / 4).await;
    for client in [&mut late, &mut slow] {
        client.send("GET /healthz HT").await;
    }
    sleep_until(began + window * 5 / 4).await;
    late.send("TP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let answer = late.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    // One that does not come whole in that time either is refused.
    let answer = slow.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_time() {
    let routes = axum::Router::new().route("/length", post(|body: String| async move { body.len().to_string() }));
    let short = Config { request_timeout: BRIEF, ..config() };
    let server = start(Server::builder(short).routes(routes)).await;
    let post = |rest: &str| format!("POST /length HTTP/1.1\r\nhost: a\r\n{rest}");

    let answer = server.ask(&post("connection: close\r\ncontent-length: 5\r\n\r\nhello")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n5"), "{answer}");
    let answer = server.ask(&post("content-length: 30000001\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("connection: close"), "{answer}");
    let answer = server.ask(&post("content-length: 5\r\n\r\nhe")).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_chunked_body_is_counted() {
    let body = post(|body: axum::body::Body| async move {
        axum::body::to_bytes(body, usize::MAX).await.map(|bytes| bytes.len().to_string()).unwrap_or_default()
    });
    let server = start(Server::builder(config()).routes(axum::Router::new().route("/length", body))).await;
    let mut client = server.connect().await;
    client.send("POST /length HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = format!("{:x}\r\n{}\r\n", 1_000_000, "a".repeat(1_000_000));
    for _ in 0..30 {
        client.send(&chunk).await;
    }
    client.send("1\r\na").await;
    let answer = client.read_to("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

// === stopping ===

#[tokio::test]
async fn while_it_drains_it_says_so_and_requests_in_work_are_answered() {
    let long = Duration::from_secs(600);
    let (builder, asked, allowed) =
        with_slow_route(Config { drain_delay: Duration::from_secs(3), shutdown_timeout: long, ..config() });
    let server = start(builder).await;
    let mut idle = server.connect().await;
    idle.send("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.read_to("ok\n").await;
    let mut slow = server.connect().await;
    slow.send(SLOW).await;
    asked.notified().await;

    server.stop.request();
    let answer = server.until("/readyz", "503").await;
    assert!(answer.ends_with(r#"{"ready":false,"reasons":["draining"]}"#), "{answer}");
    assert!(server.get("/healthz").await.starts_with("HTTP/1.1 200"));
    // The idle connection is closed with the listener, the one in work is not.
    assert_eq!(idle.rest().await, "");
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.ended.is_finished());
    allowed.notify_one();
    let answer = slow.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    server.ends().await.unwrap();
}

#[tokio::test]
async fn asked_twice_it_ends_at_once() {
    let long = Duration::from_secs(600);
    let (builder, asked, _never) = with_slow_route(Config { drain_delay: long, shutdown_timeout: long, ..config() });
    let server = start(builder).await;
    let mut slow = server.connect().await;
    slow.send(SLOW).await;
    asked.notified().await;
    server.stop.request();
    server.until("/readyz", "503").await;
    server.stop.request();
    assert!(matches!(server.ends().await, Err(ServeError::Forced)));
    // Whether by FIN or by RST: the connection has ended without an answer.
    let mut nothing = String::new();
    let _ = slow.0.read_to_string(&mut nothing).await;
    assert_eq!(nothing, "");
}

#[tokio::test]
async fn the_timeout_bounds_it_all() {
    let short = Duration::from_millis(50);
    let long = Duration::from_secs(600);
    let (builder, asked, _never) = with_slow_route(Config { drain_delay: long, shutdown_timeout: short, ..config() });
    let server = start(builder).await;
    let mut slow = server.connect().await;
    slow.send(SLOW).await;
    asked.notified().await;
    server.stop.request();
    server.ends().await.unwrap();
}

#[tokio::test]
async fn a_future_can_end_it_too() {
    let server = Server::builder(config()).build().await.unwrap();
    server.run(std::future::ready(())).await.unwrap();
}

// === beginning ===

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = start(Server::builder(config())).await;
    let again = Server::builder(Config { listen: server.address, ..config() }).build().await.unwrap();
    let error = again.bind().unwrap_err().to_string();
    assert_eq!(error, format!("cannot listen on {}: another program listens there already", server.address));
}
