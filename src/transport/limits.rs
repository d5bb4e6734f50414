//! How many connections there are, how many there may be, and whether new ones are still welcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::answers::Refusal;

/// Shared by all endpoints of a server.
#[derive(Debug)]
pub(super) struct Limits {
    most: usize,
    live: AtomicUsize,
    draining: AtomicBool,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Limits>);

impl Limits {
    /// `None` is no limit.
    pub(super) fn new(most: Option<usize>) -> Self {
        Self { most: most.unwrap_or(usize::MAX), live: AtomicUsize::new(0), draining: AtomicBool::new(false) }
    }

    /// How many there may be.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Connections that have a place.
    pub(super) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// From now on nobody is admitted.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether somebody would be admitted now.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Refusal::Draining);
        }
        if self.live() >= self.most { Err(Refusal::Full) } else { Ok(()) }
    }

    /// Takes a place for a new connection.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Place, Refusal> {
        self.check()?;
        let place = Place(self.clone());
        // The place exists before it is counted, so that giving it up always has something to take back.
        if self.live.fetch_add(1, Ordering::Relaxed) >= self.most { Err(Refusal::Full) } else { Ok(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let limits = Arc::new(Limits::new(Some(1)));
        let place = limits.admit().unwrap();
        assert_eq!(limits.admit().unwrap_err(), Refusal::Full);
        assert_eq!(limits.live(), 1);
        drop(place);
        assert_eq!(limits.live(), 0);
        drop(limits.admit().unwrap());
        limits.drain();
        assert_eq!(limits.admit().unwrap_err(), Refusal::Draining);
        assert_eq!(limits.live(), 0);
    }
}
