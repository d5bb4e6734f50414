//! Failures of declared methods and hooks: the error that the caller gets, and the reason that the log may contain.

use tokio::time::Instant;

use crate::delivery::client_results::ClientResultError;
use crate::delivery::{Delivery, SendError};
use crate::hub::{ErrorKind, HubError};
use crate::logging::{Allowed, Escaped, LogKind, reason};

/// An error for the caller, and a reason for the log that contains nothing a client sent.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: HubError,
    reason: String,
    /// The step that failed, such as `do 2`; `None` if the failure was not in a step.
    step: Option<String>,
}

/// Only the text of a [`HubError::step`] is logged, because such a text never repeats an argument.
impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        let reason = match error.kind() {
            ErrorKind::Step => error.message(),
            _ => "the call does not fit the method",
        };
        let reason = reason.to_owned();
        Self { error, reason, step: None }
    }
}

/// A backplane that is down keeps its own exception name; every other failed send becomes a `HubException`
/// (docs/design.md#3).
impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let reason = error.to_string();
        let error = HubError::from(error);
        let error = match error.kind() {
            ErrorKind::BackplaneUnavailable => error,
            _ => HubError::step(error.message()),
        };
        Self { error, reason, step: None }
    }
}

/// An error from the client that was invoked, and its timeout, go to the caller unchanged. Everything else, such as an
/// unknown connection, is a failure of the step.
impl From<ClientResultError> for Failure {
    fn from(error: ClientResultError) -> Self {
        let reason = match &error {
            // The text leaves out the id, which may come from an argument of the call.
            ClientResultError::UnknownConnection(_) => "the connection to ask does not exist".to_owned(),
            ClientResultError::Disconnected(_) => "the connection that was asked disconnected".to_owned(),
            ClientResultError::Client(_) => "the client that was asked answered with an error".to_owned(),
            ClientResultError::TimedOut => "the client that was asked did not answer in time".to_owned(),
            ClientResultError::WhileConnecting => error.to_string(),
            ClientResultError::Send(_) => String::new(),
        };
        match error {
            ClientResultError::Send(error) => error.into(),
            ClientResultError::Client(_) | ClientResultError::TimedOut => {
                Self { error: error.into(), reason, step: None }
            }
            other => Self { error: HubError::step(other.to_string()), reason, step: None },
        }
    }
}

impl Failure {
    /// The failure of an upload: its client ended it with an error or disconnected, or an item could not be read.
    pub(super) fn of_upload(error: HubError) -> Self {
        let reason = match error.kind() {
            ErrorKind::Aborted => "the client went away before its upload stream was complete",
            _ => "the upload stream ended with an error, or an item of it could not be read",
        };
        Self { error, reason: reason.to_owned(), step: None }
    }

    /// Adds which step failed: the configuration key of its list, and its index in the list.
    pub(super) fn at(self, list: &str, index: usize) -> Self {
        Self { step: Some(format!("{list} {}", index + 1)), ..self }
    }

    /// Logs that a call of a method failed.
    pub(super) fn log(&self, delivery: &Delivery, method: &str) {
        if let Some(Allowed { suppressed }) = delivery.log().allow(LogKind::MethodFailed, Instant::now()) {
            let method = Escaped::new(method).to_string();
            let (step, reason) = (self.step.as_deref(), reason(&self.reason));
            tracing::warn!(method, step, reason, suppressed, "a declared method failed");
        }
    }

    /// Logs that a step of `on_connected` or `on_disconnected` failed.
    pub(super) fn log_hook(&self, delivery: &Delivery) {
        if let Some(Allowed { suppressed }) = delivery.log().allow(LogKind::HookFailed, Instant::now()) {
            let (step, reason) = (self.step.as_deref(), reason(&self.reason));
            tracing::warn!(step, reason, suppressed, "a declared step failed; the client stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::BackplaneError;
    use crate::ids::ConnectionId;
    use crate::protocol::ValueError;

    #[test]
    fn failures_have_the_documented_texts() {
        let value = ValueError("a number cannot be represented in JSON".to_owned());
        let cases = [
            (BackplaneError::Down("redis:6379".to_owned()).into(), "RedisConnectionException"),
            (BackplaneError::Lost("reset".to_owned()).into(), "RedisConnectionException"),
            (BackplaneError::Value(value.clone()).into(), "HubException"),
            (SendError::Value(value), "HubException"),
            (SendError::AckTimeout, "HubException"),
            (SendError::EmptyGroup, "HubException"),
        ];
        for (error, exception) in cases {
            for failure in [Failure::from(error.clone()), Failure::from(ClientResultError::Send(error.clone()))] {
                assert_eq!(failure.error.wire_text(), format!("{exception}: {error}"));
                assert!(!failure.error.is_shown_to_clients(), "{error}");
                assert_eq!(failure.reason, error.to_string());
            }
        }
    }

    #[test]
    fn logged_reasons_contain_nothing_from_clients() {
        let secret = || "SECRET".to_owned();
        let client = || ConnectionId::from("SECRET");
        for failure in [
            Failure::from(ClientResultError::UnknownConnection(client())),
            Failure::from(ClientResultError::Disconnected(client())),
            Failure::from(ClientResultError::Client(secret())),
            Failure::of_upload(HubError::client(secret())),
        ] {
            assert!(failure.error.to_string().contains("SECRET"), "the caller gets the text: {}", failure.error);
            assert!(!failure.reason.is_empty() && !failure.reason.contains("SECRET"), "{}", failure.reason);
        }
    }

    #[test]
    fn the_error_of_a_client_result_reaches_the_caller() {
        assert_eq!(Failure::from(ClientResultError::Client("no".to_owned())).error, HubError::client("no"));
        assert_eq!(Failure::from(ClientResultError::TimedOut).error, ClientResultError::TimedOut.into());
        let unknown = Failure::from(ClientResultError::UnknownConnection(ConnectionId::from("x"))).error;
        assert_eq!(unknown, HubError::step("Connection 'x' does not exist."));
    }
}
