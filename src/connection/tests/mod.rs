//! A connection from its handshake to its end, over wires made of channels: no socket, and time that only moves
//! when everything waits.
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
