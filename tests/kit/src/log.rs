//! Log lines, of a process or of this thread.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;
use tracing::subscriber::{self, DefaultGuard};

use crate::{PATIENCE, until};

/// What has been logged so far. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Everything, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The lines of Hubplane itself.
    pub fn lines(&self) -> Vec<String> {
        self.text().lines().filter(|line| line.contains("hubplane")).map(str::to_owned).collect()
    }

    /// How many lines have this in them.
    pub fn count(&self, part: &str) -> usize {
        self.text().lines().filter(|line| line.contains(part)).count()
    }

    /// Waits until so many lines have this in them. What a process logs comes over a pipe of its own, behind what its clients see.
    #[track_caller]
    pub fn wait(&self, part: &str, times: usize) {
        until(&format!("{times} log lines with {part:?}"), PATIENCE, || (self.count(part) >= times).then_some(()));
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged on this thread while it lives.
#[derive(Debug)]
pub struct Capture {
    log: Log,
    _guard: DefaultGuard,
}

impl Capture {
    /// Begins, at level `DEBUG`.
    pub fn start() -> Self {
        let log = Log::default();
        let sink = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(Level::DEBUG)
            .with_writer(move || sink.clone())
            .finish();
        Self { log, _guard: subscriber::set_default(subscriber) }
    }
}

impl std::ops::Deref for Capture {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.log
    }
}
