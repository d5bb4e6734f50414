//! The settings of authentication and authorization: `[auth]`, `authorize` and `allowed_groups` (docs/design.md#3).

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{DecodingKey, DecodingKeyKind};

use super::steps::Template;

pub use jsonwebtoken::Algorithm;

/// The algorithms a key may have.
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
pub enum KeyMaterial {
    /// A shared secret (HS algorithms).
    Secret(String),
    /// A public key in PEM (all others).
    Pem(String),
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

    /// The key in the form that verifies signatures. The error says what would be valid and contains nothing of the
    /// key.
    pub(crate) fn decoding_key(&self) -> Result<DecodingKey, String> {
        let name = algorithm_name(self.algorithm);
        let pem = match (&self.material, self.is_symmetric()) {
            (KeyMaterial::Secret(secret), true) => return Ok(DecodingKey::from_secret(secret.as_bytes())),
            (KeyMaterial::Pem(pem), false) => pem,
            (KeyMaterial::Pem(_), true) => return Err(format!("{name} needs a `secret`, not a file")),
            (KeyMaterial::Secret(_), false) => {
                return Err(format!("{name} needs the `file` of a public key, not a secret"));
            }
        };
        if pem.contains("PRIVATE KEY-----") {
            return Err("is a private key; tokens are verified with the public one, so keep the private one elsewhere"
                .to_owned());
        }
        let bytes = pem.as_bytes();
        let (key, kind) = match self.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => (DecodingKey::from_ec_pem(bytes), "an EC"),
            Algorithm::EdDSA => (DecodingKey::from_ed_pem(bytes), "an Ed25519"),
            _ => (DecodingKey::from_rsa_pem(bytes), "an RSA"),
        };
        let key = key.map_err(|_| format!("is not {kind} public key in PEM format, which {name} needs"))?;
        if self.algorithm == Algorithm::ES256 && is_other_curve(pem) {
            return Err("is not on the curve P-256, which ES256 needs".to_owned());
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
pub(crate) fn check_public(key: &DecodingKey, algorithm: Algorithm) -> Result<(), String> {
    let length = match key.kind() {
        DecodingKeyKind::SecretOrDer(der) => der.len(),
        // The size of the two numbers when they are encoded as DER.
        DecodingKeyKind::RsaModulusExponent { n, e } => n.len() + e.len() + 11,
    };
    match algorithm {
        Algorithm::ES256 if length != 65 => Err("is not on the curve P-256, which ES256 needs".to_owned()),
        Algorithm::ES384 if length != 97 => Err("is not on the curve P-384, which ES384 needs".to_owned()),
        Algorithm::EdDSA if length != 32 => Err("is not an Ed25519 key, which EdDSA needs here".to_owned()),
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
            if length < MIN_RSA_KEY_BYTES =>
        {
            Err("is an RSA key of less than 2048 bits".to_owned())
        }
        _ => Ok(()),
    }
}

/// The name of an algorithm, as in the header of a token.
pub(crate) fn algorithm_name(algorithm: Algorithm) -> &'static str {
    ALGORITHMS.iter().find(|(_, known)| *known == algorithm).map_or("?", |(name, _)| name)
}

/// `authorize`: who may connect to a hub, or call a method. All conditions must hold; an empty rule admits every user
/// with a valid token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
pub struct GroupPattern {
    /// The name or the prefix, without the `*`.
    pub name: Template,
    /// Whether it is a prefix.
    pub is_prefix: bool,
}
