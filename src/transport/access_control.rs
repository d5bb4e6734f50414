//! Authentication and authorization of the requests to an endpoint. Every request is checked before anything else is
//! looked at (docs/builders/signalr-protocol.md#5; tests/probes/FINDINGS.md#2, HTTP: 401 comes before 405 and 404).

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use super::origin::SocketOrigins;
use super::rejection::plain;
use crate::auth::{AuthError, Authenticate, Principal, policy};
use crate::config::Authorize;

/// How an endpoint authenticates requests, and which of them it admits.
#[derive(Clone, Default)]
pub(super) struct AccessControl {
    /// `None`: requests are not authenticated, and their access tokens are ignored.
    pub(super) authenticator: Option<Arc<dyn Authenticate>>,
    /// `None`: anonymous clients are admitted too.
    pub(super) policy: Option<Arc<Authorize>>,
    /// The pages that may open WebSockets.
    pub(super) origins: Arc<SocketOrigins>,
}

impl fmt::Debug for AccessControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authenticator, policy, origins } = self;
        f.debug_struct("AccessControl")
            .field("authenticates", &authenticator.is_some())
            .field("policy", policy)
            .field("origins", origins)
            .finish()
    }
}

/// The principal of a request, stored in the request's extensions.
#[derive(Clone)]
struct RequestPrincipal(Arc<Principal>);

impl AccessControl {
    /// Authenticates a request, stores the principal in its extensions, and checks the endpoint's rule.
    pub(super) async fn authorize(&self, request: &mut Request) -> Result<(), AccessDenied> {
        let principal = self.authenticate(request).await.map_err(AccessDenied::Token)?;
        let permitted = self.policy.as_ref().is_none_or(|rule| policy::permits(rule, principal.as_deref()));
        let known = principal.is_some();
        if let Some(principal) = principal {
            request.extensions_mut().insert(RequestPrincipal(principal));
        }
        match (permitted, known) {
            (true, _) => Ok(()),
            (false, true) => Err(AccessDenied::User),
            (false, false) => Err(AccessDenied::Anonymous),
        }
    }

    async fn authenticate(&self, request: &mut Request) -> Result<Option<Arc<Principal>>, AuthError> {
        let Some(authenticator) = &self.authenticator else { return Ok(None) };
        // The body is removed first, because it is not `Sync`.
        let (parts, body) = std::mem::take(request).into_parts();
        let principal = authenticator.authenticate(&parts).await;
        *request = Request::from_parts(parts, body);
        principal
    }
}

/// Why a request is not admitted.
#[derive(Debug)]
pub(super) enum AccessDenied {
    /// It asks for a WebSocket, but comes from a page whose origin may not open one.
    Origin,
    /// Its access token is not accepted.
    Token(AuthError),
    /// It is anonymous, but the endpoint requires a user.
    Anonymous,
    /// Its user does not satisfy the endpoint's rule.
    User,
    /// It names a connection that belongs to another user.
    OtherUser,
}

impl AccessDenied {
    /// The HTTP response. Its body is mostly empty, because clients show it to their users.
    pub(super) fn response(&self) -> Response {
        match self {
            Self::Token(AuthError::KeysMissing) => {
                let text = "The server has no keys yet to check tokens with";
                let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, text);
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
                answer
            }
            Self::Token(refused) => unauthorized(&refused.challenge()),
            Self::Anonymous => unauthorized("Bearer"),
            Self::Origin | Self::User | Self::OtherUser => empty_response(StatusCode::FORBIDDEN),
        }
    }
}

/// The principal of an admitted request; `None` if it is anonymous.
pub(super) fn principal(extensions: &http::Extensions) -> Option<Arc<Principal>> {
    extensions.get::<RequestPrincipal>().map(|principal| principal.0.clone())
}

fn unauthorized(challenge: &str) -> Response {
    let mut answer = empty_response(StatusCode::UNAUTHORIZED);
    let challenge = HeaderValue::from_str(challenge).unwrap_or(HeaderValue::from_static("Bearer"));
    answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    answer
}

/// A response with neither a body nor a content type.
fn empty_response(status: StatusCode) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}
