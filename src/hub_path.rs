//! Layer 1: paths of hubs and raw connections: which paths are valid, and which requests match them. As in ASP.NET
//! Core, matching is case-insensitive, and a trailing slash is ignored (tests/probes/FINDINGS.md#2, HTTP).

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// The path of the liveness page.
pub(crate) const HEALTHZ: &str = "/healthz";
/// The path of the readiness page.
pub(crate) const READYZ: &str = "/readyz";
/// The path of the metrics page.
pub(crate) const METRICS: &str = "/metrics";

/// The suffix that clients append to a path to negotiate (docs/builders/signalr-protocol.md#1.1).
const NEGOTIATE: &str = "/negotiate";

/// The path of a hub or a raw connection. Paths that differ only in case or by a trailing slash are equal.
#[derive(Clone)]
pub(crate) struct HubPath {
    /// The path as it was given, but without a trailing slash; empty for `/`.
    given: String,
    /// The path in lower case, for comparison. [`RequestPath`] makes the same form from the path of a request.
    key: String,
}

/// Why a text is not a valid path for a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubPathError {
    /// It is relative or empty.
    #[error("must begin with /")]
    Relative,
    /// It contains a character that is not allowed in a path or has a special meaning there.
    #[error("must be a plain URL path; {0:?} is not allowed in it")]
    Character(char),
    /// It contains two slashes in a row.
    #[error("must not contain //")]
    EmptySegment,
}

impl HubPath {
    /// Parses a path that a program gives. Write letters of any script as they are, and not percent-encoded; they match
    /// requests in which they are percent-encoded.
    ///
    /// # Errors
    ///
    /// Fails if the path does not begin with `/`, or if it contains `?`, `#`, `%`, white space or control characters.
    pub(crate) fn parse(text: &str) -> Result<Self, HubPathError> {
        let Some(rest) = text.strip_prefix('/') else { return Err(HubPathError::Relative) };
        let wrong = |c: &char| matches!(c, '?' | '#' | '%') || c.is_whitespace() || c.is_control();
        if let Some(wrong) = rest.chars().find(wrong) {
            return Err(HubPathError::Character(wrong));
        }
        let given = text.strip_suffix('/').unwrap_or(text);
        Ok(Self { given: given.to_owned(), key: given.to_lowercase() })
    }

    /// Parses a path from a configuration file. Only characters that URLs contain unescaped are allowed, since any
    /// other one, such as a brace, is probably a mistake.
    pub(crate) fn parse_plain(text: &str) -> Result<Self, HubPathError> {
        let path = Self::parse(text)?;
        let plain = |c: &char| c.is_ascii_alphanumeric() || "/-._~!$&'()+,;=:@".contains(*c);
        if let Some(wrong) = text.chars().find(|c| !plain(c)) {
            return Err(HubPathError::Character(wrong));
        }
        if text.contains("//") { Err(HubPathError::EmptySegment) } else { Ok(path) }
    }

    /// A placeholder for a path that has been reported as invalid, so that the rest of a configuration can be checked.
    pub(crate) fn stand_in(text: &str) -> Self {
        Self { given: text.to_owned(), key: text.to_lowercase() }
    }

    /// The path as it was given, but without a trailing slash.
    pub(crate) fn as_str(&self) -> &str {
        if self.given.is_empty() { "/" } else { &self.given }
    }

    /// Whether some request would match both paths: they are equal, or one is the negotiate path of the other.
    pub(crate) fn collides_with(&self, other: &Self) -> bool {
        self == other || self.is_negotiate_of(other) || other.is_negotiate_of(self)
    }

    /// Whether this path is the negotiate path of the other.
    pub(crate) fn is_negotiate_of(&self, other: &Self) -> bool {
        self.key.strip_suffix(NEGOTIATE) == Some(&other.key)
    }

    /// Whether this is the path of one of the server's own pages, such as [`HEALTHZ`].
    pub(crate) fn is_page(&self, page: &str) -> bool {
        self.key.trim_end_matches('/') == page
    }

    /// The paths that clients request, in the case that was given, with and without a trailing slash.
    pub(crate) fn requests(&self) -> impl Iterator<Item = String> {
        let ends = ["", "/", NEGOTIATE, "/negotiate/"].into_iter();
        ends.map(|end| format!("{}{end}", self.given)).filter(|path| !path.is_empty())
    }
}

impl PartialEq for HubPath {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for HubPath {}

impl Hash for HubPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// Borrows the key, so that the key of a [`RequestPath`] finds a hub in a map.
impl Borrow<str> for HubPath {
    fn borrow(&self) -> &str {
        &self.key
    }
}

impl FromStr for HubPath {
    type Err = HubPathError;

    fn from_str(text: &str) -> Result<Self, HubPathError> {
        Self::parse(text)
    }
}

impl fmt::Display for HubPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for HubPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The path of a request, in the form of the keys of hub paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestPath(String);

impl RequestPath {
    /// Decodes percent-encoding, except for `%2F`, which must not become a slash. No hub's path contains it.
    pub(crate) fn new(path: &str) -> Self {
        let segments = path.replace("%2f", "%2F");
        let decoded = segments.split("%2F").map(|part| percent_decode_str(part).decode_utf8_lossy());
        let mut key = decoded.collect::<Vec<_>>().join("%2F").to_lowercase();
        if key.ends_with('/') {
            key.pop();
        }
        Self(key)
    }

    /// The key of the hub path that this request would match.
    pub(crate) fn hub(&self) -> &str {
        &self.0
    }

    /// The key of the hub path for which this would be a negotiate request, if it ends in `/negotiate`. The rest is
    /// left unchanged, so `{hub}//negotiate` does not match the hub.
    pub(crate) fn negotiated_hub(&self) -> Option<&str> {
        self.0.strip_suffix(NEGOTIATE)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn path(text: &str) -> HubPath {
        HubPath::parse(text).unwrap()
    }

    #[test]
    fn case_and_one_trailing_slash_are_ignored() {
        assert_eq!(path("/Chat"), path("/chat/"));
        assert_eq!((path("/Chat/").as_str(), path("/").as_str()), ("/Chat", "/"));
        assert_eq!(path("/Über"), path("/über"));
        assert_ne!(path("/chat"), path("/chat//"));
        assert_ne!(path("/"), path("/x"));
    }

    #[test]
    fn invalid_paths_are_refused() {
        use HubPathError::{Character, EmptySegment, Relative};
        for (text, parsed, plain) in [
            ("/chat", Ok(()), Ok(())),
            ("/A-b._~!$&'()+,;=:@/c/", Ok(()), Ok(())),
            ("chat", Err(Relative), Err(Relative)),
            ("", Err(Relative), Err(Relative)),
            ("/a?b", Err(Character('?')), Err(Character('?'))),
            ("/a#b", Err(Character('#')), Err(Character('#'))),
            ("/a%20b", Err(Character('%')), Err(Character('%'))),
            ("/a b", Err(Character(' ')), Err(Character(' '))),
            ("/a\u{7}", Err(Character('\u{7}')), Err(Character('\u{7}'))),
            ("/{id}", Ok(()), Err(Character('{'))),
            ("/über", Ok(()), Err(Character('ü'))),
            ("/a//b", Ok(()), Err(EmptySegment)),
        ] {
            assert_eq!(HubPath::parse(text).map(drop), parsed, "{text}");
            assert_eq!(HubPath::parse_plain(text).map(drop), plain, "{text}");
        }
    }

    #[test]
    fn a_path_collides_with_its_own_negotiate() {
        for (one, other) in [("/chat", "/CHAT/"), ("/chat", "/chat/Negotiate"), ("/", "/negotiate/")] {
            assert!(path(one).collides_with(&path(other)) && path(other).collides_with(&path(one)), "{one} {other}");
        }
        for (one, other) in [("/chat", "/chats"), ("/chat", "/chat/negotiate/x"), ("/", "/chat")] {
            assert!(!path(one).collides_with(&path(other)), "{one} {other}");
        }
        assert!(path("/Healthz/").is_page(HEALTHZ) && !path("/healthz/x").is_page(HEALTHZ));
    }

    #[test]
    fn equivalent_request_paths_are_equal() {
        for (asked, key) in [
            ("/Ch%61t/NEGOTIATE", "/chat/negotiate"),
            ("/chat%2Fnegotiate", "/chat%2fnegotiate"),
            ("/chat%2fx", "/chat%2fx"),
            ("/%zz%4", "/%zz%4"),
            ("/%252F", "/%2f"),
            ("/%C3%9Cber/", "/über"),
            ("/chat//", "/chat/"),
            ("/", ""),
        ] {
            assert_eq!(RequestPath::new(asked).hub(), key, "{asked}");
        }
        assert_eq!(RequestPath::new("/chat/Negotiate/").negotiated_hub(), Some("/chat"));
        assert_eq!(RequestPath::new("/negotiate").negotiated_hub(), Some(""));
        assert_eq!(RequestPath::new("/chat").negotiated_hub(), None);
        assert_eq!(
            path("/Chat").requests().collect::<Vec<_>>(),
            ["/Chat", "/Chat/", "/Chat/negotiate", "/Chat/negotiate/"]
        );
        assert_eq!(path("/").requests().collect::<Vec<_>>(), ["/", "/negotiate", "/negotiate/"]);
    }
}
