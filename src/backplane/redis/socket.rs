//! Opens a connection to Redis over TCP, TLS or a Unix socket, and logs in. It works for an ACL user with minimal
//! rights, who may use neither CLIENT nor SELECT.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use redis::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, SupportedProtocolVersion, version};

use super::redis_options::{RedisEndpoint, RedisOptions, RespVersion, TlsOptions};
use super::resp::{self, RedisReply};
use crate::tls::{self, TlsError};

/// A byte stream to Redis: TCP, TLS or a Unix socket.
pub(super) trait RedisStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> RedisStream for T {}

/// One open connection, and the bytes that were read from it but not processed yet.
pub(super) struct RedisSocket {
    pub(super) stream: Box<dyn RedisStream>,
    pub(super) buffer: BytesMut,
}

/// Why a connection could not be opened, or why it broke. The text is for logs and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct LinkError {
    pub(super) reason: String,
    /// Whether Redis answered, but refused the login or the subscriptions.
    pub(super) refused: bool,
}

impl From<String> for LinkError {
    fn from(reason: String) -> Self {
        Self { reason, refused: false }
    }
}

impl From<TlsError> for LinkError {
    fn from(error: TlsError) -> Self {
        error.to_string().into()
    }
}

/// Makes the TLS configuration. Fails if the system has no usable root certificates.
pub(super) fn tls_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, TlsError> {
    let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
    if options.tls13 {
        versions.push(&version::TLS13);
    }
    if options.tls12 {
        versions.push(&version::TLS12);
    }
    tls::client_config(&versions)
}

/// Connects and logs in, within `connect_timeout`.
pub(super) async fn connect(
    options: &RedisOptions,
    tls: Option<&Arc<ClientConfig>>,
    endpoint: &RedisEndpoint,
) -> Result<RedisSocket, LinkError> {
    let ready = async {
        let stream = open(options, tls, endpoint).await.map_err(|error| error.to_string())?;
        let mut socket = RedisSocket { stream, buffer: BytesMut::new() };
        log_in(options, &mut socket).await?;
        Ok(socket)
    };
    match tokio::time::timeout(options.connect_timeout, ready).await {
        Ok(result) => result,
        Err(_) => Err(format!("it did not answer within {:?}", options.connect_timeout).into()),
    }
}

async fn open(
    options: &RedisOptions,
    tls: Option<&Arc<ClientConfig>>,
    endpoint: &RedisEndpoint,
) -> io::Result<Box<dyn RedisStream>> {
    let (host, port) = match endpoint {
        RedisEndpoint::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        RedisEndpoint::Tcp { host, port } => (host, *port),
    };
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let Some(config) = tls else { return Ok(Box::new(stream)) };
    let name = options.tls.as_ref().and_then(|tls| tls.host.clone()).unwrap_or_else(|| host.clone());
    let name = ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Ok(Box::new(TlsConnector::from(config.clone()).connect(name, stream).await?))
}

/// Logs in with one pipeline of commands. All of them must succeed except CLIENT, which Redis may refuse.
async fn log_in(options: &RedisOptions, socket: &mut RedisSocket) -> Result<(), LinkError> {
    let user = options.user.as_deref();
    let password = options.password.as_ref().map(|secret| secret.0.as_str());
    let mut needed: Vec<Vec<&str>> = Vec::new();
    match (options.resp, password) {
        (RespVersion::Resp3, Some(password)) => {
            needed.push(vec!["HELLO", "3", "AUTH", user.unwrap_or("default"), password]);
        }
        (RespVersion::Resp3, None) => needed.push(vec!["HELLO", "3"]),
        (RespVersion::Resp2, Some(password)) => match user {
            Some(user) => needed.push(vec!["AUTH", user, password]),
            None => needed.push(vec!["AUTH", password]),
        },
        (RespVersion::Resp2, None) => {}
    }
    let database = options.database.to_string();
    if options.database != 0 {
        needed.push(vec!["SELECT", &database]);
    }
    // Its answer shows whether a login is missing, the data set is still loading, or the server is not Redis at all.
    needed.push(vec!["PING"]);
    let mut extra: Vec<Vec<&str>> = Vec::new();
    if options.use_client_command {
        extra.push(vec!["CLIENT", "SETNAME", options.client_name.as_deref().unwrap_or("hubplane")]);
        if options.set_library {
            extra.push(vec!["CLIENT", "SETINFO", "lib-name", "hubplane"]);
            extra.push(vec!["CLIENT", "SETINFO", "lib-ver", env!("CARGO_PKG_VERSION")]);
        }
    }
    let mut out = BytesMut::new();
    for command in needed.iter().chain(&extra) {
        let parts: Vec<&[u8]> = command.iter().map(|part| part.as_bytes()).collect();
        resp::command(&mut out, parts.into_iter());
    }
    socket.stream.write_all(&out).await.map_err(|error| error.to_string())?;
    socket.stream.flush().await.map_err(|error| error.to_string())?;
    for command in &needed {
        if let Value::ServerError(error) = read_reply(socket).await? {
            let reason = format!("{} was refused: {}", command[0], server_error(&error));
            // These errors are temporary. They are no refusal of the login.
            let refused = !matches!(error.code(), "LOADING" | "BUSY" | "MASTERDOWN" | "TRYAGAIN");
            return Err(LinkError { reason, refused });
        }
    }
    for _ in &extra {
        read_reply(socket).await?;
    }
    Ok(())
}

/// The code and the text of an error reply. Redis repeats an unknown command with its arguments, which may be a
/// password or a message, so the arguments are removed.
pub(super) fn server_error(error: &redis::ServerError) -> String {
    match error.details().map(|details| details.split(", with args").next().unwrap_or_default()) {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

async fn read_reply(socket: &mut RedisSocket) -> Result<Value, String> {
    loop {
        match resp::take_reply(&mut socket.buffer).map_err(|error| error.to_string())? {
            Some(RedisReply::Value(value)) if !resp::is_push(&value) => return Ok(value),
            Some(_) => continue,
            None => {}
        }
        let count = socket.stream.read_buf(&mut socket.buffer).await.map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("it closed the connection".to_owned());
        }
    }
}

/// Bytes from Redis as text; invalid UTF-8 is replaced.
pub(super) fn lossy_text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
