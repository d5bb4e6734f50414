//! Tests of tokens: every algorithm, keys that are mixed up, times, issuers, key sets. Keys and tokens were made by other
//! programs (tests/keys).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;

use super::mint::{TokenError, TokenRequest, mint};
use super::*;
use crate::config::auth::{ALGORITHMS, Algorithm, KeyConfig, KeyMaterial};

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../tests/keys/", $name))
    };
}

const NOW: u64 = 1_700_000_000;

fn tokens() -> (String, BTreeMap<String, String>, BTreeMap<String, String>) {
    let all: Value = serde_json::from_str(file!("tokens.json")).unwrap();
    let map = |name: &str| serde_json::from_value(all[name].clone()).unwrap();
    (all["secret"].as_str().unwrap().to_owned(), map("plain"), map("named"))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn pem(algorithm: Algorithm) -> KeyMaterial {
    KeyMaterial::Pem(
        match algorithm {
            Algorithm::ES256 => file!("p256.pub.pem"),
            Algorithm::ES384 => file!("p384.pub.pem"),
            Algorithm::EdDSA => file!("ed25519.pub.pem"),
            _ => file!("rsa.pub.pem"),
        }
        .to_owned(),
    )
}

fn key(algorithm: Algorithm) -> KeyConfig {
    let material = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => KeyMaterial::Secret(tokens().0),
        other => pem(other),
    };
    KeyConfig { algorithm, material }
}

fn checker(keys: Vec<KeyConfig>) -> TokenValidator {
    TokenValidator::new(&AuthConfig { keys, ..AuthConfig::default() }, None).unwrap()
}

/// Signs with HS256 whatever header and claims are.
fn signed(header: &Value, claims: &Value) -> String {
    let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let made = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, tokens().0.as_bytes()), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(made))
}

fn hs256(claims: &Value) -> String {
    signed(&json!({ "alg": "HS256" }), claims)
}

// === signatures ===

#[test]
fn each_algorithm_verifies_only_with_its_own_key() {
    let (_, plain, _) = tokens();
    assert_eq!(plain.len(), ALGORITHMS.len());
    for (name, algorithm) in ALGORITHMS {
        let checker = checker(vec![key(algorithm)]);
        for (of, token) in &plain {
            let checked = checker.check(token, at(NOW));
            match of == name {
                true => assert_eq!(checked.unwrap().user, Some("ann".into()), "{of}"),
                false => assert_eq!(checked.unwrap_err(), AuthError::KeyNotFound, "{of} with a key for {name}"),
            }
        }
    }
    let all = checker(ALGORITHMS.map(|(_, algorithm)| key(algorithm)).to_vec());
    for (name, token) in &plain {
        assert!(all.check(token, at(NOW)).is_ok(), "{name}");
        // One letter of the payload, one of the signature, and none of it.
        let (message, signature) = token.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        for (wrong, expected) in [
            (format!("{message}.{other}{}", &signature[1..]), AuthError::KeyNotFound),
            (format!("{message}."), AuthError::Signature),
        ] {
            assert_eq!(all.check(&wrong, at(NOW)).unwrap_err(), expected, "{name}");
        }
        let (header, _) = message.split_once('.').unwrap();
        let payload = URL_SAFE_NO_PAD.encode(json!({ "sub": "root", "exp": 4_102_444_800_u64 }).to_string());
        assert!(all.check(&format!("{header}.{payload}.{signature}"), at(NOW)).is_err(), "{name}");
    }
}

#[test]
fn a_public_key_is_not_accepted_as_a_shared_secret() {
    // The old trick: a token of HS256 whose secret is the text, or the bytes, of the server's public key.
    let message = [json!({ "alg": "HS256" }), json!({ "sub": "ann", "exp": 4_102_444_800_u64 })]
        .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
        .join(".");
    let pem = file!("rsa.pub.pem");
    let der = key(Algorithm::RS256).decoding_key().unwrap().try_get_as_bytes().unwrap().to_vec();
    let checker = checker(vec![key(Algorithm::RS256), key(Algorithm::ES256), key(Algorithm::EdDSA)]);
    for secret in [pem.as_bytes(), pem.trim().as_bytes(), &der] {
        let made = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(made));
        assert_eq!(checker.check(&token, at(NOW)), Err(AuthError::KeyNotFound));
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    let checker = checker(vec![key(Algorithm::HS256)]);
    let claims = URL_SAFE_NO_PAD.encode(json!({ "sub": "x", "exp": 4_102_444_800_u64 }).to_string());
    for algorithm in ["none", "None", "NONE", "nOnE"] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": algorithm }).to_string());
        assert_eq!(checker.check(&format!("{header}.{claims}."), at(NOW)), Err(AuthError::Signature), "{algorithm}");
        let forged = hs256(&json!({ "exp": 4_102_444_800_u64 })).replace("eyJhbGciOiJIUzI1NiJ9", &header);
        assert!(checker.check(&forged, at(NOW)).is_err(), "{algorithm}");
    }
}

#[test]
fn malformed_tokens_are_refused() {
    let checker = checker(vec![key(Algorithm::HS256)]);
    let good = hs256(&json!({ "sub": "ann", "exp": NOW }));
    assert!(checker.check(&good, at(NOW)).is_ok());
    let critical = signed(&json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), &json!({ "exp": NOW }));
    let no_object = signed(&json!({ "alg": "HS256" }), &json!([1]));
    let odd_time = hs256(&json!({ "exp": "soon" }));
    for text in [
        "",
        ".",
        "..",
        "...",
        "nonsense",
        "a.b.c",
        &format!("{good}="),
        &format!("{good}.x"),
        &format!(" {good}"),
        &format!("x{good}"),
        &critical,
        &no_object,
        &odd_time,
        "e30.e30.e30",
        "W10.e30.AAAA",
    ] {
        assert_eq!(checker.check(text, at(NOW)), Err(AuthError::Malformed), "{text}");
    }
    assert_eq!(AuthError::Malformed.challenge(), "Bearer error=\"invalid_token\"");
}

#[test]
fn dotnet_tokens_are_read_as_in_aspnet_core() {
    // Recorded with ASP.NET Core (probes `auth`).
    let secret = "hubplane-conformance-key-of-32-bytes-or-more";
    let material = KeyMaterial::Secret(secret.to_owned());
    let checker = checker(vec![KeyConfig { algorithm: Algorithm::HS256, material }]);
    let long = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.pEBXIcetwuE9CPYFMaaxoW8XTMURPOsSqMhErBghfAc";
    assert_eq!(checker.check(long, at(NOW)).unwrap().user, Some("ann".into()));
    let old = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJodHRwOi8vc2NoZW1hcy54bWxzb2FwLm9yZy93cy8yMDA1LzA1L2lkZW50aXR5L2NsYWltcy9uYW1laWRlbnRpZmllciI6InRlc3R1c2VyIiwiZXhwIjoxNjAwMDAwMDAwfQ.xP-645Waz68Y1sVU2Yxbp-3vxPg_p38eEP30vris-Ms";
    assert_eq!(
        checker.check(old, at(NOW)).unwrap_err().challenge(),
        "Bearer error=\"invalid_token\", error_description=\"The token expired at '09/13/2020 12:26:40'\""
    );
    assert_eq!(checker.check(old, at(1_600_000_000)).unwrap().user, Some("testuser".into()));
    let foreign = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ4IiwiZXhwIjo0MTAyNDQ0ODAwfQ.c2lnbmF0dXJlLXRoYXQtaXMtbm90LW9uZS1hdC1hbGwtMTI";
    assert_eq!(
        checker.check(foreign, at(NOW)).unwrap_err().challenge(),
        "Bearer error=\"invalid_token\", error_description=\"The signature key was not found\""
    );
    let bare = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4IiwiZXhwIjo0MTAyNDQ0ODAwfQ.";
    assert_eq!(
        checker.check(bare, at(NOW)).unwrap_err().challenge(),
        "Bearer error=\"invalid_token\", error_description=\"The signature is invalid\""
    );
}

// === claims ===

#[test]
fn lifetimes_allow_for_clock_skew() {
    let config = AuthConfig { keys: vec![key(Algorithm::HS256)], clock_skew: Duration::ZERO, ..AuthConfig::default() };
    let within = TokenValidator::new(&config, None)
        .unwrap()
        .check(&hs256(&json!({ "exp": NOW })), at(NOW) + Duration::from_millis(1));
    assert_eq!(within, Err(AuthError::Expired(NOW)), "a second is not waited out");
    let skewed = |skew: u64| {
        let clock_skew = Duration::from_secs(skew);
        let config = AuthConfig { keys: vec![key(Algorithm::HS256)], clock_skew, ..AuthConfig::default() };
        TokenValidator::new(&config, None).unwrap()
    };
    for (skew, claims, refused) in [
        (300, json!({ "exp": NOW - 300 }), None),
        (300, json!({ "exp": NOW - 301 }), Some(AuthError::Expired(NOW - 301))),
        (0, json!({ "exp": NOW }), None),
        (0, json!({ "exp": NOW - 1 }), Some(AuthError::Expired(NOW - 1))),
        (0, json!({ "exp": 1e300, "nbf": 0.5 }), None),
        (0, json!({ "exp": u64::MAX }), None),
        (300, json!({ "exp": NOW + 900, "nbf": NOW + 300 }), None),
        (300, json!({ "exp": NOW + 900, "nbf": NOW + 301 }), Some(AuthError::NotBefore(NOW + 301))),
        (300, json!({ "exp": NOW, "nbf": NOW + 1 }), Some(AuthError::Lifetime { not_before: NOW + 1, expires: NOW })),
        (300, json!({}), Some(AuthError::NoExpiration)),
        (300, json!({ "exp": null }), Some(AuthError::Malformed)),
        (300, json!({ "exp": -1 }), Some(AuthError::Malformed)),
        (300, json!({ "exp": NOW, "nbf": "x" }), Some(AuthError::Malformed)),
    ] {
        let checked = skewed(skew).check(&hs256(&claims), at(NOW));
        assert_eq!(checked.as_ref().err(), refused.as_ref(), "{claims}");
    }
}

#[test]
fn issuer_and_audience_are_checked_when_configured() {
    let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    for (issuer, audience, claims, refused) in [
        (&[][..], &[][..], json!({ "iss": "x", "aud": "y" }), None),
        (&["a", "b"], &[], json!({ "iss": "b" }), None),
        (&["a", "b"], &[], json!({ "iss": "c" }), Some("The issuer 'c' is invalid")),
        (&["a"], &[], json!({}), Some("The issuer '(null)' is invalid")),
        (&["a"], &[], json!({ "iss": ["a"] }), Some("The issuer '(null)' is invalid")),
        (&[], &["a", "b"], json!({ "aud": "a" }), None),
        (&[], &["a", "b"], json!({ "aud": ["x", "b"] }), None),
        (&[], &["a"], json!({ "aud": ["x", "y"] }), Some("The audience 'x, y' is invalid")),
        (&[], &["a"], json!({}), Some("The audience '(null)' is invalid")),
    ] {
        let config = AuthConfig {
            keys: vec![key(Algorithm::HS256)],
            issuer: list(issuer),
            audience: list(audience),
            ..AuthConfig::default()
        };
        let mut claims = claims;
        claims["exp"] = json!(NOW);
        let checked = TokenValidator::new(&config, None).unwrap().check(&hs256(&claims), at(NOW));
        assert_eq!(checked.err().and_then(|refused| refused.description()).as_deref(), refused, "{claims}");
    }
}

#[test]
fn user_and_roles_come_from_the_claims() {
    let long = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier";
    let role = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role";
    for (named, claims, user, roles) in [
        (None, json!({ "sub": "ann" }), Some("ann"), &[][..]),
        (None, json!({ "nameid": "bob" }), Some("bob"), &[]),
        (None, json!({ long: "cid", "sub": "ann", "nameid": "bob" }), Some("cid"), &[]),
        (None, json!({ "sub": 7 }), Some("7"), &[]),
        (None, json!({ "sub": "" }), None, &[]),
        (None, json!({ "name": "ann" }), None, &[]),
        (Some("email"), json!({ "sub": "ann", "email": "ann@example.com" }), Some("ann@example.com"), &[]),
        (Some("email"), json!({ "sub": "ann" }), None, &[]),
        (None, json!({ "role": "a", "roles": ["b", "c"], role: "d" }), None, &["a", "b", "c", "d"]),
    ] {
        let mut all = claims.clone();
        all["exp"] = json!(NOW);
        let config = AuthConfig {
            keys: vec![key(Algorithm::HS256)],
            user_id_claim: named.map(str::to_owned),
            ..AuthConfig::default()
        };
        let principal = TokenValidator::new(&config, None).unwrap().check(&hs256(&all), at(NOW)).unwrap();
        assert_eq!(principal.user.as_ref().map(crate::ids::UserId::as_str), user, "{claims}");
        assert_eq!(principal.roles, roles, "{claims}");
        assert_eq!(principal.expires, Some(at(NOW)));
    }
}

// === published keys ===

#[test]
fn published_keys_are_selected_by_kid_and_algorithm() {
    let (_, plain, named) = tokens();
    let cache = Arc::new(JwksCache::default());
    let config = AuthConfig { jwks_url: Some("http://x/".to_owned()), ..AuthConfig::default() };
    let checker = TokenValidator::new(&config, Some(cache.clone())).unwrap();
    assert_eq!(checker.check(&named["RS256"], at(NOW)), Err(AuthError::KeysMissing), "nothing has come yet");

    let (set, left_out) = KeySet::published(file!("jwks.json").as_bytes()).unwrap();
    assert_eq!((set.len(), left_out.len()), (4, 5), "{left_out:?}");
    cache.store(Some(set));
    for (name, token) in &named {
        let known = !name.contains("other");
        assert_eq!(checker.check(token, at(NOW)).is_ok(), known, "{name}");
    }
    for (name, token) in &plain {
        assert_eq!(checker.check(token, at(NOW)).is_ok(), !name.starts_with("HS"), "{name} without a kid");
    }
    // A kid that is known, and a signature that is another's.
    let (message, _) = named["RS256"].rsplit_once('.').unwrap();
    let (_, signature) = named["RS384"].rsplit_once('.').unwrap();
    assert_eq!(checker.check(&format!("{message}.{signature}"), at(NOW)), Err(AuthError::Signature));

    // Rotation: the old keys go, the new one comes, and is for RS256 alone.
    cache.store(Some(KeySet::published(file!("jwks-rotated.json").as_bytes()).unwrap().0));
    assert_eq!(checker.check(&named["RS256"], at(NOW)), Err(AuthError::KeyNotFound));
    assert!(checker.check(&named["RS256 of other-rsa"], at(NOW)).is_ok());
    // In vain: what is known stays.
    cache.store(None);
    assert!(checker.check(&named["RS256 of other-rsa"], at(NOW)).is_ok());
    // A token that names another key is not tried with this one, so that new keys are asked for.
    let renamed = file!("jwks.json").replace("\"kid\": \"", "\"kid\": \"not-");
    cache.store(Some(KeySet::published(renamed.as_bytes()).unwrap().0));
    assert!(checker.check(&plain["RS256"], at(NOW)).is_ok());
    assert_eq!(checker.check(&named["RS256"], at(NOW)), Err(AuthError::KeyNotFound));
}

#[test]
fn an_invalid_key_set_is_an_error() {
    for (json, part) in [
        ("", "not JSON"),
        ("[]", "no list `keys`"),
        ("{\"keys\":{}}", "no list `keys`"),
        ("{\"keys\":[]}", "no key that signs"),
        ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "key 0: it is a shared secret"),
        ("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", "less than 2048 bits"),
        ("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}]}", "not on the curve P-256"),
        ("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\",\"alg\":\"HS256\"}]}", "not one of its kind"),
    ] {
        let error = KeySet::published(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(part), "{json}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_refresh_is_awaited_and_rate_limited() {
    let cache = Arc::new(JwksCache::default());
    let patience = Duration::from_secs(3);
    let fetcher = tokio::spawn({
        let cache = cache.clone();
        async move {
            cache.refresh_requested().await;
            cache.store(Some(KeySet::published(file!("jwks.json").as_bytes()).unwrap().0));
        }
    });
    assert!(cache.refresh(patience).await, "they came");
    fetcher.await.unwrap();
    assert!(cache.current().is_some());
    let began = tokio::time::Instant::now();
    assert!(!cache.refresh(patience).await, "a moment ago");
    assert_eq!(began.elapsed(), Duration::ZERO, "and nobody waits");
    cache.end_cooldown();
    assert!(!cache.refresh(patience).await, "nobody fetches them");
    assert_eq!(began.elapsed(), patience);
}

// === requests ===

#[test]
fn the_query_token_wins_over_the_header() {
    let of = |uri: &str, header: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            for header in header.split('|') {
                headers.append(AUTHORIZATION, http::HeaderValue::from_bytes(header.as_bytes()).unwrap());
            }
        }
        token_of(&uri.parse().unwrap(), &headers)
    };
    for (uri, header, token) in [
        ("/chat", None, None),
        ("/chat", Some("Bearer h"), Some("h")),
        ("/chat", Some("bearer  h "), Some("h")),
        ("/chat", Some("Bearer"), None),
        ("/chat", Some("Bearer "), None),
        ("/chat", Some("Basic dTpw"), None),
        ("/chat?access_token=q", None, Some("q")),
        ("/chat?id=1&Access_Token=q%2E", Some("Bearer h"), Some("q.")),
        ("/chat?access_token=", Some("Bearer h"), Some("h")),
        ("/chat?access_token=a&access_token=b", None, Some("a,b")),
        ("/chat?access_token=a&ACCESS_TOKEN=", None, Some("a")),
        ("/chat", Some("Bearer a|Bearer b"), Some("a,Bearer b")),
        ("/chat", Some("Bearer \u{e9}"), Some("\u{e9}")),
    ] {
        assert_eq!(of(uri, header).as_deref(), token, "{uri} {header:?}");
    }
}

// === development tokens ===

#[test]
fn a_minted_token_is_accepted_by_the_same_configuration() {
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let config = AuthConfig {
            keys: vec![key(Algorithm::RS256), key(algorithm)],
            issuer: vec!["https://a.example".to_owned()],
            audience: vec!["chat".to_owned(), "other".to_owned()],
            user_id_claim: Some("nameid".to_owned()),
            ..AuthConfig::default()
        };
        let request = TokenRequest::new("ann", Duration::from_secs(60))
            .role("admin")
            .role("editor")
            .claim("tier", "gold")
            .claim("team", "a")
            .claim("team", "b");
        let token = mint(&config, &request, at(NOW)).unwrap();
        let principal = TokenValidator::new(&config, None).unwrap().check(&token, at(NOW)).unwrap();
        assert_eq!(principal.user, Some("ann".into()));
        assert_eq!(principal.roles, ["admin", "editor"]);
        assert_eq!(principal.claim("team").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(principal.claim("tier").collect::<Vec<_>>(), ["gold"]);
        assert_eq!(principal.expires, Some(at(NOW + 60)));
    }
    let request = TokenRequest::new("ann", Duration::from_secs(60));
    let config = AuthConfig { keys: vec![key(Algorithm::HS256)], ..AuthConfig::default() };
    let reserved = mint(&config, &request.clone().claim("exp", "1"), at(NOW));
    assert_eq!(reserved, Err(TokenError::ReservedClaim("exp".to_owned())));
    let config = AuthConfig { keys: vec![key(Algorithm::RS256)], ..AuthConfig::default() };
    assert_eq!(mint(&config, &request, at(NOW)), Err(TokenError::NoSymmetricKey));
}

#[test]
fn debug_output_contains_no_key_and_no_claim() {
    let config = AuthConfig { keys: vec![key(Algorithm::HS256)], ..AuthConfig::default() };
    let checker = TokenValidator::new(&config, None).unwrap();
    let principal = checker.check(&hs256(&json!({ "sub": "ann", "exp": NOW, "iban": "DE00" })), at(NOW)).unwrap();
    let shown = format!("{config:?} {checker:?} {principal:?}");
    assert!(!shown.contains("a-secret-of-the-tests") && !shown.contains("DE00"), "{shown}");
    let bytes = format!("{:?}", tokens().0.as_bytes());
    assert!(!shown.contains(&bytes[1..60]), "{shown}");
}
