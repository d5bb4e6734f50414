//! Reads `[auth]`, `authorize` and `allowed_groups`. The content of a key is never shown, not even if it is invalid.

use std::io;
use std::path::Path;
use std::sync::Arc;

use http::Uri;

use super::auth::{ALGORITHMS, AuthConfig, Authorize, GroupPattern, KeyConfig, KeyMaterial};
use super::key_names;
use super::mask::MASK;
use super::node::{self, ConfigNode, ConfigValue, Origin, TableEntry};
use super::parse::{self, Parsed};
use super::problem::{Problem, nearest, suggestion};
use super::reader::{ConfigReader, TableReader, ToToml};
use super::template;

/// A function that reads a file, see [`super::load::Sources::read`].
pub(super) type ReadFile<'a> = dyn Fn(&Path) -> io::Result<String> + 'a;

// The example has a file, since a `secret = ...` in it would be masked in error texts.
const KEY_FORMAT: &str =
    "a table with an `algorithm` and a `secret` or a `file`, such as { algorithm = \"RS256\", file = \"public.pem\" }";

// === [auth] ===

/// Reads `[auth]`.
pub(super) fn read_auth(reader: &mut ConfigReader, node: Option<ConfigNode>, read: &ReadFile<'_>) -> AuthConfig {
    let mut table = reader.table(node, "auth".to_owned());
    let default = AuthConfig::default();
    let mut config = AuthConfig::default();
    let given = table.remove("keys");
    if let Some(node) = &given {
        let (keys, shown): (Vec<_>, Vec<_>) = read_keys(reader, node, read).into_iter().unzip();
        config.keys = keys;
        reader.note("auth.keys".to_owned(), format!("[{}]", shown.join(", ")), node.origin.clone());
    }
    config.jwks_url = optional(reader, &mut table, "jwks_url", url).map(|(url, origin)| {
        if url.starts_with("http://") {
            let text = "keys fetched over plain http can be replaced on the way; use https";
            reader.warnings.push(format!("{origin}: auth.jwks_url: {text}"));
        }
        url
    });
    let issuer = optional(reader, &mut table, "issuer", one_or_more);
    let audience = optional(reader, &mut table, "audience", one_or_more);
    let claim = optional(reader, &mut table, "user_id_claim", parse::non_empty_text);
    let skew = (default.clock_skew, Origin::Default);
    let (clock_skew, skewed) = reader.take(&mut table, "clock_skew", skew, parse::duration);
    config.clock_skew = clock_skew;
    if given.is_none() && config.jwks_url.is_none() {
        let places = [
            ("issuer", issuer.as_ref().map(|(_, origin)| origin)),
            ("audience", audience.as_ref().map(|(_, origin)| origin)),
            ("user_id_claim", claim.as_ref().map(|(_, origin)| origin)),
            ("clock_skew", Some(&skewed).filter(|origin| **origin != Origin::Default)),
        ];
        for (key, origin) in places {
            if let Some(origin) = origin {
                reader.warnings.push(format!("{origin}: auth.{key}: no effect without auth.keys or auth.jwks_url"));
            }
        }
    }
    config.issuer = issuer.map(|(list, _)| list).unwrap_or_default();
    config.audience = audience.map(|(list, _)| list).unwrap_or_default();
    config.user_id_claim = claim.map(|(claim, _)| claim);
    reader.finish(table, key_names::AUTH);
    config
}

/// Reads a key that has no default; it is listed among the settings only if it is set.
fn optional<T: ToToml>(
    reader: &mut ConfigReader,
    table: &mut TableReader,
    key: &str,
    parse: impl FnOnce(&ConfigNode) -> Parsed<T>,
) -> Option<(T, Origin)> {
    let path = table.key(key);
    let node = table.remove(key)?;
    match parse(&node) {
        Ok(value) => {
            reader.note(path, value.to_toml(), node.origin.clone());
            Some((value, node.origin))
        }
        Err(expected) => {
            reader.problem(path, &node, expected);
            None
        }
    }
}

/// Parses a string, or a list of at least one string.
fn one_or_more(node: &ConfigNode) -> Parsed<Vec<String>> {
    let list = match &node.value {
        ConfigValue::Text(_) if node.raw.is_none() => vec![parse::text(node)?],
        _ => parse::texts(node, |_, text| Ok(text)).map_err(|_| "must be a string or a list of strings".to_owned())?,
    };
    if list.is_empty() || list.iter().any(String::is_empty) {
        return Err("must not be empty; remove the key to accept any".to_owned());
    }
    Ok(list)
}

fn url(node: &ConfigNode) -> Parsed<String> {
    let text = parse::text(node)?;
    let uri: Option<Uri> = text.parse().ok();
    let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    match uri.as_ref().and_then(Uri::authority) {
        None => Err("must be a URL, such as \"https://login.example.com/keys\"".to_owned()),
        Some(authority) if authority.as_str().contains('@') => {
            Err("must not contain a user or password: published keys are public".to_owned())
        }
        Some(_) => Ok(text),
    }
}

// === keys ===

/// Reads `auth.keys`. Each key comes with the text that may be shown for it.
fn read_keys(reader: &mut ConfigReader, node: &ConfigNode, read: &ReadFile<'_>) -> Vec<(KeyConfig, String)> {
    let ConfigValue::List(items) = &node.value else {
        report::<()>(reader, "auth.keys", &node.origin, format!("must be a list; each entry is {KEY_FORMAT}"));
        return Vec::new();
    };
    if items.is_empty() {
        report::<()>(reader, "auth.keys", &node.origin, "must not be empty; remove the key to check no tokens");
    }
    let each = |(index, item): (usize, &ConfigNode)| read_key(reader, item, &format!("auth.keys[{index}]"), read);
    items.iter().enumerate().filter_map(each).collect()
}

fn report<T>(reader: &mut ConfigReader, key: &str, origin: &Origin, expected: impl Into<String>) -> Option<T> {
    reader.problems.push(Problem::of_key(key, Some(origin.clone()), expected));
    None
}

fn read_key(
    reader: &mut ConfigReader,
    item: &ConfigNode,
    path: &str,
    read: &ReadFile<'_>,
) -> Option<(KeyConfig, String)> {
    let ConfigValue::Table(entries) = &item.value else {
        return report(reader, path, &item.origin, format!("must be {KEY_FORMAT}"));
    };
    let before = reader.problems.len();
    for entry in entries.iter().filter(|entry| !key_names::KEY.contains(&entry.key.as_str())) {
        let text = format!("unknown key; {}", suggestion(&entry.key, key_names::KEY));
        report::<()>(reader, &node::key_path(path, &entry.key), &entry.origin, text);
    }
    let get = |key: &str| entries.iter().find(|entry| entry.key == key);
    let names: Vec<&str> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
    let algorithm = match get("algorithm").map(|entry| (entry, entry.node.as_text())) {
        Some((entry, text)) => {
            let found = ALGORITHMS.iter().find(|(name, _)| Some(*name) == text).map(|(_, algorithm)| *algorithm);
            found.or_else(|| {
                let near = text.and_then(|text| nearest(text, names.iter().copied()));
                let hint = near.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
                let text = format!("must be one of {}{hint}", names.join(", "));
                report(reader, &format!("{path}.algorithm"), &entry.origin, text)
            })
        }
        None => report(reader, path, &item.origin, format!("needs an algorithm; a key is {KEY_FORMAT}")),
    };
    let material = match (get("secret"), get("file")) {
        (Some(secret), None) => match secret.node.as_text() {
            Some("") | None => {
                report(reader, &format!("{path}.secret"), &secret.origin, "must be a string that is not empty")
            }
            Some(text) => Some((KeyMaterial::Secret(text.to_owned()), secret)),
        },
        (None, Some(file)) => read_pem(reader, file, path, read).map(|pem| (KeyMaterial::Pem(pem), file)),
        (Some(_), Some(_)) => report(reader, path, &item.origin, "has a secret and a file; keep one of them"),
        (None, None) => report(reader, path, &item.origin, format!("needs a secret or a file; a key is {KEY_FORMAT}")),
    };
    let ((material, entry), algorithm) = (material?, algorithm?);
    let place = format!("{path}.{}", entry.key);
    let name = super::auth::algorithm_name(algorithm);
    let value = match &material {
        KeyMaterial::Secret(_) => format!("\"{MASK}\""),
        KeyMaterial::Pem(_) => node::quoted(entry.node.as_text().unwrap_or_default()),
    };
    let shown = format!("{{ algorithm = \"{name}\", {} = {value} }}", entry.key);
    if let KeyMaterial::Secret(secret) = &material {
        let least = name.trim_start_matches("HS").parse::<usize>().unwrap_or(0) / 8;
        if secret.len() < least {
            let text = format!("is short: {name} needs at least {least} bytes (RFC 7518, section 3.2)");
            reader.warnings.push(format!("{}: {place}: {text}", entry.origin));
        }
    }
    let key = KeyConfig { algorithm, material };
    if let Err(error) = key.decoding_key() {
        return report(reader, &place, &entry.origin, error.to_string());
    }
    (reader.problems.len() == before).then_some((key, shown))
}

fn read_pem(reader: &mut ConfigReader, file: &TableEntry, path: &str, read: &ReadFile<'_>) -> Option<String> {
    let place = format!("{path}.file");
    let Some(name) = file.node.as_text().filter(|name| !name.is_empty()) else {
        return report(reader, &place, &file.origin, "must be a path, such as \"public.pem\"");
    };
    match read(Path::new(name)) {
        Ok(text) => Some(text),
        Err(error) => report(reader, &place, &file.origin, format!("cannot read {name}: {error}")),
    }
}

// === rules ===

/// Reads `authorize` in the table of a hub or a method. `checked` says whether there are keys to check tokens with.
pub(super) fn read_authorize(
    reader: &mut ConfigReader,
    table: &mut TableReader,
    checked: bool,
) -> Option<Arc<Authorize>> {
    let key = table.key("authorize");
    let node = table.remove("authorize")?;
    reader.note(key.clone(), node.to_string(), node.origin.clone());
    let rule = match parse_authorize(&node) {
        Ok(rule) => rule?,
        Err(expected) => {
            reader.problem(key, &node, expected);
            return None;
        }
    };
    if !checked {
        let text = "needs keys to check tokens with: set auth.keys or auth.jwks_url";
        reader.problems.push(Problem::of_key(key, Some(node.origin), text));
    }
    Some(Arc::new(rule))
}

fn parse_authorize(node: &ConfigNode) -> Parsed<Option<Authorize>> {
    const EXAMPLE: &str = "must be true, or { roles = [\"admin\"], claims = { tier = \"gold\" } }";
    let ConfigValue::Table(entries) = &node.value else {
        let on = parse::boolean(node).map_err(|_| EXAMPLE.to_owned())?;
        return Ok(on.then(Authorize::user));
    };
    let mut rule = Authorize::user();
    for TableEntry { key, node, .. } in entries {
        match (key.as_str(), &node.value) {
            ("roles", _) => {
                rule.roles = one_or_more(node).map_err(|_| "`roles` must be a role or a list of roles".to_owned())?;
            }
            ("claims", ConfigValue::Table(claims)) => {
                for claim in claims {
                    let values = claim_values(&claim.node)
                        .ok_or_else(|| format!("the claim {} must be a value or a list of values", claim.key))?;
                    rule.claims.push((claim.key.clone(), values));
                }
            }
            ("claims", _) => return Err("`claims` must be a table, such as { tier = \"gold\" }".to_owned()),
            (other, _) => {
                return Err(format!("has an unknown key {other}; {}", suggestion(other, key_names::AUTHORIZE)));
            }
        }
    }
    if rule == Authorize::user() {
        return Err("must name roles or claims; true admits every user".to_owned());
    }
    Ok(Some(rule))
}

/// The accepted values of a claim, as text.
fn claim_values(node: &ConfigNode) -> Option<Vec<String>> {
    let one = |node: &ConfigNode| match &node.value {
        ConfigValue::Text(text) => Some(text.clone()),
        ConfigValue::Integer(Some(number)) => Some(number.to_string()),
        ConfigValue::Boolean(value) => Some(value.to_string()),
        _ => None,
    };
    match &node.value {
        ConfigValue::List(items) if items.is_empty() => None,
        ConfigValue::List(items) => items.iter().map(one).collect(),
        _ => one(node).map(|value| vec![value]),
    }
}

/// Reads `allowed_groups` in the table of a hub or a method; `None` allows all groups.
pub(super) fn read_allowed_groups(reader: &mut ConfigReader, table: &mut TableReader) -> Option<Vec<GroupPattern>> {
    let key = table.key("allowed_groups");
    let node = table.remove("allowed_groups")?;
    reader.note(key.clone(), node.to_string(), node.origin.clone());
    let patterns = parse::texts(&node, |_, text| Ok(text))
        .and_then(|list| list.iter().map(|text| group_pattern(text)).collect::<Parsed<Vec<_>>>());
    match patterns {
        Ok(patterns) => Some(patterns),
        Err(expected) => {
            reader.problem(key, &node, expected);
            None
        }
    }
}

fn group_pattern(text: &str) -> Parsed<GroupPattern> {
    let (name, open) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
    if name.contains('*') {
        return Err(format!("{} has a * that is not at its end", node::quoted(text)));
    }
    Ok(GroupPattern { name: template::parse(name, &[])?, is_prefix: open })
}
