//! The library within somebody else's axum application: routes, transports, middleware, TLS and the orderly stop.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::routing::get;
use futures_util::{SinkExt as _, StreamExt as _};
use hubplane::config::Config;
use hubplane::hub::{Caller, HubRoute, Methods};
use hubplane::server::{Server, ServerHandle};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::kit::PATIENCE;

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
const COME_AGAIN: &str = "{\"type\":7,\"allowReconnect\":true}\u{1e}";

/// `Echo`, and `Address`: what the hub knows of its client's socket.
fn hub() -> Methods {
    Methods::new()
        .method("Echo", |_: Caller, text: String| async move { Ok(text) })
        .method("Address", |caller: Caller| async move { Ok(caller.request().remote.map(|remote| remote.to_string())) })
}

async fn server(config: Config) -> Server {
    Server::builder(config).hub(HubRoute::new("/Chat", hub())).build().await.unwrap()
}

/// An application that `axum::serve` serves until it is told to stop.
struct App {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
}

impl App {
    async fn serve(app: Router, handle: &ServerHandle) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, told) = oneshot::channel::<()>();
        let handle = handle.clone();
        let ended = tokio::spawn(async move {
            let app = app.into_make_service_with_connect_info::<SocketAddr>();
            let stop = async move {
                let _ = told.await;
                handle.shutdown().await;
            };
            axum::serve(listener, app).with_graceful_shutdown(stop).await.unwrap();
        });
        Self { address, stop: Some(stop), ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The whole answer to a request on a connection of its own.
    async fn ask(&self, request: &str) -> String {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let length = body.len();
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
        let fixed = format!("host: app\r\nconnection: close\r\ncontent-length: {length}\r\n");
        let mut stream = self.connect().await;
        stream.write_all(format!("{line} HTTP/1.1\r\n{fixed}{headers}\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect(line).unwrap();
        answer
    }

    #[track_caller]
    fn status(answer: &str) -> u16 {
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Asks until the answer has this status.
    async fn until(&self, request: &str, status: u16) -> String {
        let asked = async {
            loop {
                let answer = self.ask(request).await;
                if Self::status(&answer) == status {
                    return answer;
                }
            }
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{request}: never {status}"))
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

/// A client on a WebSocket over any stream.
pub(crate) struct Socket<S>(WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Connects and shakes hands.
    pub(crate) async fn open(stream: S, path: &str) -> Self {
        let (socket, _) = tokio_tungstenite::client_async(format!("ws://app{path}"), stream).await.unwrap();
        let mut socket = Self(socket);
        socket.say(HANDSHAKE).await;
        assert_eq!(socket.next().await.as_deref(), Some("{}\u{1e}"));
        socket
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next message; None when the server has closed it with 1000.
    pub(crate) async fn next(&mut self) -> Option<String> {
        match timeout(PATIENCE, self.0.next()).await.expect("a message") {
            Some(Ok(Message::Text(text))) => Some(text.to_string()),
            Some(Ok(Message::Close(Some(frame)))) => {
                assert_eq!(u16::from(frame.code), 1000);
                None
            }
            other => panic!("neither text nor close: {other:?}"),
        }
    }

    /// Calls a method; the completion as it came.
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
async fn every_transport_works_under_a_path_of_the_application() {
    let server = server(Config::default()).await;
    let handle = server.handle();
    let app = Router::new()
        .route("/", get(async || "the application"))
        .route("/{*any}", get(async || "any other page"))
        .nest("/realtime", server.into_router());
    let app = App::serve(app, &handle).await;

    let mut socket = Socket::open(app.connect().await, "/realtime/Chat").await;
    assert_eq!(socket.call("Echo", r#"["a"]"#).await, result("\"a\""));
    let peer = socket.0.get_ref().local_addr().unwrap();
    assert_eq!(socket.call("Address", "[]").await, result(&format!("\"{peer}\"")));

    for accept in ["text/event-stream", "*/*"] {
        let negotiated = app.ask("POST /realtime/Chat/negotiate?negotiateVersion=1").await;
        let token = negotiated.split("\"connectionToken\":\"").nth(1).unwrap().split('"').next().unwrap();
        let path = format!("/realtime/Chat?id={token}");
        let mut stream = app.connect().await;
        let get = format!("GET {path} HTTP/1.1\r\nhost: app\r\naccept: {accept}\r\n\r\n");
        stream.write_all(get.as_bytes()).await.unwrap();
        read_to(&mut stream, "\r\n\r\n").await;
        let call = r#"{"type":1,"invocationId":"1","target":"Echo","arguments":["b"]}"#;
        let posted = app.ask(&format!("POST {path}\n\n{HANDSHAKE}{call}\u{1e}")).await;
        assert_eq!(App::status(&posted), 200, "{posted}");
        let mut seen = String::new();
        while !seen.contains(&result("\"b\"")) {
            seen += &if accept == "*/*" {
                app.ask(&format!("GET {path}")).await
            } else {
                read_to(&mut stream, "\n\r\n").await
            };
        }
    }

    assert!(app.ask("GET /").await.ends_with("the application"));
    assert!(app.ask("GET /Chat").await.ends_with("any other page"));
    assert!(app.ask("GET /realtime/healthz").await.ends_with("ok\n"));
    assert!(app.ask("GET /realtime/metrics").await.contains("signalr_connections"));
}

/// Until these bytes came.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let byte = timeout(PATIENCE, stream.read_u8()).await.unwrap_or_else(|_| panic!("{end:?} after {text:?}"));
        text.push(char::from(byte.unwrap()));
    }
    text
}

#[tokio::test]
async fn at_the_root_it_stands_beside_the_applications_routes() {
    let server = server(Config::default()).await;
    let handle = server.handle();
    let app = Router::new().route("/mine", get(async || "mine")).merge(server.into_router());
    let app = App::serve(app, &handle).await;
    for (request, status) in [
        ("GET /mine", 200),
        ("GET /nobodys", 404),
        ("GET /readyz", 200),
        ("POST /Chat/negotiate", 200),
        ("POST /Chat/negotiate/", 200),
        // Whatever the case, though axum knows none of these routes.
        ("POST /cHAT/Negotiate", 200),
        ("POST /ch%61t/negotiate", 200),
        ("GET /Chat", 400),
        ("PUT /chat/", 405),
    ] {
        assert_eq!(App::status(&app.ask(request).await), status, "{request}");
    }
}

#[tokio::test]
async fn an_application_with_a_fallback_of_its_own_has_three_ways() {
    let own = || Router::new().fallback(async || "my own fallback");
    let routers = [
        own().merge(server(Config::default()).await.into_router().reset_fallback()),
        own().nest_service("/realtime", server(Config::default()).await.into_router()),
        Server::builder(Config::default())
            .hub(HubRoute::new("/Chat", hub()))
            .routes(own())
            .build()
            .await
            .unwrap()
            .into_router(),
    ];
    for (app, path) in routers.into_iter().zip(["/Chat", "/realtime/chat", "/chat"]) {
        let handle = server(Config::default()).await.handle();
        let app = App::serve(app, &handle).await;
        assert_eq!(App::status(&app.ask(&format!("POST {path}/negotiate")).await), 200, "{path}");
        assert!(app.ask("GET /other").await.ends_with("my own fallback"), "{path}");
        Socket::open(app.connect().await, path).await;
    }
}

#[tokio::test]
async fn paths_that_axum_would_read_differently_are_served() {
    let mut builder = Server::builder(Config::default());
    let paths = ["/{id}/chat", "/:name", "/*all", "/über", "/"];
    for path in paths {
        builder = builder.hub(HubRoute::new(path, hub()).name(path));
    }
    let server = builder.build().await.unwrap();
    let handle = server.handle();
    let app = App::serve(Router::new().nest("/x", server.into_router()), &handle).await;
    for path in ["/%7Bid%7D/chat", "/{id}/chat", "/:name", "/*all", "/%C3%BCber", ""] {
        assert_eq!(App::status(&app.ask(&format!("POST /x{path}/negotiate")).await), 200, "{path}");
    }
    assert_eq!(App::status(&app.ask("POST /x/some/chat/negotiate").await), 404);
}

#[tokio::test]
async fn the_applications_middleware_is_around_it_and_cors_within() {
    let config = Config { cors_origins: vec!["http://page.example".parse().unwrap()], ..Config::default() };
    let server = server(config).await;
    let handle = server.handle();
    let stamp = async |request: Request, next: Next| {
        let mut response = next.run(request).await;
        response.headers_mut().insert("x-stamp", "seen".parse().unwrap());
        response
    };
    let app = Router::new().nest("/realtime", server.into_router()).layer(middleware::from_fn(stamp));
    let app = App::serve(app, &handle).await;
    let from = "origin: http://page.example";
    let answer = app.ask(&format!("POST /realtime/Chat/negotiate\n{from}")).await;
    for header in ["access-control-allow-origin: http://page.example\r\n", "x-stamp: seen\r\n"] {
        assert!(answer.contains(header), "{answer}");
    }
    let preflight = format!("OPTIONS /realtime/Chat/negotiate\n{from}\naccess-control-request-method: POST");
    assert_eq!(App::status(&app.ask(&preflight).await), 204);
    Socket::open(app.connect().await, "/realtime/Chat").await;
}

#[tokio::test]
async fn bodies_are_bounded_within_the_application() {
    let server = server(Config { request_timeout: Duration::from_millis(300), ..Config::default() }).await;
    let handle = server.handle();
    let app = App::serve(Router::new().nest("/realtime", server.into_router()), &handle).await;
    for (length, status) in [("30000001", "413"), ("5", "408")] {
        let mut stream = app.connect().await;
        let head = format!("POST /realtime/Chat/negotiate HTTP/1.1\r\nhost: app\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_to(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn the_handle_stops_it_in_good_order_within_axum() {
    let config = Config { drain_delay: Duration::from_secs(2), ..Config::default() };
    let server = server(config).await;
    let handle = server.handle();
    let mut app = App::serve(Router::new().nest("/realtime", server.into_router()), &handle).await;
    app.until("GET /realtime/readyz", 200).await;
    let mut socket = Socket::open(app.connect().await, "/realtime/Chat").await;

    app.stop();
    let answer = app.until("GET /realtime/readyz", 503).await;
    assert!(answer.ends_with(r#"{"ready":false,"reasons":["draining"]}"#), "{answer}");
    assert_eq!(handle.not_ready(), ["draining"]);
    // While it drains everything goes on.
    assert_eq!(socket.call("Echo", r#"["still"]"#).await, result("\"still\""));
    assert_eq!(App::status(&app.ask("POST /realtime/Chat/negotiate").await), 200);

    assert_eq!(socket.next().await.as_deref(), Some(COME_AGAIN));
    // The door is closed, and waits for the last client; the pages go on.
    assert_eq!(App::status(&app.ask("POST /realtime/Chat/negotiate").await), 503);
    assert_eq!(App::status(&app.ask("GET /realtime/healthz").await), 200);
    assert!(!app.ended.is_finished());
    assert_eq!(socket.next().await, None);
    drop(socket);
    timeout(PATIENCE, app.ended).await.expect("axum ends").unwrap();
    // Again, it has ended already.
    timeout(PATIENCE, handle.shutdown()).await.unwrap();
    assert_eq!(handle.connections(), 0);
}

#[tokio::test]
async fn a_server_that_is_dropped_sends_its_clients_away() {
    let server = server(Config::default()).await;
    let handle = server.handle();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().nest("/realtime", server.into_router());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut socket = Socket::open(TcpStream::connect(address).await.unwrap(), "/realtime/Chat").await;
    // Without connect info nothing is known of it.
    assert_eq!(socket.call("Address", "[]").await, result("null"));
    serving.abort();
    let _ = serving.await;
    // The handle still holds it.
    assert_eq!(socket.call("Echo", r#"["a"]"#).await, result("\"a\""));
    drop(handle);
    assert_eq!(socket.next().await.as_deref(), Some(COME_AGAIN));
    assert_eq!(socket.next().await, None);
}
