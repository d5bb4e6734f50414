//! Tests against a real Redis: `REDIS_SERVER` names the binary (default: `redis-server` of the PATH).
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod contract;
mod envelopes;
mod foreign;
mod kit;
mod login;
mod outage;
mod tls;
