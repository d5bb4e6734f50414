//! Layer 1: the path at which clients find a hub or a raw connection: what may stand in it, and which requests mean it.
//! As ASP.NET Core matches its routes, paths are case-insensitive, and a slash at the end is ignored
//! (tests/probes/FINDINGS.md#2, HTTP).

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// The path of the page that tells whether the process lives.
pub(crate) const HEALTHZ: &str = "/healthz";
/// The path of the page that tells whether new clients should be sent here.
pub(crate) const READYZ: &str = "/readyz";
/// The path of the page with the metrics.
pub(crate) const METRICS: &str = "/metrics";

/// What clients append to a path to negotiate (docs/builders/signalr-protocol.md#1.1).
const NEGOTIATE: &str = "/negotiate";

/// The path of a hub or a raw connection. Two that differ in case, or by a slash at the end, are equal.
#[derive(Clone)]
pub struct HubPath {
    /// As it was given, without the slash at its end; empty is `/`.
    given: String,
    /// The form in which it is compared: lower case. That of a request's path is made by [`RequestPath`].
    key: String,
}

/// Why a text is no path for a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubPathError {
    /// It is relative, or empty.
    #[error("must begin with /")]
    Relative,
    /// It has a character that no path can have, or that has another meaning there.
    #[error("must be a plain URL path; {0:?} cannot stand in it")]
    Character(char),
    /// It has two slashes in a row.
    #[error("must not have // in it")]
    EmptySegment,
}

impl HubPath {
    /// A path as a program gives it. Percent-encoding has no place in it: letters of any script stand for themselves,
    /// and match requests in which they are encoded.
    pub fn parse(text: &str) -> Result<Self, HubPathError> {
        let Some(rest) = text.strip_prefix('/') else { return Err(HubPathError::Relative) };
        let wrong = |c: &char| matches!(c, '?' | '#' | '%') || c.is_whitespace() || c.is_control();
        if let Some(wrong) = rest.chars().find(wrong) {
            return Err(HubPathError::Character(wrong));
        }
        let given = text.strip_suffix('/').unwrap_or(text);
        Ok(Self { given: given.to_owned(), key: given.to_lowercase() })
    }

    /// A path as people write it into a configuration: only what stands in URLs as it is, since anything else, such as
    /// a brace, is a mistake there.
    pub(crate) fn parse_plain(text: &str) -> Result<Self, HubPathError> {
        let path = Self::parse(text)?;
        let plain = |c: &char| c.is_ascii_alphanumeric() || "/-._~!$&'()+,;=:@".contains(*c);
        if let Some(wrong) = text.chars().find(|c| !plain(c)) {
            return Err(HubPathError::Character(wrong));
        }
        if text.contains("//") { Err(HubPathError::EmptySegment) } else { Ok(path) }
    }

    /// Something in the place of a path that has been reported as wrong, to go on with the rest of a configuration.
    pub(crate) fn stand_in(text: &str) -> Self {
        Self { given: text.to_owned(), key: text.to_lowercase() }
    }

    /// As it was given, without a slash at its end.
    pub fn as_str(&self) -> &str {
        if self.given.is_empty() { "/" } else { &self.given }
    }

    /// Whether a request for the one would mean the other too: they are equal, or one is the other's negotiate.
    pub fn collides_with(&self, other: &Self) -> bool {
        self == other || self.is_negotiate_of(other) || other.is_negotiate_of(self)
    }

    /// Whether clients of the other path negotiate at this one.
    pub(crate) fn is_negotiate_of(&self, other: &Self) -> bool {
        self.key.strip_suffix(NEGOTIATE) == Some(&other.key)
    }

    /// Whether it is this page of the server's own.
    pub(crate) fn is_page(&self, page: &str) -> bool {
        self.key.trim_end_matches('/') == page
    }

    /// What clients ask for, in the case that was given, with and without a slash at the end.
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

/// Its key, so that maps are asked for a [`RequestPath`].
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

/// The path of a request, in the form in which hub paths are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestPath(String);

impl RequestPath {
    /// Escapes are decoded, but for `%2F`: it is no slash, and no hub has one.
    pub(crate) fn new(path: &str) -> Self {
        let segments = path.replace("%2f", "%2F");
        let decoded = segments.split("%2F").map(|part| percent_decode_str(part).decode_utf8_lossy());
        let mut key = decoded.collect::<Vec<_>>().join("%2F").to_lowercase();
        if key.ends_with('/') {
            key.pop();
        }
        Self(key)
    }

    /// The key of the hub whose path it is.
    pub(crate) fn hub(&self) -> &str {
        &self.0
    }

    /// The key of the hub whose negotiate it is, if it ends as one. What is in front is taken as it is:
    /// `{hub}//negotiate` is no hub's.
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
