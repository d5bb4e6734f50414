//! What is wrong with what other nodes, or strangers on our channels, have sent: told once for each kind, so that it
//! cannot fill a disk.

use std::sync::atomic::{AtomicU8, Ordering};

/// The kinds.
#[derive(Clone, Copy, Debug)]
pub(super) enum InboundError {
    /// A message without a form in a client's protocol.
    NotConvertible = 1,
    /// A client result in a protocol that nobody here speaks.
    UnknownProtocol = 2,
    /// What came as a client result is another message.
    NotACompletion = 4,
    /// What came as a client result cannot be read.
    Unreadable = 8,
    /// More group changes than can wait.
    TooManyCommands = 16,
}

/// Which kinds have been told of.
#[derive(Debug, Default)]
pub(super) struct ReportedErrors(AtomicU8);

impl ReportedErrors {
    /// Whether this kind has not been told of yet; asked once, it has.
    pub(super) fn first_report(&self, error: InboundError) -> bool {
        self.0.fetch_or(error as u8, Ordering::Relaxed) & error as u8 == 0
    }
}
