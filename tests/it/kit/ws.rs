//! WebSockets in bytes: frames are made and read here, so that wrong ones can be sent too.

use std::net::SocketAddr;
use std::time::Instant;

use super::stream::{Stop, Stream};
use super::{PATIENCE, http, within};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Ws {
    stream: Stream,
    parts: Option<Frame>,
}

impl Ws {
    /// Opens a WebSocket; the target is path and query.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr, target: &str) -> Self {
        let mut stream = Stream::connect(address);
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        stream.write(&http::request(&format!("GET {target}"), &headers, b""));
        let (status, head) = http::head(&mut stream, within(PATIENCE)).unwrap();
        assert_eq!(status, 101, "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self { stream, parts: None }
    }

    /// Opens one without negotiating and shakes hands.
    #[track_caller]
    pub(crate) fn shaken(address: SocketAddr, path: &str, protocol: &str) -> Self {
        let mut ws = Self::open(address, path);
        ws.send(TEXT, format!("{{\"protocol\":\"{protocol}\",\"version\":1}}\u{1e}").as_bytes());
        let answer = ws.recv(within(PATIENCE)).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.payload), "{}\u{1e}");
        ws
    }

    #[track_caller]
    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.try_send(opcode, payload).unwrap();
    }

    pub(crate) fn try_send(&mut self, opcode: u8, payload: &[u8]) -> std::io::Result<()> {
        self.stream.try_write(&frame(0x80 | opcode, payload))
    }

    /// The next frame's payload, fragments joined; pings are answered.
    pub(crate) fn recv(&mut self, deadline: Instant) -> Result<Frame, Stop> {
        loop {
            let frame = self.stream.take(deadline, parse)?;
            match frame.opcode {
                PING => drop(self.try_send(10, &frame.payload)),
                10 => {}
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

    /// Reads until the connection ends: all payloads as text, then how it ended (`close CODE`, `fin`, `reset`, `quiet`).
    pub(crate) fn read_out(&mut self, deadline: Instant) -> (Vec<String>, String) {
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
pub(crate) fn close_text(payload: &[u8]) -> String {
    match payload {
        [high, low, ..] => format!("close {}", u16::from_be_bytes([*high, *low])),
        _ => "close".to_owned(),
    }
}

/// A masked frame, as clients send them; the mask is zero, which leaves the payload as it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
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
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A server's frame, unmasked, if it is whole.
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
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
