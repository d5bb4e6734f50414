//! Fetches the key set of `jwks_url`: at start-up, every hour, and when a token names an unknown key. The latter is
//! rate limited, because anybody can send forged tokens.
//!
//! Redirects are not followed: the key set must be at the URL that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Uri};
use tokio::time::{sleep, timeout};

use crate::auth::{JwksCache, KeySet, KeySetError};
use crate::http_get::{self, Bounds, GetError};
use crate::logging::reason;

/// How often the key set is fetched if no refresh is requested.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);
/// How long refreshes are refused after the key set was fetched.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// The delay before the next attempt after a failure: the first delay, which doubles each time, and the maximum.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The bounds of one request.
const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(10), max_body: 1 << 20 };

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("auth.jwks_url is not a URL")]
    Url,
    #[error(transparent)]
    Get(#[from] GetError),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer is longer than {} bytes", BOUNDS.max_body)]
    TooLong,
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

/// Keeps the key set in `cache` up to date. Never returns.
pub(super) async fn refresh_keys(url: String, cache: Arc<JwksCache>) {
    let mut delay = RETRY_DELAYS.0;
    // Whether the last attempt succeeded; `None` before the first one. Only changes are logged.
    let mut succeeded = None;
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string)).unwrap_or_default();
    loop {
        match fetch(&url).await {
            Ok((keys, ignored)) => {
                if succeeded != Some(true) {
                    tracing::info!(host, keys = keys.len(), "the key set was fetched");
                    for error in ignored {
                        tracing::debug!(reason = reason(error), "a key of the key set is ignored");
                    }
                }
                (succeeded, delay) = (Some(true), RETRY_DELAYS.0);
                cache.store(Some(keys));
                sleep(MIN_REFRESH_INTERVAL).await;
                cache.end_cooldown();
                let _ = timeout(REFRESH_INTERVAL, cache.refresh_requested()).await;
            }
            Err(error) => {
                if succeeded != Some(false) {
                    let known = cache.current().is_some();
                    tracing::warn!(
                        host,
                        error = reason(error),
                        known,
                        "the key set could not be fetched; trying again"
                    );
                }
                succeeded = Some(false);
                cache.store(None);
                sleep(delay).await;
                cache.end_cooldown();
                delay = (delay * 2).min(RETRY_DELAYS.1);
            }
        }
    }
}

/// Fetches the key set. Also returns, for each key that is ignored, the reason.
async fn fetch(url: &str) -> Result<(KeySet, Vec<String>), FetchError> {
    let uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
    let response = http_get::get(&uri, "application/json", BOUNDS).await?;
    if response.status != StatusCode::OK {
        return Err(FetchError::Status(response.status));
    }
    if response.is_cut {
        return Err(FetchError::TooLong);
    }
    Ok(KeySet::published(&response.body)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]
    use std::future::pending;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Starts a server that answers each request with these bytes, followed by endless spaces if `endless` is set.
    async fn key_server(answer: &'static str, endless: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
                while endless && stream.write_all(&[b' '; 65536]).await.is_ok() {}
            }
        });
        url
    }

    #[tokio::test]
    async fn an_invalid_key_set_response_is_refused() {
        for (answer, endless, part) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true, "longer than"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n", true, "longer than"),
            ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", false, "500"),
            ("HTTP/1.1 302 There\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", false, "302"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", false, "not JSON"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}", false, "no key"),
            ("SSH-2.0-OpenSSH\r\n", false, ""),
            ("", false, ""),
        ] {
            let error = fetch(&key_server(answer, endless).await).await.unwrap_err().to_string();
            assert!(error.contains(part), "{answer}: {error}");
        }
        assert!(fetch("http://127.0.0.1:1/keys").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_key_server_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let silent = tokio::spawn(async move {
            let _accepted = listener.accept().await;
            pending::<()>().await;
        });
        let cache = Arc::new(JwksCache::default());
        let refreshing = tokio::spawn(refresh_keys(url, cache.clone()));
        assert!(cache.refresh(2 * BOUNDS.timeout).await, "the attempt has ended");
        assert!(cache.current().is_none());
        silent.abort();
        refreshing.abort();
    }
}
