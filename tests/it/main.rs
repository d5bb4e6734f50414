//! Integration tests: most start the binary as a process and talk to it over sockets. There is one file for each topic,
//! and `kit` has what they share.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail by panicking")]
#![allow(clippy::print_stderr, reason = "the log of a server whose test has failed")]
#![allow(clippy::needless_pass_by_value, reason = "arguments are written where they are used")]

mod auth;
mod bad_input;
mod chat;
mod cli;
mod health;
mod kit;
mod layers;
mod library;
mod logs;
mod options;
mod origins;
mod redis_farm;
mod redis_outage;
mod results;
mod router;
mod router_tls;
mod sources;
mod stateful;
mod stopping;
mod text;
