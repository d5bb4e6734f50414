//! How many connections there are, how many there may be, and whether new ones are still welcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::rejection::Rejection;

/// Shared by all endpoints of a server.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    max: usize,
    active: AtomicUsize,
    draining: AtomicBool,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit(Arc<ConnectionLimit>);

impl ConnectionLimit {
    /// `None` is no limit.
    pub(super) fn new(max: Option<usize>) -> Self {
        Self { max: max.unwrap_or(usize::MAX), active: AtomicUsize::new(0), draining: AtomicBool::new(false) }
    }

    /// How many there may be.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Connections that have a place.
    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// From now on nobody is admitted.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether somebody would be admitted now.
    pub(super) fn check(&self) -> Result<(), Rejection> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Rejection::Draining);
        }
        if self.active() >= self.max { Err(Rejection::TooManyConnections) } else { Ok(()) }
    }

    /// Takes a place for a new connection.
    pub(super) fn acquire(self: &Arc<Self>) -> Result<ConnectionPermit, Rejection> {
        self.check()?;
        let permit = ConnectionPermit(self.clone());
        // The place exists before it is counted, so that giving it up always has something to take back.
        if self.active.fetch_add(1, Ordering::Relaxed) >= self.max {
            Err(Rejection::TooManyConnections)
        } else {
            Ok(permit)
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn permits_are_counted_and_released() {
        let connection_limit = Arc::new(ConnectionLimit::new(Some(1)));
        let permit = connection_limit.acquire().unwrap();
        assert_eq!(connection_limit.acquire().unwrap_err(), Rejection::TooManyConnections);
        assert_eq!(connection_limit.active(), 1);
        drop(permit);
        assert_eq!(connection_limit.active(), 0);
        drop(connection_limit.acquire().unwrap());
        connection_limit.drain();
        assert_eq!(connection_limit.acquire().unwrap_err(), Rejection::Draining);
        assert_eq!(connection_limit.active(), 0);
    }
}
