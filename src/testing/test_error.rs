//! The error type of the testing tools: [`TestError`].

use std::time::Duration;

use super::test_client::Ended;
use crate::config::OptionsError;
use crate::hub::HubDefinitionError;
use crate::protocol::ValueError;

/// Why a step of a test failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// The hub has mistakes.
    #[error("the hub cannot be served: {0}")]
    Hub(#[from] HubDefinitionError),
    /// The hub's options are invalid.
    #[error("the hub's options are invalid: {0}")]
    Options(#[from] OptionsError),
    /// A context of the route is already attached to another hub.
    #[error("a context of the hub is already attached to another hub")]
    Context,
    /// The hub's rule does not admit the client. The number is the HTTP status that a server would answer with: 401 for
    /// an anonymous client, otherwise 403.
    #[error("the client may not connect to the hub: {0}")]
    Refused(u16),
    /// The handshake was answered with an error.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// The invocation was answered with this error, as the client sees it.
    #[error("{0}")]
    Invocation(String),
    /// A value is not of the requested type, or cannot be sent.
    #[error("{what}: {source}")]
    Value {
        /// Which value.
        what: String,
        /// What is wrong with it.
        source: ValueError,
    },
    /// What was waited for was not received in time.
    #[error("{what} was not received within {after:?}; {seen}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The timeout.
        after: Duration,
        /// What was received instead.
        seen: String,
    },
    /// The connection ended before what was waited for was received.
    #[error("{what} was not received before the connection ended ({ended})")]
    Ended {
        /// What was waited for.
        what: String,
        /// How the connection ended.
        ended: Ended,
    },
}
