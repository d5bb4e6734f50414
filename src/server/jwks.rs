//! Fetches the keys at `jwks_url`: at the start, every hour, and when a token names a key that is not known, though
//! not more often than a stranger with made-up tokens should be able to cause.
//!
//! One GET an hour needs no HTTP client beyond hyper and rustls, which are here anyway. Redirects are not followed: a
//! key set belongs at the place that the configuration names.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ALL_VERSIONS;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::auth::{JwksCache, KeySet};
use crate::logging::reason;
use crate::tls;

/// How often keys are fetched when nobody asks.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);
/// How long nobody can ask after they were fetched.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait after a failure: from this, doubled each time, to that.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long one attempt may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a key set.
const MAX_KEY_SET_BYTES: usize = 1 << 20;

/// Keeps a keyring filled; never ends.
pub(super) async fn refresh_keys(url: String, cache: Arc<JwksCache>) {
    let mut pause = RETRY_DELAYS.0;
    // None: nothing has been tried yet.
    let mut well = None;
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string)).unwrap_or_default();
    loop {
        let fetched = timeout(FETCH_TIMEOUT, fetch(&url))
            .await
            .unwrap_or_else(|_| Err(format!("no answer in {FETCH_TIMEOUT:?}")));
        match fetched {
            Ok((keys, left_out)) => {
                if well != Some(true) {
                    tracing::info!(host, keys = keys.len(), "the keys to check tokens with were fetched");
                    for error in left_out {
                        tracing::debug!(reason = reason(error), "a key of the set is not used");
                    }
                }
                (well, pause) = (Some(true), RETRY_DELAYS.0);
                cache.store(Some(keys));
                sleep(MIN_REFRESH_INTERVAL).await;
                cache.end_cooldown();
                let _ = timeout(REFRESH_INTERVAL, cache.refresh_requested()).await;
            }
            Err(error) => {
                if well != Some(false) {
                    let known = cache.current().is_some();
                    tracing::warn!(
                        host,
                        error = reason(error),
                        known,
                        "the keys to check tokens with could not be fetched; trying again"
                    );
                }
                well = Some(false);
                cache.store(None);
                sleep(pause).await;
                cache.end_cooldown();
                pause = (pause * 2).min(RETRY_DELAYS.1);
            }
        }
    }
}

/// A key set, and why some of its keys are left out.
async fn fetch(url: &str) -> Result<(KeySet, Vec<String>), String> {
    let uri: Uri = url.parse().map_err(|_| "auth.jwks_url is no URL".to_owned())?;
    let (host, secure) = (uri.host().unwrap_or_default(), uri.scheme_str() == Some("https"));
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await.map_err(|error| error.to_string())?;
    let body = if secure {
        let config = tls::client_config(ALL_VERSIONS).map_err(|error| error.to_string())?;
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| error.to_string())?;
        get(&uri, stream).await?
    } else {
        get(&uri, stream).await?
    };
    KeySet::published(&body)
}

async fn get(uri: &Uri, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Bytes, String> {
    let told = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("hubplane/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(told)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_KEY_SET_BYTES).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| error.to_string())
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end first, with the answer in hand.
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(io::Error::other(error).to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]
    use std::future::pending;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A place that answers each request with these bytes, and then with spaces without end if it is to go on.
    async fn key_server(answer: &'static str, goes_on: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
                while goes_on && stream.write_all(&[b' '; 65536]).await.is_ok() {}
            }
        });
        url
    }

    #[tokio::test]
    async fn an_invalid_key_set_response_is_refused() {
        for (answer, goes_on, part) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true, "length limit"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n", true, "length limit"),
            ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", false, "500"),
            ("HTTP/1.1 302 There\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", false, "302"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", false, "not JSON"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}", false, "no key"),
            ("SSH-2.0-OpenSSH\r\n", false, ""),
            ("", false, ""),
        ] {
            let error = timeout(FETCH_TIMEOUT, fetch(&key_server(answer, goes_on).await)).await.unwrap().unwrap_err();
            assert!(error.contains(part), "{answer}: {error}");
        }
        assert!(fetch("http://127.0.0.1:1/keys").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_key_server_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let silent = tokio::spawn(async move {
            let _taken = listener.accept().await;
            pending::<()>().await;
        });
        let cache = Arc::new(JwksCache::default());
        let kept = tokio::spawn(refresh_keys(url, cache.clone()));
        assert!(cache.refresh(2 * FETCH_TIMEOUT).await, "it was tried, and given up");
        assert!(cache.current().is_none());
        silent.abort();
        kept.abort();
    }
}
