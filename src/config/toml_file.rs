//! From TOML text to nodes that know their line.
//!
//! The `toml` crate's spanned tables are read directly, not through serde: serde stops at the first error and loses
//! the place of a value. The layered-configuration crates (figment, config) deserialize through serde as well and know
//! the file of a value but not its line; so the layers here are a page of our own.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{ConfigNode, ConfigValue, Origin, TableEntry};
use super::problem::Problem;

/// Reads a file's text. `place` makes the origin of a line.
pub(super) fn parse(text: &str, place: &dyn Fn(usize) -> Origin) -> Result<ConfigNode, Vec<Problem>> {
    let lines = TomlReader { text, place };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let origin = lines.at(0);
        return Ok(ConfigNode::new(lines.table(table.into_inner()), origin));
    }
    // The error's own text quotes the line, and with it a secret that may stand there: take the message alone.
    let problem = |error: toml::de::Error| {
        let origin = error.span().map(|span| lines.at(span.start));
        Problem::of_key("", origin, format!("this is not TOML: {}", error.message()))
    };
    Err(errors.into_iter().map(problem).collect())
}

/// Reads one value, as it stands in an environment variable. None: it is not TOML, so it is text.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Option<ConfigValue> {
    let value = DeValue::parse(text).ok()?.into_inner();
    let place = |_| origin.clone();
    Some(TomlReader { text, place: &place }.value(value))
}

struct TomlReader<'a> {
    text: &'a str,
    place: &'a dyn Fn(usize) -> Origin,
}

impl TomlReader<'_> {
    fn at(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        (self.place)(1 + before.iter().filter(|byte| **byte == b'\n').count())
    }

    fn node(&self, value: Spanned<DeValue<'_>>) -> ConfigNode {
        let origin = self.at(value.span().start);
        ConfigNode::new(self.value(value.into_inner()), origin)
    }

    fn table(&self, table: DeTable<'_>) -> ConfigValue {
        let mut entries: Vec<(Range<usize>, TableEntry)> = table
            .into_iter()
            .map(|(key, value)| {
                let span = key.span();
                let origin = self.at(span.start);
                let mut node = self.node(value);
                if matches!(node.value, ConfigValue::Table(_)) {
                    node.origin = origin.clone();
                }
                (span, TableEntry { key: key.into_inner().into_owned(), origin, node })
            })
            .collect();
        // In the order of the file, not of the alphabet.
        entries.sort_by_key(|(span, _)| span.start);
        ConfigValue::Table(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    fn value(&self, value: DeValue<'_>) -> ConfigValue {
        match value {
            DeValue::String(text) => ConfigValue::Text(text.into_owned()),
            DeValue::Integer(number) => ConfigValue::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
            DeValue::Float(number) => ConfigValue::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => ConfigValue::Boolean(value),
            DeValue::Datetime(value) => ConfigValue::Datetime(value.to_string()),
            DeValue::Array(items) => ConfigValue::List(items.into_iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => self.table(table),
        }
    }
}
