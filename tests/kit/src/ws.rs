//! WebSockets on bytes: builds and parses frames itself, so that tests can also send invalid ones.

use std::net::SocketAddr;
use std::time::Instant;

use crate::http::{self, Response};
use crate::hub::handshake;
use crate::stream::{ReadEnd, Stream};
use crate::{TIMEOUT, within};

/// The opcode of text.
pub const TEXT: u8 = 1;
/// The opcode of binary data.
pub const BINARY: u8 = 2;
/// The opcode of a close frame.
pub const CLOSE: u8 = 8;
/// The opcode of a ping.
pub const PING: u8 = 9;
/// The opcode of a pong.
pub const PONG: u8 = 10;

/// The headers that request a WebSocket, with the key of the example in RFC 6455
/// (docs/builders/signalr-protocol.md#1.3).
pub const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The `Sec-WebSocket-Accept` with which the server must answer that key.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame as received, or a message whose fragments have been joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether it is the last fragment of its message.
    pub fin: bool,
    /// The kind of frame, such as [`TEXT`].
    pub opcode: u8,
    /// The payload, unmasked.
    pub payload: Vec<u8>,
}

/// A WebSocket on a blocking connection.
#[derive(Debug)]
pub struct Ws {
    stream: Stream,
    parts: Option<Frame>,
}

impl Ws {
    /// Opens a WebSocket; the target is a path with a query.
    #[track_caller]
    pub fn open(address: SocketAddr, target: &str) -> Self {
        let mut stream = Stream::connect(address);
        let answer = upgrade(&mut stream, target, &[]);
        assert_eq!(answer.status, 101, "{}", answer.head);
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT), "{}", answer.head);
        Self { stream, parts: None }
    }

    /// Opens a WebSocket without negotiating, and completes the handshake.
    #[track_caller]
    pub fn open_with_handshake(address: SocketAddr, path: &str, protocol: &str) -> Self {
        let mut ws = Self::open(address, path);
        ws.send(TEXT, &handshake(protocol, 1));
        let answer = ws.recv(within(TIMEOUT)).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.payload), "{}\u{1e}");
        ws
    }

    /// Sends a complete message, and panics if the peer does not accept it.
    #[track_caller]
    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.try_send(opcode, payload).unwrap();
    }

    /// Sends a complete message, or fails if the peer does not accept it.
    pub fn try_send(&mut self, opcode: u8, payload: &[u8]) -> std::io::Result<()> {
        self.stream.try_write(&frame(0x80 | opcode, payload))
    }

    /// Reads the next message, with its fragments joined, or the close frame. Answers pings.
    pub fn recv(&mut self, deadline: Instant) -> Result<Frame, ReadEnd> {
        loop {
            let frame = self.stream.take(deadline, parse)?;
            match frame.opcode {
                // If the peer is gone, the next read fails.
                PING => drop(self.try_send(PONG, &frame.payload)),
                PONG => {}
                CLOSE => return Ok(frame),
                0 => {
                    let parts = self.parts.as_mut().expect("a continuation follows a first fragment");
                    parts.payload.extend(&frame.payload);
                    if frame.fin {
                        return Ok(self.parts.take().unwrap());
                    }
                }
                _ if frame.fin => return Ok(frame),
                _ => self.parts = Some(frame),
            }
        }
    }

    /// Waits until there are bytes to read, without reading them.
    #[track_caller]
    pub fn expect_unread(&mut self) {
        self.stream.expect_unread();
    }

    /// Reads until the connection ends or the deadline passes. Returns all payloads as text, and how it ended:
    /// `close CODE`, `fin`, `reset` or `timedout`.
    #[must_use = "a test should check how a connection ends"]
    pub fn read_to_end(&mut self, deadline: Instant) -> (Vec<String>, String) {
        let mut seen = Vec::new();
        loop {
            match self.recv(deadline) {
                Ok(frame) if frame.opcode == CLOSE => return (seen, close_text(&frame.payload)),
                Ok(frame) => seen.push(String::from_utf8_lossy(&frame.payload).into_owned()),
                Err(stop) => return (seen, format!("{stop:?}").to_lowercase()),
            }
        }
    }
}

/// The payload of a close frame as `close CODE`.
pub fn close_text(payload: &[u8]) -> String {
    match payload {
        [high, low, ..] => format!("close {}", u16::from_be_bytes([*high, *low])),
        _ => "close".to_owned(),
    }
}

/// Requests a WebSocket with additional headers, and returns the head of the response.
#[track_caller]
pub fn upgrade(stream: &mut Stream, target: &str, headers: &[(&str, &str)]) -> Response {
    stream.write(&http::request(&format!("GET {target}"), &[&UPGRADE[..], headers].concat(), b""));
    stream.take(within(TIMEOUT), http::parse_head).unwrap()
}

/// A masked frame, as clients send it. `first` is the opcode, plus 0x80 for the last fragment of a message.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65536 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Parses the frame of a server at the front of these bytes, and returns it with its length if it is complete.
pub fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server must not mask");
    assert_eq!(first & 0x70, 0, "reserved bits");
    let (length, start) = match second {
        126 => (u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize, 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize, 10),
        short => (short as usize, 2),
    };
    let payload = bytes.get(start..start + length)?.to_vec();
    Some((Frame { fin: first & 0x80 != 0, opcode: first & 15, payload }, start + length))
}
