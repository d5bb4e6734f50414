//! Which paths hubs and raw connections may have. Letter case and one trailing slash do not count (FINDINGS: HTTP).

use super::error::ServeError;

/// The paths of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    /// Those of the server's own pages.
    reserved: Vec<&'static str>,
    claimed: Vec<Claimed>,
}

#[derive(Clone, Debug)]
struct Claimed {
    given: String,
    /// In the one form it is compared in.
    normal: String,
}

impl Paths {
    /// None is claimed; these cannot be.
    pub(super) fn new(reserved: Vec<&'static str>) -> Self {
        Self { reserved, claimed: Vec::new() }
    }

    /// Enters the path of `what`, a hub or raw connection by name.
    pub(super) fn claim(&mut self, path: &str, what: &str) -> Result<(), ServeError> {
        let refuse = |why| ServeError::Path { path: path.to_owned(), what: what.to_owned(), why };
        if !path.starts_with('/') {
            return Err(refuse("does not begin with '/'"));
        }
        if path.contains(['?', '#', '%']) || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(refuse("has a character that no path may have (a query, a blank, '%')"));
        }
        if self.reserved.iter().any(|reserved| reserved.eq_ignore_ascii_case(path.trim_end_matches('/'))) {
            return Err(refuse("is one of the server's own pages"));
        }
        let normal = normal(path);
        let taken = |other: &str| {
            *other == normal || *other == format!("{normal}/negotiate") || format!("{other}/negotiate") == normal
        };
        if self.claimed.iter().any(|claimed| taken(&claimed.normal)) {
            return Err(refuse("is taken already"));
        }
        self.claimed.push(Claimed { given: path.to_owned(), normal });
        Ok(())
    }

    /// All of them, as they were given, in the order of claiming.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.claimed.iter().map(|claimed| claimed.given.as_str())
    }

    /// The place of a path among those claimed, in the order of claiming.
    pub(super) fn position(&self, path: &str) -> Option<usize> {
        let path = normal(path);
        self.claimed.iter().position(|claimed| claimed.normal == path)
    }
}

fn normal(path: &str) -> String {
    path.strip_suffix('/').unwrap_or(path).to_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn case_and_one_slash_do_not_count() {
        let mut paths = Paths::default();
        paths.claim("/Chat", "chat").unwrap();
        paths.claim("/", "root").unwrap();
        for (path, place) in [("/chat", Some(0)), ("/CHAT/", Some(0)), ("/", Some(1)), ("/chat//", None), ("/x", None)]
        {
            assert_eq!(paths.position(path), place, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_name() {
        let mut paths = Paths::new(vec!["/metrics"]);
        paths.claim("/chat", "chat").unwrap();
        let refused = |paths: &mut Paths, path: &str| paths.claim(path, "other").unwrap_err().to_string();
        assert_eq!(refused(&mut paths, "chat"), r#"the path "chat" of other does not begin with '/'"#);
        assert_eq!(refused(&mut paths, "/CHAT/"), r#"the path "/CHAT/" of other is taken already"#);
        assert!(refused(&mut paths, "/chat/negotiate").contains("taken"));
        assert!(refused(&mut paths, "/metrics").contains("own pages"));
        assert!(refused(&mut paths, "/a?b").contains("character"));
    }
}
