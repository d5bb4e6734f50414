//! The names of all keys, by table, and the mapping of environment variables to key paths.

use super::options::OPTIONS;
use super::problem::nearest;

/// The keys at the top level.
pub(super) const TOP_LEVEL: &[&str] = &[
    "listen",
    "demo",
    "log",
    "log_format",
    "cors_origins",
    "websocket_origins",
    "max_connections",
    "shutdown_timeout",
    "drain_delay",
    "request_timeout",
    "backplane",
    "auth",
    "hub_defaults",
    "hubs",
];
/// The keys of `[backplane]`.
pub(super) const BACKPLANE: &[&str] = &["type", "connection", "channel_prefix"];
/// The keys of `[hubs.NAME]` that are not options.
pub(super) const HUB: &[&str] =
    &["path", "backplane_name", "authorize", "allowed_groups", "on_connected", "on_disconnected", "methods"];
/// The keys of `[hubs.NAME.methods.METHOD]`.
pub(super) const METHOD: &[&str] =
    &["params", "authorize", "allowed_groups", "upload", "each", "do", "returns", "streams"];
/// The keys of `[auth]`.
pub(super) const AUTH: &[&str] = &["keys", "jwks_url", "issuer", "audience", "clock_skew", "user_id_claim"];
/// The keys of an entry of `auth.keys`.
pub(super) const KEY: &[&str] = &["algorithm", "secret", "file"];
/// The keys of `authorize`.
pub(super) const AUTHORIZE: &[&str] = &["roles", "claims"];

/// All keys of `[hubs.NAME]`.
pub(super) fn hub_keys() -> Vec<&'static str> {
    HUB.iter().chain(OPTIONS).copied().collect()
}

/// Whether the names in the table at `path` are case-insensitive.
pub(super) fn is_name_table(path: &[String]) -> bool {
    match path {
        [hubs] => hubs == "hubs",
        [hubs, _, methods] => hubs == "hubs" && methods == "methods",
        _ => false,
    }
}

/// The full path of a key that is called `key` in another table, for a hint.
pub(super) fn path_elsewhere(key: &str) -> Option<String> {
    let key = key.to_lowercase();
    if BACKPLANE.contains(&key.as_str()) {
        return Some(format!("backplane.{key}"));
    }
    if AUTH.contains(&key.as_str()) {
        return Some(format!("auth.{key}"));
    }
    if TOP_LEVEL.contains(&key.as_str()) {
        return Some(format!("{key}` at the top of the file, before the first table, as in `{key} = ..."));
    }
    OPTIONS.contains(&key.as_str()).then(|| format!("hub_defaults.{key}"))
}

/// The key path of an environment variable, whose `name` is given without `HUBPLANE_`. An error contains the variable
/// that was probably meant, if there is one.
pub(super) fn path_of_variable(name: &str) -> Result<Vec<String>, Option<String>> {
    let parts: Vec<&str> = name.split("__").collect();
    let known = |part: &str, keys: &[&'static str]| -> Result<String, Option<String>> {
        let lower = part.to_ascii_lowercase();
        if keys.contains(&lower.as_str()) {
            return Ok(lower);
        }
        Err(nearest(&lower, keys.iter().copied()).map(str::to_owned))
    };
    let suggest = |before: &[String], last: Option<String>| {
        last.map(|last| {
            let path: Vec<String> =
                before.iter().map(|part| part.to_ascii_uppercase()).chain([last.to_ascii_uppercase()]).collect();
            format!("HUBPLANE_{}", path.join("__"))
        })
    };
    let mut path: Vec<String> = Vec::new();
    for part in parts {
        let depth: Vec<&str> = path.iter().map(String::as_str).collect();
        let next = match depth.as_slice() {
            [] => known(part, TOP_LEVEL),
            ["auth"] => known(part, AUTH),
            ["hubs", _, "authorize"] | ["hubs", _, "methods", _, "authorize"] => known(part, AUTHORIZE),
            ["hubs", _, "authorize", "claims"] | ["hubs", _, "methods", _, "authorize", "claims"]
                if !part.is_empty() =>
            {
                Ok(part.to_owned())
            }
            ["backplane"] => known(part, BACKPLANE),
            ["hub_defaults"] => known(part, OPTIONS),
            ["hubs"] | ["hubs", _, "methods"] if !part.is_empty() => Ok(part.to_owned()),
            ["hubs", _] => known(part, &hub_keys()),
            ["hubs", _, "methods", _] => known(part, METHOD),
            _ => return Err(None),
        };
        match next {
            Ok(key) => path.push(key),
            Err(last) => {
                let all: Vec<String> = path.clone();
                let single = if path.is_empty() { single_underscores(name) } else { None };
                return Err(single.or_else(|| suggest(&all, last)));
            }
        }
    }
    Ok(path)
}

/// The variable that was meant by a name with single underscores (`BACKPLANE_CONNECTION`).
fn single_underscores(name: &str) -> Option<String> {
    let name = name.to_ascii_uppercase();
    let tables = [("BACKPLANE", BACKPLANE), ("AUTH", AUTH), ("HUB_DEFAULTS", OPTIONS)];
    tables.iter().find_map(|(table, keys)| {
        let rest = name.strip_prefix(table)?.strip_prefix('_')?;
        keys.contains(&rest.to_ascii_lowercase().as_str()).then(|| format!("HUBPLANE_{table}__{rest}"))
    })
}
