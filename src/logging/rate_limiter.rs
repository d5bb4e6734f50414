//! Limits how often a kind of log line is written: the first one at once, then at most one every ten seconds, with the
//! number of lines that were suppressed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The minimum interval between two lines of a kind.
const MIN_LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The kinds of lines that clients and other nodes can cause. The set is fixed, so that the memory for them is bounded,
/// whatever clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogKind {
    /// An access token that is not accepted.
    TokenRefused,
    /// A request that `authorize` does not permit.
    Unauthorized,
    /// A request from a web page whose origin is not allowed (CORS, or opening a WebSocket).
    OriginBlocked,
    /// A client that was refused because of `max_connections`.
    Full,
    /// A handshake that failed.
    HandshakeFailed,
    /// A hub's `connected` handler that failed.
    ConnectedFailed,
    /// A hub's `disconnected` handler that failed.
    DisconnectedFailed,
    /// A call of a method that the hub does not have.
    UnknownMethod,
    /// A call that was refused, for example because its arguments do not fit.
    CallRefused,
    /// A call of a method that the caller is not authorized to call.
    CallUnauthorized,
    /// A method, or a stream of results, that failed.
    MethodFailed,
    /// A step of `on_connected` or `on_disconnected` that failed.
    HookFailed,
    /// Application code that panicked.
    Panicked,
    /// A connection that is closed because its client violated a protocol.
    ProtocolError,
    /// A connection that is closed because its client reads too slowly.
    SlowClient,
    /// A group command of another node that could not be acknowledged.
    AckFailed,
    /// A group command of another node that was refused.
    GroupCommandRefused,
    /// A subscription that Redis refused. Must be the last kind: see [`KINDS`].
    SubscriptionRefused,
}

const KINDS: usize = LogKind::SubscriptionRefused as usize + 1;

/// Limits the lines of each kind. There is one limiter for each hub, and one for lines that belong to no hub.
///
/// It takes no lock: a suppressed line costs a few atomic operations.
#[derive(Debug)]
pub(crate) struct LogRateLimiter {
    started: Instant,
    slots: [KindState; KINDS],
}

#[derive(Debug, Default)]
struct KindState {
    /// When the next line may be written, in milliseconds since `started`.
    next: AtomicU64,
    suppressed: AtomicU64,
}

/// Permission to write one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// For the field `suppressed` of the line: how many lines of its kind have been suppressed since the last one.
    /// `None` if none were.
    pub(crate) suppressed: Option<u64>,
}

impl LogRateLimiter {
    /// Whether a line of this kind may be written now. Returns `None` if not; the line is then counted as suppressed.
    pub(crate) fn allow(&self, kind: LogKind, now: Instant) -> Option<Allowed> {
        let slot = &self.slots[kind as usize];
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (now, next) = (millis(now.saturating_duration_since(self.started)), slot.next.load(Ordering::Relaxed));
        let until = now.saturating_add(millis(MIN_LINE_INTERVAL));
        // If several threads get here at the same time, only one succeeds in moving the time forward.
        if now < next || slot.next.compare_exchange(next, until, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            slot.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let suppressed = slot.suppressed.swap(0, Ordering::Relaxed);
        Some(Allowed { suppressed: (suppressed > 0).then_some(suppressed) })
    }
}

impl Default for LogRateLimiter {
    fn default() -> Self {
        Self { started: Instant::now(), slots: Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const FIRST: Option<Allowed> = Some(Allowed { suppressed: None });

    fn after(suppressed: u64) -> Option<Allowed> {
        Some(Allowed { suppressed: Some(suppressed) })
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_line_is_written_at_once_and_then_one_in_ten_seconds() {
        let limiter = LogRateLimiter::default();
        let allow = || limiter.allow(LogKind::UnknownMethod, Instant::now());
        assert_eq!(allow(), FIRST);
        for _ in 0..9 {
            advance(Duration::from_secs(1)).await;
            assert_eq!(allow(), None);
        }
        advance(Duration::from_millis(999)).await;
        assert_eq!(allow(), None);
        advance(Duration::from_millis(1)).await;
        assert_eq!(allow(), after(10));
        // Both the count and the interval start again with each line.
        assert_eq!(allow(), None);
        advance(MIN_LINE_INTERVAL).await;
        assert_eq!(allow(), after(1));
        advance(MIN_LINE_INTERVAL).await;
        assert_eq!(allow(), FIRST, "nothing was suppressed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_events_writes_one_line_every_ten_seconds() {
        let limiter = LogRateLimiter::default();
        let mut lines = Vec::new();
        for _ in 0..250 {
            for _ in 0..1000 {
                lines.extend(limiter.allow(LogKind::TokenRefused, Instant::now()));
            }
            advance(Duration::from_millis(100)).await;
        }
        assert_eq!(lines.len(), 3, "at 0, 10 and 20 s of 25");
        assert_eq!(lines[2].suppressed, Some(99_999));
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_and_hubs_are_limited_separately() {
        let (chat, other) = (LogRateLimiter::default(), LogRateLimiter::default());
        let now = Instant::now();
        assert_eq!(chat.allow(LogKind::TokenRefused, now), FIRST);
        assert_eq!(chat.allow(LogKind::TokenRefused, now), None);
        assert_eq!(chat.allow(LogKind::SubscriptionRefused, now), FIRST);
        assert_eq!(other.allow(LogKind::TokenRefused, now), FIRST);
    }

    #[test]
    fn concurrent_events_are_counted_and_one_line_is_written() {
        let limiter = LogRateLimiter::default();
        let now = Instant::now();
        let flood = || (0..10_000).filter(|_| limiter.allow(LogKind::Full, now).is_some()).count();
        let written: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(flood)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
        });
        assert_eq!(written, 1);
        assert_eq!(limiter.allow(LogKind::Full, now + MIN_LINE_INTERVAL), after(39_999));
    }
}
