//! Pushing one message to many outboxes, with turns for the tasks that write them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A sender lets other tasks run after this many pushes...
const MAX_PUSHES: usize = 100;

/// ...or after this many bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Counts what the senders of one hub push, and tells them when to yield.
///
/// Without it a task that sends in a loop, or one that reads a burst from its client or from Redis, fills the outboxes
/// of receivers whose own tasks get no chance to empty them, however fast those clients read.
///
/// The counts are shared by all senders and updated without synchronisation: it does not matter which sender yields, as
/// long as one does about that often.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    pushes: AtomicUsize,
    bytes: AtomicUsize,
}

impl FanOut {
    /// Calls `push` for each receiver; it returns how many bytes it has pushed. Yields when the counts say so, also in
    /// the middle: a receiver further back then gets the message later, but each gets what one task sends in order.
    pub(super) async fn run<T>(&self, receivers: impl Iterator<Item = T>, mut push: impl FnMut(T) -> usize) {
        for receiver in receivers {
            let pushes = self.pushes.load(Ordering::Relaxed) + 1;
            let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(push(receiver));
            if pushes < MAX_PUSHES && bytes < MAX_BYTES {
                self.pushes.store(pushes, Ordering::Relaxed);
                self.bytes.store(bytes, Ordering::Relaxed);
            } else {
                self.pushes.store(0, Ordering::Relaxed);
                self.bytes.store(0, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    }
}
