//! The entries of `cors_origins`, in the form in which browsers send origins (RFC 6454, section 6.2; the URL standard's
//! serialization of an origin). Any other form would never match; it is refused, with the right form in the error.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// One entry of `cors_origins`. It is created by parsing, which refuses what no browser's `Origin` can match.
///
/// ```
/// use hubplane::config::OriginPattern;
///
/// let pattern: OriginPattern = "https://*.example.com".parse()?;
/// assert!(pattern.matches("https://app.example.com"));
/// assert!(!pattern.matches("https://example.com"));
/// # Ok::<(), hubplane::config::OriginError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern(PatternKind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternKind {
    /// `*`.
    Any,
    /// `https://app.example.com`.
    Exact(String),
    /// `https://*.example.com`: every subdomain, but not the domain itself.
    Subdomains {
        /// The scheme, including `://`.
        scheme: String,
        /// The part that starts with the dot, with the port if there is one.
        domain: String,
    },
}

/// Why a text is not an entry of `cors_origins`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// Browsers write this origin differently: in this form.
    #[error("browsers write this origin as {0:?}")]
    Form(String),
    /// It is not an origin.
    #[error("it is not an origin, such as \"https://app.example.com\", \"https://*.example.com\" or \"*\"")]
    NotAnOrigin,
}

impl OriginPattern {
    /// Whether it is `*`.
    pub fn is_any(&self) -> bool {
        self.0 == PatternKind::Any
    }

    /// Whether the value of an `Origin` header matches. `null`, which pages without an origin send, is matched by `*`
    /// alone.
    pub fn matches(&self, origin: &str) -> bool {
        match &self.0 {
            PatternKind::Any => true,
            PatternKind::Exact(exact) => exact.eq_ignore_ascii_case(origin),
            PatternKind::Subdomains { scheme, domain } => {
                let origin = origin.to_ascii_lowercase();
                let name = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_suffix(domain.as_str()));
                // Only characters of host names may be in front: "https://evil.example/.example.com" does not match.
                name.is_some_and(|name| {
                    !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c))
                })
            }
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            PatternKind::Any => f.write_str("*"),
            PatternKind::Exact(origin) => f.write_str(origin),
            PatternKind::Subdomains { scheme, domain } => write!(f, "{scheme}*{domain}"),
        }
    }
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let right = canonical(text.trim()).map(Self).ok_or(OriginError::NotAnOrigin)?;
        let form = right.to_string();
        if form == text { Ok(right) } else { Err(OriginError::Form(form)) }
    }
}

/// The pattern that is probably meant, in the form that browsers send.
fn canonical(text: &str) -> Option<PatternKind> {
    if text == "*" {
        return Some(PatternKind::Any);
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None if text.eq_ignore_ascii_case("null") => return None,
        // A host without a scheme.
        None => ("https".to_owned(), text),
    };
    // A page that opens a WebSocket has an http or https origin.
    let scheme = match scheme.as_str() {
        "ws" => "http".to_owned(),
        "wss" => "https".to_owned(),
        _ => scheme,
    };
    let (wildcard, rest) = rest.strip_prefix("*.").map_or((false, rest), |rest| (true, rest));
    let url = Url::parse(&format!("{scheme}://{rest}")).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('*'))?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let scheme = format!("{}://", url.scheme());
    // The parser does not lower-case the host of unknown schemes, such as those of apps.
    let place = format!("{host}{port}").to_ascii_lowercase();
    if wildcard {
        let named = matches!(url.host(), Some(Host::Domain(_)));
        return named.then(|| PatternKind::Subdomains { scheme, domain: format!(".{place}") });
    }
    Some(PatternKind::Exact(format!("{scheme}{place}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pattern(text: &str) -> OriginPattern {
        text.parse().unwrap()
    }

    #[test]
    fn origins_as_sent_by_browsers_are_accepted() {
        for text in [
            "*",
            "https://app.example.com",
            "http://localhost:3000",
            "https://app.example.com:8443",
            "https://app.example.com:80",
            "http://app.example.com:443",
            "https://*.example.com",
            "https://*.example.com:8443",
            "http://[::1]:5",
            "http://[::ffff:102:304]",
            "https://192.0.2.1",
            "https://xn--mnchen-3ya.example",
            "https://*.xn--mnchen-3ya.example",
            "https://my_app.example",
            "https://localhost",
            "https://example.com.",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnop",
        ] {
            assert_eq!(text.parse::<OriginPattern>().map(|pattern| pattern.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn origins_that_no_browser_sends_are_refused_with_a_suggestion() {
        for (text, right) in [
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://app.example.com:80", "http://app.example.com"),
            ("https://app.example.com:0443", "https://app.example.com"),
            ("https://app.example.com:08443", "https://app.example.com:8443"),
            ("https://app.example.com:", "https://app.example.com"),
            ("https://*.example.com:443", "https://*.example.com"),
            ("https://münchen.example", "https://xn--mnchen-3ya.example"),
            ("https://MÜNCHEN.example:443", "https://xn--mnchen-3ya.example"),
            ("https://*.münchen.example", "https://*.xn--mnchen-3ya.example"),
            ("https://faß.example", "https://xn--fa-hia.example"),
            ("https://例え.テスト", "https://xn--r8jz45g.xn--zckzah"),
            ("https://App.Example.com", "https://app.example.com"),
            ("HTTPS://app.example.com", "https://app.example.com"),
            ("https://*.Example.com", "https://*.example.com"),
            ("https://app.example.com/", "https://app.example.com"),
            ("https://*.example.com/", "https://*.example.com"),
            ("https://app.example.com/chat", "https://app.example.com"),
            ("https://app.example.com?x=y", "https://app.example.com"),
            ("https://app.example.com#top", "https://app.example.com"),
            ("https://ann:hunter2@app.example.com", "https://app.example.com"),
            ("https://ann@app.example.com:443/", "https://app.example.com"),
            (" https://app.example.com ", "https://app.example.com"),
            ("wss://app.example.com", "https://app.example.com"),
            ("ws://localhost:3000", "http://localhost:3000"),
            ("app.example.com", "https://app.example.com"),
            ("*.example.com", "https://*.example.com"),
            ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
            ("http://[::ffff:1.2.3.4]", "http://[::ffff:102:304]"),
            ("http://127.1", "http://127.0.0.1"),
            ("Capacitor://LocalHost", "capacitor://localhost"),
            (" * ", "*"),
        ] {
            assert_eq!(text.parse::<OriginPattern>(), Err(OriginError::Form(right.to_owned())), "{text}");
            assert_eq!(pattern(right).to_string(), right, "what is suggested is taken");
        }
        for text in [
            "",
            " ",
            "null",
            "https://",
            "https://*",
            "https://*.",
            "https://*.com.*",
            "https://app.*.com",
            "https://a*.example.com",
            "https://*.127.0.0.1",
            "https://*.[::1]",
            "https://app.example.com:99999",
            "https://app.example.com:*",
            "https://a b",
            "file:///x",
            "://a",
            "blob:https://a.example",
            "data:text/html,x",
            "https://xn--a.example",
        ] {
            assert_eq!(text.parse::<OriginPattern>(), Err(OriginError::NotAnOrigin), "{text}");
        }
    }

    #[test]
    fn an_origin_must_match_as_a_whole() {
        let exact = pattern("https://app.example.com");
        assert!(exact.matches("https://app.example.com") && exact.matches("https://APP.example.com"));
        for no in ["https://app.example.com:444", "http://app.example.com", "null", "", "https://x.app.example.com"] {
            assert!(!exact.matches(no), "{no}");
        }
        assert!(pattern("*").matches("null"));
    }

    #[test]
    fn a_subdomain_pattern_matches_only_subdomains() {
        let subdomains = pattern("https://*.example.com");
        for yes in ["https://a.example.com", "https://a.b.EXAMPLE.com"] {
            assert!(subdomains.matches(yes), "{yes}");
        }
        for no in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "http://a.example.com",
            "https://evil.org/.example.com",
            "https://evil.org:1.example.com",
            "https://a.example.com.evil.org",
            "https://a.example.com:444",
        ] {
            assert!(!subdomains.matches(no), "{no}");
        }
    }
}
