//! Reads environment variables as configuration. Nothing else reads the environment.

use std::sync::Arc;

use super::key_names;
use super::mask;
use super::merge;
use super::node::{ConfigNode, ConfigValue, Origin};
use super::problem::Problem;

/// The prefix of all our variables.
pub(super) const PREFIX: &str = "HUBPLANE_";
/// The variable that names the configuration file.
pub(super) const CONFIG: &str = "HUBPLANE_CONFIG";

/// The variables of this process, sorted by name. Bytes that are not UTF-8 become U+FFFD, which [`super::load::load`]
/// refuses in the variables that it uses.
pub(crate) fn process_variables() -> Vec<(String, String)> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let mut variables: Vec<_> = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect();
    variables.sort();
    variables
}

/// Reads all `HUBPLANE_` variables, and `RUST_LOG`, into a tree.
pub(super) fn read(
    variables: &[(String, String)],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> ConfigNode {
    let mut root = ConfigNode::empty_table(Origin::Default);
    if let Some((name, filter)) = variables.iter().find(|(name, value)| name == "RUST_LOG" && !value.trim().is_empty())
    {
        let node =
            ConfigNode::raw(filter, ConfigValue::Text(filter.clone()), Origin::Environment(Arc::from(name.as_str())));
        root = merge::overlay(root, nested(&["log".to_owned()], node));
    }
    let mut ours: Vec<&(String, String)> =
        variables.iter().filter(|(name, _)| name.starts_with(PREFIX) && name != CONFIG).collect();
    // A whole table (HUBPLANE_BACKPLANE) is read before its keys (HUBPLANE_BACKPLANE__TYPE), which override it.
    ours.sort_by_key(|(name, _)| (name.matches("__").count(), name.clone()));
    let mut seen: Vec<(Vec<String>, &str)> = Vec::new();
    for (name, text) in ours {
        let path = match key_names::path_of_variable(&name[PREFIX.len()..]) {
            Ok(path) => path,
            Err(suggestion) => {
                let hint = suggestion.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
                warnings
                    .push(mask::mask(&format!("{name}: no configuration key has this name, so it is ignored{hint}")));
                continue;
            }
        };
        let origin = Origin::Environment(Arc::from(name.as_str()));
        let folded: Vec<String> = path.iter().map(|part| part.to_lowercase()).collect();
        if let Some((_, other)) = seen.iter().find(|(path, _)| *path == folded) {
            let text = format!("the same key is set by {other}; keep one of them");
            problems.push(Problem::of_key(path.join("."), Some(origin), text));
            continue;
        }
        seen.push((folded, name));
        // Container platforms omit a variable by setting it to nothing. The warning is there because it may also be a
        // secret that was not passed on.
        if text.is_empty() {
            warnings.push(format!("{name}: is empty and treated as not set; an empty string is written \"\""));
            continue;
        }
        if text.contains('\u{FFFD}') {
            problems.push(Problem::of_key(path.join("."), Some(origin), "the variable must be UTF-8"));
            continue;
        }
        let value = super::toml_file::parse_value(text, &origin).unwrap_or_else(|| ConfigValue::Text(text.clone()));
        root = merge::overlay(root, nested(&path, ConfigNode::raw(text, value, origin)));
    }
    root
}

/// A tree with a single value at `path`.
pub(super) fn nested(path: &[String], leaf: ConfigNode) -> ConfigNode {
    path.iter().rev().fold(leaf, |node, key| {
        let origin = node.origin.clone();
        let entry = super::node::TableEntry { key: key.clone(), origin: origin.clone(), node };
        ConfigNode::new(ConfigValue::Table(vec![entry]), origin)
    })
}
