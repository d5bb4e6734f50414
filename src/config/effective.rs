//! The effective configuration as text: what `hubplane check` prints.

use std::fmt::Write as _;

use super::load::LoadedConfig;

/// Wider than this, the origin no longer gets a column of its own.
const MAX_KEY_WIDTH: usize = 64;

/// One line a key: `key = value   # origin`. The lines can be pasted into a configuration file, but for masked
/// secrets. The same configuration always gives the same text.
pub(crate) fn print(loaded: &LoadedConfig) -> String {
    let mut out = String::new();
    let lines: Vec<(String, String)> = loaded
        .settings
        .iter()
        .map(|setting| (format!("{} = {}", setting.key, setting.value), setting.origin.to_string()))
        .collect();
    let width =
        lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= MAX_KEY_WIDTH).max().unwrap_or(0);
    for (line, origin) in lines {
        let _ = writeln!(out, "{line:width$}  # {origin}");
    }
    out
}
