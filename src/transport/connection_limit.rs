//! Counts the connections of a server, limits their number, and refuses new ones while the server drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::rejection::Rejection;

/// The number of connections and its maximum; shared by all endpoints of a server.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    max: usize,
    active: AtomicUsize,
    draining: AtomicBool,
}

/// The right of one connection to be counted; released when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit(Arc<ConnectionLimit>);

impl ConnectionLimit {
    /// `None` means no limit.
    pub(super) fn new(max: Option<usize>) -> Self {
        Self { max: max.unwrap_or(usize::MAX), active: AtomicUsize::new(0), draining: AtomicBool::new(false) }
    }

    /// The maximum number of connections.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// The number of connections that hold a permit.
    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Refuses all new connections from now on.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Returns an error if a new connection would be refused now.
    pub(super) fn check(&self) -> Result<(), Rejection> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Rejection::Draining);
        }
        if self.active() >= self.max { Err(Rejection::TooManyConnections) } else { Ok(()) }
    }

    /// Acquires the permit for a new connection.
    pub(super) fn acquire(self: &Arc<Self>) -> Result<ConnectionPermit, Rejection> {
        self.check()?;
        let permit = ConnectionPermit(self.clone());
        // The permit is created before it is counted: if there are too many, dropping it undoes the increment.
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
