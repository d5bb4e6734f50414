//! The effective configuration as text, as `hubplane check` prints it.

use std::fmt::Write as _;

use super::load::LoadedConfig;

/// Lines wider than this do not widen the column of the origins.
const MAX_KEY_WIDTH: usize = 64;

/// Prints one line per key: `key = value   # origin`. Except for masked secrets, the lines can be pasted into a
/// configuration file. The same configuration always results in the same text.
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
