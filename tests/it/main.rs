//! The binary from outside: started as a process, spoken to in bytes. One file a theme; `kit` is what they share.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests fail by panicking")]

mod bad_input;
mod chat;
mod health;
mod house;
mod kit;
mod redis_farm;
mod redis_outage;
mod stopping;
