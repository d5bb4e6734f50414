//! Errors in what other nodes, or foreign programs on the same channels, have sent. Each kind is logged only once, so
//! that they cannot fill the disk.

use std::sync::atomic::{AtomicU8, Ordering};

/// A kind of error; each value is one bit of [`ReportedErrors`].
#[derive(Clone, Copy, Debug)]
pub(super) enum InboundError {
    /// A message cannot be represented in a client's protocol.
    NotConvertible = 1,
    /// A client result is in a protocol that this server does not support.
    UnknownProtocol = 2,
    /// A client result is not a completion.
    NotACompletion = 4,
    /// A client result cannot be decoded.
    Unreadable = 8,
    /// More group commands are in progress than the limit allows.
    TooManyCommands = 16,
}

/// The kinds of errors that have been logged.
#[derive(Debug, Default)]
pub(super) struct ReportedErrors(AtomicU8);

impl ReportedErrors {
    /// Returns `true` on the first call for this kind, and `false` on later ones.
    pub(super) fn first_report(&self, error: InboundError) -> bool {
        self.0.fetch_or(error as u8, Ordering::Relaxed) & error as u8 == 0
    }
}
