//! `hubplane healthcheck`: requests a health page of a running server, for container images that have no curl.

use std::process::ExitCode;
use std::time::Duration;

use http::{StatusCode, Uri};

use crate::config::load::{ConfigError, LoadedConfig};
use crate::config::mask::mask;
use crate::http_get::{self, Bounds, Response};

use super::serve::reachable;
use super::{eprint_line, print_line};

/// A health page is short. If the answer is longer, only its beginning is read, since no more is printed.
const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(5), max_body: 16 * 1024 };

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
    let uri = match (url, loaded) {
        // With a URL the configuration is not needed, so it may be invalid.
        (Some(url), _) => health_url(url, page)?,
        (None, Ok(loaded)) => health_url(&format!("http://{}", reachable(loaded.config.listen)), page)?,
        (None, Err(invalid)) => {
            let first = invalid.problems.first().map(ToString::to_string).unwrap_or_default();
            return Err(format!("the configuration is invalid, so the server's address is unknown: {first}"));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("{uri}: cannot send the request: {error}"))?;
    let response = runtime.block_on(http_get::get(&uri, "*/*", BOUNDS)).map_err(|error| format!("{uri}: {error}"))?;
    let line = format!("{uri}: {}", describe(&response));
    if response.status == StatusCode::OK { Ok(line) } else { Err(line) }
}

/// The URL of the page, or the URL as it is if it has a path of its own.
fn health_url(url: &str, page: &str) -> Result<Uri, String> {
    let wrong = || format!("{:?} is not a URL that can be requested; write it as http://127.0.0.1:8080", mask(url));
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    if uri.scheme_str() == Some("https") {
        return Err("https is not supported; give the server's own http address".to_owned());
    }
    let authority = uri.authority().filter(|host| uri.scheme_str() == Some("http") && !host.as_str().contains('@'));
    let authority = authority.ok_or_else(wrong)?.clone();
    let path = match uri.path_and_query().map(|path| path.as_str()) {
        None | Some("" | "/") => page,
        Some(path) => path,
    };
    Uri::builder().scheme("http").authority(authority).path_and_query(path).build().map_err(|_| wrong())
}

/// One line with the status and the body.
fn describe(response: &Response) -> String {
    let body = String::from_utf8_lossy(&response.body);
    let body: String = body.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    let status = response.status;
    if body.trim().is_empty() { status.to_string() } else { format!("{status}: {}", body.trim()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn health_urls_are_parsed() {
        for (url, requested) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/healthz"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/healthz"),
            ("http://localhost", "http://localhost/healthz"),
            ("http://[::1]:81/readyz", "http://[::1]:81/readyz"),
            ("http://a/x?y=z", "http://a/x?y=z"),
        ] {
            assert_eq!(health_url(url, "/healthz").unwrap().to_string(), requested, "{url}");
        }
        for url in ["", "127.0.0.1:8080", "https://a", "ftp://a", "http://", "/healthz", "http://me:hunter2@a/"] {
            let error = health_url(url, "/healthz").unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn responses_are_described_in_one_line() {
        for (status, body, line) in [
            (StatusCode::OK, "ok\n", "200 OK: ok"),
            (StatusCode::NO_CONTENT, "", "204 No Content"),
            (StatusCode::SERVICE_UNAVAILABLE, "{\"a\":\n1}", "503 Service Unavailable: {\"a\": 1}"),
        ] {
            assert_eq!(describe(&Response { status, body: body.into(), is_cut: false }), line);
        }
    }
}
