//! Why a server could not be built, or could not begin.

use std::io;
use std::net::SocketAddr;

use crate::backplane::BackplaneStartError;
use crate::config::{KeyError, OptionsError};
use crate::hub::HubDefinitionError;
use crate::hub_path::HubPathError;

/// Why a server could not be built, or could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// What was given as a path is none.
    #[error("the path {path:?} of {what} {source}")]
    Path {
        /// The path as it was given.
        path: String,
        /// Whose it is: a hub or a raw connection, by name.
        what: String,
        /// What is wrong with it.
        source: HubPathError,
    },
    /// Another hub or raw connection is at the path, or its clients would negotiate there.
    #[error("the path {path:?} of {what} is taken already")]
    PathTaken {
        /// The path as it was given.
        path: String,
        /// Whose it is: a hub or a raw connection, by name.
        what: String,
    },
    /// A page of the server itself is at the path.
    #[error("the path {path:?} of {what} is one of the server's own pages")]
    PathReserved {
        /// The path as it was given.
        path: String,
        /// Whose it is: a hub or a raw connection, by name.
        what: String,
    },
    /// Two hubs share a name on the backplane, and would hear each other's messages.
    #[error("two hubs have the backplane name {0:?}; each needs one of its own")]
    BackplaneName(String),
    /// Two hubs have the same name, which would merge their metrics.
    #[error("two hubs have the name {0:?}; give one of them another with HubRoute::name")]
    Name(String),
    /// A hub without a name.
    #[error("the hub at {path:?} has an empty name")]
    EmptyName {
        /// Its path.
        path: String,
    },
    /// Invalid options of a hub or raw connection.
    #[error("the options of {path:?} are invalid: {source}")]
    Options {
        /// Its path.
        path: String,
        /// Which option, and what is wrong with it.
        source: OptionsError,
    },
    /// A hub context can be attached to one hub only.
    #[error("the context of the hub {name:?} is attached to another hub already; each hub needs a context of its own")]
    Context {
        /// The second hub.
        name: String,
    },
    /// A hub was put together wrongly, such as with two methods of one name.
    #[error("the hub {name:?} cannot be served: {source}")]
    Hub {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: HubDefinitionError,
    },
    /// The backplane refuses to begin.
    #[error("the backplane cannot begin: {0}")]
    Backplane(#[from] BackplaneStartError),
    /// A key that tokens are to be checked with cannot be used.
    #[error("clients cannot be authorized: auth.keys[{index}]: {source}")]
    Key {
        /// Its place in `auth.keys`.
        index: usize,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A hub or raw connection admits only users who fulfil a rule, and nothing authenticates them.
    #[error("clients cannot be authorized: {path} is guarded, but there are no keys to check tokens with")]
    NoAuthentication {
        /// Its path.
        path: String,
    },
    /// A rule of [`super::Builder::authorize`] is for a path where nothing is served.
    #[error("clients cannot be authorized: there is no hub and no raw connection at {path} to guard")]
    NothingToGuard {
        /// The path as it was given.
        path: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", reason(.source))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system gives no signals.
    #[error("the signals that stop a server cannot be had: {0}")]
    Signals(io::Error),
    /// It was told to stop a second time while it was stopping, and has cut off whoever was still there.
    #[error("told to stop a second time: ended at once, without waiting for clients to leave")]
    Forced,
    /// A part that must live as long as the server has ended: a mistake in it.
    #[error("{0} ended before the server did")]
    PartEnded(&'static str),
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there already".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => "it is not permitted (ports below 1024 need a privilege)".to_owned(),
        _ => error.to_string(),
    }
}
