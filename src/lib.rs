//! Hubplane is a standalone SignalR server. Unmodified SignalR clients connect to it, and several nodes form a farm
//! over Redis, in the same wire format as ASP.NET Core's Redis backplane.
//!
//! Comments cite a source by its file name, followed by `#` and the section. `docs/design.md` is the contract,
//! `docs/builders/` documents the wire formats, and `tests/probes/FINDINGS.md` records where a real ASP.NET Core server
//! behaves differently from its documentation.
//!
//! # Layers
//!
//! The modules form layers. A module imports only from lower layers, never from another module of its own layer;
//! `tests/it/layers.rs` enforces this.
//!
//! | layer | module | responsibility |
//! | --- | --- | --- |
//! | 10 | `cli`, `main` | the command line |
//! | 9 | [`server`], `telemetry` | assemble the server, bind, drain; set up logging |
//! | 8 | `transport`, `api`, [`testing`] | HTTP: negotiate, WebSockets, Server-Sent Events, long polling; health, metrics, demo page; in-memory clients for testing a hub |
//! | 7 | `connection` | one task per client: read loop, write loop, invocations in flight |
//! | 6 | [`hub`] | application logic: the `Hub` trait, declared hubs, typed methods |
//! | 5 | `delivery` | sends to local and remote connections; group commands with acks; client results |
//! | 4 | `registry`, `backplane` | the connections of this node; moving envelopes between nodes |
//! | 3 | `session`, `keep_alive`, `outbox`, [`auth`] | a connection's protocol state without I/O; its timers; its queue of outgoing messages; its identity |
//! | 2 | [`config`], `outgoing`, `wire`, `close`, `metrics`, `phase` | configuration; messages that are encoded once; the two halves of a transport; close reasons; metrics; the server's phase |
//! | 1 | `protocol`, `recipients`, `hub_path`, `http_get` | encoding and decoding the hub protocols; the recipients of a message; the paths of hubs; one HTTP GET as a client |
//! | 0 | `ids`, `exception`, `logging`, `calendar`, `tls` | names as types; the .NET exception names that clients see; escaping and rate limiting of log lines; dates; TLS as a client |
//!
//! # As a library
//!
//! ```no_run
//! use hubplane::config::Config;
//! use hubplane::hub::{Caller, HubContext, HubRoute, Methods};
//! use hubplane::server::Server;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let chat = Methods::new().method("SendMessage", |caller: Caller, user: String, message: String| async move {
//!     caller.clients().all().send("ReceiveMessage", (user, message)).await?;
//!     Ok(())
//! });
//! // For sending from outside a hub method. It can be handed out before the server exists.
//! let context = HubContext::new();
//! let server = Server::builder(Config::default()).hub(HubRoute::new("/chat", chat).context(&context)).build().await?;
//! tokio::spawn(async move { context.clients().all().send("Notice", ("up",)).await });
//! server.run_until_signal().await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`hub::Methods`] builds a hub from async functions, [`hub::Hub`] is the trait that every hub implements, and
//! [`server::Builder`] configures the server around them.

#![cfg_attr(
    not(all(feature = "cli", feature = "metrics", feature = "redis")),
    allow(dead_code, unreachable_pub, unused_imports, reason = "some code is used only by optional features")
)]

mod calendar;
mod exception;
mod ids;
mod logging;
mod tls;

mod http_get;
mod hub_path;
mod protocol;
mod recipients;

mod close;
pub mod config;
mod metrics;
mod outgoing;
mod phase;
mod wire;

pub mod auth;
mod keep_alive;
mod outbox;
mod session;

mod backplane;
mod registry;

mod delivery;

pub mod hub;

mod connection;

mod api;
pub mod testing;
mod transport;

pub mod server;
#[cfg(feature = "cli")]
mod telemetry;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

// === the public API: everything else is private ===

pub use backplane::BackplaneError;
pub use config::{Config, HubOptions};
pub use delivery::SendError;
pub use hub::{Caller, Clients, Groups, Hub, HubContext, HubError, HubRoute, Methods};
pub use ids::{ConnectionId, GroupName, UserId};
#[cfg(feature = "metrics")]
pub use metrics::{Metrics, TextFormat as MetricsFormat};
pub use protocol::{BindingError, Protocol, RawValue, TransportKind, ValueError};
pub use server::{Server, ServerHandle};

/// Connections that carry bytes without a hub protocol, over the same transports as the hubs.
pub mod raw {
    pub use crate::transport::{RawConnection, RawRoute, RawStream};
    pub use crate::wire::Disconnected;
}

/// Functions that the fuzz targets call. Not part of the API; they may change at any time.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::protocol::framing::check_messages;
    pub use crate::protocol::handshake::{HandshakeError, failure, read_request, read_response, request};
    pub use crate::protocol::transcode::{check, transcode};
    pub use crate::protocol::{HubMessage, Invocation, MessageDecoder, Outcome, ProtocolError};

    use bytes::{Bytes, BytesMut};

    use crate::protocol::{Protocol, ValueError};

    /// Takes the first whole message off a buffer.
    pub fn decode(
        protocol: Protocol,
        buffer: &mut BytesMut,
        limit: Option<usize>,
    ) -> Result<Option<HubMessage>, ProtocolError> {
        protocol.decode(buffer, limit)
    }

    /// One message with its framing.
    pub fn encode(protocol: Protocol, message: &HubMessage) -> Result<Bytes, ValueError> {
        protocol.encode(message)
    }
}
