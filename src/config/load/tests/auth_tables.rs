//! Tests of `[auth]`, `authorize` and `allowed_groups`: what is read, what is refused, and that no key is ever shown.

use super::*;
use crate::config::auth::{Algorithm, Authorize, GroupPattern, KeyMaterial};
use crate::config::steps::{Placeholder, Template, TemplatePart};

const SECRET: &str = "a secret of thirty-two bytes ....";

/// Loads a file, with the PEM files of the tests in the same folder.
fn guarded(text: &str) -> Result<LoadedConfig, ConfigError> {
    let files = [
        ("hubplane.toml", text),
        ("rsa.pem", include_str!("../../../../tests/keys/rsa.pub.pem")),
        ("private.pem", include_str!("../../../../tests/keys/rsa.pem")),
        ("short.pem", include_str!("../../../../tests/keys/short-rsa.pub.pem")),
        ("p256.pem", include_str!("../../../../tests/keys/p256.pub.pem")),
        ("p384.pem", include_str!("../../../../tests/keys/p384.pub.pem")),
        ("k256.pem", include_str!("../../../../tests/keys/k256.pub.pem")),
        ("ed.pem", include_str!("../../../../tests/keys/ed25519.pub.pem")),
    ];
    Given { files: &files, ..Given::default() }.load()
}

#[test]
fn the_example_of_the_design_is_loaded() {
    let loaded = guarded(
        r#"
        [auth]
        keys = [ { algorithm = "HS256", secret = "hunter2" }, { algorithm = "RS256", file = "rsa.pem" } ]
        jwks_url = "https://login.example.com/keys"
        issuer = "https://login.example.com"
        audience = ["chat", "other"]
        clock_skew = "5m"
        user_id_claim = "nameid"
        [hubs.chat]
        authorize = true
        allowed_groups = ["user:{user_id}", "room-*"]
        close_on_authentication_expiration = true
        [hubs.chat.methods.Delete]
        authorize = { roles = ["admin", "owner"], claims = { tier = "gold", level = [1, "two", true] } }
        allowed_groups = []
        returns = 1
        [hubs.open]
        authorize = false
        "#,
    );
    let loaded = loaded.unwrap();
    let auth = &loaded.config.auth;
    assert_eq!(auth.keys[0].algorithm, Algorithm::HS256);
    assert_eq!(auth.keys[0].material, KeyMaterial::Secret("hunter2".to_owned()));
    assert_eq!(auth.keys[1].algorithm, Algorithm::RS256);
    assert_eq!((auth.issuer.len(), auth.audience.len()), (1, 2));
    assert_eq!(auth.user_id_claim.as_deref(), Some("nameid"));
    let [chat, open] = loaded.config.hubs.as_slice() else { panic!("two hubs") };
    assert_eq!(chat.authorize.as_deref(), Some(&Authorize::user()));
    assert_eq!(open.authorize, None);
    let user = TemplatePart::Placeholder(Placeholder::UserId);
    assert_eq!(
        chat.allowed_groups.as_deref(),
        Some(
            &[
                GroupPattern { name: Template(vec![TemplatePart::Text("user:".to_owned()), user]), is_prefix: false },
                GroupPattern { name: Template(vec![TemplatePart::Text("room-".to_owned())]), is_prefix: true },
            ][..]
        )
    );
    let rule = Authorize::user().role("admin").role("owner").claim("tier", "gold");
    let rule = rule.claim("level", "1").claim("level", "two").claim("level", "true");
    assert_eq!(chat.methods[0].authorize.as_deref(), Some(&rule));
    assert_eq!(chat.methods[0].allowed_groups.as_deref(), Some(&[][..]));
    // There is a warning about short secrets; nothing shows them.
    assert_eq!(
        loaded.warnings,
        ["hubplane.toml:3: auth.keys[0].secret: is short: HS256 needs at least 32 bytes (RFC 7518, section 3.2)"]
    );
    let printed = effective::print(&loaded);
    let keys =
        "auth.keys = [{ algorithm = \"HS256\", secret = \"***\" }, { algorithm = \"RS256\", file = \"rsa.pem\" }]";
    assert!(printed.contains(keys), "{printed}");
    assert!(!format!("{printed}{loaded:?}").contains("hunter2"));
    assert_eq!(origin_of(&loaded, "hubs.chat.methods.Delete.authorize"), "hubplane.toml:14");
}

#[test]
fn each_algorithm_requires_its_kind_of_key() {
    for (algorithm, file) in
        [("RS256", "rsa"), ("RS384", "rsa"), ("PS512", "rsa"), ("ES256", "p256"), ("ES384", "p384"), ("EdDSA", "ed")]
    {
        let source = format!("auth.keys = [{{ algorithm = \"{algorithm}\", file = \"{file}.pem\" }}]\n[hubs.a]");
        assert_eq!(problems(guarded(&source)), Vec::<String>::new(), "{algorithm}");
    }
}

#[test]
fn auth_keys_can_be_set_by_variables() {
    let keys = format!("[{{ algorithm = \"HS256\", secret = \"{SECRET}\" }}]");
    let environment = [
        ("HUBPLANE_AUTH__KEYS", keys.as_str()),
        ("HUBPLANE_AUTH__ISSUER", "https://a.example"),
        ("HUBPLANE_AUTH__AUDIENCE", "[\"a\", \"b\"]"),
        ("HUBPLANE_HUBS__A__AUTHORIZE", "true"),
        ("HUBPLANE_HUBS__A__ALLOWED_GROUPS", "room-*,lobby"),
        ("HUBPLANE_HUBS__B__AUTHORIZE__ROLES", "admin"),
        ("HUBPLANE_HUBS__B__AUTHORIZE__CLAIMS__tier", "gold"),
    ];
    let loaded = with_environment(&environment, "[hubs.a]\n[hubs.b]").unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let config = &loaded.config;
    assert_eq!((config.auth.keys.len(), config.auth.audience.len()), (1, 2));
    assert_eq!(config.auth.issuer, ["https://a.example"]);
    assert_eq!(config.hubs[0].authorize.as_deref(), Some(&Authorize::user()));
    assert_eq!(config.hubs[0].allowed_groups.as_ref().map(Vec::len), Some(2));
    let rule = Authorize::user().role("admin").claim("tier", "gold");
    assert_eq!(config.hubs[1].authorize.as_deref(), Some(&rule));
    assert_eq!(origin_of(&loaded, "auth.keys"), "HUBPLANE_AUTH__KEYS");
    assert!(!effective::print(&loaded).contains("thirty-two"));
}

#[test]
fn errors_name_the_problem_and_never_the_key() {
    let a_key = "a table with an `algorithm` and a `secret` or a `file`, such as { algorithm = \"RS256\", file = \"public.pem\" }";
    for (line, expected) in [
        ("keys = \"hunter2\"", format!("auth.keys: must be a list; each entry is {a_key}")),
        ("keys = []", "auth.keys: must not be empty; remove the key to check no tokens".to_owned()),
        ("keys = [\"hunter2\"]", format!("auth.keys[0]: must be {a_key}")),
        ("keys = [{ secret = \"hunter2\" }]", format!("auth.keys[0]: needs an algorithm; a key is {a_key}")),
        ("keys = [{ algorithm = \"RS256\" }]", format!("auth.keys[0]: needs a secret or a file; a key is {a_key}")),
        (
            "keys = [{ algorithm = \"HS256\", secret = \"hunter2\", file = \"x\" }]",
            "auth.keys[0]: has a secret and a file; keep one of them".to_owned(),
        ),
        (
            "keys = [{ algorithm = \"HS257\", secret = \"hunter2\" }]",
            "auth.keys[0].algorithm: must be one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, \
             ES256, ES384, EdDSA; did you mean \"HS256\"?"
                .to_owned(),
        ),
        (
            "keys = [{ algorithm = \"none\", secret = \"hunter2\" }]",
            "auth.keys[0].algorithm: must be one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, \
             ES256, ES384, EdDSA"
                .to_owned(),
        ),
        (
            "keys = [{ algorithm = \"HS256\", secret = \"\" }]",
            "auth.keys[0].secret: must be a string that is not empty".to_owned(),
        ),
        (
            "keys = [{ algorithm = \"RS256\", secret = \"hunter2\" }]",
            "auth.keys[0].secret: RS256 needs the `file` of a public key, not a secret".to_owned(),
        ),
        (
            "keys = [{ algorithm = \"HS256\", file = \"rsa.pem\" }]",
            "auth.keys[0].file: HS256 needs a `secret`, not a file".to_owned(),
        ),
        (
            "keys = [{ algorithm = \"RS256\", file = \"private.pem\" }]",
            "auth.keys[0].file: is a private key; tokens are verified with the public one, so keep the private one elsewhere"
                .to_owned(),
        ),
        (
            "keys = [{ algorithm = \"RS256\", file = \"short.pem\" }]",
            "auth.keys[0].file: is an RSA key of less than 2048 bits".to_owned(),
        ),
        (
            "keys = [{ algorithm = \"RS256\", file = \"p256.pem\" }]",
            "auth.keys[0].file: is not an RSA public key in PEM format, which RS256 needs".to_owned(),
        ),
        (
            "keys = [{ algorithm = \"ES256\", file = \"p384.pem\" }]",
            "auth.keys[0].file: is not on the curve P-256, which ES256 needs".to_owned(),
        ),
        (
            "keys = [{ algorithm = \"ES256\", file = \"k256.pem\" }]",
            "auth.keys[0].file: is not on the curve P-256, which ES256 needs".to_owned(),
        ),
        (
            "keys = [{ algorithm = \"EdDSA\", file = \"hubplane.toml\" }]",
            "auth.keys[0].file: is not an Ed25519 public key in PEM format, which EdDSA needs".to_owned(),
        ),
        (
            "jwks_url = \"login.example.com\"",
            "auth.jwks_url = \"login.example.com\": must be a URL, such as \"https://login.example.com/keys\"".to_owned(),
        ),
        (
            "jwks_url = \"https://me:hunter2@login.example.com/\"",
            "auth.jwks_url = \"https://me:***@login.example.com/\": must not contain a user or password: published keys are public"
                .to_owned(),
        ),
        ("issuer = 7", "auth.issuer = 7: must be a string or a list of strings".to_owned()),
        ("audience = []", "auth.audience = []: must not be empty; remove the key to accept any".to_owned()),
        ("user_id_claim = \"\"", "auth.user_id_claim = \"\": must not be empty".to_owned()),
        ("jwks = \"x\"", "auth.jwks: unknown key; did you mean `jwks_url`?".to_owned()),
    ] {
        let found = problems(guarded(&format!("[auth]\n{line}\n[hubs.a]")));
        assert_eq!(found, [format!("hubplane.toml:2: {expected}")], "{line}");
    }
    let missing = problems(guarded("[auth]\nkeys = [{ algorithm = \"RS256\", file = \"none.pem\" }]\n[hubs.a]"));
    assert!(missing[0].starts_with("hubplane.toml:2: auth.keys[0].file: cannot read none.pem: "), "{missing:?}");
}

#[test]
fn invalid_rules_are_refused() {
    let rule = "must be true, or { roles = [\"admin\"], claims = { tier = \"gold\" } }";
    for (line, expected) in [
        ("authorize = \"yes\"", format!("hubs.a.authorize = \"yes\": {rule}")),
        ("authorize = {}", "hubs.a.authorize = {}: must name roles or claims; true admits every user".to_owned()),
        (
            "authorize = { role = \"admin\" }",
            "hubs.a.authorize = { role = \"admin\" }: has an unknown key role; did you mean `roles`?".to_owned(),
        ),
        (
            "authorize = { roles = [] }",
            "hubs.a.authorize = { roles = [] }: `roles` must be a role or a list of roles".to_owned(),
        ),
        (
            "authorize = { claims = { tier = 1.5 } }",
            "hubs.a.authorize = { claims = { tier = 1.5 } }: the claim tier must be a value or a list of values".to_owned(),
        ),
        (
            "allowed_groups = \"room-*\"",
            "hubs.a.allowed_groups = \"room-*\": must be a list of strings, not a string".to_owned(),
        ),
        (
            "allowed_groups = [\"*-room\"]",
            "hubs.a.allowed_groups = [\"*-room\"]: \"*-room\" has a * that is not at its end".to_owned(),
        ),
        (
            "allowed_groups = [\"{room}\"]",
            "hubs.a.allowed_groups = [\"{room}\"]: has an unknown placeholder {room}; known here: {connection_id}, {user_id}, {hub}"
                .to_owned(),
        ),
    ] {
        let source = format!("auth.keys = [{{ algorithm = \"HS256\", secret = \"{SECRET}\" }}]\n[hubs.a]\n{line}");
        assert_eq!(problems(guarded(&source)), [format!("hubplane.toml:3: {expected}")], "{line}");
    }
}

#[test]
fn a_rule_needs_keys() {
    let text = "needs keys to check tokens with: set auth.keys or auth.jwks_url";
    let method = "[hubs.a.methods.M]\nreturns = 1\nauthorize = { roles = [\"x\"] }";
    assert_eq!(problems(file("[hubs.a]\nauthorize = true")), [format!("hubplane.toml:2: hubs.a.authorize: {text}")]);
    assert_eq!(problems(file(method)), [format!("hubplane.toml:3: hubs.a.methods.M.authorize: {text}")]);
    // Invalid keys are reported once, not twice.
    let wrong = "auth.keys = [{ algorithm = \"HS256\", secret = \"\" }]\n[hubs.a]\nauthorize = true";
    assert_eq!(problems(file(wrong)).len(), 1);
    for (source, part) in [
        ("[auth]\nissuer = \"x\"\n[hubs.a]", "hubplane.toml:2: auth.issuer: no effect without auth.keys"),
        ("[auth]\nclock_skew = \"1s\"\n[hubs.a]", "hubplane.toml:2: auth.clock_skew: no effect"),
        ("[auth]\njwks_url = \"http://a.example/\"\n[hubs.a]", "hubplane.toml:2: auth.jwks_url: keys fetched over"),
        (
            "[hubs.a]\nclose_on_authentication_expiration = true",
            "hubplane.toml:2: hubs.a.close_on_authentication_expiration: no effect: no tokens are checked",
        ),
    ] {
        let warnings = file(source).unwrap().warnings;
        assert!(matches!(warnings.as_slice(), [one] if one.starts_with(part)), "{source}: {warnings:?}");
    }
}
