//! Pushes one message to many outboxes, and regularly yields to the tasks that write them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// After how many pushes a sender lets other tasks run.
const MAX_PUSHES: usize = 100;

/// After how many bytes a sender lets other tasks run.
const MAX_BYTES: usize = 256 * 1024;

/// Counts what the senders of one hub push, so that they know when to yield.
///
/// Without it, a task that sends in a loop, or that reads a burst from its client or from Redis, could fill the
/// outboxes of other connections before their tasks have a chance to empty them, no matter how fast those clients read.
///
/// The counts are shared by all senders and are updated without synchronisation. It does not matter which sender
/// yields, as long as one of them does so about that often.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    pushes: AtomicUsize,
    bytes: AtomicUsize,
}

impl FanOut {
    /// Calls `push`, which returns the number of bytes that it has pushed, for each receiver. It may yield between two
    /// receivers; the later ones then get the message a little later. Each receiver gets the messages of one task in
    /// order.
    pub(super) async fn run<T>(&self, receivers: impl Iterator<Item = T>, mut push: impl FnMut(T) -> usize) {
        let (mut pushes, mut bytes) = (self.pushes.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        for receiver in receivers {
            pushes += 1;
            bytes = bytes.saturating_add(push(receiver));
            if pushes >= MAX_PUSHES || bytes >= MAX_BYTES {
                (pushes, bytes) = (0, 0);
                tokio::task::yield_now().await;
            }
        }
        self.pushes.store(pushes, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}
