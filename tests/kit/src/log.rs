//! Reads log lines of another process, or captures those of the current thread.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;
use tracing::subscriber::{self, DefaultGuard};

use crate::{TIMEOUT, until};

/// Everything that has been logged so far. Clones share it.
#[derive(Clone, Debug)]
pub enum Log {
    /// Logged by this process.
    Memory(Arc<Mutex<Vec<u8>>>),
    /// Logged by a process whose stderr is this file. A line is in the file before later actions of the process have
    /// visible effects.
    File(PathBuf),
}

impl Default for Log {
    fn default() -> Self {
        Self::Memory(Arc::default())
    }
}

impl Log {
    /// The whole log as text.
    pub fn text(&self) -> String {
        match self {
            Self::Memory(bytes) => {
                String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
            }
            Self::File(path) => String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned(),
        }
    }

    /// The lines that Hubplane itself has logged.
    pub fn lines(&self) -> Vec<String> {
        self.text().lines().filter(|line| line.contains("hubplane")).map(str::to_owned).collect()
    }

    /// How many lines contain this text.
    pub fn count(&self, part: &str) -> usize {
        self.text().lines().filter(|line| line.contains(part)).count()
    }

    /// Waits until at least `times` lines contain this text.
    #[track_caller]
    pub fn wait(&self, part: &str, times: usize) {
        until(&format!("{times} log lines with {part:?}"), TIMEOUT, || (self.count(part) >= times).then_some(()));
    }
}

/// The writer to which the subscriber of this thread writes.
#[derive(Clone, Debug)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Captures what is logged on the current thread until it is dropped.
#[derive(Debug)]
pub struct Capture {
    log: Log,
    _guard: DefaultGuard,
}

impl Capture {
    /// Starts capturing at level `DEBUG`.
    pub fn start() -> Self {
        let bytes = Arc::default();
        let (log, sink) = (Log::Memory(Arc::clone(&bytes)), Sink(bytes));
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
