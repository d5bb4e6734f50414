//! The options for connecting to Redis, read from a StackExchange.Redis connection string or a URL
//! (docs/builders/redis-backplane.md#C.1 to #C.2; docs/design.md#7).
//!
//! Every key is supported, accepted without effect (with a note), or refused with a reason. No note and no error
//! contains a secret. An item that could be part of a password is named by its position only.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::connection_string::{self, OptionsParser};
use super::connection_url;
use crate::config::ConnectionStringError;

/// One address of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RedisEndpoint {
    /// A host name or address, and a port.
    Tcp {
        /// The host; an IPv6 address has no brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// The path of a Unix socket; one that begins with a zero byte is an abstract name (Linux).
    Unix(PathBuf),
}

impl fmt::Display for RedisEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.to_string_lossy().replace('\0', "@")),
        }
    }
}

/// A text that must not appear in logs or errors.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The options for TLS connections to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    /// The name for SNI that the certificate must match (`sslHost`); `None` is the endpoint's host.
    pub host: Option<String>,
    /// Whether TLS 1.2 may be used (`sslProtocols`).
    pub tls12: bool,
    /// Whether TLS 1.3 may be used (`sslProtocols`).
    pub tls13: bool,
}

/// The version of Redis's own protocol (`protocol`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RespVersion {
    /// Supported by every server.
    #[default]
    Resp2,
    /// Negotiated with HELLO; needs Redis 6 or newer.
    Resp3,
}

/// How to connect to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisOptions {
    /// The endpoints, tried in turn for each connection. They must all be addresses of one Redis (its primary), since
    /// independent servers would split the farm. Never empty.
    pub endpoints: Vec<RedisEndpoint>,
    /// The ACL user; `None` is the server's default user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// TLS; `None` is a plain connection. It does not apply to Unix sockets.
    pub tls: Option<TlsOptions>,
    /// The database. Channels do not depend on it, so it does not isolate farms from each other.
    pub database: u32,
    /// The name that CLIENT LIST shows (`name`); `None` is `hubplane`.
    pub client_name: Option<String>,
    /// Whether CLIENT SETINFO is sent (`setlib`).
    pub set_library: bool,
    /// Whether CLIENT is used at all (`$CLIENT=` turns it off).
    pub use_client_command: bool,
    /// How long opening a connection may take, including TLS and the login (`connectTimeout`). The default is 5 s.
    pub connect_timeout: Duration,
    /// How long an answer may take before the connection is closed (`asyncTimeout`). The default is 5 s. While an
    /// answer is due, a connection on which nothing at all arrives is closed sooner: after 3 s, or after three fifths
    /// of this timeout if that is longer.
    pub command_timeout: Duration,
    /// After how much silence a PING is sent (`keepAlive`; more than 3 s is taken as 3 s). The default is 1 s.
    pub keep_alive: Duration,
    /// How often a server with `abort_connect` tries to connect before it fails to start (`connectRetry`). The default
    /// is 3.
    pub connect_retry: u32,
    /// The text that is prepended unchanged to the name of every channel (`channelPrefix`).
    pub channel_prefix: String,
    /// Whether the server fails to start if Redis cannot be reached (`abortConnect`). Unlike in StackExchange.Redis it
    /// is off by default, since a node without Redis still serves its own clients.
    pub abort_connect: bool,
    /// The version of Redis's protocol.
    pub resp: RespVersion,
    /// One line for each key that was accepted without effect.
    pub notes: Vec<String>,
}

impl Default for RedisOptions {
    /// Redis on this machine, at its default port.
    fn default() -> Self {
        Self {
            endpoints: vec![RedisEndpoint::Tcp { host: "127.0.0.1".to_owned(), port: 6379 }],
            user: None,
            password: None,
            tls: None,
            database: 0,
            client_name: None,
            set_library: true,
            use_client_command: true,
            connect_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(1),
            connect_retry: 3,
            channel_prefix: String::new(),
            abort_connect: false,
            resp: RespVersion::Resp2,
            notes: Vec::new(),
        }
    }
}

impl RedisOptions {
    /// Reads a StackExchange.Redis connection string, or a `redis://`, `rediss://` or `unix://` URL.
    ///
    /// # Errors
    ///
    /// Returns all problems, not only the first.
    pub(crate) fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let text = text.trim();
        let mut parser = OptionsParser::default();
        if text.is_empty() {
            parser.problems.push("The connection string is empty; an example is 'localhost:6379'.".to_owned());
        } else if text.contains("://") && connection_url::is_url(text) {
            connection_url::read(text, &mut parser);
        } else {
            connection_string::read(text, &mut parser);
        }
        parser.finish()
    }

    /// The endpoints as one text for logs.
    pub(crate) fn endpoints_text(&self) -> String {
        self.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Checks a connection string or URL. Returns notes about keys without effect, or all problems. Neither contains a
/// secret.
pub(crate) fn check_connection(text: &str) -> Result<Vec<String>, ConnectionStringError> {
    RedisOptions::parse(text).map(|options| options.notes)
}

#[cfg(test)]
mod tests;
