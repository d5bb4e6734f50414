//! Layer 0: names of .NET exceptions in error texts. ASP.NET Core begins an error text with the short name of the
//! exception (`HubException: ...`), and client code looks for these names.
//!
//! The rest of the crate uses the enum; only this file contains the names.

use std::fmt;

/// A .NET exception, by the kind of error that it stands for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Exception {
    /// The server's own API was called with an invalid argument.
    Argument,
    /// A client's message ends too early.
    EndOfStream,
    /// A number that a client sent is out of bounds.
    Format,
    /// A hub method failed with an error for the client; the only kind that clients see without detailed errors.
    Hub,
    /// A client's message is nested too deeply.
    InsufficientExecutionStack,
    /// A client sent invalid data, or the wrong number or types of arguments.
    InvalidData,
    /// An operation is not allowed in the current state. Errors of a Rust host are shown under this name too.
    InvalidOperation,
    /// A client is not connected.
    Io,
    /// A value cannot be written as JSON or read from it.
    Json,
    /// What a client sent is not JSON.
    JsonReader,
    /// A client named a stream that does not exist.
    KeyNotFound,
    /// What a client sent is not the MessagePack that is expected.
    MessagePackSerialization,
    /// An operation was cancelled because the client was gone or too slow.
    OperationCanceled,
    /// Application code panicked. .NET has no such exception.
    Panic,
    /// There is no connection to Redis.
    RedisConnection,
    /// An operation did not complete in time.
    TaskCanceled,
}

impl Exception {
    /// The short name of the exception's type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Argument => "ArgumentException",
            Self::EndOfStream => "EndOfStreamException",
            Self::Format => "FormatException",
            Self::Hub => "HubException",
            Self::InsufficientExecutionStack => "InsufficientExecutionStackException",
            Self::InvalidData => "InvalidDataException",
            Self::InvalidOperation => "InvalidOperationException",
            Self::Io => "IOException",
            Self::Json => "JsonException",
            Self::JsonReader => "JsonReaderException",
            Self::KeyNotFound => "KeyNotFoundException",
            Self::MessagePackSerialization => "MessagePackSerializationException",
            Self::OperationCanceled => "OperationCanceledException",
            Self::Panic => "PanicException",
            Self::RedisConnection => "RedisConnectionException",
            Self::TaskCanceled => "TaskCanceledException",
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
