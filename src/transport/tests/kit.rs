//! A server on a port of its own with an echo at `/echo`, and a client that is nothing but a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::config::HubOptions;
use crate::hub::RequestInfo;
use crate::transport::{RawConnection, RawStream, Transports};

/// How long anything may take before a test gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What the echo tells of itself.
#[derive(Debug)]
pub(super) enum Told {
    Came(Arc<RequestInfo>),
    Gone,
}

struct Echo(mpsc::UnboundedSender<Told>);

impl RawConnection for Echo {
    fn run(&self, request: Arc<RequestInfo>, mut stream: RawStream) -> BoxFuture<'static, ()> {
        let told = self.0.clone();
        Box::pin(async move {
            told.send(Told::Came(request)).unwrap();
            while let Some(bytes) = stream.recv().await {
                if bytes.starts_with(b"bye") || stream.send(bytes).await.is_err() {
                    break;
                }
            }
            told.send(Told::Gone).unwrap();
        })
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) transports: Arc<Transports>,
    pub(super) told: mpsc::UnboundedReceiver<Told>,
}

/// A server whose echo has these options, and which may have that many connections.
pub(super) async fn serve(options: HubOptions, most: Option<usize>) -> Server {
    let (tell, told) = mpsc::unbounded_channel();
    let mut transports = Transports::new(most);
    transports.add_raw("/echo", Arc::new(Echo(tell)), options).unwrap();
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
    Server { address, transports, told }
}

/// The same server once more, its HTTP spoken by hyper without help.
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
    pub(super) async fn client(&self) -> Client {
        Client { socket: TcpStream::connect(self.address).await.unwrap(), buffer: Vec::new() }
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        let mut client = self.client().await;
        client.request(method, target, &[], body).await;
        client.answer().await
    }

    pub(super) async fn negotiate(&self) -> String {
        let answer = self.ask("POST", "/echo/negotiate?negotiateVersion=1", "").await;
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        body["connectionToken"].as_str().unwrap().to_owned()
    }

    /// A negotiated connection that polls.
    pub(super) async fn polling(&self) -> String {
        let token = self.negotiate().await;
        assert_eq!(self.ask("GET", &format!("/echo?id={token}"), "").await.status, 200);
        token
    }

    pub(super) async fn told(&mut self) -> Told {
        tokio::time::timeout(PATIENCE, self.told.recv()).await.unwrap().unwrap()
    }

    pub(super) async fn came(&mut self) -> Arc<RequestInfo> {
        match self.told().await {
            Told::Came(request) => request,
            Told::Gone => panic!("somebody has gone"),
        }
    }

    pub(super) async fn gone(&mut self) {
        assert!(matches!(self.told().await, Told::Gone));
    }
}

pub(super) struct Client {
    pub(super) socket: TcpStream,
    buffer: Vec<u8>,
}

/// A response; header names in lower case.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Status, content type and body: what the table of section 1.4 is about.
    pub(super) fn short(&self) -> (u16, Option<&str>, &str) {
        (self.status, self.header("content-type"), &self.body)
    }
}

/// A request for a WebSocket, with the key of RFC 6455's example.
pub(super) const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

impl Client {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    pub(super) async fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.send(format!("{head}\r\n{body}").as_bytes()).await;
    }

    pub(super) async fn upgrade(&mut self, target: &str) -> Answer {
        self.request("GET", target, &UPGRADE, "").await;
        self.answer().await
    }

    /// Reads more; false at the end, also after a reset.
    async fn fill(&mut self) -> bool {
        let mut piece = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut piece)).await.expect("something comes");
        let size = read.unwrap_or(0);
        self.buffer.extend_from_slice(&piece[..size]);
        size > 0
    }

    /// Exactly so many bytes.
    pub(super) async fn bytes(&mut self, size: usize) -> Bytes {
        while self.buffer.len() < size {
            assert!(self.fill().await, "it ended behind {:?}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.drain(..size).collect::<Vec<u8>>().into()
    }

    /// Everything to the end.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend_from_slice(&self.bytes(1).await);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    pub(super) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let size: usize = answer.header("content-length").map_or(0, |size| size.parse().unwrap());
        answer.body = String::from_utf8(self.bytes(size).await.to_vec()).unwrap();
        answer
    }

    pub(super) async fn head(&mut self) -> Answer {
        let status = self.line().await.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, ..Answer::default() };
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(':') else { return answer };
            answer.headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }

    /// One piece of a chunked body; empty at its end.
    pub(super) async fn chunk(&mut self) -> String {
        let size = usize::from_str_radix(&self.line().await, 16).unwrap();
        let piece = self.bytes(size).await;
        assert!(self.line().await.is_empty());
        String::from_utf8(piece.to_vec()).unwrap()
    }
}

/// A masked frame of fewer than 126 bytes.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | payload.len() as u8, 1, 2, 3, 4];
    frame.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ (index % 4 + 1) as u8));
    frame
}
