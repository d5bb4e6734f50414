//! Checks which web pages may open a WebSocket. Browsers do not apply CORS to WebSockets: they let every page open one,
//! and send the page's origin in the `Origin` header. Clients that are not browsers send none, or any value they like
//! (RFC 6455, section 10.2).

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};

use crate::config::OriginPattern;

/// The pages that may open WebSockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum SocketOrigins {
    /// All pages.
    #[default]
    Any,
    /// Pages of these origins, and pages of this server itself.
    Listed(Vec<OriginPattern>),
}

impl SocketOrigins {
    /// Whether a request with these headers may open a WebSocket. A request without `Origin` does not
    /// come from a web page, and is allowed.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let Self::Listed(patterns) = self else { return true };
        let mut origins = headers.get_all(ORIGIN).iter().filter(|origin| !origin.is_empty());
        match (origins.next().map(|origin| origin.to_str()), origins.next()) {
            (None, _) => true,
            (Some(Ok(origin)), None) => {
                patterns.iter().any(|pattern| pattern.matches(origin)) || is_own(origin, headers)
            }
            // Not readable as text, or several headers, which is ambiguous.
            _ => false,
        }
    }
}

/// Whether an origin is this server's own: its host and port equal those of `Host`. The scheme only determines the
/// default port. It is not compared, because the server does not know its own scheme behind a proxy that terminates
/// TLS.
pub(crate) fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let default = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        // Such as that of a mobile app, whose host has nothing to do with this server's.
        _ => return false,
    };
    let host_and_port =
        |authority: &Authority| (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(default));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    uri.authority().map(host_and_port).is_some_and(|own| host.as_ref().map(host_and_port) == Some(own))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(host: &str, origins: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        for origin in origins {
            headers.append(ORIGIN, http::HeaderValue::from_bytes(origin.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn listed_pages_and_own_pages_may_open_a_websocket() {
        let listed = ["https://app.example.com", "https://*.example.org"];
        let origins = SocketOrigins::Listed(listed.map(|origin| origin.parse().unwrap()).to_vec());
        for (host, origin, may) in [
            ("hub.example", "https://app.example.com", true),
            ("hub.example", "https://a.example.org", true),
            ("hub.example", "https://evil.example", false),
            ("hub.example", "null", false),
            ("hub.example", "", true),
            ("hub.example", "https://münchen.example", false),
            ("hub.example", "file://", false),
            ("hub.example", "http://hub.example", true),
            ("hub.example", "https://hub.example", true),
            ("HUB.example", "https://hub.EXAMPLE", true),
            ("hub.example:443", "https://hub.example", true),
            ("hub.example:80", "http://hub.example:80", true),
            ("hub.example:80", "https://hub.example", false),
            ("hub.example", "https://hub.example:8443", false),
            ("hub.example:8443", "https://hub.example:8443", true),
            ("hub.example:8443", "https://hub.example", false),
            ("localhost:8080", "http://localhost:8080", true),
            ("localhost:8080", "http://localhost:3000", false),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("localhost", "capacitor://localhost", false),
            ("hub.example", "https://hub.example.evil.example", false),
            ("hub.example", "https://evil.example/hub.example", false),
            ("hub.example", "//hub.example", false),
            ("hub.example", "hub.example", false),
        ] {
            assert_eq!(origins.admit(&headers(host, &[origin])), may, "{origin} at {host}");
            assert!(SocketOrigins::Any.admit(&headers(host, &[origin])));
        }
        assert!(origins.admit(&headers("hub.example", &[])));
        let twice = ["https://app.example.com", "https://app.example.com"];
        assert!(!origins.admit(&headers("hub.example", &twice)));
    }
}
