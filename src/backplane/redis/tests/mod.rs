//! Tests against a real Redis: `REDIS_SERVER` names the binary (default: `redis-server` of the PATH).
#![allow(clippy::unwrap_used)]

mod foreign;
mod kit;
mod login;
mod outage;
mod pair;
mod wire;
