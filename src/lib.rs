//! Hubplane: a standalone SignalR server. Unmodified SignalR clients connect to it, and replicas join over Redis on
//! the wire of ASP.NET Core's own backplane.
//!
//! # The house
//!
//! Modules stand on floors; each imports only from lower ones, and neighbours on a floor do not import each other
//! (`tests/it/house.rs` holds them to it).
//!
//! | floor | module | what it is for |
//! | --- | --- | --- |
//! | 9 | [`server`], [`telemetry`], `main` | assemble, bind, drain; logs; the command line |
//! | 8 | [`transport`], [`api`] | HTTP: negotiate, WebSockets, Server-Sent Events, long polling; health, metrics, demo page |
//! | 7 | [`connection`] | one task a client: read loop, write loop, calls in flight |
//! | 6 | [`hub`] | application logic: the `Hub` trait, declared hubs, typed methods |
//! | 5 | [`delivery`] | local and remote sends as one act; group commands with acks |
//! | 4 | [`registry`], [`backplane`] | who is here; what moves envelopes between nodes |
//! | 3 | [`session`], [`liveness`], [`outbox`], [`auth`] | sans-IO protocol state of a client; its clocks; what waits for it; who it is |
//! | 2 | [`frame`], [`wire`], [`close`], [`metrics`], [`phase`] | a message encoded once; a transport's two halves; how connections end; numbers; starting to closing |
//! | 1 | [`protocol`], [`target`], [`config`] | the hub protocol's bytes; whom a message is for; what the server is told |
//! | 0 | [`ids`] | names as types |

pub mod ids;

pub mod config;
pub mod protocol;
pub mod target;

pub mod close;
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
pub mod transport;

pub mod server;
pub mod telemetry;
