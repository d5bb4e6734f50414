//! `hubplane healthcheck`: requests a health page of a running server, for container images that have no curl.

use std::process::ExitCode;
use std::time::Duration;

use crate::config::load::{ConfigError, LoadedConfig};
use crate::config::mask::mask;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::serve::reachable;
use super::{eprint_line, print_line};

/// How long connecting and the answer may take together.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes that are read. A health page is short; a longer answer is something else.
const MAX_RESPONSE_BYTES: u64 = 16 * 1024;

/// Requests the page, prints the answer in one line, and returns the exit code 0 or 1.
pub(super) fn healthcheck(ready: bool, url: Option<&str>, loaded: Result<LoadedConfig, ConfigError>) -> ExitCode {
    match request_health(ready, url, loaded) {
        Ok(line) => {
            print_line(line);
            ExitCode::SUCCESS
        }
        Err(line) => {
            eprint_line(line);
            ExitCode::FAILURE
        }
    }
}

fn request_health(ready: bool, url: Option<&str>, loaded: Result<LoadedConfig, ConfigError>) -> Result<String, String> {
    let page = if ready { "/readyz" } else { "/healthz" };
    let health_url = match (url, loaded) {
        // With a URL the configuration is not needed, so it may be invalid.
        (Some(url), _) => HealthUrl::parse(url, page)?,
        (None, Ok(loaded)) => {
            let authority = reachable(loaded.config.listen).to_string();
            HealthUrl { host: authority.clone(), authority, path: page.to_owned() }
        }
        (None, Err(invalid)) => {
            let first = invalid.problems.first().map(ToString::to_string).unwrap_or_default();
            return Err(format!("the configuration is invalid, so the server's address is unknown: {first}"));
        }
    };
    let shown = format!("http://{}{}", health_url.host, health_url.path);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("{shown}: cannot send the request: {error}"))?;
    let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, get(&health_url)).await });
    let answer = match answer {
        Err(_) => return Err(format!("{shown}: no answer within {} s", TIMEOUT.as_secs())),
        Ok(Err(error)) => return Err(format!("{shown}: {error}")),
        Ok(Ok(answer)) => answer,
    };
    let (status, line) = describe(&answer).ok_or_else(|| format!("{shown}: the answer is not HTTP"))?;
    if status == 200 { Ok(format!("{shown}: {line}")) } else { Err(format!("{shown}: {line}")) }
}

#[derive(Debug, PartialEq)]
struct HealthUrl {
    /// Where to connect: host and port.
    authority: String,
    /// The value of the `Host` header.
    host: String,
    path: String,
}

impl HealthUrl {
    fn parse(url: &str, page: &str) -> Result<Self, String> {
        let wrong = || format!("{:?} is not a URL that can be requested; write it as http://127.0.0.1:8080", mask(url));
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() == Some("https") {
            return Err("https is not supported; give the server's own http address".to_owned());
        }
        let host = uri.authority().filter(|host| uri.scheme_str() == Some("http") && !host.as_str().contains('@'));
        let host = host.ok_or_else(wrong)?;
        let authority = format!("{}:{}", host.host(), host.port_u16().unwrap_or(80));
        let path = match uri.path_and_query().map(|path| path.as_str()) {
            None | Some("" | "/") => page.to_owned(),
            Some(path) => path.to_owned(),
        };
        Ok(Self { authority, host: host.to_string(), path })
    }
}

async fn get(health_url: &HealthUrl) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(&health_url.authority).await?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", health_url.path, health_url.host);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Parses an answer: returns the status code, and a line with the status and the body.
fn describe(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text.as_ref(), ""));
    let status_line = head.lines().next()?;
    let (version, status) = status_line.split_once(' ')?;
    let code = status.get(..3)?.parse().ok()?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let body: String = body.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    let line = if body.trim().is_empty() { status.to_owned() } else { format!("{status}: {}", body.trim()) };
    Some((code, line))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn health_urls_are_parsed() {
        for (url, authority, path) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", "/healthz"),
            ("http://127.0.0.1:8080/", "127.0.0.1:8080", "/healthz"),
            ("http://localhost", "localhost:80", "/healthz"),
            ("http://[::1]:81/readyz", "[::1]:81", "/readyz"),
            ("http://a/x?y=z", "a:80", "/x?y=z"),
        ] {
            let health_url = HealthUrl::parse(url, "/healthz").unwrap();
            assert_eq!((health_url.authority.as_str(), health_url.path.as_str()), (authority, path), "{url}");
        }
        for url in ["", "127.0.0.1:8080", "https://a", "ftp://a", "http://", "/healthz", "http://me:hunter2@a/"] {
            let error = HealthUrl::parse(url, "/healthz").unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn responses_are_described_in_one_line() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\nok\n", Some((200, "200 OK: ok"))),
            ("HTTP/1.1 204 No Content\r\n\r\n", Some((204, "204 No Content"))),
            ("HTTP/1.0 503 Service Unavailable\r\n\r\n{\"a\":\n1}", Some((503, "503 Service Unavailable: {\"a\": 1}"))),
            ("SSH-2.0-x\r\n", None),
            ("HTTP/1.1 2é", None),
            ("", None),
        ] {
            let got = describe(answer.as_bytes());
            assert_eq!(got.as_ref().map(|(code, line)| (*code, line.as_str())), expected, "{answer}");
        }
    }
}
