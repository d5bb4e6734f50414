//! Creates development tokens, for `hubplane token` and for tests.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use ring::hmac;
use serde_json::{Map, Value, json};

use crate::config::auth::{AuthConfig, KeyMaterial, algorithm_name};

/// The claims that follow from the time and the lifetime, and so cannot be requested.
const RESERVED_CLAIMS: [&str; 3] = ["exp", "iat", "nbf"];

/// The content of a development token.
///
/// ```
/// use std::time::Duration;
///
/// use hubplane::auth::TokenRequest;
///
/// let request = TokenRequest::new("ann", Duration::from_secs(3600)).role("admin").claim("tier", "gold");
/// # drop(request);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    user: String,
    roles: Vec<String>,
    claims: Vec<(String, String)>,
    lifetime: Duration,
}

impl TokenRequest {
    /// Requests a token for the user with this id. It will be valid for `lifetime` from the time of [`mint`].
    pub fn new(user: impl Into<String>, lifetime: Duration) -> Self {
        Self { user: user.into(), roles: Vec::new(), claims: Vec::new(), lifetime }
    }

    /// Adds a role.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Adds a claim. If a name is added several times, the claim is a list of all its values.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.claims.push((name.into(), value.into()));
        self
    }
}

/// Why a token could not be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The configuration has no symmetric key: it has only public keys, or no keys at all.
    #[error("auth.keys has no symmetric key to sign with: keys = [{{ algorithm = \"HS256\", secret = \"...\" }}]")]
    NoSymmetricKey,
    /// The claim follows from the lifetime of the token, and cannot be set.
    #[error("the claim {0} follows from the lifetime of the token and cannot be set")]
    ReservedClaim(String),
}

/// Creates a token that a server with this configuration accepts. It is signed with the first symmetric key, and has
/// the first configured issuer and audience.
///
/// # Errors
///
/// [`TokenError`] if there is no symmetric key, or if the request contains a reserved claim.
pub fn mint(config: &AuthConfig, request: &TokenRequest, now: SystemTime) -> Result<String, TokenError> {
    let key = config.keys.iter().find_map(|key| match &key.material {
        KeyMaterial::Secret(secret) => Some((key.algorithm, secret)),
        KeyMaterial::Pem(_) => None,
    });
    let (algorithm, secret) = key.ok_or(TokenError::NoSymmetricKey)?;
    if let Some((own, _)) = request.claims.iter().find(|(name, _)| RESERVED_CLAIMS.contains(&name.as_str())) {
        return Err(TokenError::ReservedClaim(own.clone()));
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut claims = Map::new();
    claims.insert(config.user_id_claim.clone().unwrap_or_else(|| "sub".to_owned()), json!(request.user));
    let first = |list: &[String]| list.first().cloned();
    for (name, value) in [("iss", first(&config.issuer)), ("aud", first(&config.audience))] {
        if let Some(value) = value {
            claims.insert(name.to_owned(), json!(value));
        }
    }
    let roles = request.roles.iter().map(|role| ("role", role));
    for (name, value) in roles.chain(request.claims.iter().map(|(name, value)| (name.as_str(), value))) {
        match claims.get_mut(name) {
            None => drop(claims.insert(name.to_owned(), json!(value))),
            Some(Value::Array(values)) => values.push(json!(value)),
            Some(one) => *one = json!([one.clone(), value]),
        }
    }
    claims.insert("iat".to_owned(), json!(now.as_secs()));
    claims.insert("nbf".to_owned(), json!(now.as_secs()));
    claims.insert("exp".to_owned(), json!(now.saturating_add(request.lifetime).as_secs()));
    Ok(sign(algorithm, secret.as_bytes(), &claims))
}

/// Encodes and signs a token. `algorithm` is one of HS256, HS384 and HS512.
fn sign(algorithm: Algorithm, secret: &[u8], claims: &Map<String, Value>) -> String {
    let digest = match algorithm {
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let header = json!({ "alg": algorithm_name(algorithm), "typ": "JWT" });
    let part = |value: String| URL_SAFE_NO_PAD.encode(value);
    let message = format!("{}.{}", part(header.to_string()), part(Value::Object(claims.clone()).to_string()));
    let made = hmac::sign(&hmac::Key::new(digest, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(made))
}
