//! The settings of authentication and authorization: `[auth]`, `authorize` and `allowed_groups` (docs/design.md#3).

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{DecodingKey, DecodingKeyKind};

use super::steps::Template;

pub use jsonwebtoken::Algorithm;

/// The algorithms that a key may be used with, by name.
pub(crate) const ALGORITHMS: [(&str, Algorithm); 12] = [
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// The encoded size of an RSA public key of 2048 bits, in bytes. Shorter keys are refused.
const MIN_RSA_KEY_BYTES: usize = 266;

/// `[auth]`: which access tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthConfig {
    /// Keys that tokens may be signed with, each bound to one algorithm.
    pub keys: Vec<KeyConfig>,
    /// The URL of more keys, published as a JSON Web Key Set.
    pub jwks_url: Option<String>,
    /// The trusted issuers; empty accepts any.
    pub issuer: Vec<String>,
    /// The accepted audiences; empty accepts any.
    pub audience: Vec<String>,
    /// How far the clocks of token issuers may be off.
    pub clock_skew: Duration,
    /// The claim that holds the user's id; `None` uses those that ASP.NET Core uses.
    pub user_id_claim: Option<String>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            jwks_url: None,
            issuer: Vec::new(),
            audience: Vec::new(),
            clock_skew: Duration::from_secs(300),
            user_id_claim: None,
        }
    }
}

impl AuthConfig {
    /// Whether there are keys, or a URL of keys, to check tokens with.
    pub fn checks_tokens(&self) -> bool {
        !self.keys.is_empty() || self.jwks_url.is_some()
    }
}

/// A key, and the only algorithm it may be used with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyConfig {
    /// The algorithm. A token that names another one is not accepted with this key.
    pub algorithm: Algorithm,
    /// The key itself.
    pub material: KeyMaterial,
}

/// The content of a key. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyMaterial {
    /// A shared secret (HS algorithms).
    Secret(String),
    /// A public key in PEM (all others).
    Pem(String),
}

/// Why a key of the configuration cannot be used. The texts are written to follow the name of the key,
/// and contain nothing of the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A file is given for an algorithm of shared secrets.
    #[error("{} needs a `secret`, not a file", algorithm_name(*.0))]
    SecretNeeded(Algorithm),
    /// A secret is given for an algorithm of public keys.
    #[error("{} needs the `file` of a public key, not a secret", algorithm_name(*.0))]
    PublicKeyNeeded(Algorithm),
    /// It is the private key of the pair.
    #[error("is a private key; tokens are verified with the public one, so keep the private one elsewhere")]
    PrivateKey,
    /// It is not PEM, or is a key of another kind.
    #[error("is not {} public key in PEM format, which {} needs", key_kind(*.0), algorithm_name(*.0))]
    Malformed(Algorithm),
    /// It is a point on another curve than that of the algorithm.
    #[error("{}", other_curve(*.0))]
    OtherCurve(Algorithm),
    /// It is an RSA key of less than 2048 bits.
    #[error("is an RSA key of less than 2048 bits")]
    RsaTooShort,
}

fn key_kind(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => "an EC",
        Algorithm::EdDSA => "an Ed25519",
        _ => "an RSA",
    }
}

fn other_curve(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES384 => "is not on the curve P-384, which ES384 needs",
        Algorithm::EdDSA => "is not an Ed25519 key, which EdDSA needs here",
        _ => "is not on the curve P-256, which ES256 needs",
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(..)",
            Self::Pem(_) => "Pem(..)",
        })
    }
}

impl KeyConfig {
    /// Creates a key for one algorithm. Whether the two fit is checked when a server is built.
    pub fn new(algorithm: Algorithm, material: KeyMaterial) -> Self {
        Self { algorithm, material }
    }

    /// Whether the same key signs tokens and verifies them.
    pub fn is_symmetric(&self) -> bool {
        matches!(self.algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
    }

    /// The key in the form that verifies signatures.
    pub(crate) fn decoding_key(&self) -> Result<DecodingKey, KeyError> {
        let pem = match (&self.material, self.is_symmetric()) {
            (KeyMaterial::Secret(secret), true) => return Ok(DecodingKey::from_secret(secret.as_bytes())),
            (KeyMaterial::Pem(pem), false) => pem,
            (KeyMaterial::Pem(_), true) => return Err(KeyError::SecretNeeded(self.algorithm)),
            (KeyMaterial::Secret(_), false) => return Err(KeyError::PublicKeyNeeded(self.algorithm)),
        };
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::PrivateKey);
        }
        let bytes = pem.as_bytes();
        let key = match self.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(bytes),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(bytes),
            _ => DecodingKey::from_rsa_pem(bytes),
        };
        let key = key.map_err(|_| KeyError::Malformed(self.algorithm))?;
        if self.algorithm == Algorithm::ES256 && is_other_curve(pem) {
            return Err(KeyError::OtherCurve(self.algorithm));
        }
        check_public(&key, self.algorithm)?;
        Ok(key)
    }
}

/// Whether an EC key is on another curve than P-256. Keys on secp256k1 have points of the same length, but would never
/// verify a token. A key that cannot be read here is left to the checks that follow.
fn is_other_curve(pem: &str) -> bool {
    const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    let body: String = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).is_ok_and(|der| !der.windows(P256.len()).any(|part| part == P256))
}

/// Checks that a public key can be used with `algorithm`. ring refuses unsuitable keys only when it verifies a token.
pub(crate) fn check_public(key: &DecodingKey, algorithm: Algorithm) -> Result<(), KeyError> {
    let length = match key.kind() {
        DecodingKeyKind::SecretOrDer(der) => der.len(),
        // The size of the two numbers when they are encoded as DER.
        DecodingKeyKind::RsaModulusExponent { n, e } => n.len() + e.len() + 11,
    };
    let fits = match algorithm {
        Algorithm::ES256 => length == 65,
        Algorithm::ES384 => length == 97,
        Algorithm::EdDSA => length == 32,
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
            if length < MIN_RSA_KEY_BYTES =>
        {
            return Err(KeyError::RsaTooShort);
        }
        _ => true,
    };
    if fits { Ok(()) } else { Err(KeyError::OtherCurve(algorithm)) }
}

/// The name of an algorithm, as in the header of a token.
pub(crate) fn algorithm_name(algorithm: Algorithm) -> &'static str {
    ALGORITHMS.iter().find(|(_, known)| *known == algorithm).map_or("?", |(name, _)| name)
}

/// `authorize`: who may connect to a hub, or call a method. All conditions must hold; an empty rule admits every user
/// with a valid token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorize {
    /// The user must have one of these roles; empty requires none.
    pub roles: Vec<String>,
    /// The user must have one of the values of each of these claims.
    pub claims: Vec<(String, Vec<String>)>,
}

impl Authorize {
    /// Admits every user with a valid token.
    pub fn user() -> Self {
        Self::default()
    }

    /// Requires a role. Further calls add alternatives: any one of the roles is enough.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Requires a value of a claim. Further calls for the same claim add alternative values.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.claims.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => self.claims.push((name, vec![value])),
        }
        self
    }
}

/// An entry of `allowed_groups`: a group's name, or a prefix that ends with `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupPattern {
    /// The name or the prefix, without the `*`.
    pub name: Template,
    /// Whether it is a prefix.
    pub is_prefix: bool,
}
