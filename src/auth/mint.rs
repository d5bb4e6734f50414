//! Development tokens: `hubplane token`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use ring::hmac;
use serde_json::{Map, Value, json};

use crate::config::auth::{AuthConfig, KeyMaterial, algorithm_name};

/// Claims that are set here, whatever is asked for.
const RESERVED_CLAIMS: [&str; 3] = ["exp", "iat", "nbf"];

/// What a development token says.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// The user's id.
    pub user: String,
    /// Their roles.
    pub roles: Vec<String>,
    /// More claims; one that is named twice is a list.
    pub claims: Vec<(String, String)>,
    /// How long it counts.
    pub lifetime: Duration,
}

/// A token that a server with this configuration takes, signed with its first symmetric key, for its first issuer and
/// audience. The error says what is missing.
pub fn mint(config: &AuthConfig, request: &TokenRequest, now: SystemTime) -> Result<String, String> {
    let key = config.keys.iter().find_map(|key| match &key.material {
        KeyMaterial::Secret(secret) => Some((key.algorithm, secret)),
        KeyMaterial::Pem(_) => None,
    });
    let Some((algorithm, secret)) = key else {
        return Err("auth.keys has no symmetric key to sign with: \
                    keys = [{ algorithm = \"HS256\", secret = \"...\" }]"
            .to_owned());
    };
    if let Some((own, _)) = request.claims.iter().find(|(name, _)| RESERVED_CLAIMS.contains(&name.as_str())) {
        return Err(format!("the claim {own} is set by the command itself (--expires)"));
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

/// A token of an HS algorithm.
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
