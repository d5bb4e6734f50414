//! A stopwatch for limits on how long the server may take. It subtracts the time during which the machine was too busy
//! to run this process, since that is not a delay of the server.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long the ticker sleeps at a time. On a busy machine it wakes up later.
const TICK: Duration = Duration::from_millis(10);

/// By how many milliseconds in total the ticker has woken up too late since the first stopwatch was started.
static OVERSLEPT_MILLIS: AtomicU64 = AtomicU64::new(0);

/// A stopwatch that knows for how long the machine stalled.
#[derive(Debug)]
pub struct Stopwatch {
    begun: Instant,
    overslept: u64,
}

impl Stopwatch {
    /// Starts a stopwatch.
    pub fn start() -> Self {
        static TICKER: Once = Once::new();
        TICKER.call_once(|| drop(thread::spawn(tick)));
        Self { begun: Instant::now(), overslept: OVERSLEPT_MILLIS.load(Ordering::Relaxed) }
    }

    /// The time since the start, including stalls.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Panics if more than `limit`, not counting stalls, has passed since the start.
    #[track_caller]
    pub fn within(&self, limit: Duration, what: &str) {
        self.took(self.elapsed(), limit, what);
    }

    /// Panics if `took`, a time that was measured from the start, is more than `limit`, not counting stalls.
    #[track_caller]
    pub fn took(&self, took: Duration, limit: Duration, what: &str) {
        if took <= limit {
            return;
        }
        thread::sleep(TICK * 3); // until a stall that has just ended is included in the sum
        let lost = Duration::from_millis(OVERSLEPT_MILLIS.load(Ordering::Relaxed) - self.overslept);
        assert!(took.saturating_sub(lost) <= limit, "{what}: after {took:?}, of which the machine took {lost:?}");
    }
}

fn tick() {
    loop {
        let before = Instant::now();
        thread::sleep(TICK);
        let late = before.elapsed().saturating_sub(TICK * 2).as_millis();
        OVERSLEPT_MILLIS.fetch_add(late as u64, Ordering::Relaxed);
    }
}
