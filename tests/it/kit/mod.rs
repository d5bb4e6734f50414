//! What the tests share: servers and Redis as child processes, and clients that speak in bytes. Everything waits for a condition, bounded by
//! [`PATIENCE`]; nothing sleeps in the hope that something has happened.

pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod redis;
pub(crate) mod server;
pub(crate) mod stream;
pub(crate) mod watch;
pub(crate) mod ws;

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use client::{Client, Message, Protocol, Transport};
pub(crate) use redis::Redis;
pub(crate) use server::Server;
pub(crate) use watch::Watch;

/// How long a process may take to start or to end: nothing else ends that wait.
pub(crate) const PROCESS: Duration = Duration::from_secs(60);

/// How long anything else may take before a test gives up: less than the time-outs of a server that is set up as usual (15 s and more),
/// so that none of them passes for what a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long what must not come is given to come, after something that was sent later has been seen.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// A point in time this far away.
pub(crate) fn within(time: Duration) -> Instant {
    Instant::now() + time
}

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = within(patience);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {patience:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A name that no other test of this run uses.
pub(crate) fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{stem}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Sends a signal by name to a process: `TERM`, `KILL`, `STOP`, `CONT`.
pub(crate) fn signal(name: &str, pid: u32) {
    let status = std::process::Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}: {status}");
}
