//! The test kit, and the binary as a process to use it on.

pub(crate) mod server;

pub(crate) use server::Server;
pub(crate) use testkit::*;
