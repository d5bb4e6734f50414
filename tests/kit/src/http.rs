//! HTTP/1.1 on bytes: builds requests, and parses responses as a whole or, for event streams, chunk by chunk.

use std::net::SocketAddr;
use std::time::Instant;

use crate::stream::{ReadEnd, Stream};
use crate::{TIMEOUT, within};

/// A response. If only its head was read, it has no body.
#[must_use = "a test should check the response"]
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The status line and the headers as received, including the empty line after them.
    pub head: String,
    /// The body; the contents of chunks are concatenated.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The status, the content type and the body, which must be text. The table in
    /// docs/builders/signalr-protocol.md#1.4 lists these.
    pub fn short(&self) -> (u16, Option<&str>, &str) {
        (self.status, self.header("content-type"), std::str::from_utf8(&self.body).unwrap())
    }

    /// The value of a header; names are case-insensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// The bytes of a request. `line` is the method and the target. `Host` is `localhost` unless `headers` contains it.
pub fn request(line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text += "Host: localhost\r\n";
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !line.starts_with("GET") {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    [(text + "\r\n").as_bytes(), body].concat()
}

/// Parses the head of a response at the front of these bytes, and returns it with its length if it is complete.
pub fn parse_head(bytes: &[u8]) -> Option<(Response, usize)> {
    let length = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((Response { status, head, body: Vec::new() }, length))
}

/// Parses a chunk of a chunked body at the front of these bytes, and returns its contents with its whole length if it
/// is complete. The last chunk is empty.
pub fn parse_chunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = bytes.windows(2).position(|window| window == b"\r\n")?;
    let size = std::str::from_utf8(&bytes[..line]).ok()?.split(';').next()?.trim();
    let size = usize::from_str_radix(size, 16).ok()?;
    let end = line + 2 + size;
    (bytes.len() >= end + 2).then(|| (bytes[line + 2..end].to_vec(), end + 2))
}

/// Parses a response at the front of these bytes, and returns it with its length if it is complete. `ended` is whether
/// the connection has been closed, which ends a body without a length.
pub fn parse_response(bytes: &[u8], ended: bool) -> Option<(Response, usize)> {
    let (mut response, mut end) = parse_head(bytes)?;
    if response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let (chunk, length) = parse_chunk(&bytes[end..])?;
            end += length;
            if chunk.is_empty() {
                break;
            }
            response.body.extend(chunk);
        }
    } else if let Some(length) = response.header("content-length").and_then(|value| value.parse::<usize>().ok()) {
        response.body = bytes.get(end..end + length)?.to_vec();
        end += length;
    } else if response.status != 204 && response.status != 101 {
        if !ended {
            return None;
        }
        response.body = bytes[end..].to_vec();
        end = bytes.len();
    }
    Some((response, end))
}

/// Sends one request on a new connection, and returns the response.
#[track_caller]
pub fn ask(address: SocketAddr, line: &str, body: &[u8]) -> Response {
    let mut stream = Stream::connect(address);
    stream.write(&request(line, &[("Connection", "close")], body));
    respond(&mut stream, within(TIMEOUT)).unwrap()
}

/// Reads the head of a response, and returns its status and its text.
pub fn head(stream: &mut Stream, deadline: Instant) -> Result<(u16, String), ReadEnd> {
    stream.take(deadline, parse_head).map(|response| (response.status, response.head))
}

/// Reads a complete response.
pub fn respond(stream: &mut Stream, deadline: Instant) -> Result<Response, ReadEnd> {
    match stream.take(deadline, |bytes| parse_response(bytes, false)) {
        Err(ReadEnd::Fin) => stream.take(deadline, |bytes| parse_response(bytes, true)),
        other => other,
    }
}

/// Reads one chunk of a chunked body; the last is empty.
pub fn chunk(stream: &mut Stream, deadline: Instant) -> Result<Vec<u8>, ReadEnd> {
    stream.take(deadline, parse_chunk)
}
