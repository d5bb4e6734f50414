//! WebSockets in bytes: frames are made and read here, so that wrong ones can be sent too.

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

/// The headers that ask for a WebSocket, with the key of RFC 6455's example (docs/builders/signalr-protocol.md#1.3).
pub const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// What the server must answer that key with.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame as it came, or a message whose fragments are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether it is the last fragment of its message.
    pub fin: bool,
    /// What it is.
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
    /// Opens a WebSocket; the target is path and query.
    #[track_caller]
    pub fn open(address: SocketAddr, target: &str) -> Self {
        let mut stream = Stream::connect(address);
        let answer = upgrade(&mut stream, target, &[]);
        assert_eq!(answer.status, 101, "{}", answer.head);
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT), "{}", answer.head);
        Self { stream, parts: None }
    }

    /// Opens one without negotiating and shakes hands.
    #[track_caller]
    pub fn open_with_handshake(address: SocketAddr, path: &str, protocol: &str) -> Self {
        let mut ws = Self::open(address, path);
        ws.send(TEXT, &handshake(protocol, 1));
        let answer = ws.recv(within(TIMEOUT)).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.payload), "{}\u{1e}");
        ws
    }

    /// Sends a whole message to a peer that is expected to take it.
    #[track_caller]
    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.try_send(opcode, payload).unwrap();
    }

    /// Sends a whole message, or says that the peer does not take it.
    pub fn try_send(&mut self, opcode: u8, payload: &[u8]) -> std::io::Result<()> {
        self.stream.try_write(&frame(0x80 | opcode, payload))
    }

    /// The next message or close frame, fragments put together; pings are answered.
    pub fn recv(&mut self, deadline: Instant) -> Result<Frame, ReadEnd> {
        loop {
            let frame = self.stream.take(deadline, parse)?;
            match frame.opcode {
                // The peer may be gone by now: reading says so.
                PING => drop(self.try_send(PONG, &frame.payload)),
                PONG => {}
                CLOSE => return Ok(frame),
                0 => {
                    let parts = self.parts.as_mut().expect("a continuation of nothing");
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

    /// Waits until something has come that is not read yet.
    #[track_caller]
    pub fn expect_unread(&mut self) {
        self.stream.expect_unread();
    }

    /// Reads until the connection ends: all payloads as text, then how it ended (`close CODE`, `fin`, `reset`, `quiet`).
    #[must_use = "a test says how it expects a connection to end"]
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

/// `close CODE` of a close frame's payload.
pub fn close_text(payload: &[u8]) -> String {
    match payload {
        [high, low, ..] => format!("close {}", u16::from_be_bytes([*high, *low])),
        _ => "close".to_owned(),
    }
}

/// Asks for a WebSocket, with these headers besides; the head of the answer.
#[track_caller]
pub fn upgrade(stream: &mut Stream, target: &str, headers: &[(&str, &str)]) -> Response {
    stream.write(&http::request(&format!("GET {target}"), &[&UPGRADE[..], headers].concat(), b""));
    stream.take(within(TIMEOUT), http::parse_head).unwrap()
}

/// A masked frame, as clients send them. `first`: the opcode, 0x80 with the last fragment.
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

/// The frame of a server at the front of these bytes, and its length, if it is whole.
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
