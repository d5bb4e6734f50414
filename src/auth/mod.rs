//! Layer 3: who somebody is, and what they may do. Pure: the time is an argument, keys are handed in.
//!
//! | file | what is in it |
//! | --- | --- |
//! | this one | `TokenValidator`: from a token to a [`Principal`]; [`Authenticate`]: other ways, [`FromExtension`] for one |
//! | `principal` | [`Principal`]: user, roles, claims |
//! | `verification_keys` | keys, each bound to its algorithms; signatures; JSON Web Key Sets |
//! | `jwks_cache` | the keys that somebody else publishes, as they are now |
//! | `auth_error` | why a token does not count, in the words of ASP.NET Core |
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

/// Tells who sends a request. Asked for every request of a connection: its negotiate, each poll, each POST.
///
/// A server has one: that of `[auth]`, or a Rust host's own.
pub trait Authenticate: Send + Sync + 'static {
    /// Who it is; None is an anonymous one, which `authorize` refuses with 401. An error is for credentials that are
    /// there and do not count: the answer is 401 everywhere, also where anonymous clients may come.
    ///
    /// The request comes without its body: URI, headers, and the extensions that middleware in front has added.
    /// [`token_of`] finds its token.
    fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<Option<Arc<Principal>>, AuthError>>;
}

/// Reads the user of a request from an extension of type `Arc<Principal>`, which middleware of the host has added.
/// Without one the request is anonymous. For a server within an axum application that authenticates its users itself:
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
///     // Here the session's cookie would be looked up.
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

/// The token of a request: `access_token` in the query, where browsers put it, wins over the header
/// `Authorization: Bearer` (tests/probes/FINDINGS.md#1, row 5). An empty one is none. Several of a kind are joined, as
/// in ASP.NET Core, and so are no token any more: nobody has to guess which of them somebody in front has looked at.
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

/// Checks JSON Web Tokens by the rules of `[auth]`.
pub(crate) struct TokenValidator {
    keys: KeySet,
    /// The keys at `jwks_url`.
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
    /// The rules of a configuration; `published` is where the keys of its `jwks_url` will be. Fails for a key that
    /// cannot be used.
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

    /// Where published keys come from.
    pub(crate) fn published(&self) -> Option<&Arc<JwksCache>> {
        self.published.as_ref()
    }

    /// Who a token says its bearer is, if it counts at `now`.
    pub(crate) fn check(&self, token: &str, now: SystemTime) -> Result<Principal, AuthError> {
        let claims = self.verified(token)?;
        self.check_times(&claims, now)?;
        self.check_audience(&claims)?;
        self.check_issuer(&claims)?;
        Ok(Principal::from_claims(claims, self.user_id_claim.as_deref()))
    }

    /// The claims of a token whose signature is right.
    fn verified(&self, token: &str) -> Result<Map<String, Value>, AuthError> {
        let token = verification_keys::UnverifiedToken::parse(token)?;
        let published = self.published.as_ref().map(|ring| ring.current());
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
        // As the reference: a token that never expires is refused.
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
