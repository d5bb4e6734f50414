//! Hubplane: a standalone SignalR server. Unmodified SignalR clients connect to it, and replicas join over Redis on
//! the wire of ASP.NET Core's own backplane.
//!
//! Comments name their sources: `docs/design.md` is the contract and the house; `docs/reference/` has the facts of the
//! wire, `tests/probes/FINDINGS.md` ("FINDINGS") what a real server was seen to do where the facts say otherwise.
//!
//! # The house
//!
//! Modules stand on floors; each imports only from lower ones, and neighbours on a floor do not import each other
//! (`tests/it/house.rs` holds them to it).
//!
//! | floor | module | what it is for |
//! | --- | --- | --- |
//! | 10 | `cli`, `main` | the command line |
//! | 9 | [`server`], `telemetry` | assemble, bind, drain; logs |
//! | 8 | [`transport`], [`api`], [`testing`] | HTTP: negotiate, WebSockets, Server-Sent Events, long polling; health, metrics, demo page; clients in memory for tests of a hub |
//! | 7 | [`connection`] | one task a client: read loop, write loop, calls in flight |
//! | 6 | [`hub`] | application logic: the `Hub` trait, declared hubs, typed methods |
//! | 5 | [`delivery`] | local and remote sends as one act; group commands with acks |
//! | 4 | [`registry`], [`backplane`] | who is here; what moves envelopes between nodes |
//! | 3 | [`session`], [`liveness`], [`outbox`], [`auth`] | sans-IO protocol state of a client; its clocks; what waits for it; who it is |
//! | 2 | [`config`], [`frame`], [`wire`], [`close`], [`metrics`], [`phase`] | what the server is told; a message encoded once; a transport's two halves; how connections end; numbers; starting to closing |
//! | 1 | [`protocol`], [`target`], [`hub_path`] | the hub protocol's bytes; whom a message is for; where clients find a hub |
//! | 0 | [`ids`], `exception`, `logging` | names as types; the .NET exceptions that clients see; outsiders' texts in log lines, and how many lines |
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
//! [`hub::Methods`] makes hubs of async functions, [`hub::Hub`] is what every hub is, [`server::Builder`] is all that can
//! be put around them.

pub(crate) mod exception;
pub mod ids;
pub(crate) mod logging;

pub mod hub_path;
pub mod protocol;
pub mod target;

pub mod close;
pub mod config;
pub mod frame;
pub mod metrics;
pub mod phase;
pub mod wire;

pub mod auth;
pub mod liveness;
pub mod outbox;
pub mod session;

pub mod backplane;
pub mod registry;

pub mod delivery;

pub mod hub;

pub mod connection;

pub mod api;
pub mod testing;
pub mod transport;

pub mod server;
#[cfg(feature = "cli")]
pub mod telemetry;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
