//! Verifies signatures of tokens. Each key is bound to the algorithms it may be used with.
//!
//! `jsonwebtoken` parses token headers, PEM and JWK; ring, which TLS uses as well, verifies the signatures. We do not
//! use `jsonwebtoken::decode`, because it needs a crypto provider that is set for the whole process, and a library must
//! not make that choice for its host.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Header};
use ring::{hmac, signature};
use serde_json::{Map, Value};

use super::AuthError;
use crate::config::auth::{KeyConfig, KeyError, check_public};

/// The maximum number of keys that are used of a published set. For a token that names no key, each of them may have to
/// be tried.
const MAX_PUBLISHED_KEYS: usize = 100;

/// A key of the configuration that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnusableKey {
    /// Its index in `auth.keys`.
    pub index: usize,
    /// Why it cannot be used.
    pub error: KeyError,
}

/// Why a published key set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetError {
    /// It is not JSON.
    #[error("it is not JSON")]
    NotJson,
    /// It is not a JSON Web Key Set.
    #[error("it has no list `keys`")]
    NoList,
    /// None of its keys can verify tokens. Contains the reason for each.
    #[error("it has no key that can verify tokens ({0})")]
    NoKey(String),
}

/// Keys in the order in which they are tried.
#[derive(Debug, Default)]
pub(crate) struct KeySet(Vec<VerificationKey>);

/// A key that verifies tokens.
pub(crate) struct VerificationKey {
    /// The key's `kid` in a published set. Configured keys have none, and are tried for every token.
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    material: VerificationMaterial,
}

enum VerificationMaterial {
    Hmac(hmac::Key),
    /// A point on a curve, or an RSA key in PKCS#1.
    Public(Vec<u8>),
    Rsa(signature::RsaPublicKeyComponents<Vec<u8>>),
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

// === sets ===

impl KeySet {
    /// Creates a set from the keys of a configuration.
    pub(crate) fn configured(keys: &[KeyConfig]) -> Result<Self, UnusableKey> {
        let key = |(index, key): (usize, &KeyConfig)| {
            let decoding = key.decoding_key().map_err(|error| UnusableKey { index, error })?;
            Ok(VerificationKey::new(None, vec![key.algorithm], &decoding))
        };
        keys.iter().enumerate().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// Parses a published set (RFC 7517). Also returns, for each key that is ignored, the reason: a set may contain
    /// keys for other purposes and of unsupported types. Fails if the text is not a key set, or if none of its keys can
    /// be used.
    pub(crate) fn published(json: &[u8]) -> Result<(Self, Vec<String>), KeySetError> {
        let root: Value = serde_json::from_slice(json).map_err(|_| KeySetError::NotJson)?;
        let Some(Value::Array(items)) = root.get("keys") else { return Err(KeySetError::NoList) };
        let (mut keys, mut ignored) = (Vec::new(), Vec::new());
        for (index, item) in items.iter().enumerate() {
            match published_key(item) {
                Ok(key) if keys.len() < MAX_PUBLISHED_KEYS => keys.push(key),
                Ok(_) => ignored.push(format!("key {index}: only {MAX_PUBLISHED_KEYS} keys are used")),
                Err(reason) => ignored.push(format!("key {index}: {reason}")),
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoKey(ignored.join("; ")));
        }
        Ok((Self(keys), ignored))
    }

    /// The number of keys.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that are to be tried for a token.
    pub(super) fn candidates<'a>(
        &'a self,
        token: &'a UnverifiedToken<'a>,
    ) -> impl Iterator<Item = &'a VerificationKey> {
        self.0.iter().filter(|key| key.may_have_signed(token))
    }
}

/// Parses one key of a published set. The error says why it cannot be used.
fn published_key(json: &Value) -> Result<VerificationKey, String> {
    let jwk: Jwk =
        serde_json::from_value(json.clone()).map_err(|_| "it is not a JSON Web Key of a known type".to_owned())?;
    if jwk.common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature) {
        return Err("it is not for signatures".to_owned());
    }
    if jwk.common.key_operations.as_ref().is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
        return Err("it is not for verifying".to_owned());
    }
    let of_its_type: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms(),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return Err("its curve is not supported".to_owned()),
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        // A secret that has been published is not secret any more.
        AlgorithmParameters::OctetKey(_) => return Err("it is a shared secret".to_owned()),
        _ => return Err("its type is not supported".to_owned()),
    };
    let algorithms = match json.get("alg").and_then(Value::as_str) {
        None => of_its_type.to_vec(),
        Some(name) => {
            let named = name.parse::<Algorithm>().ok().filter(|named| of_its_type.contains(named));
            vec![named.ok_or("its algorithm is not supported, or does not fit its type")?]
        }
    };
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| "its parameters cannot be decoded".to_owned())?;
    let first = algorithms.first().copied().unwrap_or_default();
    check_public(&decoding, first).map_err(|error| format!("it {error}"))?;
    Ok(VerificationKey::new(jwk.common.key_id, algorithms, &decoding))
}

// === keys ===

impl VerificationKey {
    fn new(id: Option<String>, algorithms: Vec<Algorithm>, key: &DecodingKey) -> Self {
        let material = match key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => match algorithms.first() {
                Some(Algorithm::HS256) => VerificationMaterial::Hmac(hmac::Key::new(hmac::HMAC_SHA256, bytes)),
                Some(Algorithm::HS384) => VerificationMaterial::Hmac(hmac::Key::new(hmac::HMAC_SHA384, bytes)),
                Some(Algorithm::HS512) => VerificationMaterial::Hmac(hmac::Key::new(hmac::HMAC_SHA512, bytes)),
                _ => VerificationMaterial::Public(bytes.clone()),
            },
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                VerificationMaterial::Rsa(signature::RsaPublicKeyComponents {
                    n: without_leading_zeros(n),
                    e: without_leading_zeros(e),
                })
            }
        };
        Self { id, algorithms, material }
    }

    /// Whether to try this key for the token: the token must name one of the key's algorithms, and no other key. The
    /// algorithm is checked so that a forged token can never make the server use a public key as a shared secret.
    fn may_have_signed(&self, token: &UnverifiedToken<'_>) -> bool {
        let named = match (&self.id, &token.key_id) {
            (Some(own), Some(named)) => own == named,
            _ => true,
        };
        named && token.algorithm.is_some_and(|algorithm| self.algorithms.contains(&algorithm))
    }

    /// Whether the token names this key by its `kid`.
    pub(super) fn is_named_by(&self, token: &UnverifiedToken<'_>) -> bool {
        self.id.is_some() && self.id == token.key_id
    }

    /// Whether the token's signature was made with this key and the algorithm that the token names.
    pub(super) fn verifies(&self, token: &UnverifiedToken<'_>) -> bool {
        let Some(algorithm) = token.algorithm.filter(|algorithm| self.algorithms.contains(algorithm)) else {
            return false;
        };
        let (message, made) = (token.message.as_bytes(), token.signature.as_slice());
        let public = |bytes: &[u8], how: &'static dyn signature::VerificationAlgorithm| {
            signature::UnparsedPublicKey::new(how, bytes).verify(message, made).is_ok()
        };
        match (&self.material, algorithm) {
            (VerificationMaterial::Hmac(key), Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) => {
                hmac::verify(key, message, made).is_ok()
            }
            (VerificationMaterial::Public(bytes), Algorithm::ES256) => {
                public(bytes, &signature::ECDSA_P256_SHA256_FIXED)
            }
            (VerificationMaterial::Public(bytes), Algorithm::ES384) => {
                public(bytes, &signature::ECDSA_P384_SHA384_FIXED)
            }
            (VerificationMaterial::Public(bytes), Algorithm::EdDSA) => public(bytes, &signature::ED25519),
            (VerificationMaterial::Public(bytes), algorithm) => {
                rsa_parameters(algorithm).is_some_and(|how| public(bytes, how))
            }
            (VerificationMaterial::Rsa(numbers), algorithm) => {
                rsa_parameters(algorithm).is_some_and(|how| numbers.verify(how, message, made).is_ok())
            }
            (VerificationMaterial::Hmac(_), _) => false,
        }
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// Some providers publish numbers with leading zeros, which ring refuses.
fn without_leading_zeros(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}

// === tokens ===

/// A token that has been parsed but not verified.
pub(super) struct UnverifiedToken<'a> {
    /// The signed part: header and payload.
    message: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
    /// `None` if the header names the algorithm `none` or an unknown one.
    algorithm: Option<Algorithm>,
    key_id: Option<String>,
}

impl<'a> UnverifiedToken<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, AuthError> {
        let (message, signature) = text.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(AuthError::Malformed)?;
        let header: Map<String, Value> = decode_part(header)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| AuthError::Malformed)?;
        // `crit` lists extensions that a receiver has to understand (RFC 7515, section 4.1.11). None is supported.
        if payload.contains('.') || header.contains_key("crit") || !matches!(header.get("alg"), Some(Value::String(_)))
        {
            return Err(AuthError::Malformed);
        }
        let parsed: Option<Header> = serde_json::from_value(Value::Object(header)).ok();
        let (algorithm, key_id) = parsed.map_or((None, None), |header| (Some(header.alg), header.kid));
        Ok(Self { message, payload, signature, algorithm, key_id })
    }

    /// Whether the token has a signature, and its algorithm is known.
    pub(super) fn is_signed(&self) -> bool {
        self.algorithm.is_some() && !self.signature.is_empty()
    }

    pub(super) fn claims(&self) -> Result<Map<String, Value>, AuthError> {
        decode_part(self.payload)
    }
}

fn decode_part(text: &str) -> Result<Map<String, Value>, AuthError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| AuthError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| AuthError::Malformed)
}
