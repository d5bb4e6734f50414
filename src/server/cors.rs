//! CORS: which pages of other origins may send requests to this server (docs/builders/signalr-protocol.md#1.10;
//! tests/probes/FINDINGS.md#2, CORS).
//!
//! This is not the layer of `tower-http`, because preflights must behave as in ASP.NET Core: every OPTIONS request with
//! `Origin` and `Access-Control-Request-Method` is a preflight, and is answered for every path with 204 and just the
//! requested method. An OPTIONS request with `Origin` alone is not a preflight.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::config::OriginPattern;
use crate::transport::SocketOrigins;

/// The rules for pages of other origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cors {
    /// No page of another origin is allowed. No header is ever added.
    Disabled,
    /// Every page is allowed, without credentials such as cookies.
    AnyOrigin,
    /// Every page is allowed, with credentials. For hosts that check callers by other means.
    AnyOriginWithCredentials,
    /// Pages of these origins are allowed, with credentials.
    Origins(Vec<OriginPattern>),
}

impl Cors {
    /// The rules of `cors_origins`.
    pub(super) fn of(origins: &[OriginPattern]) -> Self {
        if origins.iter().any(OriginPattern::is_any) {
            Self::AnyOrigin
        } else if origins.is_empty() {
            Self::Disabled
        } else {
            Self::Origins(origins.to_vec())
        }
    }

    /// The pages that may open WebSockets if `websocket_origins` follows these rules.
    pub(super) fn socket_origins(&self) -> SocketOrigins {
        match self {
            Self::Disabled | Self::AnyOrigin | Self::AnyOriginWithCredentials => SocketOrigins::Any,
            Self::Origins(patterns) => SocketOrigins::Listed(patterns.clone()),
        }
    }

    /// The response to a preflight. `None` if the request is not a preflight, or if there are no rules.
    pub(super) fn preflight(&self, request: &Request) -> Option<Response> {
        let headers = request.headers();
        let method = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if *self == Self::Disabled || request.method() != Method::OPTIONS {
            return None;
        }
        let origin = headers.get(ORIGIN)?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        if self.grant(origin, answer) {
            answer.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
            if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
            // Otherwise browsers send a preflight again every 5 s, and long polling sends requests all the time.
            // ASP.NET Core's own test server allows every origin and does not send this header; so neither do we then.
            if *self != Self::AnyOriginWithCredentials {
                answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
            }
        }
        Some(response)
    }

    /// Adds headers to the response to a request with this `Origin`. Returns whether the origin is allowed.
    pub(super) fn grant(&self, origin: &HeaderValue, answer: &mut HeaderMap) -> bool {
        match self {
            Self::Disabled => return false,
            Self::AnyOrigin => {
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
                return true;
            }
            Self::AnyOriginWithCredentials | Self::Origins(_) => {}
        }
        // Also if the origin is refused: a cache must not use the response for another origin.
        answer.append(VARY, HeaderValue::from_static("Origin"));
        if let Self::Origins(patterns) = self {
            let Ok(text) = origin.to_str() else { return false };
            if !patterns.iter().any(|pattern| pattern.matches(text)) {
                return false;
            }
        }
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors::of(&origins.iter().map(|origin| origin.parse().unwrap()).collect::<Vec<_>>())
    }

    /// The added headers, as sorted lines `name: value`.
    fn granted(cors: &Cors, origin: &str) -> String {
        let mut headers = HeaderMap::new();
        cors.grant(&HeaderValue::from_str(origin).unwrap(), &mut headers);
        lines(&headers)
    }

    fn lines(headers: &HeaderMap) -> String {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines.join("\n")
    }

    fn options(headers: &[(&str, &str)]) -> Request {
        let mut request = Request::options("/anything").body(Body::empty()).unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        request
    }

    const CREDENTIALS: &str = "access-control-allow-credentials: true\naccess-control-allow-origin: ";

    #[test]
    fn a_listed_origin_gets_itself_and_credentials() {
        let cors = cors(&["https://app.example.com", "http://localhost:3000", "https://*.example.org"]);
        for yes in ["https://app.example.com", "http://localhost:3000", "https://a.example.org"] {
            assert_eq!(granted(&cors, yes), format!("{CREDENTIALS}{yes}\nvary: Origin"));
        }
        for no in ["https://app.example.com:444", "http://app.example.com", "null", "https://example.org"] {
            assert_eq!(granted(&cors, no), "vary: Origin", "{no}");
        }
    }

    #[test]
    fn a_star_allows_every_origin_without_credentials() {
        assert_eq!(granted(&cors(&["https://a.example", "*"]), "http://x"), "access-control-allow-origin: *");
    }

    #[test]
    fn any_origin_with_credentials_echoes_even_null() {
        let expected = format!("{CREDENTIALS}null\nvary: Origin");
        assert_eq!(granted(&Cors::AnyOriginWithCredentials, "null"), expected);
    }

    #[test]
    fn without_cors_origins_no_header_is_added() {
        assert_eq!(granted(&cors(&[]), "http://x"), "");
        let asks = [("origin", "http://x"), ("access-control-request-method", "POST")];
        assert!(cors(&[]).preflight(&options(&asks)).is_none());
    }

    #[test]
    fn a_preflight_echoes_the_requested_method_and_headers() {
        let asks = [
            ("origin", "http://page.example"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-requested-with,x-signalr-user-agent"),
        ];
        let response = Cors::AnyOriginWithCredentials.preflight(&options(&asks)).unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let expected = "access-control-allow-credentials: true\n\
            access-control-allow-headers: x-requested-with,x-signalr-user-agent\n\
            access-control-allow-methods: PUT\naccess-control-allow-origin: http://page.example\nvary: Origin";
        assert_eq!(lines(response.headers()), expected);

        let response = cors(&["http://page.example"]).preflight(&options(&asks[..2])).unwrap();
        let expected = "access-control-allow-credentials: true\naccess-control-allow-methods: PUT\n\
            access-control-allow-origin: http://page.example\naccess-control-max-age: 7200\nvary: Origin";
        assert_eq!(lines(response.headers()), expected);
    }

    #[test]
    fn an_unlisted_origin_gets_a_preflight_without_cors_headers() {
        let asks = [("origin", "http://evil"), ("access-control-request-method", "POST")];
        let response = cors(&["http://page.example"]).preflight(&options(&asks)).unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(lines(response.headers()), "vary: Origin");
    }

    #[test]
    fn an_incomplete_preflight_is_not_a_preflight() {
        for half in [("origin", "http://x"), ("access-control-request-method", "POST")] {
            assert!(Cors::AnyOriginWithCredentials.preflight(&options(&[half])).is_none());
        }
    }
}
