//! Keys, each bound to the algorithms it may be used with, and the signatures they made.
//!
//! `jsonwebtoken` reads tokens, PEM and JWK; the signatures are checked by ring, which TLS uses as well. That crate's
//! own `decode` asks a crypto provider that is one for the whole process: a library must not choose that for its host.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Header};
use ring::{hmac, signature};
use serde_json::{Map, Value};

use super::AuthError;
use crate::config::auth::{KeyConfig, KeyError, check_public};

/// Most keys of a published set that are used: each costs a try for a token that names none.
const MAX_PUBLISHED_KEYS: usize = 100;

/// A key of the configuration that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnusableKey {
    /// Its place in `auth.keys`.
    pub index: usize,
    /// Why.
    pub error: KeyError,
}

/// Why a published text is not a key set that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetError {
    /// It is not JSON.
    #[error("it is not JSON")]
    NotJson,
    /// It is not a JSON Web Key Set.
    #[error("it has no list `keys`")]
    NoList,
    /// None of its keys can verify a token; the text says why.
    #[error("it has no key that signs tokens ({0})")]
    NoKey(String),
}

/// Keys, in the order they are tried.
#[derive(Debug, Default)]
pub(crate) struct KeySet(Vec<VerificationKey>);

/// One key.
pub(crate) struct VerificationKey {
    /// Its name in a published set. Configured keys have none, and are tried for every token.
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    material: VerificationMaterial,
}

enum VerificationMaterial {
    Hmac(hmac::Key),
    /// A point, or an RSA key in PKCS#1.
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
    /// The keys of a configuration.
    pub(crate) fn configured(keys: &[KeyConfig]) -> Result<Self, UnusableKey> {
        let key = |(index, key): (usize, &KeyConfig)| {
            let decoding = key.decoding_key().map_err(|error| UnusableKey { index, error })?;
            Ok(VerificationKey::new(None, vec![key.algorithm], &decoding))
        };
        keys.iter().enumerate().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// A published set (RFC 7517), and why some of its keys are left out: a set may hold keys for other purposes, and
    /// of kinds that are not known here. An error is for what is no set, or holds no key that can be used.
    pub(crate) fn published(json: &[u8]) -> Result<(Self, Vec<String>), KeySetError> {
        let root: Value = serde_json::from_slice(json).map_err(|_| KeySetError::NotJson)?;
        let Some(Value::Array(items)) = root.get("keys") else { return Err(KeySetError::NoList) };
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for (index, item) in items.iter().enumerate() {
            match published_key(item) {
                Ok(key) if keys.len() < MAX_PUBLISHED_KEYS => keys.push(key),
                Ok(_) => left_out.push(format!("key {index}: there are more than {MAX_PUBLISHED_KEYS}")),
                Err(reason) => left_out.push(format!("key {index}: {reason}")),
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoKey(left_out.join("; ")));
        }
        Ok((Self(keys), left_out))
    }

    /// The number of keys.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that may have signed a token.
    pub(super) fn candidates<'a>(
        &'a self,
        token: &'a UnverifiedToken<'a>,
    ) -> impl Iterator<Item = &'a VerificationKey> {
        self.0.iter().filter(|key| key.may_have_signed(token))
    }
}

/// One key of a published set; the error says why it is of no use.
fn published_key(json: &Value) -> Result<VerificationKey, String> {
    let jwk: Jwk =
        serde_json::from_value(json.clone()).map_err(|_| "it is no JSON Web Key that is known".to_owned())?;
    if jwk.common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature) {
        return Err("it is not for signatures".to_owned());
    }
    if jwk.common.key_operations.as_ref().is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
        return Err("it is not for verifying".to_owned());
    }
    let of_its_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms(),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return Err("its curve is not supported".to_owned()),
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        // A secret that is published is none.
        AlgorithmParameters::OctetKey(_) => return Err("it is a shared secret".to_owned()),
        _ => return Err("its kind is not supported".to_owned()),
    };
    let algorithms = match json.get("alg").and_then(Value::as_str) {
        None => of_its_kind.to_vec(),
        Some(name) => {
            let named = name.parse::<Algorithm>().ok().filter(|named| of_its_kind.contains(named));
            vec![named.ok_or("its algorithm is not supported, or is not one of its kind of key")?]
        }
    };
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| "its numbers cannot be read".to_owned())?;
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

    /// A token of another algorithm, or one that names another key, is not tried: what a token says of itself never
    /// makes a public key a shared secret.
    fn may_have_signed(&self, token: &UnverifiedToken<'_>) -> bool {
        let named = match (&self.id, &token.key_id) {
            (Some(own), Some(named)) => own == named,
            _ => true,
        };
        named && token.algorithm.is_some_and(|algorithm| self.algorithms.contains(&algorithm))
    }

    /// Whether the token says that it is this key's.
    pub(super) fn is_named_by(&self, token: &UnverifiedToken<'_>) -> bool {
        self.id.is_some() && self.id == token.key_id
    }

    /// Whether this key made the token's signature, with the algorithm the token names.
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

/// ring wants numbers without zeros in front; some publish them with.
fn without_leading_zeros(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}

// === tokens ===

/// A token that has been taken apart, and not been checked.
pub(super) struct UnverifiedToken<'a> {
    /// What was signed.
    message: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
    /// None: `none`, or one that is not known here.
    algorithm: Option<Algorithm>,
    key_id: Option<String>,
}

impl<'a> UnverifiedToken<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, AuthError> {
        let (message, signature) = text.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(AuthError::Malformed)?;
        let header: Map<String, Value> = decode_part(header)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| AuthError::Malformed)?;
        // An extension that must be understood (RFC 7515, section 4.1.11), and is not.
        if payload.contains('.') || header.contains_key("crit") || !matches!(header.get("alg"), Some(Value::String(_)))
        {
            return Err(AuthError::Malformed);
        }
        let parsed: Option<Header> = serde_json::from_value(Value::Object(header)).ok();
        let (algorithm, key_id) = parsed.map_or((None, None), |header| (Some(header.alg), header.kid));
        Ok(Self { message, payload, signature, algorithm, key_id })
    }

    /// Whether there is a signature of a kind that is known.
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
