//! Collects the paths of a server's hubs and raw connections, and rejects those that collide.

use super::serve_error::ServeError;
use crate::hub_path::HubPath;

/// The paths of a server that is being built.
#[derive(Debug)]
pub(super) struct Paths {
    /// The paths of the server's own pages.
    reserved: Vec<&'static str>,
    claimed: Vec<HubPath>,
}

impl Paths {
    /// No paths yet. `reserved` cannot be used.
    pub(super) fn new(reserved: Vec<&'static str>) -> Self {
        Self { reserved, claimed: Vec::new() }
    }

    /// Adds the path of `what`, which describes a hub or raw connection in errors.
    pub(super) fn insert(&mut self, path: &str, what: &str) -> Result<(), ServeError> {
        let (given, what) = (path.to_owned(), what.to_owned());
        let path = match HubPath::parse(path) {
            Ok(path) => path,
            Err(source) => return Err(ServeError::Path { path: given, what, source }),
        };
        if self.reserved.iter().any(|page| path.is_page(page)) {
            return Err(ServeError::PathReserved { path: given, what });
        }
        if self.claimed.iter().any(|other| other.collides_with(&path)) {
            return Err(ServeError::PathTaken { path: given, what });
        }
        self.claimed.push(path);
        Ok(())
    }

    /// All paths in the order in which they were added.
    pub(super) fn claimed(self) -> Vec<HubPath> {
        self.claimed
    }
}
