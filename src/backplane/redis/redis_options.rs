//! How to reach Redis: what a StackExchange.Redis connection string or a URL says, as one struct
//! (docs/builders/redis-backplane.md#C.1 to #C.2; docs/design.md#7).
//!
//! Every key is honoured, accepted without effect (a note says so), or refused with the reason. No text made here
//! holds a secret, and where a piece of the string may be part of a password, it is named by its place.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::connection_string::{self, OptionsParser};
use super::connection_url;

/// One place where a Redis may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RedisEndpoint {
    /// A host name or address, and a port.
    Tcp {
        /// The host, an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket; a path that begins with a zero byte is an abstract name (Linux).
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

/// A text that no log and no error may show.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// TLS towards Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    /// The name the certificate must have, and the one told to the server; None is the endpoint's host (`sslHost`).
    pub host: Option<String>,
    /// Whether TLS 1.2 may be spoken (`sslProtocols`).
    pub tls12: bool,
    /// Whether TLS 1.3 may be spoken.
    pub tls13: bool,
}

/// Which version of Redis's own protocol is spoken (`protocol`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RespVersion {
    /// Every server knows it.
    #[default]
    Resp2,
    /// With HELLO, from Redis 6 on.
    Resp3,
}

/// How to reach Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisOptions {
    /// Tried in turn, whenever a connection is made. They must be names of one Redis (its primary): several
    /// independent ones would split the farm. Never empty.
    pub endpoints: Vec<RedisEndpoint>,
    /// The ACL user; None is the server's default user.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// TLS; None is a plain connection. Unix sockets never use it.
    pub tls: Option<TlsOptions>,
    /// The database. Channels do not depend on it, so it isolates nothing.
    pub database: u32,
    /// What CLIENT LIST shows (`name`); None is `hubplane`.
    pub client_name: Option<String>,
    /// Whether CLIENT SETINFO is sent (`setlib`).
    pub set_library: bool,
    /// Whether CLIENT is used at all (`$CLIENT=` turns it off).
    pub use_client_command: bool,
    /// How long one connection may take to be ready, TLS and login included (`connectTimeout`). 5 s.
    pub connect_timeout: Duration,
    /// How long an answer may take (`asyncTimeout`). 5 s. Beyond it the connection is given up. If nothing at all comes
    /// while one is due, it is given up after 3 s, or after three fifths of this where that is longer.
    pub command_timeout: Duration,
    /// A silent connection is asked for a sign of life after this long (`keepAlive`, of which at most 3 s are
    /// taken). 1 s.
    pub keep_alive: Duration,
    /// How many first attempts are made when `abort_connect` is set (`connectRetry`). 3.
    pub connect_retry: u32,
    /// Put in front of every channel as it is (`channelPrefix`).
    pub channel_prefix: String,
    /// Whether the start fails when Redis cannot be reached (`abortConnect`). Off, other than StackExchange's: a
    /// node without Redis still serves its own clients.
    pub abort_connect: bool,
    /// Which protocol is spoken.
    pub resp: RespVersion,
    /// One line for each key that was accepted without effect.
    pub notes: Vec<String>,
}

impl Default for RedisOptions {
    /// The Redis of this machine.
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
    /// Reads a StackExchange.Redis connection string, or a `redis://`, `rediss://` or `unix://` URL. All problems are
    /// told at once.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let text = text.trim();
        let mut parser = OptionsParser::default();
        if text.is_empty() {
            parser.problems.push("The connection string is empty; 'localhost:6379' would name a Redis.".to_owned());
        } else if text.contains("://") && connection_url::is_url(text) {
            connection_url::read(text, &mut parser);
        } else {
            connection_string::read(text, &mut parser);
        }
        parser.finish()
    }

    /// The endpoints as logs name them.
    pub(crate) fn endpoints_text(&self) -> String {
        self.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Whether a connection text can be used: the notes about what has no effect, or every problem. Neither shows a secret.
pub(crate) fn check_connection(text: &str) -> Result<Vec<String>, Vec<String>> {
    RedisOptions::parse(text).map(|options| options.notes)
}

#[cfg(test)]
mod tests;
