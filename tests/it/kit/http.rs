//! HTTP/1.1 in bytes: requests as text, responses read whole or, for event streams, chunk by chunk.

use std::net::SocketAddr;
use std::time::Instant;

use super::stream::{Stop, Stream};
use super::{PATIENCE, within};

#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; letter case of the name does not count.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.trim())
}

/// The bytes of a request.
pub(crate) fn request(line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !line.starts_with("GET") {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    [(text + "\r\n").as_bytes(), body].concat()
}

/// One request on a connection of its own.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, line: &str, body: &[u8]) -> Response {
    let mut stream = Stream::connect(address);
    stream.write(&request(line, &[("Connection", "close")], body));
    respond(&mut stream, within(PATIENCE)).unwrap()
}

/// The head of a response: status and header lines.
pub(crate) fn head(stream: &mut Stream, deadline: Instant) -> Result<(u16, String), Stop> {
    stream.take(deadline, |bytes| {
        let length = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        Some(((text.split(' ').nth(1)?.parse().ok()?, text), length))
    })
}

/// A whole response. A read that ends with `Quiet` inside the body must not be tried again.
pub(crate) fn respond(stream: &mut Stream, deadline: Instant) -> Result<Response, Stop> {
    let (status, head) = head(stream, deadline)?;
    let mut body = Vec::new();
    if header(&head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let piece = chunk(stream, deadline)?;
            if piece.is_empty() {
                break;
            }
            body.extend(piece);
        }
    } else if let Some(length) = header(&head, "content-length").and_then(|value| value.parse::<usize>().ok()) {
        body = stream.take(deadline, |bytes| bytes.get(..length).map(|body| (body.to_vec(), length)))?;
    } else if status != 204 && status != 101 {
        // Until the connection ends.
        while let Ok(()) = stream.fill(deadline) {}
        body = std::mem::take(&mut stream.held);
    }
    Ok(Response { status, head, body })
}

/// One chunk of a chunked body; the last is empty.
pub(crate) fn chunk(stream: &mut Stream, deadline: Instant) -> Result<Vec<u8>, Stop> {
    stream.take(deadline, |bytes| {
        let line = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..line]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        let end = line + 2 + size;
        (bytes.len() >= end + 2).then(|| (bytes[line + 2..end].to_vec(), end + 2))
    })
}
