//! The paths of a server: hubs and raw connections side by side, and beside the server's own pages.

use super::serve_error::ServeError;
use crate::hub_path::HubPath;

/// The paths of a server that is being put together.
#[derive(Debug)]
pub(super) struct Paths {
    /// Those of the server's own pages.
    reserved: Vec<&'static str>,
    claimed: Vec<HubPath>,
}

impl Paths {
    /// None is claimed; these cannot be.
    pub(super) fn new(reserved: Vec<&'static str>) -> Self {
        Self { reserved, claimed: Vec::new() }
    }

    /// Enters the path of `what`, a hub or raw connection by name.
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

    /// All of them, in the order of claiming.
    pub(super) fn claimed(self) -> Vec<HubPath> {
        self.claimed
    }
}
