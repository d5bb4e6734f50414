//! Layer 1: one HTTP GET, as a client. It is what the key set of `auth.jwks_url` and the health check need; hyper and
//! rustls are dependencies anyway, so no HTTP client is added for it. Redirects are not followed.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ALL_VERSIONS;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};

use crate::tls::{self, TlsError};

/// The bounds of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How long all of it may take, connecting included.
    pub timeout: Duration,
    /// The maximum number of bytes of the body. The rest is not read.
    pub max_body: usize,
}

/// The response.
#[derive(Debug)]
pub(crate) struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its body, up to the bound.
    pub body: Bytes,
    /// Whether the body was longer than the bound.
    pub is_cut: bool,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    /// The URL has no host, or a scheme other than http and https.
    #[error("it is not an http or https URL")]
    Url,
    /// The response was not complete in time.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The connection could not be opened, or TLS failed.
    #[error(transparent)]
    Connect(#[from] io::Error),
    /// TLS cannot be set up on this machine.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host cannot be the name in a certificate.
    #[error(transparent)]
    ServerName(#[from] InvalidDnsNameError),
    /// What the server sent is not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// The connection ended before the response was complete.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The URL cannot be written into a request.
    #[error(transparent)]
    Request(#[from] http::Error),
}

/// Requests `uri`. `accept` is the header of that name.
pub(crate) async fn get(uri: &Uri, accept: &str, bounds: Bounds) -> Result<Response, GetError> {
    let response = timeout(bounds.timeout, connect_and_get(uri, accept, bounds.max_body)).await;
    match response.unwrap_or(Err(GetError::TimedOut(bounds.timeout))) {
        Err(GetError::Http(error)) if error.is_parse() => Err(GetError::NotHttp),
        result => result,
    }
}

async fn connect_and_get(uri: &Uri, accept: &str, max_body: usize) -> Result<Response, GetError> {
    let is_secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(GetError::Url),
    };
    let host = uri.host().ok_or(GetError::Url)?.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    if is_secure {
        let config = tls::client_config(ALL_VERSIONS)?;
        let name = ServerName::try_from(host.to_owned())?;
        request(uri, accept, max_body, TlsConnector::from(config).connect(name, stream).await?).await
    } else {
        request(uri, accept, max_body, stream).await
    }
}

async fn request(
    uri: &Uri,
    accept: &str,
    max_body: usize,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Response, GetError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(ACCEPT, accept)
        .header(USER_AGENT, concat!("hubplane/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let response = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let (body, is_cut) = read(response.into_body(), max_body).await?;
        Ok(Response { status, body, is_cut })
    };
    tokio::pin!(response, connection);
    tokio::select! {
        response = &mut response => response,
        // The connection may end first, when the response is already buffered.
        ended = &mut connection => match ended {
            Ok(()) => response.await,
            Err(error) => Err(error.into()),
        },
    }
}

/// At most `max` bytes of a body, and whether there were more.
async fn read(mut body: Incoming, max: usize) -> Result<(Bytes, bool), hyper::Error> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = max - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((bytes.freeze(), true));
        }
    }
    Ok((bytes.freeze(), false))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(5), max_body: 8 };

    /// Gets from a server that answers with these bytes and closes; or never answers.
    async fn answered(answer: Option<&'static str>) -> Result<Response, GetError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/a?b", listener.local_addr().unwrap()).parse().unwrap();
        let server = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /a?b HTTP/1.1\r\n"));
            let Some(answer) = answer else { return std::future::pending().await };
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        tokio::select! {
            result = get(&uri, "*/*", BOUNDS) => result,
            () = async { server.await; std::future::pending().await } => unreachable!(),
        }
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound() {
        for (answer, body, is_cut) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", false),
            ("HTTP/1.0 200 OK\r\n\r\n12345678", "12345678", false),
            ("HTTP/1.1 200 OK\r\n\r\n123456789", "12345678", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789", "12345678", true),
        ] {
            let response = answered(Some(answer)).await.unwrap();
            assert_eq!((response.status, response.is_cut), (StatusCode::OK, is_cut), "{answer}");
            assert_eq!(response.body, body, "{answer}");
        }
    }

    #[tokio::test]
    async fn what_is_not_a_response_is_an_error() {
        assert!(matches!(answered(Some("SSH-2.0-OpenSSH\r\n")).await, Err(GetError::NotHttp)));
        assert!(matches!(answered(Some("")).await, Err(GetError::Http(_))));
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n1";
        assert!(matches!(answered(Some(cut)).await, Err(GetError::Http(_))));
        let refused = get(&Uri::from_static("http://127.0.0.1:1/"), "*/*", BOUNDS).await;
        assert!(matches!(refused, Err(GetError::Connect(_))));
        for uri in ["/path", "ftp://host/"] {
            assert!(matches!(get(&Uri::from_static(uri), "*/*", BOUNDS).await, Err(GetError::Url)), "{uri}");
        }
    }

    #[tokio::test]
    async fn a_silent_server_times_out() {
        tokio::time::pause();
        assert!(matches!(answered(None).await, Err(GetError::TimedOut(_))));
    }
}
