//! Whether application code may await client results, and the invocation slot that a hub method releases for it.
//!
//! A hub method that invokes a client releases its slot for good. Otherwise the connection of a caller that has only
//! one slot would never read the client's result (docs/builders/signalr-protocol.md#4.4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whether the holder of a `Caller` may await client results, and what happens when it does.
#[derive(Clone, Debug, Default)]
pub(crate) enum ResultPermission {
    /// Allowed, without further effect.
    #[default]
    Allowed,
    /// Allowed; the call's slot is released.
    Call(Arc<InvocationSlot>),
    /// Not allowed while the hub's `connected` runs, since the client's messages are not read yet. The flag is set when
    /// `connected` has ended: a `Caller` that was kept may await results from then on.
    WhileConnecting(Arc<AtomicBool>),
}

/// The right of one running call to count among the parallel invocations of its client.
#[derive(Debug)]
pub(crate) struct InvocationSlot {
    released: AtomicBool,
    /// Wakes the connection task, which may be waiting for a free slot.
    freed: Arc<Notify>,
}

impl InvocationSlot {
    pub(crate) fn new(freed: Arc<Notify>) -> Self {
        Self { released: AtomicBool::new(false), freed }
    }

    /// Releases the slot. Releasing it again has no effect.
    pub(crate) fn release(&self) {
        if !self.released.swap(true, Ordering::Relaxed) {
            self.freed.notify_one();
        }
    }

    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }
}
