//! Why a step of a test failed: [`TestError`].

use std::time::Duration;

use super::client::Ended;
use crate::hub::HubDefinitionError;
use crate::protocol::ValueError;

/// Why a step of a test failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// The hub was put together wrongly.
    #[error("the hub cannot be served: {0}")]
    Hub(#[from] HubDefinitionError),
    /// Its options are such that nothing can be served.
    #[error("the hub's options cannot be used: {0}")]
    Options(&'static str),
    /// A context of its route belongs to another hub.
    #[error("a context of the hub belongs to another hub already")]
    Context,
    /// The hub's rule does not let the client connect; the status that HTTP would have answered with: 401 for an
    /// anonymous one, else 403.
    #[error("the client may not connect to the hub: {0}")]
    Refused(u16),
    /// The handshake was answered with an error.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// The call was answered with an error; its text, as the client sees it.
    #[error("{0}")]
    Invocation(String),
    /// A value is not of the type that was asked for, or cannot be sent.
    #[error("{what}: {source}")]
    Value {
        /// Which value.
        what: String,
        /// What is wrong with it.
        source: ValueError,
    },
    /// What was waited for has not come.
    #[error("{what} did not come within {after:?}; {seen}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// What has come instead, and was not taken.
        seen: String,
    },
    /// The connection ended before what was waited for had come.
    #[error("{what} did not come before the connection ended ({ended})")]
    Ended {
        /// What was waited for.
        what: String,
        /// How it ended.
        ended: Ended,
    },
}
