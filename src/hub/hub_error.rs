//! [`HubError`]: why application code failed, and what clients see of it.

use std::error::Error;
use std::fmt;

use crate::backplane::BackplaneError;
use crate::delivery::SendError;
use crate::delivery::client_results::ClientResultError;
use crate::exception::Exception;
use crate::protocol::{BindingError, ValueError};

/// Why a hub method, a hook or an invocation of a client method failed.
///
/// Clients always see the text of [`HubError::client`]. Of most other errors they see the text only if the hub's option
/// `detailed_errors` is on; otherwise they only learn that an error occurred. [`HubError::is_shown_to_clients`] says
/// which rule applies. The text of a method's error is never logged, since it may repeat what the client sent. The text
/// of an error of `connected` or `disconnected` is logged.
///
/// If `HubError` implements `From` for your own error type, `?` converts it:
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
    /// The short name of the .NET exception that clients see.
    exception: &'static str,
    message: String,
}

/// The kind of a [`HubError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An error made with [`HubError::client`], or the error that a client method returned. Clients always see its
    /// text.
    Client,
    /// An error made with [`HubError::internal`] or [`HubError::from_error`].
    Internal,
    /// The arguments have the wrong number or types.
    InvalidArguments,
    /// A value cannot be represented in one of the hub's protocols, or an argument of a send is invalid.
    InvalidValue,
    /// The operation needs the backplane, which is not available.
    BackplaneUnavailable,
    /// The invoked client is not connected, or disconnected before it returned a result.
    NotConnected,
    /// The invoked client did not return a result in time. Clients always see the text of this error.
    NoAnswer,
    /// No other node acknowledged a group change in time.
    TimedOut,
    /// The operation is not allowed at this point, such as awaiting a client result in the hub's `connected`.
    NotAllowed,
    /// A step of a declared method failed.
    Step,
    /// The client disconnected before it had completed an upload.
    Aborted,
    /// Application code panicked.
    Panicked,
}

// === constructors ===

impl HubError {
    /// An error whose text the client always sees, like .NET's `HubException`.
    pub fn client(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Client, text)
    }

    /// An error whose text the client sees only if the hub's option `detailed_errors` is on. The text must not contain
    /// secrets.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, text)
    }

    /// Like [`HubError::internal`], with the text of another error.
    pub fn from_error(error: impl Error) -> Self {
        Self::internal(error.to_string())
    }

    /// An error for arguments that are not valid, for implementations of [`super::Parameter`]. The client sees the text
    /// only if the hub's option `detailed_errors` is on.
    pub fn invalid_arguments(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArguments, text)
    }

    pub(crate) fn panicked() -> Self {
        Self::new(ErrorKind::Panicked, "the application panicked")
    }

    /// The error of a failed step of a declared method.
    pub(super) fn step(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Step, reason)
    }

    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, exception: exception(kind).name(), message: message.into() }
    }
}

/// The .NET exception that clients see for a kind of error.
fn exception(kind: ErrorKind) -> Exception {
    match kind {
        // A failed step is a HubException too, but its text is shown only with detailed errors (docs/design.md#3).
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

// === accessors ===

impl HubError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text, without the name of the .NET exception.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether clients see the text even if the hub's option `detailed_errors` is off.
    pub fn is_shown_to_clients(&self) -> bool {
        matches!(self.kind, ErrorKind::Client | ErrorKind::NoAnswer)
    }

    /// The short name of the .NET exception that clients see.
    pub(crate) fn exception(&self) -> &'static str {
        self.exception
    }

    /// The text that clients receive if they see it at all: `{exception}: {message}`.
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

// === conversions ===

impl From<SendError> for HubError {
    fn from(error: SendError) -> Self {
        let kind = match &error {
            SendError::Backplane(BackplaneError::Value(_)) | SendError::Value(_) => ErrorKind::InvalidValue,
            SendError::Backplane(_) => ErrorKind::BackplaneUnavailable,
            SendError::AckTimeout => ErrorKind::TimedOut,
            SendError::TooManyGroups => ErrorKind::Client,
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
