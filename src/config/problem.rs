//! Errors of a configuration: their texts say where the problem is, and what would be valid.

use std::fmt;

use super::mask;
use super::node::{ConfigNode, Origin};

/// One error of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where the value was set; `None` if nothing was set.
    pub origin: Option<Origin>,
    /// The key path, as in `hubs.chat.path`; empty if the text itself cannot be read.
    pub key: String,
    /// The value as inline TOML, with secrets masked; `None` if there is none to show.
    pub value: Option<String>,
    /// What would be valid. Secrets are masked here as well, because it may quote a part of the value.
    pub expected: String,
}

impl Problem {
    /// A problem with the value of a key.
    pub(super) fn of(key: impl Into<String>, node: &ConfigNode, expected: impl Into<String>) -> Self {
        Self {
            origin: Some(node.origin.clone()),
            key: key.into(),
            value: Some(node.to_string()),
            expected: mask::mask(&expected.into()),
        }
    }

    /// A problem with a key itself. The value is not shown, since it may be a secret.
    pub(super) fn of_key(key: impl Into<String>, origin: Option<Origin>, expected: impl Into<String>) -> Self {
        Self { origin, key: key.into(), value: None, expected: mask::mask(&expected.into()) }
    }
}

impl fmt::Display for Problem {
    /// Writes one line, as in `hubplane.toml:3: listen = "here": ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.expected)
    }
}

/// The known word that is most similar to what was written, if it is similar enough to be what was meant.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    known
        .into_iter()
        .map(|word| {
            let lower = word.to_lowercase();
            let distance = strsim::damerau_levenshtein(&written, &lower);
            // One typo in three letters is similar enough, and so is a prefix (`keep_alive`).
            let prefix = written.len() >= 4 && (lower.starts_with(&written) || written.starts_with(&lower));
            let near = distance <= word.chars().count().max(3) / 3 || prefix;
            (word, if near { distance } else { usize::MAX })
        })
        .filter(|(_, distance)| *distance != usize::MAX)
        .min_by_key(|(_, distance)| *distance)
        .map(|(word, _)| word)
}

/// The text `did you mean ...?`, or the list of known words.
pub(super) fn suggestion(written: &str, known: &[&str]) -> String {
    match nearest(written, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("known: {}", known.join(", ")),
    }
}
