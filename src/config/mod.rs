//! Layer 2: what a server is told: plain data with the reference's defaults. Reading it is `load`'s work.
//!
//! docs/design.md#3 is the contract for every key.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `hubs`, `steps`, `auth`, `origins` | the data of a hub, of a method's steps, of who may come, from which pages |
//! | `load` | the sources, put together; the way in |
//! | `toml_file`, `environment`, `merge` | one source as a tree; one tree over another |
//! | `node`, `key_names` | a value with its origin; the names of all keys |
//! | `root_table`, `hub_tables`, `options`, `method_tables`, `template`, `auth_tables` | the tree read into the data |
//! | `reader`, `parse` | one key; one value |
//! | `problem`, `mask`, `effective` | errors, secrets and the effective configuration as text |

pub(crate) mod auth;
mod auth_tables;
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

pub use auth::{Algorithm, AuthConfig, Authorize, KeyConfig, KeyMaterial};
pub(crate) use hubs::HubConfig;
pub use hubs::HubOptions;
pub use load::ConfigError;
pub use node::Origin;
pub use origins::{OriginError, OriginPattern};
pub use problem::Problem;

/// The whole configuration of a server. A host begins with [`Config::default`] and sets fields, or reads TOML with
/// [`Config::from_toml`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen (`listen`).
    pub listen: SocketAddr,
    /// Whether the demo page is served at `/`.
    pub demo: bool,
    /// The log filter, in the syntax of `RUST_LOG`.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Origins that browsers may call from: exact, `https://*.example.com`, or `*` (then without credentials).
    pub cors_origins: Vec<OriginPattern>,
    /// Which pages may open WebSockets.
    pub websocket_origins: WebSocketOrigins,
    /// Most connections at a time; None is no limit. Beyond it negotiate and connects get 503.
    pub max_connections: Option<usize>,
    /// How long stopping may take at most.
    pub shutdown_timeout: Duration,
    /// How long `/readyz` says draining before anything is closed.
    pub drain_delay: Duration,
    /// How long a request's headers, and its body, may take to arrive.
    pub request_timeout: Duration,
    /// What joins this node to the others.
    pub backplane: BackplaneConfig,
    /// Whose tokens are taken.
    pub auth: AuthConfig,
    /// The options of hubs and raw connections that a Rust host adds without options of their own (`[hub_defaults]`;
    /// the options of declared hubs include it already).
    pub hub_defaults: HubOptions,
    /// The declared hubs.
    pub(crate) hubs: Vec<HubConfig>,
}

/// `websocket_origins`: browsers let every page open a WebSocket, so this server has to look at the header `Origin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebSocketOrigins {
    /// Those that `cors_origins` names, and the server's own; all of them while `cors_origins` is empty.
    #[default]
    Cors,
    /// All.
    Any,
}

/// `log_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[backplane]`.
#[derive(Clone, PartialEq, Eq)]
pub enum BackplaneConfig {
    /// This node stands alone.
    Memory,
    /// Nodes that share a Redis.
    Redis {
        /// A StackExchange.Redis connection string, or a `redis://`, `rediss://`, `unix://` URL. Holds secrets.
        connection: String,
        /// Put in front of every channel as it is; wins over `channelPrefix=` in the string.
        channel_prefix: Option<String>,
    },
}

impl fmt::Debug for BackplaneConfig {
    /// With the connection's secrets masked.
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
