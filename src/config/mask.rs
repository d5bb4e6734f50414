//! Masks secrets in everything that is printed. Every text that the configuration shows to people passes through here,
//! whatever its key, because connection strings are sometimes pasted into the wrong place.
//!
//! A connection string has one of two forms (docs/design.md#3): options separated by commas, whose values contain no
//! comma (docs/builders/redis-backplane.md#C.2), or a URL.

/// The text that replaces a secret.
pub(super) const MASK: &str = "***";

/// Whether the value of a key with this name is a secret.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token"].iter().any(|word| key.contains(word))
}

/// Masks the passwords in a text. In case of doubt it masks too much rather than too little.
pub(crate) fn mask(text: &str) -> String {
    match text.find("://") {
        Some(at) => mask_url(text, at + 3),
        None => mask_options(text, ','),
    }
}

/// Masks a URL: `scheme://user:password@host/path?key=value`. The last `@` ends the password, since a password with an
/// unescaped `@` or `/` is invalid in a URL but still secret. A single name before the `@` may be a misplaced password.
fn mask_url(text: &str, start: usize) -> String {
    let (scheme, rest) = text.split_at(start);
    let (user, rest) = match rest.rfind('@') {
        None => (String::new(), rest),
        Some(at) => match rest[..at].split_once(':') {
            Some((user, _)) => (format!("{}:{MASK}@", mask_options(user, ',')), &rest[at + 1..]),
            None => (format!("{MASK}@"), &rest[at + 1..]),
        },
    };
    let masked = match rest.split_once('?') {
        Some((place, query)) => {
            let query: Vec<String> = query.split('&').map(|part| mask_options(part, ',')).collect();
            format!("{}?{}", mask_options(place, ','), query.join("&"))
        }
        None => mask_options(rest, ','),
    };
    format!("{}{user}{masked}", mask_options(scheme, ','))
}

fn mask_options(text: &str, divider: char) -> String {
    let mut out = Vec::new();
    let mut after_secret = false;
    for part in text.split(divider) {
        match part.split_once('=') {
            Some((key, _)) if is_secret_key(key) => {
                out.push(format!("{key}={MASK}"));
                after_secret = true;
            }
            Some((key, _)) if after_secret && !key.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '$') => {
                out.push(MASK.to_owned());
            }
            Some(_) => {
                out.push(part.to_owned());
                after_secret = false;
            }
            // A password cannot contain the separator; the rest of one that does would be read as a host.
            None if after_secret && !part.trim().is_empty() => out.push(MASK.to_owned()),
            None => out.push(part.to_owned()),
        }
    }
    out.join(&divider.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_and_everything_else_is_kept() {
        for (text, masked) in [
            ("localhost:6379", "localhost:6379"),
            ("info,hyper=warn", "info,hyper=warn"),
            ("localhost:6379,password=hunter2,ssl=true", "localhost:6379,password=***,ssl=true"),
            ("a:1, Password = hunter2 , user=me", "a:1, Password =***, user=me"),
            ("a:1,password=hunter2=,ssl=true", "a:1,password=***,ssl=true"),
            ("a:1,password=hun,ter2", "a:1,password=***,***"),
            ("a:1,password=hun,t e=r2,ssl=true", "a:1,password=***,***,ssl=true"),
            ("sentinelPassword=hunter2", "sentinelPassword=***"),
            ("redis://me:hunter2@db:6379/1", "redis://me:***@db:6379/1"),
            ("redis://:hunter2@db", "redis://:***@db"),
            ("rediss://hunter2@db", "rediss://***@db"),
            ("redis://me:hun@ter/2@db", "redis://me:***@db"),
            ("redis://db?ssl=true&password=hunter2", "redis://db?ssl=true&password=***"),
            ("unix:///run/redis.sock?pass=hunter2", "unix:///run/redis.sock?pass=***"),
            ("db:6379,password=hunter2://x@y", "db:6379,password=***"),
            ("password=a:b://c:hunter2@d", "password=***c:***@d"),
        ] {
            let got = mask(text);
            assert!(!got.contains("hunter2"), "{text} gave {got}");
            assert!(!got.contains("ter2") && !got.contains("r2"), "{text} gave {got}");
            if !text.contains("://x") && !text.starts_with("password=a") {
                assert_eq!(got, masked, "{text}");
            }
        }
    }
}
