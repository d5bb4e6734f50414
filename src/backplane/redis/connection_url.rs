//! Reads connection URLs: `redis://[user[:password]@]host[:port][/database][?key=value&..]`, the same with `rediss://`
//! for TLS, and `unix:///path[?..]`. All parts are percent-decoded. The query accepts the keys of a connection string,
//! and `db`.

use std::borrow::Cow;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::connection_string::{OptionsParser, host_and_port};

/// Whether the text begins with a URL scheme.
pub(super) fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

/// Reads a URL into `parser`.
pub(super) fn read(text: &str, parser: &mut OptionsParser) {
    let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    match scheme.to_ascii_lowercase().as_str() {
        "redis" => host(rest, parser),
        "rediss" => {
            parser.ssl = Some(true);
            host(rest, parser);
        }
        "unix" | "redis+unix" => match decode(rest) {
            Some(path) if path.starts_with('/') => parser.paths.push(PathBuf::from(path)),
            _ => parser.problems.push("A unix URL needs an absolute path: unix:///run/redis.sock.".to_owned()),
        },
        "redis+sentinel" => parser
            .problems
            .push("Sentinel is not supported; name the primary itself, or an address that follows it.".to_owned()),
        "redis+cluster" => parser.problems.push(
            "Cluster URLs are not supported; name one node with redis://, since its publish and subscribe reach all nodes."
                .to_owned(),
        ),
        // The text before :// is not repeated: it is unlikely to be a secret, but it could be anything.
        _ => parser.problems.push("The URL's scheme is not known; use redis, rediss or unix.".to_owned()),
    }
    if query.contains('@') {
        // This may be the second half of a login, cut in two by a '?' in the password, so nothing of it is shown.
        parser
            .problems
            .push("The URL has an '@' after its '?'; write %3F for a '?' in a password, %40 for an '@'.".to_owned());
        return;
    }
    for (index, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (decode(key), decode(value)) {
            (Some(key), Some(value)) if key.eq_ignore_ascii_case("db") => parser.set("defaultDatabase", &value),
            (Some(key), Some(value)) => parser.set(&key, &value),
            _ => parser.problems.push(format!("Pair {} of the URL's query is not percent-encoded UTF-8.", index + 1)),
        }
    }
}

fn host(rest: &str, parser: &mut OptionsParser) {
    // The login ends at the last '@', since passwords with an unescaped '@' are common.
    let (login, rest) = match rest.rsplit_once('@') {
        Some((login, rest)) => (Some(login), rest),
        None => (None, rest),
    };
    if let Some(login) = login {
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        match (decode(user), password.map(decode)) {
            (Some(user), Some(Some(password))) => {
                parser.set("user", &user);
                parser.set("password", &password);
            }
            (Some(_), None) => parser.problems.push(
                // The example has no scheme, or the filter that masks secrets would mask it.
                "The URL has a login without a colon; write :PASSWORD@HOST or USER:PASSWORD@HOST after the slashes."
                    .to_owned(),
            ),
            _ => parser.problems.push("The URL's login is not percent-encoded UTF-8.".to_owned()),
        }
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        if path.bytes().all(|c| c.is_ascii_digit()) {
            parser.set("defaultDatabase", path);
        } else {
            parser
                .problems
                .push("The URL's path must be a database number, as in redis://localhost:6379/0.".to_owned());
        }
    }
    for part in authority.split(',') {
        if part.contains('=') {
            parser.problems.push(
                "A URL's options follow a '?' and are joined by '&': redis://localhost:6379?abortConnect=false&ssl=true.".to_owned(),
            );
            continue;
        }
        if part.is_empty() {
            parser.hosts.push(("127.0.0.1".to_owned(), None));
            continue;
        }
        match decode(part).as_deref().and_then(host_and_port) {
            // Unlike that of a connection string, the default port of a URL does not depend on TLS.
            Some((host, port)) => parser.hosts.push((host, Some(port.unwrap_or(6379)))),
            None => parser.problems.push("The URL's host is not HOST, HOST:PORT or [IPV6]:PORT.".to_owned()),
        }
    }
}

/// Decodes percent-encoding; a plus sign is left as it is. Returns `None` if a percent sign is not followed by two hex
/// digits, or if the result is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let is_escape = |rest: &str| rest.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    let mut after_percent = text.split('%').skip(1);
    after_percent.all(is_escape).then(|| percent_decode_str(text).decode_utf8().ok())?.map(Cow::into_owned)
}
