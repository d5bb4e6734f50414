//! The test kit of Hubplane: HTTP and WebSocket clients that work on bytes, a SignalR client on top of them, real
//! `redis-server` processes, capture of log lines, reading of metrics, and ways to wait. Unit tests in `src/` and
//! integration tests in `tests/it/` use it.
//!
//! It does not depend on Hubplane, so that it is an independent implementation of the wire formats. Parsers and
//! encoders are plain functions over bytes. Two kinds of connections use them: [`stream::Stream`] blocks, for tests of
//! a server in another process, and [`nonblocking::Connection`] is for tests on the same tokio runtime as the server.
//!
//! Waits are for a condition, and are bounded by [`TIMEOUT`]. Nothing sleeps in the hope that something has happened.

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

/// How long a process may take to start or to end.
pub const PROCESS_TIMEOUT: Duration = Duration::from_secs(60);

/// How long anything else may take before a test fails. It is shorter than the default timeouts of a server (15 s and
/// more), so that a test cannot mistake the effect of a timeout for what it waits for.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for something that must not happen, after something later has been seen to happen.
pub const QUIET_PERIOD: Duration = Duration::from_millis(200);

/// The interval at which [`until`] calls its closure.
const INTERVAL: Duration = Duration::from_millis(10);

/// The instant after this time has passed from now.
pub fn within(time: Duration) -> Instant {
    Instant::now() + time
}

/// Calls `ask` repeatedly until it returns a value, and panics if it does not within `patience`.
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

/// Sends a signal to a process by name: `TERM`, `KILL`, `STOP`, `CONT`. It uses the shell's built-in `kill`, since not
/// every system has a program of that name.
pub fn signal(name: &str, pid: u32) {
    let status = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}: {status}");
}
