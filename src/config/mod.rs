//! Layer 2: the configuration as plain data, with the defaults of ASP.NET Core. `load` reads it.
//!
//! docs/design.md#3 specifies every key.
//!
//! | file | contents |
//! | --- | --- |
//! | `hubs`, `steps`, `auth`, `origins` | the data of hubs, of the steps of methods, of authentication and authorization, of allowed origins |
//! | `load` | combines all sources; the entry point |
//! | `toml_file`, `environment`, `merge` | reading one source as a tree; merging two trees |
//! | `node`, `key_names` | a value with its origin; the names of all keys |
//! | `root_table`, `hub_tables`, `options`, `method_tables`, `template`, `auth_tables` | turning the tree into the data |
//! | `reader`, `parse` | reading one key; parsing one value |
//! | `problem`, `mask`, `effective` | errors, secrets and the effective configuration as text |
//! | `connection_string_error` | what is wrong with a connection string, which the backplane reads |

pub(crate) mod auth;
mod auth_tables;
mod connection_string_error;
pub(crate) mod effective;
pub(crate) mod environment;
mod hub_tables;
pub(crate) mod hubs;
mod key_names;
pub(crate) mod load;
pub(crate) mod mask;
mod merge;
mod method_tables;
mod node;
mod options;
mod origins;
mod parse;
pub(crate) mod problem;
mod reader;
mod root_table;
pub(crate) mod steps;
mod template;
mod toml_file;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

pub use auth::{Algorithm, AuthConfig, Authorize, KeyConfig, KeyError, KeyMaterial};
pub use connection_string_error::ConnectionStringError;
pub(crate) use hubs::HubConfig;
pub use hubs::{HubOptions, OptionsError};
pub use load::ConfigError;
pub use node::Origin;
pub use origins::{OriginError, OriginPattern};
pub use problem::Problem;

/// The whole configuration of a server. A host starts from [`Config::default`] and sets fields, or reads TOML with
/// [`Config::from_toml`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen on (`listen`).
    pub listen: SocketAddr,
    /// Whether the demo page is served at `/`.
    pub demo: bool,
    /// The log filter, in the syntax of `RUST_LOG`.
    pub log: String,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// Origins of pages that may connect from a browser: exact, `https://*.example.com`, or `*` (then without
    /// credentials).
    pub cors_origins: Vec<OriginPattern>,
    /// Which pages may open WebSockets.
    pub websocket_origins: WebSocketOrigins,
    /// The maximum number of connections; `None` is unlimited. Beyond it, negotiate and new connections get 503.
    pub max_connections: Option<usize>,
    /// The longest time that a shutdown may take.
    pub shutdown_timeout: Duration,
    /// How long `/readyz` reports draining before connections are closed.
    pub drain_delay: Duration,
    /// How long a request's headers, and its body, may take to arrive.
    pub request_timeout: Duration,
    /// What connects this node with the others.
    pub backplane: BackplaneConfig,
    /// Which access tokens are accepted.
    pub auth: AuthConfig,
    /// The options of hubs and raw connections that a Rust host adds without options of their own (`[hub_defaults]`).
    /// The options of declared hubs include it already.
    pub hub_defaults: HubOptions,
    /// The declared hubs.
    pub(crate) hubs: Vec<HubConfig>,
}

/// `websocket_origins`: which pages may open WebSockets. Browsers let every page open one, so the server has to check
/// the `Origin` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebSocketOrigins {
    /// Pages of `cors_origins` and of the server itself; all pages while `cors_origins` is empty.
    #[default]
    Cors,
    /// All pages.
    Any,
}

/// `log_format`: the format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// Lines for people to read.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// `[backplane]`: what connects the nodes of a farm.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackplaneConfig {
    /// No other nodes.
    Memory,
    /// Nodes that share a Redis.
    #[non_exhaustive]
    Redis {
        /// A StackExchange.Redis connection string, or a `redis://`, `rediss://` or `unix://` URL. Contains secrets.
        connection: String,
        /// The prefix of every channel name, without a separator. It overrides `channelPrefix=` in the connection
        /// string.
        channel_prefix: Option<String>,
    },
}

impl BackplaneConfig {
    /// Nodes that share the Redis of a connection string or URL.
    ///
    /// ```
    /// use hubplane::config::{BackplaneConfig, Config};
    ///
    /// let mut config = Config::default();
    /// config.backplane = BackplaneConfig::redis("localhost:6379").channel_prefix("chat:");
    /// ```
    pub fn redis(connection: impl Into<String>) -> Self {
        Self::Redis { connection: connection.into(), channel_prefix: None }
    }

    /// Sets the prefix of every channel name. Has no effect on [`BackplaneConfig::Memory`].
    #[must_use]
    pub fn channel_prefix(mut self, prefix: impl Into<String>) -> Self {
        if let Self::Redis { channel_prefix, .. } = &mut self {
            *channel_prefix = Some(prefix.into());
        }
        self
    }
}

impl fmt::Debug for BackplaneConfig {
    /// Masks the secrets of the connection.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("Memory"),
            Self::Redis { connection, channel_prefix } => f
                .debug_struct("Redis")
                .field("connection", &mask::mask(connection))
                .field("channel_prefix", &channel_prefix.as_deref().map(mask::mask))
                .finish(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            demo: false,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            cors_origins: Vec::new(),
            websocket_origins: WebSocketOrigins::Cors,
            max_connections: None,
            shutdown_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            request_timeout: Duration::from_secs(30),
            backplane: BackplaneConfig::Memory,
            auth: AuthConfig::default(),
            hub_defaults: HubOptions::default(),
            hubs: Vec::new(),
        }
    }
}
