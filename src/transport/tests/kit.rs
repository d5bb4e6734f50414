//! The test server of the transports: a raw connection at `/echo` that echoes bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use futures_util::future::BoxFuture;
use http::StatusCode;
pub(super) use testkit::http::Response;
pub(super) use testkit::nonblocking::{Connection, TIMEOUT};
pub(super) use testkit::stream::ReadEnd;
pub(super) use testkit::ws::{ACCEPT, UPGRADE, frame};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::HubOptions;
use crate::hub::RequestInfo;
use crate::transport::{Endpoints, RawConnection, RawStream};

/// What the echo application reports to the test.
#[derive(Debug)]
pub(super) enum EchoEvent {
    Connected(Arc<RequestInfo>),
    Disconnected,
}

struct Echo(mpsc::UnboundedSender<EchoEvent>);

impl RawConnection for Echo {
    fn run(&self, request: Arc<RequestInfo>, mut stream: RawStream) -> BoxFuture<'static, ()> {
        let events = self.0.clone();
        Box::pin(async move {
            events.send(EchoEvent::Connected(request)).unwrap();
            while let Some(bytes) = stream.recv().await {
                if bytes.starts_with(b"bye") || stream.send(bytes).await.is_err() {
                    break;
                }
            }
            events.send(EchoEvent::Disconnected).unwrap();
        })
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) transports: Arc<Endpoints>,
    pub(super) events: mpsc::UnboundedReceiver<EchoEvent>,
}

/// Starts a server with these options for the echo, and with this maximum number of connections.
pub(super) async fn serve(options: HubOptions, max_connections: Option<usize>) -> Server {
    let (event_sender, events) = mpsc::unbounded_channel();
    let mut transports = Endpoints::new(max_connections);
    transports.add_raw(&"/echo".parse().unwrap(), Arc::new(Echo(event_sender)), options).unwrap();
    let transports = Arc::new(transports);
    let handler = {
        let transports = transports.clone();
        move |request: Request| {
            let transports = transports.clone();
            async move {
                let answer = transports.handle(request).await;
                answer.unwrap_or_else(|| axum::response::IntoResponse::into_response(StatusCode::NOT_FOUND))
            }
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = Router::new().fallback(handler).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    Server { address, transports, events }
}

/// Serves the same endpoints on another port, over hyper alone instead of axum.
pub(super) async fn serve_by_hyper(server: &mut Server) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    server.address = listener.local_addr().unwrap();
    let transports = server.transports.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let transports = transports.clone();
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let transports = transports.clone();
                async move {
                    let answer = transports.handle(request.map(axum::body::Body::new)).await;
                    Ok::<_, std::convert::Infallible>(answer.unwrap())
                }
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades();
            tokio::spawn(serving);
        }
    });
}

pub(super) async fn serve_default() -> Server {
    serve(HubOptions::default(), None).await
}

impl Server {
    pub(super) async fn client(&self) -> Connection {
        Connection::open(self.address).await
    }

    /// Sends one request on a TCP connection of its own.
    pub(super) async fn ask(&self, method: &str, target: &str, body: &str) -> Response {
        testkit::nonblocking::ask(self.address, &format!("{method} {target}"), &[], body).await
    }

    /// Sends a POST that must be accepted.
    pub(super) async fn post(&self, target: &str, body: &str) {
        assert_eq!(self.ask("POST", target, body).await.short(), (200, Some("text/plain"), ""));
    }

    pub(super) async fn negotiate(&self) -> String {
        let answer = self.ask("POST", "/echo/negotiate?negotiateVersion=1", "").await;
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        body["connectionToken"].as_str().unwrap().to_owned()
    }

    /// Starts a long-polling connection and returns its token.
    pub(super) async fn polling(&self) -> String {
        let token = self.negotiate().await;
        assert_eq!(self.ask("GET", &format!("/echo?id={token}"), "").await.status, 200);
        token
    }

    pub(super) async fn events(&mut self) -> EchoEvent {
        tokio::time::timeout(TIMEOUT, self.events.recv()).await.unwrap().unwrap()
    }

    pub(super) async fn connected(&mut self) -> Arc<RequestInfo> {
        match self.events().await {
            EchoEvent::Connected(request) => request,
            EchoEvent::Disconnected => panic!("a client has disconnected"),
        }
    }

    pub(super) async fn disconnected(&mut self) {
        assert!(matches!(self.events().await, EchoEvent::Disconnected));
    }
}
