//! Hubplane: a standalone SignalR server. Unmodified SignalR clients connect to it, and replicas join over Redis on
//! the wire of ASP.NET Core's own backplane.
//!
//! Comments name their sources, with the section behind `#`. `docs/design.md` is the contract; `docs/builders/` has the
//! facts about the wire, and `tests/probes/FINDINGS.md` what a real server was seen to do where the facts say
//! otherwise.
//!
//! # Layers
//!
//! The modules form layers; each imports only from lower ones, and neighbours in a layer do not import each other
//! (`tests/it/layers.rs` enforces it).
//!
//! | layer | module | what it is for |
//! | --- | --- | --- |
//! | 10 | `cli`, `main` | the command line |
//! | 9 | [`server`], `telemetry` | assemble, bind, drain; logs |
//! | 8 | `transport`, `api`, [`testing`] | HTTP: negotiate, WebSockets, Server-Sent Events, long polling; health, metrics, demo page; clients in memory for tests of a hub |
//! | 7 | `connection` | one task a client: read loop, write loop, calls in flight |
//! | 6 | [`hub`] | application logic: the `Hub` trait, declared hubs, typed methods |
//! | 5 | `delivery` | local and remote sends as one act; group commands with acks |
//! | 4 | `registry`, `backplane` | who is here; what moves envelopes between nodes |
//! | 3 | `session`, `keep_alive`, `outbox`, [`auth`] | sans-IO protocol state of a client; its clocks; what waits for it; who it is |
//! | 2 | [`config`], `outgoing`, `wire`, `close`, `metrics`, `phase` | what the server is told; a message encoded once; a transport's two halves; how connections end; numbers; starting to closing |
//! | 1 | `protocol`, `recipients`, `hub_path` | the hub protocol's bytes; whom a message is for; where clients find a hub |
//! | 0 | `ids`, `exception`, `logging`, `calendar`, `tls` | names as types; the .NET exceptions that clients see; outsiders' texts in log lines, and how many lines; dates; TLS as a client |
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
//! // Sends from outside of a call; it may be handed out before there is a server.
//! let context = HubContext::new();
//! let server = Server::builder(Config::default()).hub(HubRoute::new("/chat", chat).context(&context)).build().await?;
//! tokio::spawn(async move { context.clients().all().send("Notice", ("up",)).await });
//! server.run_until_signal().await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`hub::Methods`] makes hubs of async functions, [`hub::Hub`] is what every hub is, [`server::Builder`] is all that
//! can be put around them.

#![cfg_attr(
    not(all(feature = "cli", feature = "metrics", feature = "redis")),
    allow(dead_code, unreachable_pub, unused_imports, reason = "some code serves only the parts that a feature adds")
)]

mod calendar;
mod exception;
mod ids;
mod logging;
mod tls;

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

/// Byte connections without a hub protocol, served beside the hubs over the same transports.
pub mod raw {
    pub use crate::transport::{RawConnection, RawRoute, RawStream};
}

/// What the fuzz targets reach. It is no part of the API, and may change at any time.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::protocol::framing::check_messages;
    pub use crate::protocol::handshake::{HandshakeError, failure, read_request, read_response, request};
    pub use crate::protocol::transcode::{check, transcode};
    pub use crate::protocol::{HubMessage, Invocation, MessageDecoder, Outcome, ProtocolError};
}
