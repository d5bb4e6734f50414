//! Layer 0: the .NET exceptions whose short names clients see in error texts. ASP.NET Core puts the name of the
//! exception in front of an error's message (`HubException: ...`), and client code looks for these names.
//!
//! Everything else in the crate speaks of kinds of errors; only this file knows the names.

use std::fmt;

/// One exception of .NET.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Exception {
    /// A wrong argument of a call to the server's own API.
    Argument,
    /// A hub method failed on purpose; the only one that a client sees without detailed errors.
    Hub,
    /// What a client sent, or the number and types of its arguments, is invalid.
    InvalidData,
    /// Something is not allowed in the present state; also what an error of a Rust host is shown as.
    InvalidOperation,
    /// A client is not connected.
    Io,
    /// A value cannot be written as JSON or read from it.
    Json,
    /// Work was cancelled because its client was gone or too slow.
    OperationCanceled,
    /// Application code panicked. .NET has no such exception.
    Panic,
    /// Redis is away.
    RedisConnection,
    /// Something did not end in time.
    TaskCanceled,
}

impl Exception {
    /// The short name of its type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Argument => "ArgumentException",
            Self::Hub => "HubException",
            Self::InvalidData => "InvalidDataException",
            Self::InvalidOperation => "InvalidOperationException",
            Self::Io => "IOException",
            Self::Json => "JsonException",
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
