//! A connection on tokio, for tests that run on the same runtime as the server: HTTP and WebSockets as in
//! [`crate::http`] and [`crate::ws`], over TCP or any other stream.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{self, Response};
use crate::stream::ReadEnd;
use crate::ws::{self, Frame};

/// How long anything may take before a test fails.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that buffers received bytes until they are taken.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    /// The stream itself.
    pub socket: S,
    held: Vec<u8>,
}

impl Connection {
    /// Connects, and panics if nothing is listening.
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self::over(socket)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Makes a connection from a stream that is already open.
    pub fn over(socket: S) -> Self {
        Self { socket, held: Vec::new() }
    }

    /// Writes all bytes, and panics if the peer does not accept them.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends a request; `line` is the method and the target.
    pub async fn request(&mut self, line: &str, headers: &[(&str, &str)], body: &str) {
        self.write(http::request(line, headers, body.as_bytes())).await;
    }

    /// Requests a WebSocket, and returns the response.
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

    /// Reads until `parse` finds a complete unit at the front, and returns it. `parse` returns it with its length.
    pub async fn take<T>(&mut self, parse: impl Fn(&[u8]) -> Option<(T, usize)>) -> T {
        loop {
            if let Some((value, length)) = parse(&self.held) {
                self.held.drain(..length);
                return value;
            }
            if let Err(stop) = self.fill().await {
                panic!("{stop:?} after {:?}", String::from_utf8_lossy(&self.held));
            }
        }
    }

    /// Reads the head of a response.
    pub async fn head(&mut self) -> Response {
        self.take(http::parse_head).await
    }

    /// Reads a complete response; one without a length ends with the connection.
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
                Err(stop) => panic!("{stop:?} after {:?}", String::from_utf8_lossy(&self.held)),
            }
        }
    }

    /// Reads one chunk of a chunked body as text; the last is empty.
    pub async fn chunk(&mut self) -> String {
        String::from_utf8(self.take(http::parse_chunk).await).unwrap()
    }

    /// Sends a complete WebSocket message or a control frame.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.write(ws::frame(0x80 | opcode, payload)).await;
    }

    /// Reads the next WebSocket frame.
    pub async fn frame(&mut self) -> Frame {
        self.take(ws::parse).await
    }

    /// Reads exactly `size` bytes.
    pub async fn bytes(&mut self, size: usize) -> Vec<u8> {
        self.take(|held| held.get(..size).map(|bytes| (bytes.to_vec(), size))).await
    }

    /// Reads up to this text, and includes it.
    pub async fn read_to(&mut self, end: &str) -> String {
        let bytes = self.take(|held| {
            let at = held.windows(end.len()).position(|window| window == end.as_bytes())? + end.len();
            Some((held[..at].to_vec(), at))
        });
        String::from_utf8(bytes.await).unwrap()
    }

    /// Reads until the connection ends, and returns everything with how it ended: `Fin` or `Reset`.
    pub async fn end(&mut self) -> (Vec<u8>, ReadEnd) {
        loop {
            match self.fill().await {
                Ok(()) => {}
                Err(ReadEnd::TimedOut) => panic!("no end after {:?}", String::from_utf8_lossy(&self.held)),
                Err(stop) => return (std::mem::take(&mut self.held), stop),
            }
        }
    }

    /// Reads until the connection ends, and checks that it is closed properly.
    pub async fn rest(&mut self) -> Vec<u8> {
        let (bytes, stop) = self.end().await;
        assert_eq!(stop, ReadEnd::Fin, "after {:?}", String::from_utf8_lossy(&bytes));
        bytes
    }
}

/// Sends one request on a new connection, and returns the response.
pub async fn ask(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut connection = Connection::open(address).await;
    connection.request(line, &[headers, &[("Connection", "close")]].concat(), body).await;
    connection.response().await
}

/// Calls `ask` repeatedly until it returns a value. It works with tokio's paused time too.
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
