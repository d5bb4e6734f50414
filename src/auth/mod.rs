//! Layer 3: authentication and authorization. Nothing here does I/O: the current time is an argument, and the key set
//! is fetched by the server.
//!
//! | file | content |
//! | --- | --- |
//! | this one | `TokenValidator`, which verifies access tokens; the trait [`Authenticate`], and [`FromExtension`] as one implementation |
//! | `principal` | [`Principal`]: user, roles, claims |
//! | `verification_keys` | keys, each bound to its algorithms; signatures; JSON Web Key Sets |
//! | `jwks_cache` | the published key set as it was last fetched |
//! | `auth_error` | why a token is invalid, in the words of ASP.NET Core |
//! | `policy` | `authorize` and `allowed_groups` |
//! | `mint` | development tokens |

pub(crate) mod auth_error;
pub(crate) mod jwks_cache;
pub(crate) mod mint;
pub(crate) mod policy;
pub(crate) mod principal;
pub(crate) mod verification_keys;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Uri};
use serde_json::{Map, Value};

use crate::config::auth::AuthConfig;

pub use auth_error::AuthError;
pub(crate) use jwks_cache::JwksCache;
pub use mint::{TokenError, TokenRequest, mint};
pub use principal::Principal;
pub(crate) use verification_keys::{KeySet, KeySetError, UnusableKey};

/// Authenticates requests. It is called for every request of a connection: negotiate, each poll and each POST.
///
/// A server has exactly one implementation: that of `[auth]` in the configuration, or the host's own.
pub trait Authenticate: Send + Sync + 'static {
    /// Returns the user who sent the request, or `None` if the request is anonymous. An anonymous request is answered
    /// with 401 by endpoints that require a user (`authorize`), and accepted by the others.
    ///
    /// `request` is the request without its body: its URI, its headers, and the extensions that the host's middleware
    /// has added. [`token_of`] finds its token.
    ///
    /// # Errors
    ///
    /// If the request has credentials and they are invalid. Every endpoint answers it with 401, even if it admits
    /// anonymous clients; with [`AuthError::KeysMissing`] the answer is 503.
    fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<Option<Arc<Principal>>, AuthError>>;
}

/// Reads the user of a request from an extension of type `Arc<Principal>`, which the host's middleware has added. A
/// request without this extension is anonymous. This is meant for a server inside an axum application that
/// authenticates its users itself:
///
/// ```
/// use std::sync::Arc;
///
/// use axum::extract::Request;
/// use axum::middleware::Next;
/// use axum::response::Response;
/// use hubplane::auth::{FromExtension, Principal};
/// use hubplane::config::Config;
/// use hubplane::server::Server;
///
/// async fn session(mut request: Request, next: Next) -> Response {
///     // A real application would look up the session cookie here.
///     request.extensions_mut().insert(Arc::new(Principal::named("ann")));
///     next.run(request).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder(Config::default()).authenticate(FromExtension).build().await?;
/// let app = server.into_router().layer(axum::middleware::from_fn(session));
/// # drop::<axum::Router>(app);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FromExtension;

impl Authenticate for FromExtension {
    fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<Option<Arc<Principal>>, AuthError>> {
        Box::pin(std::future::ready(Ok(request.extensions.get().cloned())))
    }
}

/// Returns the access token of a request, or `None` if it has none. `access_token` in the query, which browsers use,
/// takes precedence over the header `Authorization: Bearer` (tests/probes/FINDINGS.md#1, row 5). An empty value is
/// ignored.
///
/// Repeated values are joined with commas, as in ASP.NET Core. The result is not a valid token, so that the server and
/// a proxy in front of it can never pick different ones.
pub fn token_of(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let query = uri.query().unwrap_or_default();
    let in_query: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .filter(|(key, value)| key.eq_ignore_ascii_case("access_token") && !value.is_empty())
        .map(|(_, value)| value)
        .collect();
    if !in_query.is_empty() {
        return Some(in_query.join(","));
    }
    let in_header: Vec<_> =
        headers.get_all(AUTHORIZATION).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let in_header = in_header.join(",");
    let (scheme, token) = in_header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// Verifies JSON Web Tokens according to `[auth]`.
pub(crate) struct TokenValidator {
    keys: KeySet,
    /// The key set of `jwks_url`, if one is configured.
    published: Option<Arc<JwksCache>>,
    issuer: Vec<String>,
    audience: Vec<String>,
    clock_skew: Duration,
    user_id_claim: Option<String>,
}

impl fmt::Debug for TokenValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenValidator").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl TokenValidator {
    /// Creates a validator for a configuration. `published` is the cache that will hold the key set of its `jwks_url`.
    /// Fails if a configured key cannot be used.
    pub(crate) fn new(config: &AuthConfig, published: Option<Arc<JwksCache>>) -> Result<Self, UnusableKey> {
        Ok(Self {
            keys: KeySet::configured(&config.keys)?,
            published,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            clock_skew: config.clock_skew,
            user_id_claim: config.user_id_claim.clone(),
        })
    }

    /// The cache of the published key set.
    pub(crate) fn published(&self) -> Option<&Arc<JwksCache>> {
        self.published.as_ref()
    }

    /// Verifies a token as of `now`, and returns the user whom it identifies.
    pub(crate) fn check(&self, token: &str, now: SystemTime) -> Result<Principal, AuthError> {
        let claims = self.verified(token)?;
        self.check_times(&claims, now)?;
        self.check_audience(&claims)?;
        self.check_issuer(&claims)?;
        Ok(Principal::from_claims(claims, self.user_id_claim.as_deref()))
    }

    /// Verifies the signature of a token, and returns its claims.
    fn verified(&self, token: &str) -> Result<Map<String, Value>, AuthError> {
        let token = verification_keys::UnverifiedToken::parse(token)?;
        let published = self.published.as_ref().map(|cache| cache.current());
        let sets = [Some(&self.keys), published.as_ref().and_then(|set| set.as_deref())];
        let mut named = false;
        for key in sets.into_iter().flatten().flat_map(|set| set.candidates(&token)) {
            if key.verifies(&token) {
                return token.claims();
            }
            named |= key.is_named_by(&token);
        }
        Err(match published {
            Some(None) => AuthError::KeysMissing,
            _ if named || !token.is_signed() => AuthError::Signature,
            _ => AuthError::KeyNotFound,
        })
    }

    fn check_times(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<(), AuthError> {
        let seconds = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => principal::numeric_date(value).map(Some).ok_or(AuthError::Malformed),
        };
        let (expires, not_before) = (seconds("exp")?, seconds("nbf")?);
        // ASP.NET Core, too, refuses a token that never expires.
        let expires = expires.ok_or(AuthError::NoExpiration)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (earliest, latest) = (now.saturating_sub(self.clock_skew), now.saturating_add(self.clock_skew));
        match not_before {
            Some(not_before) if not_before > expires => return Err(AuthError::Lifetime { not_before, expires }),
            Some(not_before) if Duration::from_secs(not_before) > latest => {
                return Err(AuthError::NotBefore(not_before));
            }
            _ => {}
        }
        if Duration::from_secs(expires) < earliest { Err(AuthError::Expired(expires)) } else { Ok(()) }
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), AuthError> {
        if self.audience.is_empty() {
            return Ok(());
        }
        let given: Vec<String> = principal::claim_texts(claims.get("aud")).collect();
        if given.iter().any(|audience| self.audience.contains(audience)) {
            return Ok(());
        }
        Err(AuthError::Audience(given.join(", ")))
    }

    fn check_issuer(&self, claims: &Map<String, Value>) -> Result<(), AuthError> {
        if self.issuer.is_empty() {
            return Ok(());
        }
        match claims.get("iss") {
            Some(Value::String(issuer)) if self.issuer.contains(issuer) => Ok(()),
            Some(Value::String(issuer)) => Err(AuthError::Issuer(issuer.clone())),
            _ => Err(AuthError::Issuer(String::new())),
        }
    }
}

#[cfg(test)]
mod tests;
