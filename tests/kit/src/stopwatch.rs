//! Measures how long the server takes, without what the machine took: while others have the processors, no thread of this
//! program runs either, and that is no delay of the server's.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long the ticker sleeps; it wakes later where the machine had no time for it.
const TICK: Duration = Duration::from_millis(10);

/// What the ticker overslept, in milliseconds, since the first watch began.
static OVERSLEPT_MILLIS: AtomicU64 = AtomicU64::new(0);

/// A stopwatch that knows how long the machine stood still.
#[derive(Debug)]
pub struct Stopwatch {
    begun: Instant,
    overslept: u64,
}

impl Stopwatch {
    /// Begins to measure.
    pub fn start() -> Self {
        static TICKER: Once = Once::new();
        TICKER.call_once(|| drop(thread::spawn(tick)));
        Self { begun: Instant::now(), overslept: OVERSLEPT_MILLIS.load(Ordering::Relaxed) }
    }

    /// What has passed, standstills included.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Fails when more than this has passed since the start.
    #[track_caller]
    pub fn within(&self, limit: Duration, what: &str) {
        self.took(self.elapsed(), limit, what);
    }

    /// Fails when more than this had passed when so much had.
    #[track_caller]
    pub fn took(&self, took: Duration, limit: Duration, what: &str) {
        if took <= limit {
            return;
        }
        thread::sleep(TICK * 3); // a stall that is just over is in the sum by then
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
