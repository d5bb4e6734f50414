//! Who may come and what they may do: `[auth]`, `authorize` and `allowed_groups` (docs/design.md#3).

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

/// Bytes of the encoding of an RSA public key of 2048 bits: shorter keys are not taken.
const MIN_RSA_KEY_BYTES: usize = 266;

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthConfig {
    /// Keys that tokens may be signed with, each bound to one algorithm.
    pub keys: Vec<KeyConfig>,
    /// Where more keys are published, as a JSON Web Key Set.
    pub jwks_url: Option<String>,
    /// The issuers that are trusted; empty takes every one.
    pub issuer: Vec<String>,
    /// The audiences that are ours; empty takes every one.
    pub audience: Vec<String>,
    /// How far the clocks of whoever makes tokens may be off.
    pub clock_skew: Duration,
    /// The claim that holds the user's id; None takes those that ASP.NET Core takes.
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
    /// Whether tokens are checked at all.
    pub fn checks_tokens(&self) -> bool {
        !self.keys.is_empty() || self.jwks_url.is_some()
    }
}

/// A key and the one algorithm it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyConfig {
    /// No other algorithm is taken with this key, whatever a token says of itself.
    pub algorithm: Algorithm,
    /// The key.
    pub material: KeyMaterial,
}

/// What a key is made of. `Debug` does not print it.
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
    /// A key for one algorithm. Whether the two fit is checked when a server is built.
    pub fn new(algorithm: Algorithm, material: KeyMaterial) -> Self {
        Self { algorithm, material }
    }

    /// Whether the same key makes tokens and checks them.
    pub fn is_symmetric(&self) -> bool {
        matches!(self.algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
    }

    /// The key in the form that checks signatures. The error says what would be right, and holds nothing of the key.
    pub(crate) fn decoding_key(&self) -> Result<DecodingKey, String> {
        let name = algorithm_name(self.algorithm);
        let pem = match (&self.material, self.is_symmetric()) {
            (KeyMaterial::Secret(secret), true) => return Ok(DecodingKey::from_secret(secret.as_bytes())),
            (KeyMaterial::Pem(pem), false) => pem,
            (KeyMaterial::Pem(_), true) => return Err(format!("{name} takes a `secret`, not a file")),
            (KeyMaterial::Secret(_), false) => {
                return Err(format!("{name} takes the public key's `file`, not a secret"));
            }
        };
        if pem.contains("PRIVATE KEY-----") {
            return Err(
                "is a private key; tokens are checked with the public one, keep the private one away".to_owned()
            );
        }
        let bytes = pem.as_bytes();
        let (key, kind) = match self.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => (DecodingKey::from_ec_pem(bytes), "an EC"),
            Algorithm::EdDSA => (DecodingKey::from_ed_pem(bytes), "an Ed25519"),
            _ => (DecodingKey::from_rsa_pem(bytes), "an RSA"),
        };
        let key = key.map_err(|_| format!("is not {kind} public key in PEM, as {name} needs it"))?;
        if self.algorithm == Algorithm::ES256 && is_other_curve(pem) {
            return Err("is not on the curve P-256, which ES256 needs".to_owned());
        }
        check_public(&key, self.algorithm)?;
        Ok(key)
    }
}

/// Whether an EC key is on another curve than P-256. That of secp256k1 has points of the same length, and would never
/// fit a token. What cannot be read here is left to whoever can.
fn is_other_curve(pem: &str) -> bool {
    const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    let body: String = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).is_ok_and(|der| !der.windows(P256.len()).any(|part| part == P256))
}

/// Whether a public key is one that `algorithm` can be used with. ring refuses the others only when a token comes.
pub(crate) fn check_public(key: &DecodingKey, algorithm: Algorithm) -> Result<(), String> {
    let length = match key.kind() {
        DecodingKeyKind::SecretOrDer(der) => der.len(),
        // The two numbers make this much encoded.
        DecodingKeyKind::RsaModulusExponent { n, e } => n.len() + e.len() + 11,
    };
    match algorithm {
        Algorithm::ES256 if length != 65 => Err("is not on the curve P-256, which ES256 needs".to_owned()),
        Algorithm::ES384 if length != 97 => Err("is not on the curve P-384, which ES384 needs".to_owned()),
        Algorithm::EdDSA if length != 32 => Err("is no Ed25519 key, which EdDSA needs here".to_owned()),
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

/// The algorithm's name in tokens.
pub(crate) fn algorithm_name(algorithm: Algorithm) -> &'static str {
    ALGORITHMS.iter().find(|(_, known)| *known == algorithm).map_or("?", |(name, _)| name)
}

/// `authorize`: who may come to a hub, or call a method. All of it must hold; the empty one takes every user whose
/// token is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorize {
    /// The user must have one of these; empty asks for none.
    pub roles: Vec<String>,
    /// For each of these claims the user must have one of the values.
    pub claims: Vec<(String, Vec<String>)>,
}

impl Authorize {
    /// Every user with a valid token.
    pub fn user() -> Self {
        Self::default()
    }

    /// Users with a role; called again, with any of the roles.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// And with this value of a claim; called again for the same claim, with any of its values.
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

/// An entry of `allowed_groups`: a name, or with a `*` at its end the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPattern {
    /// What the name is, or begins with.
    pub name: Template,
    /// Whether anything may follow.
    pub is_prefix: bool,
}
