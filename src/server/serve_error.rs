//! [`ServeError`]: why a server could not be built or bound, or did not end well.

use std::io;
use std::net::SocketAddr;

use crate::backplane::BackplaneStartError;
use crate::config::{KeyError, OptionsError};
use crate::hub::HubDefinitionError;
use crate::hub_path::HubPathError;

/// Why a server could not be built or bound, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The path of a hub or raw connection is invalid.
    #[error("the path {path:?} of {what} {source}")]
    Path {
        /// The path as it was given.
        path: String,
        /// The hub or raw connection, as in `the hub "chat"`.
        what: String,
        /// What is wrong with it.
        source: HubPathError,
    },
    /// Another hub or raw connection has the path, or negotiates there.
    #[error("the path {path:?} of {what} is already taken")]
    PathTaken {
        /// The path as it was given.
        path: String,
        /// The hub or raw connection, as in `the hub "chat"`.
        what: String,
    },
    /// One of the server's own pages has the path.
    #[error("the path {path:?} of {what} is one of the server's own pages")]
    PathReserved {
        /// The path as it was given.
        path: String,
        /// The hub or raw connection, as in `the hub "chat"`.
        what: String,
    },
    /// Two hubs have the same name on the backplane, so they would receive each other's messages.
    #[error("two hubs have the backplane name {0:?}; each needs one of its own")]
    BackplaneName(String),
    /// Two hubs have the same name, which would merge their metrics.
    #[error("two hubs have the name {0:?}; give one of them another with HubRoute::name")]
    Name(String),
    /// A hub has an empty name.
    #[error("the hub at {path:?} has an empty name")]
    EmptyName {
        /// Its path.
        path: String,
    },
    /// The options of a hub or raw connection are invalid.
    #[error("the options of {path:?} are invalid: {source}")]
    Options {
        /// Its path.
        path: String,
        /// Which option is invalid, and why.
        source: OptionsError,
    },
    /// A hub context was given to two hubs.
    #[error("the context of the hub {name:?} is already attached to another hub; each hub needs a context of its own")]
    Context {
        /// The name of the second hub.
        name: String,
    },
    /// A hub's definition is invalid; for example, it has two methods of the same name.
    #[error("the hub {name:?} cannot be served: {source}")]
    Hub {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: HubDefinitionError,
    },
    /// The backplane cannot be started.
    #[error("the backplane cannot be started: {0}")]
    Backplane(#[from] BackplaneStartError),
    /// A key in `auth.keys` cannot be used.
    #[error("clients cannot be authorized: auth.keys[{index}]: {source}")]
    Key {
        /// Its index in `auth.keys`.
        index: usize,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A hub or raw connection has an `authorize` rule, but the server cannot authenticate users.
    #[error("clients cannot be authorized: {path} requires a user, but there are no keys to check tokens with")]
    NoAuthentication {
        /// Its path.
        path: String,
    },
    /// [`super::Builder::authorize`] was called for a path without a hub or raw connection.
    #[error("clients cannot be authorized: there is no hub and no raw connection at {path}")]
    NothingToGuard {
        /// The path as it was given.
        path: String,
    },
    /// The server cannot listen on the configured address.
    #[error("cannot listen on {address}: {}", reason(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The signals that stop the server cannot be caught.
    #[error("the signals that stop the server cannot be caught: {0}")]
    Signals(io::Error),
    /// A second request to stop ended the graceful stop, and cut off the clients that were still connected.
    #[error("a second request to stop ended the server at once, without waiting for its clients")]
    Forced,
    /// A task that has to run as long as the server ended early, which is a bug in Hubplane. Contains its name.
    #[error("{0} ended before the server did")]
    PartEnded(&'static str),
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program already listens there".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied (ports below 1024 need a privilege)".to_owned(),
        _ => error.to_string(),
    }
}
