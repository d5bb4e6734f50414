//! The test kit, and the binary as a child process.

pub(crate) mod server;

pub(crate) use server::Server;
pub(crate) use testkit::*;
