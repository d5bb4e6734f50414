//! Tests against a real Redis. The environment variable `REDIS_SERVER` names the binary; the default is `redis-server`
//! from the PATH.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod contract;
mod envelopes;
mod foreign;
mod kit;
mod login;
mod outage;
mod tls;
