//! What is wrong with what other nodes, or strangers on our channels, have sent: told once for each kind, so that it
//! cannot fill a disk.

use std::sync::atomic::{AtomicU8, Ordering};

/// The kinds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// A message without a form in a client's protocol.
    NoForm = 1,
    /// A client result in a protocol that nobody here speaks.
    UnknownProtocol = 2,
    /// What came as a client result is another message.
    NoCompletion = 4,
    /// What came as a client result cannot be read.
    Unreadable = 8,
    /// More group changes than can wait.
    TooMany = 16,
}

/// Which kinds have been told of.
#[derive(Debug, Default)]
pub(super) struct Faults(AtomicU8);

impl Faults {
    /// Whether this kind has not been told of yet; asked once, it has.
    pub(super) fn is_new(&self, fault: Fault) -> bool {
        self.0.fetch_or(fault as u8, Ordering::Relaxed) & fault as u8 == 0
    }
}
