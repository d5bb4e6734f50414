//! Whether a piece of application code may ask clients for results, and what asking gives up.
//!
//! A call that asks a client gives its slot free while it waits, once, or a hub with one slot would never read the
//! answer (docs/builders/signalr-protocol.md#4.4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// What asking a client means where this is held.
#[derive(Clone, Debug, Default)]
pub(crate) enum ResultPermission {
    /// Nothing special.
    #[default]
    Allowed,
    /// The call's slot is given free.
    Call(Arc<InvocationSlot>),
    /// Not allowed while the hub's `connected` runs: its client is not read yet. Whoever keeps its caller may ask once
    /// this is set.
    WhileConnecting(Arc<AtomicBool>),
}

/// The slot of one running call.
#[derive(Debug)]
pub(crate) struct InvocationSlot {
    released: AtomicBool,
    /// Wakes the connection's reader, which may wait for a slot.
    freed: Arc<Notify>,
}

impl InvocationSlot {
    pub(crate) fn new(freed: Arc<Notify>) -> Self {
        Self { released: AtomicBool::new(false), freed }
    }

    /// Gives the slot free; later calls change nothing.
    pub(crate) fn release(&self) {
        if !self.released.swap(true, Ordering::Relaxed) {
            self.freed.notify_one();
        }
    }

    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }
}
