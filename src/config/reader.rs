//! Reads typed values from tables, and collects problems, warnings, hints and every setting with its origin.

use std::net::SocketAddr;
use std::time::Duration;

use super::key_names;
use super::node::{self, ConfigNode, ConfigValue, Origin, TableEntry};
use super::parse::Parsed;
use super::problem::{Problem, suggestion};
use super::{LogFormat, OriginPattern, WebSocketOrigins};
use crate::hub_path::HubPath;
use crate::protocol::{Protocol, TransportKind};

/// A key, its effective value, and the origin of the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The key path.
    pub key: String,
    /// The value as inline TOML, with secrets masked.
    pub value: String,
    /// Where the value was set.
    pub origin: Origin,
}

#[derive(Debug, Default)]
pub(super) struct ConfigReader {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    pub(super) hints: Vec<String>,
    pub(super) settings: Vec<Setting>,
}

/// A table that is being read. Keys that are left at the end are unknown.
pub(super) struct TableReader {
    pub(super) path: String,
    entries: Vec<TableEntry>,
}

impl TableReader {
    /// The full path of a key.
    pub(super) fn key(&self, key: &str) -> String {
        node::key_path(&self.path, key)
    }

    /// Removes a key and returns its value.
    pub(super) fn remove(&mut self, key: &str) -> Option<ConfigNode> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index).node)
    }

    /// Whether the table contains a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// All entries that are left.
    pub(super) fn into_entries(self) -> Vec<TableEntry> {
        self.entries
    }
}

impl ConfigReader {
    /// Starts to read a table. It is empty if there is none, or if the value is not a table, which is reported.
    pub(super) fn table(&mut self, node: Option<ConfigNode>, path: String) -> TableReader {
        let Some(node) = node else { return TableReader { path, entries: Vec::new() } };
        let entries = match node.value {
            ConfigValue::Table(entries) => entries,
            _ => {
                let text = format!("must be a table, not {}", node.kind());
                self.problems.push(Problem::of(path.clone(), &node, text));
                Vec::new()
            }
        };
        TableReader { path, entries }
    }

    /// Reads a key; if it is missing or invalid, the result is `fallback`. The setting is listed in either case.
    pub(super) fn take<T: ToToml>(
        &mut self,
        table: &mut TableReader,
        key: &str,
        fallback: (T, Origin),
        parse: impl FnOnce(&ConfigNode) -> Parsed<T>,
    ) -> (T, Origin) {
        let path = table.key(key);
        let (value, origin) = match table.remove(key) {
            None => fallback,
            Some(node) => match parse(&node) {
                Ok(value) => (value, node.origin),
                Err(expected) => {
                    self.problems.push(Problem::of(path.clone(), &node, expected));
                    fallback
                }
            },
        };
        self.note(path, value.to_toml(), origin.clone());
        (value, origin)
    }

    pub(super) fn note(&mut self, key: String, value: String, origin: Origin) {
        self.settings.push(Setting { key, value, origin });
    }

    pub(super) fn problem(&mut self, key: impl Into<String>, node: &ConfigNode, expected: impl Into<String>) {
        self.problems.push(Problem::of(key, node, expected));
    }

    /// Reports all keys that are left as unknown.
    pub(super) fn finish(&mut self, table: TableReader, known: &[&str]) {
        let TableReader { path, entries } = table;
        for entry in entries {
            let key = node::key_path(&path, &entry.key);
            let near = super::problem::nearest(&entry.key, known.iter().copied());
            let moved = if near.is_none() { key_names::path_elsewhere(&entry.key) } else { None };
            let text = match moved {
                Some(place) => format!("unknown key here; did you mean `{place}`?"),
                None => format!("unknown key; {}", suggestion(&entry.key, known)),
            };
            self.problems.push(Problem::of_key(key, Some(entry.origin), text));
        }
    }
}

/// Formats a value as inline TOML.
pub(super) trait ToToml {
    fn to_toml(&self) -> String;
}

impl ToToml for bool {
    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl ToToml for i32 {
    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl ToToml for usize {
    fn to_toml(&self) -> String {
        if *self == Self::MAX { "0".to_owned() } else { self.to_string() }
    }
}

impl ToToml for Option<usize> {
    fn to_toml(&self) -> String {
        self.unwrap_or(0).to_string()
    }
}

impl ToToml for String {
    fn to_toml(&self) -> String {
        node::quoted(self)
    }
}

impl ToToml for HubPath {
    fn to_toml(&self) -> String {
        node::quoted(self.as_str())
    }
}

impl ToToml for SocketAddr {
    fn to_toml(&self) -> String {
        format!("\"{self}\"")
    }
}

impl ToToml for Duration {
    fn to_toml(&self) -> String {
        format!("\"{}\"", humantime::format_duration(*self))
    }
}

impl ToToml for LogFormat {
    fn to_toml(&self) -> String {
        match self {
            Self::Text => "\"text\"".to_owned(),
            Self::Json => "\"json\"".to_owned(),
        }
    }
}

impl ToToml for OriginPattern {
    fn to_toml(&self) -> String {
        node::quoted(&self.to_string())
    }
}

impl ToToml for WebSocketOrigins {
    fn to_toml(&self) -> String {
        match self {
            Self::Cors => "\"cors\"".to_owned(),
            Self::Any => "\"any\"".to_owned(),
        }
    }
}

impl<T: ToToml> ToToml for Vec<T> {
    fn to_toml(&self) -> String {
        format!("[{}]", self.iter().map(ToToml::to_toml).collect::<Vec<_>>().join(", "))
    }
}

impl ToToml for Protocol {
    fn to_toml(&self) -> String {
        format!("\"{}\"", self.name())
    }
}

impl ToToml for TransportKind {
    fn to_toml(&self) -> String {
        format!("\"{}\"", self.name())
    }
}
