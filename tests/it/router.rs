//! Tests of the library inside an axum application: routes, transports, middleware and graceful shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::routing::get;
use hubplane::auth::{FromExtension, Principal};
use hubplane::config::{Authorize, BackplaneConfig, Config};
use hubplane::hub::{Caller, HubContext, HubRoute, Methods};
use hubplane::server::{Server, ServerHandle};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use testkit::http::Response;
use testkit::nonblocking::{Connection, TIMEOUT, ask, until};
use testkit::ws;

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
const CLOSE_WITH_RECONNECT: &str = "{\"type\":7,\"allowReconnect\":true}\u{1e}";

/// A hub with the methods `Echo` and `Address`, which returns the client's address as the hub sees it.
fn hub() -> Methods {
    Methods::new()
        .method("Echo", |_: Caller, text: String| async move { Ok(text) })
        .method("Address", |caller: Caller| async move { Ok(caller.request().remote.map(|remote| remote.to_string())) })
}

async fn server(config: Config) -> Server {
    Server::builder(config).hub(HubRoute::new("/Chat", hub())).build().await.unwrap()
}

/// An application that `axum::serve` serves until `stop` is notified.
struct App {
    address: SocketAddr,
    stop: Arc<Notify>,
    ended: JoinHandle<()>,
}

impl App {
    /// Serves an application that contains the server with this handle.
    async fn serve(app: Router, handle: ServerHandle) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let ended = tokio::spawn(async move {
            let app = app.into_make_service_with_connect_info::<SocketAddr>();
            let stop = async move {
                stopped.notified().await;
                handle.shutdown().await;
            };
            axum::serve(listener, app).with_graceful_shutdown(stop).await.unwrap();
        });
        Self { address, stop, ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The response to a request without headers and body.
    async fn ask(&self, line: &str) -> Response {
        ask(self.address, line, &[], "").await
    }
}

/// A client on a WebSocket over any stream.
pub(crate) struct Socket<S>(Connection<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Connects and performs the handshake.
    pub(crate) async fn open(stream: S, path: &str) -> Self {
        let mut socket = Self(Connection::over(stream));
        let answer = socket.0.upgrade(path).await;
        assert_eq!((answer.status, answer.header("sec-websocket-accept")), (101, Some(ws::ACCEPT)));
        socket.say(HANDSHAKE).await;
        assert_eq!(socket.next().await.as_deref(), Some("{}\u{1e}"));
        socket
    }

    async fn say(&mut self, text: &str) {
        self.0.send(ws::TEXT, text.as_bytes()).await;
    }

    /// The next message; `None` if the server closes the WebSocket with code 1000.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let frame = self.0.frame().await;
        match frame.opcode {
            ws::TEXT => Some(String::from_utf8(frame.payload).unwrap()),
            ws::CLOSE => {
                assert_eq!(ws::close_text(&frame.payload), "close 1000");
                self.0.send(ws::CLOSE, &frame.payload).await;
                None
            }
            other => panic!("neither text nor close: {other}"),
        }
    }

    /// Invokes a method, and returns the completion unchanged.
    pub(crate) async fn call(&mut self, target: &str, arguments: &str) -> String {
        let id = r#""type":1,"invocationId":"1""#;
        self.say(&format!("{{{id},\"target\":\"{target}\",\"arguments\":{arguments}}}\u{1e}")).await;
        self.next().await.unwrap()
    }
}

pub(crate) fn result(value: &str) -> String {
    format!("{{\"type\":3,\"invocationId\":\"1\",\"result\":{value}}}\u{1e}")
}

#[tokio::test]
async fn every_transport_works_when_nested_under_a_path() {
    let server = server(Config::default()).await;
    let handle = server.handle();
    let app = Router::new()
        .route("/", get(async || "the application"))
        .route("/{*any}", get(async || "any other page"))
        .nest("/realtime", server.into_router());
    let app = App::serve(app, handle).await;

    let mut socket = Socket::open(app.connect().await, "/realtime/Chat").await;
    assert_eq!(socket.call("Echo", r#"["a"]"#).await, result("\"a\""));
    let peer = socket.0.socket.local_addr().unwrap();
    assert_eq!(socket.call("Address", "[]").await, result(&format!("\"{peer}\"")));

    let call =
        format!("{HANDSHAKE}{{\"type\":1,\"invocationId\":\"1\",\"target\":\"Echo\",\"arguments\":[\"b\"]}}\u{1e}");
    let path = negotiate(&app).await;
    let mut events = Connection::open(app.address).await;
    events.request(&format!("GET {path}"), &[("Accept", "text/event-stream")], "").await;
    assert_eq!(events.head().await.status, 200);
    assert_eq!(ask(app.address, &format!("POST {path}"), &[], &call).await.status, 200);
    events.read_to(&result("\"b\"")).await;

    let path = negotiate(&app).await;
    let poll = format!("GET {path}");
    assert_eq!(app.ask(&poll).await.status, 200);
    assert_eq!(ask(app.address, &format!("POST {path}"), &[], &call).await.status, 200);
    let mut seen = String::new();
    while !seen.contains(&result("\"b\"")) {
        seen += &app.ask(&poll).await.text();
    }

    assert_eq!(app.ask("GET /").await.text(), "the application");
    assert_eq!(app.ask("GET /Chat").await.text(), "any other page");
    assert_eq!(app.ask("GET /realtime/healthz").await.text(), "ok\n");
    assert!(app.ask("GET /realtime/metrics").await.text().contains("signalr_connections"));
}

/// Negotiates, and returns the path of the new connection.
async fn negotiate(app: &App) -> String {
    let answer = app.ask("POST /realtime/Chat/negotiate?negotiateVersion=1").await;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    format!("/realtime/Chat?id={}", answer["connectionToken"].as_str().unwrap())
}

#[tokio::test]
async fn the_router_is_merged_with_routes_of_the_application() {
    let server = server(Config::default()).await;
    let handle = server.handle();
    let app = Router::new().route("/mine", get(async || "mine")).merge(server.into_router());
    let app = App::serve(app, handle).await;
    for (line, status) in [
        ("GET /mine", 200),
        ("GET /nobodys", 404),
        ("GET /readyz", 200),
        ("POST /Chat/negotiate", 200),
        ("POST /Chat/negotiate/", 200),
        // These are not routes of axum. The server's fallback matches them case-insensitively.
        ("POST /cHAT/Negotiate", 200),
        ("POST /ch%61t/negotiate", 200),
        ("GET /Chat", 400),
        ("PUT /chat/", 405),
    ] {
        assert_eq!(app.ask(line).await.status, status, "{line}");
    }
}

#[tokio::test]
async fn an_application_may_have_a_fallback_of_its_own() {
    let own = || Router::new().fallback(async || "my own fallback");
    let merged = server(Config::default()).await;
    let nested = server(Config::default()).await;
    let inner = Server::builder(Config::default()).hub(HubRoute::new("/Chat", hub())).routes(own()).build();
    let inner = inner.await.unwrap();
    for (handle, app, path) in [
        (merged.handle(), own().merge(merged.into_router().reset_fallback()), "/Chat"),
        (nested.handle(), own().nest_service("/realtime", nested.into_router()), "/realtime/chat"),
        (inner.handle(), inner.into_router(), "/chat"),
    ] {
        let app = App::serve(app, handle).await;
        assert_eq!(app.ask(&format!("POST {path}/negotiate")).await.status, 200, "{path}");
        assert_eq!(app.ask("GET /other").await.text(), "my own fallback", "{path}");
        Socket::open(app.connect().await, path).await;
    }
}

#[tokio::test]
async fn paths_with_special_meaning_in_axum_are_literal() {
    let mut builder = Server::builder(Config::default());
    for path in ["/{id}/chat", "/:name", "/*all", "/über", "/"] {
        builder = builder.hub(HubRoute::new(path, hub()).name(path));
    }
    let server = builder.build().await.unwrap();
    let handle = server.handle();
    let app = App::serve(Router::new().nest("/x", server.into_router()), handle).await;
    for path in ["/%7Bid%7D/chat", "/{id}/chat", "/:name", "/*all", "/%C3%BCber", ""] {
        assert_eq!(app.ask(&format!("POST /x{path}/negotiate")).await.status, 200, "{path}");
    }
    assert_eq!(app.ask("POST /x/some/chat/negotiate").await.status, 404);
}

#[tokio::test]
async fn middleware_of_the_application_and_cors_of_the_server_apply() {
    let mut config = Config::default();
    config.cors_origins = vec!["http://page.example".parse().unwrap()];
    let server = server(config).await;
    let handle = server.handle();
    let stamp = async |request: Request, next: Next| {
        let mut response = next.run(request).await;
        response.headers_mut().insert("x-stamp", "seen".parse().unwrap());
        response
    };
    let app = Router::new().nest("/realtime", server.into_router()).layer(middleware::from_fn(stamp));
    let app = App::serve(app, handle).await;
    let origin = ("Origin", "http://page.example");
    let answer = ask(app.address, "POST /realtime/Chat/negotiate", &[origin], "").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://page.example"));
    assert_eq!(answer.header("x-stamp"), Some("seen"));
    let preflight = [origin, ("Access-Control-Request-Method", "POST")];
    let answer = ask(app.address, "OPTIONS /realtime/Chat/negotiate", &preflight, "").await;
    assert_eq!(answer.status, 204);
    Socket::open(app.connect().await, "/realtime/Chat").await;
    // The WebSocket of a page from another origin is refused, too.
    let mut foreign = Connection::open(app.address).await;
    let headers = [&ws::UPGRADE[..], &[("Origin", "http://evil.example")]].concat();
    foreign.request("GET /realtime/Chat", &headers, "").await;
    assert_eq!(foreign.response().await.status, 403);
}

#[tokio::test]
async fn the_hub_sees_users_that_middleware_has_authenticated() {
    let hub =
        Methods::new().method("Me", |caller: Caller| async move { Ok(caller.user_id().map(ToString::to_string)) });
    let route = HubRoute::new("/Chat", hub).authorize(Authorize::user());
    let server = Server::builder(Config::default()).hub(route).authenticate(FromExtension).build().await.unwrap();
    let handle = server.handle();
    let session = async |mut request: Request, next: Next| {
        if request.uri().query().is_some_and(|query| query.contains("session=1")) {
            request.extensions_mut().insert(Arc::new(Principal::named("ann")));
        }
        next.run(request).await
    };
    let app = Router::new().nest("/realtime", server.into_router()).layer(middleware::from_fn(session));
    let app = App::serve(app, handle).await;
    assert_eq!(app.ask("POST /realtime/Chat/negotiate").await.status, 401);
    assert_eq!(app.ask("POST /realtime/Chat/negotiate?session=1").await.status, 200);
    let mut socket = Socket::open(app.connect().await, "/realtime/Chat?session=1").await;
    assert_eq!(socket.call("Me", "[]").await, result("\"ann\""));
}

#[tokio::test]
async fn limits_of_bodies_apply_within_the_application() {
    let mut config = Config::default();
    config.request_timeout = Duration::from_millis(300);
    let server = server(config).await;
    let handle = server.handle();
    let app = App::serve(Router::new().nest("/realtime", server.into_router()), handle).await;
    for (length, status) in [("30000001", 413), ("5", 408)] {
        let mut client = Connection::open(app.address).await;
        let head = format!("POST /realtime/Chat/negotiate HTTP/1.1\r\nhost: app\r\ncontent-length: {length}\r\n\r\n");
        client.write(head).await;
        assert_eq!(client.response().await.status, status);
    }
}

#[tokio::test]
async fn the_handle_stops_the_server_gracefully_within_axum() {
    let mut config = Config::default();
    config.drain_delay = Duration::from_secs(2);
    let server = server(config).await;
    let handle = server.handle();
    let app = App::serve(Router::new().nest("/realtime", server.into_router()), handle.clone()).await;
    let ready = async |status| {
        until("readiness", async || {
            Some(app.ask("GET /realtime/readyz").await).filter(|answer| answer.status == status)
        })
        .await
    };
    assert_eq!(ready(200).await.text(), r#"{"ready":true}"#);
    let mut socket = Socket::open(app.connect().await, "/realtime/Chat").await;

    app.stop.notify_one();
    assert_eq!(ready(503).await.text(), r#"{"ready":false,"reasons":["draining"]}"#);
    assert_eq!(handle.not_ready(), ["draining"]);
    // Until drain_delay has passed, everything continues.
    assert_eq!(socket.call("Echo", r#"["still"]"#).await, result("\"still\""));
    assert_eq!(app.ask("POST /realtime/Chat/negotiate").await.status, 200);

    assert_eq!(socket.next().await.as_deref(), Some(CLOSE_WITH_RECONNECT));
    // New clients are refused and the pages are still served, while the server waits for the last client.
    assert_eq!(app.ask("POST /realtime/Chat/negotiate").await.status, 503);
    assert_eq!(app.ask("GET /realtime/healthz").await.status, 200);
    assert!(!app.ended.is_finished());
    assert_eq!(socket.next().await, None);
    drop(socket);
    timeout(TIMEOUT, app.ended).await.expect("axum ends").unwrap();
    // Another shutdown returns immediately.
    timeout(TIMEOUT, handle.shutdown()).await.unwrap();
    assert_eq!(handle.connections(), 0);
}

/// The number of tasks on this test's runtime that have not ended.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn dropping_the_server_closes_connections_and_ends_tasks() {
    let before = tasks();
    let server = server(Config::default()).await;
    let handle = server.handle();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().nest("/realtime", server.into_router());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut socket = Socket::open(TcpStream::connect(address).await.unwrap(), "/realtime/Chat").await;
    // Without connect info the address of the peer is unknown.
    assert_eq!(socket.call("Address", "[]").await, result("null"));
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    // The handle keeps the server alive.
    assert_eq!(socket.call("Echo", r#"["a"]"#).await, result("\"a\""));
    drop(handle);
    assert_eq!(socket.next().await.as_deref(), Some(CLOSE_WITH_RECONNECT));
    assert_eq!(socket.next().await, None);
    drop(socket);
    until("no task is left", async || (tasks() == before).then_some(())).await;
}

#[tokio::test]
async fn dropping_the_server_closes_its_backplane() {
    testkit::needs!("redis-server");
    let redis = testkit::redis::Redis::start();
    let before = tasks();
    let connection = redis.connection();
    let mut config = Config::default();
    config.backplane = BackplaneConfig::redis(connection);
    let context = HubContext::new();
    let route = HubRoute::new("/chat", hub()).context(&context);
    let server = Server::builder(config).hub(route).build().await.unwrap();
    server.handle().ready().await;
    until("a send over Redis", async || context.clients().all().send("M", ()).await.ok()).await;
    drop(server);
    // A context does not keep the backplane alive.
    until("no task is left", async || (tasks() == before).then_some(())).await;
    assert!(context.clients().all().send("M", ()).await.is_err());
}
