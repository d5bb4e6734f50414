//! Parses TOML text into nodes with line numbers.
//!
//! The spanned tables of the `toml` crate are read directly and not through serde, which stops at the first error and
//! loses the position of a value. The crates for layered configuration (figment, config) use serde as well and know the
//! file of a value but not its line, so merging is done by code of our own (`merge`).

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{ConfigNode, ConfigValue, Origin, TableEntry};
use super::problem::Problem;

/// Parses the text of a file. `place` creates the origin of a line.
pub(super) fn parse(text: &str, place: &dyn Fn(usize) -> Origin) -> Result<ConfigNode, Vec<Problem>> {
    let lines = TomlReader::new(text, place);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let origin = lines.at(0);
        return Ok(ConfigNode::new(lines.table(table.into_inner()), origin));
    }
    // The full error text quotes the line, which may contain a secret: use the message alone.
    let problem = |error: toml::de::Error| {
        let origin = error.span().map(|span| lines.at(span.start));
        Problem::of_key("", origin, format!("this is not TOML: {}", error.message()))
    };
    Err(errors.into_iter().map(problem).collect())
}

/// Parses the value of an environment variable. `None` means that it is not TOML, and so is text.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Option<ConfigValue> {
    let value = DeValue::parse(text).ok()?.into_inner();
    let place = |_| origin.clone();
    Some(TomlReader::new(text, &place).value(value))
}

struct TomlReader<'a> {
    /// Where each line ends, to find the line of an offset without counting from the start every time.
    line_ends: Vec<usize>,
    place: &'a dyn Fn(usize) -> Origin,
}

impl<'a> TomlReader<'a> {
    fn new(text: &str, place: &'a dyn Fn(usize) -> Origin) -> Self {
        Self { line_ends: text.match_indices('\n').map(|(offset, _)| offset).collect(), place }
    }

    fn at(&self, offset: usize) -> Origin {
        (self.place)(1 + self.line_ends.partition_point(|end| *end < offset))
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
        // In the order of the file, not in alphabetical order.
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
