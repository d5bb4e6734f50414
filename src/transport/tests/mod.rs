//! Tests of the HTTP behaviour of all transports, over real sockets, with an application that echoes bytes.
#![allow(clippy::unwrap_used)]

mod drain;
mod endpoint;
mod events;
mod kit;
mod polling;
mod sockets;
