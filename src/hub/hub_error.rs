//! Why application code failed: [`HubError`].

use std::error::Error;
use std::fmt;

use crate::backplane::BackplaneError;
use crate::delivery::SendError;
use crate::delivery::client_results::ClientResultError;
use crate::exception::Exception;
use crate::protocol::{BindingError, ValueError};

/// Why a hub method, a hook or a request to a client failed.
///
/// Clients see the text of [`HubError::client`] always. Of all other errors they see only that there was one, unless
/// the hub's option `detailed_errors` is on. The text of a method's error is never logged, since it may repeat what the
/// client sent; that of an error of `connected` or `disconnected` is.
///
/// An error type of the application becomes a `HubError` by `From`, and then `?` does the rest:
///
/// ```
/// use hubplane::hub::{Caller, HubError, Methods};
///
/// enum ChatError {
///     RoomFull(String),
///     Database(std::io::Error),
/// }
///
/// impl From<ChatError> for HubError {
///     fn from(error: ChatError) -> Self {
///         match error {
///             ChatError::RoomFull(room) => HubError::client(format!("{room} is full")),
///             ChatError::Database(error) => HubError::from_error(error),
///         }
///     }
/// }
///
/// fn enter(room: &str) -> Result<(), ChatError> {
///     Err(ChatError::RoomFull(room.to_owned()))
/// }
///
/// let hub = Methods::new().method("Enter", |_: Caller, room: String| async move {
///     enter(&room)?;
///     Ok(())
/// });
/// # drop(hub);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubError {
    kind: ErrorKind,
    /// The short name of the .NET exception that clients see it as.
    exception: &'static str,
    message: String,
}

/// What kind of error a [`HubError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// [`HubError::client`], or the error that a client answered with. Clients always see its text.
    Client,
    /// [`HubError::internal`] or [`HubError::from_error`].
    Internal,
    /// The arguments do not fit the method.
    InvalidArguments,
    /// A value cannot be written in one of the hub's protocols, or an argument of a send is invalid.
    InvalidValue,
    /// The backplane is needed and away.
    BackplaneUnavailable,
    /// The client that was called is not connected, or went away before it answered.
    NotConnected,
    /// The client that was called did not answer in time. Clients always see the text of this error.
    NoAnswer,
    /// No other node confirmed a group change in time.
    TimedOut,
    /// Not allowed now, such as calling a client for a result within the hub's `connected`.
    NotAllowed,
    /// A step of a declared method failed.
    Step,
    /// The client of an upload went away.
    Aborted,
    /// Application code panicked.
    Panicked,
}

// === making one ===

impl HubError {
    /// An error whose text the caller always sees: `HubException` of .NET.
    pub fn client(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Client, text)
    }

    /// An error whose text the caller sees only with detailed errors. It must hold no secret.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, text)
    }

    /// As [`HubError::internal`], with the text of any error.
    pub fn from_error(error: impl Error) -> Self {
        Self::internal(error.to_string())
    }

    /// The arguments do not fit: for parameters that check what they are given ([`super::Parameter`]). The caller
    /// sees the text only with detailed errors.
    pub fn invalid_arguments(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArguments, text)
    }

    pub(crate) fn panicked() -> Self {
        Self::new(ErrorKind::Panicked, "the application panicked")
    }

    /// A step of a declared method that failed for a reason that lies in the call.
    pub(super) fn step(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Step, reason)
    }

    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, exception: exception(kind).name(), message: message.into() }
    }
}

/// What a kind of error is called on the wire.
fn exception(kind: ErrorKind) -> Exception {
    match kind {
        // A failed step is a HubException too, but its text is not for everybody (docs/design.md#3).
        ErrorKind::Client | ErrorKind::NoAnswer | ErrorKind::Step => Exception::Hub,
        ErrorKind::Internal | ErrorKind::NotAllowed => Exception::InvalidOperation,
        ErrorKind::InvalidArguments => Exception::InvalidData,
        ErrorKind::InvalidValue => Exception::Json,
        ErrorKind::BackplaneUnavailable => Exception::RedisConnection,
        ErrorKind::NotConnected => Exception::Io,
        ErrorKind::TimedOut => Exception::TaskCanceled,
        ErrorKind::Aborted => Exception::OperationCanceled,
        ErrorKind::Panicked => Exception::Panic,
    }
}

// === reading it ===

impl HubError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether clients see its text without detailed errors.
    pub fn is_shown_to_clients(&self) -> bool {
        matches!(self.kind, ErrorKind::Client | ErrorKind::NoAnswer)
    }

    /// The short name of the .NET exception that clients see it as.
    pub(crate) fn exception(&self) -> &'static str {
        self.exception
    }

    /// As it is told to clients: `{exception}: {message}`.
    pub(crate) fn wire_text(&self) -> String {
        format!("{}: {}", self.exception, self.message)
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for HubError {}

// === what it is made of ===

impl From<SendError> for HubError {
    fn from(error: SendError) -> Self {
        let kind = match &error {
            SendError::Backplane(BackplaneError::Value(_)) | SendError::Value(_) => ErrorKind::InvalidValue,
            SendError::Backplane(_) => ErrorKind::BackplaneUnavailable,
            SendError::AckTimeout => ErrorKind::TimedOut,
            SendError::NotAttached => ErrorKind::NotAllowed,
            SendError::EmptyGroup => {
                let message = error.to_string();
                return Self { kind: ErrorKind::InvalidValue, exception: Exception::Argument.name(), message };
            }
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ClientResultError> for HubError {
    fn from(error: ClientResultError) -> Self {
        let kind = match error {
            ClientResultError::Client(text) => return Self::client(text),
            ClientResultError::Send(error) => return error.into(),
            ClientResultError::UnknownConnection(_) | ClientResultError::Disconnected(_) => ErrorKind::NotConnected,
            ClientResultError::TimedOut => ErrorKind::NoAnswer,
            ClientResultError::WhileConnecting => ErrorKind::NotAllowed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ValueError> for HubError {
    fn from(error: ValueError) -> Self {
        Self::new(ErrorKind::InvalidValue, error.to_string())
    }
}

impl From<BindingError> for HubError {
    fn from(error: BindingError) -> Self {
        Self { kind: ErrorKind::InvalidArguments, exception: error.exception, message: error.detail }
    }
}
