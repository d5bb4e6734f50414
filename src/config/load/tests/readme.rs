//! The tables in the README contain every key with its default.

use std::collections::BTreeMap;

use super::*;
use crate::config::key_names;
use crate::config::options::OPTIONS;

const README: &str = include_str!("../../../../README.md");

/// The default of each key: the second cell of each row whose first cell is code.
fn rows() -> BTreeMap<&'static str, &'static str> {
    let rows = README.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.filter_map(|(key, rest)| Some((key, rest.split(" | ").next()?.trim_matches('`')))).collect()
}

#[test]
fn readme_names_every_key() {
    let rows = rows();
    let tables = ["backplane", "auth", "hub_defaults", "hubs"];
    let top = key_names::TOP_LEVEL.iter().filter(|key| !tables.contains(key)).map(|key| (*key).to_owned());
    let under =
        |table: &'static str, keys: &'static [&'static str]| keys.iter().map(move |key| format!("{table}{key}"));
    let missing: Vec<String> = top
        .chain(under("backplane.", key_names::BACKPLANE))
        .chain(under("auth.", key_names::AUTH))
        .chain(under("", OPTIONS))
        .chain(under("hubs.NAME.", key_names::HUB).filter(|key| !key.ends_with(".methods")))
        .chain(under("hubs.NAME.methods.METHOD.", key_names::METHOD))
        .filter(|key| !rows.contains_key(key.as_str()))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn readme_states_the_defaults_of_options() {
    let source: String =
        DEFAULT_CONFIG.lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line))).collect();
    let rows = rows();
    for key in OPTIONS.iter().filter(|key| **key != "transports") {
        let start = format!("{key} = ");
        let value = source.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
        assert_eq!(rows[*key], value.trim_matches('"'), "{key}");
    }
}
