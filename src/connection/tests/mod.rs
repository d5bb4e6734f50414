//! Tests of a connection from its handshake to its end. Channels take the place of sockets, and time is paused: it
//! advances only when all tasks are idle.
#![allow(clippy::unwrap_used)]

mod calls;
mod closing;
mod declared;
mod kit;
mod lifetime;
mod logs;
mod nodes;
mod stateful;
mod typed;
