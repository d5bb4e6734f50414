//! The test kit of Hubplane: HTTP and WebSocket clients that work in bytes, a SignalR client on top of them, real `redis-server` processes,
//! capture of log lines, reading of metrics, and ways to wait. Unit tests in `src/` and integration tests in `tests/it/` use it alike.
//!
//! It does not depend on Hubplane, so that what it reads and writes is a second opinion about the wire. What is parsed or encoded is a
//! plain function over bytes. Two kinds of connection use it: [`stream::Stream`] blocks, for tests of a server in another process;
//! [`nonblocking::Connection`] is for tests that run on one tokio runtime with the server.
//!
//! Everything waits for a condition, bounded by [`TIMEOUT`]; nothing sleeps in the hope that something has happened.

pub mod client;
pub mod http;
pub mod hub;
pub mod log;
pub mod metrics;
pub mod needs;
pub mod nonblocking;
pub mod redis;
pub mod stopwatch;
pub mod stream;
pub mod ws;

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use client::{Client, Transport};
pub use hub::{Message, Protocol};
pub use redis::Redis;
pub use stopwatch::Stopwatch;

/// How long a process may take to start or to end: nothing else ends that wait.
pub const PROCESS_TIMEOUT: Duration = Duration::from_secs(60);

/// How long anything else may take before a test gives up: less than the time-outs of a server that is set up as usual (15 s and more),
/// so that none of them passes for what a test waits for.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How long what must not come is given to come, after something that was sent later has been seen.
pub const QUIET_PERIOD: Duration = Duration::from_millis(200);

/// How often [`until`] asks.
const INTERVAL: Duration = Duration::from_millis(10);

/// A point in time this far away.
pub fn within(time: Duration) -> Instant {
    Instant::now() + time
}

/// Asks again and again until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = within(patience);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {patience:?}");
        thread::sleep(INTERVAL);
    }
}

/// A name that no other test of this run uses.
pub fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{stem}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Sends a signal by name to a process: `TERM`, `KILL`, `STOP`, `CONT`. The shell's own `kill` does it: not every system has a program
/// of that name.
pub fn signal(name: &str, pid: u32) {
    let status = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}: {status}");
}
