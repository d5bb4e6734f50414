//! What is wrong with a configuration, in words that say where and what would be right.

use std::fmt;

use super::mask;
use super::node::{ConfigNode, Origin};

/// One error of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was set; None where nothing was.
    pub origin: Option<Origin>,
    /// The key path, as in `hubs.chat.path`; empty where the text itself cannot be read.
    pub key: String,
    /// The value as inline TOML with secrets masked; None where there is none to show.
    pub value: Option<String>,
    /// What would be right; masked as well, for it may quote a part of the value.
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

    /// A problem with a key itself. Its value is not shown: nobody knows whether it is a secret.
    pub(super) fn of_key(key: impl Into<String>, origin: Option<Origin>, expected: impl Into<String>) -> Self {
        Self { origin, key: key.into(), value: None, expected: mask::mask(&expected.into()) }
    }
}

impl fmt::Display for Problem {
    /// `hubplane.toml:3: listen = "here": ...`.
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

/// The known word nearest to what was written, if one is near enough to be meant.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    known
        .into_iter()
        .map(|word| {
            let lower = word.to_lowercase();
            let distance = strsim::damerau_levenshtein(&written, &lower);
            // One slip in three letters; a word that begins with the other is meant too (`keep_alive`).
            let prefix = written.len() >= 4 && (lower.starts_with(&written) || written.starts_with(&lower));
            let near = distance <= word.chars().count().max(3) / 3 || prefix;
            (word, if near { distance } else { usize::MAX })
        })
        .filter(|(_, distance)| *distance != usize::MAX)
        .min_by_key(|(_, distance)| *distance)
        .map(|(word, _)| word)
}

/// `; did you mean "x"?`, or the list of what there is.
pub(super) fn suggestion(written: &str, known: &[&str]) -> String {
    match nearest(written, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("known: {}", known.join(", ")),
    }
}
