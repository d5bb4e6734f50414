//! A connection on tokio, for tests that run on one runtime with the server they ask: HTTP and WebSockets as in [`crate::http`] and
//! [`crate::ws`], over TCP or any other stream.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{self, Response};
use crate::stream::ReadEnd;
use crate::ws::{self, Frame};

/// How long anything may take before a test gives up.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A connection; what has come is kept until it is taken.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    /// For what is done to the socket itself.
    pub socket: S,
    held: Vec<u8>,
}

impl Connection {
    /// Connects to who is expected to be there.
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self::over(socket)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection over a stream that is open already.
    pub fn over(socket: S) -> Self {
        Self { socket, held: Vec::new() }
    }

    /// Writes to a peer that is expected to take it.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends a request. The line is method and target.
    pub async fn request(&mut self, line: &str, headers: &[(&str, &str)], body: &str) {
        self.write(http::request(line, headers, body.as_bytes())).await;
    }

    /// Asks for a WebSocket; the answer, which has a body only if it is a refusal.
    pub async fn upgrade(&mut self, target: &str) -> Response {
        self.request(&format!("GET {target}"), &ws::UPGRADE, "").await;
        self.response().await
    }

    /// Waits for more bytes, or for the end.
    async fn fill(&mut self) -> Result<(), ReadEnd> {
        match timeout(TIMEOUT, self.socket.read_buf(&mut self.held)).await {
            Ok(Ok(0)) => Err(ReadEnd::Fin),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ReadEnd::Reset),
            Err(_) => Err(ReadEnd::TimedOut),
        }
    }

    /// Reads until `parse` finds something whole at the front and says how long it is.
    pub async fn take<T>(&mut self, parse: impl Fn(&[u8]) -> Option<(T, usize)>) -> T {
        loop {
            if let Some((value, length)) = parse(&self.held) {
                self.held.drain(..length);
                return value;
            }
            if let Err(stop) = self.fill().await {
                panic!("{stop:?} behind {:?}", String::from_utf8_lossy(&self.held));
            }
        }
    }

    /// The head of a response.
    pub async fn head(&mut self) -> Response {
        self.take(http::parse_head).await
    }

    /// A whole response; one of unknown length ends with the connection.
    pub async fn response(&mut self) -> Response {
        let mut ended = false;
        loop {
            if let Some((response, length)) = http::parse_response(&self.held, ended) {
                self.held.drain(..length);
                return response;
            }
            match self.fill().await {
                Ok(()) => {}
                Err(ReadEnd::Fin) if !ended => ended = true,
                Err(stop) => panic!("{stop:?} behind {:?}", String::from_utf8_lossy(&self.held)),
            }
        }
    }

    /// One chunk of a chunked body as text; empty at its end.
    pub async fn chunk(&mut self) -> String {
        String::from_utf8(self.take(http::parse_chunk).await).unwrap()
    }

    /// Sends a whole WebSocket message or a control frame.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.write(ws::frame(0x80 | opcode, payload)).await;
    }

    /// The next WebSocket frame.
    pub async fn frame(&mut self) -> Frame {
        self.take(ws::parse).await
    }

    /// Exactly so many bytes.
    pub async fn bytes(&mut self, size: usize) -> Vec<u8> {
        self.take(|held| held.get(..size).map(|bytes| (bytes.to_vec(), size))).await
    }

    /// What comes up to this text, and the text.
    pub async fn read_to(&mut self, end: &str) -> String {
        let bytes = self.take(|held| {
            let at = held.windows(end.len()).position(|window| window == end.as_bytes())? + end.len();
            Some((held[..at].to_vec(), at))
        });
        String::from_utf8(bytes.await).unwrap()
    }

    /// Everything up to the end, which comes in time, and how it ended: `Fin` or `Reset`.
    pub async fn end(&mut self) -> (Vec<u8>, ReadEnd) {
        loop {
            match self.fill().await {
                Ok(()) => {}
                Err(ReadEnd::TimedOut) => panic!("no end behind {:?}", String::from_utf8_lossy(&self.held)),
                Err(stop) => return (std::mem::take(&mut self.held), stop),
            }
        }
    }

    /// Everything up to the end, which comes in good order.
    pub async fn rest(&mut self) -> Vec<u8> {
        let (bytes, stop) = self.end().await;
        assert_eq!(stop, ReadEnd::Fin, "behind {:?}", String::from_utf8_lossy(&bytes));
        bytes
    }
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut connection = Connection::open(address).await;
    connection.request(line, &[headers, &[("Connection", "close")]].concat(), body).await;
    connection.response().await
}

/// Asks again and again until there is an answer. With time paused, only what others do meanwhile takes time.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(crate::INTERVAL).await;
        }
    };
    timeout(crate::PROCESS_TIMEOUT, asking)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {:?}", crate::PROCESS_TIMEOUT))
}
