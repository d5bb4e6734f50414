//! Values as they were read, each with its origin.

use std::fmt;
use std::sync::Arc;

use super::mask;

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// It was not set: the built-in default of the key.
    Default,
    /// The default configuration in the binary, which is used when no file is given.
    BuiltIn {
        /// The line number, starting at 1.
        line: usize,
    },
    /// A file.
    File {
        /// The path, as it was given.
        path: Arc<str>,
        /// The line number, starting at 1.
        line: usize,
    },
    /// An environment variable: its name.
    Environment(Arc<str>),
    /// A flag of the command line, including its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::BuiltIn { line } => write!(f, "built-in default.toml:{line}"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

impl Origin {
    /// The precedence of the source: a higher number overrides a lower one.
    pub(super) fn layer(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::BuiltIn { .. } | Self::File { .. } => 1,
            Self::Environment(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

/// A value and its origin.
#[derive(Clone, Debug)]
pub(super) struct ConfigNode {
    pub(super) value: ConfigValue,
    pub(super) origin: Origin,
    /// The original text of an environment variable or a flag. A key whose value is text uses it instead of the parsed
    /// value, so that a prefix of `2024` needs no quotes.
    pub(super) raw: Option<String>,
}

/// The types of TOML.
#[derive(Clone, Debug)]
pub(super) enum ConfigValue {
    Text(String),
    /// `None` if it has more than 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    /// A date or time, as text.
    Datetime(String),
    List(Vec<ConfigNode>),
    Table(Vec<TableEntry>),
}

/// A key of a table, with its value.
#[derive(Clone, Debug)]
pub(super) struct TableEntry {
    pub(super) key: String,
    /// The origin of the key; for a table, that of its header.
    pub(super) origin: Origin,
    pub(super) node: ConfigNode,
}

impl ConfigNode {
    pub(super) fn new(value: ConfigValue, origin: Origin) -> Self {
        Self { value, origin, raw: None }
    }

    /// A value of an environment variable or a flag, with its original text.
    pub(super) fn raw(text: &str, value: ConfigValue, origin: Origin) -> Self {
        Self { value, origin, raw: Some(text.to_owned()) }
    }

    pub(super) fn empty_table(origin: Origin) -> Self {
        Self::new(ConfigValue::Table(Vec::new()), origin)
    }

    /// The value as text, if it is text.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            ConfigValue::Text(text) => Some(text),
            _ => self.raw.as_deref(),
        }
    }

    /// The value as a list; text of a variable or a flag is split at its commas.
    pub(super) fn as_list(&self) -> Option<Vec<Self>> {
        match &self.value {
            ConfigValue::List(items) => Some(items.clone()),
            ConfigValue::Table(_) => None,
            _ => self.raw.as_ref().map(|raw| {
                let text = if let ConfigValue::Text(text) = &self.value { text } else { raw };
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(|item| Self::raw(item, ConfigValue::Text(item.to_owned()), self.origin.clone())).collect()
            }),
        }
    }

    /// The kind of the value, for error texts.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            ConfigValue::Text(_) => "a string",
            ConfigValue::Integer(_) => "an integer",
            ConfigValue::Float(_) => "a number",
            ConfigValue::Boolean(_) => "a boolean",
            ConfigValue::Datetime(_) => "a date",
            ConfigValue::List(_) => "a list",
            ConfigValue::Table(_) => "a table",
        }
    }
}

impl fmt::Display for ConfigNode {
    /// Writes inline TOML; what looks like a secret is masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            ConfigValue::Text(text) => f.write_str(&quoted(text)),
            ConfigValue::Integer(Some(number)) => write!(f, "{number}"),
            ConfigValue::Integer(None) => f.write_str("an integer of more than 64 bits"),
            ConfigValue::Float(number) => write!(f, "{number:?}"),
            ConfigValue::Boolean(value) => write!(f, "{value}"),
            ConfigValue::Datetime(text) => f.write_str(text),
            ConfigValue::List(items) if items.is_empty() => f.write_str("[]"),
            ConfigValue::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "[" } else { ", " })?;
                }
                f.write_str("]")
            }
            ConfigValue::Table(entries) if entries.is_empty() => f.write_str("{}"),
            ConfigValue::Table(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    let open = if index == 0 { "{ " } else { ", " };
                    if mask::is_secret_key(&entry.key) {
                        write!(f, "{open}{} = \"{}\"", quoted_key(&entry.key), mask::MASK)?;
                    } else {
                        write!(f, "{open}{} = {}", quoted_key(&entry.key), entry.node)?;
                    }
                }
                f.write_str(" }")
            }
        }
    }
}

/// A quoted TOML string, with secrets masked.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in mask::mask(text).chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A part of a key path, quoted if TOML requires it.
pub(super) fn quoted_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { quoted(key) }
}

/// `path.key`.
pub(super) fn key_path(path: &str, key: &str) -> String {
    if path.is_empty() { quoted_key(key) } else { format!("{path}.{}", quoted_key(key)) }
}
