//! Merges two sources: tables are merged key by key, everything else is replaced as a whole.

use super::key_names;
use super::node::{ConfigNode, ConfigValue};

/// Merges two whole trees; values of `upper` override those of `lower`.
pub(super) fn overlay(lower: ConfigNode, upper: ConfigNode) -> ConfigNode {
    merge(lower, upper, &mut Vec::new())
}

fn merge(lower: ConfigNode, upper: ConfigNode, path: &mut Vec<String>) -> ConfigNode {
    match (lower.value, upper.value) {
        (ConfigValue::Table(mut entries), ConfigValue::Table(over)) => {
            let any_case = key_names::is_name_table(path);
            for entry in over {
                let same = |key: &str| key == entry.key || any_case && key.to_lowercase() == entry.key.to_lowercase();
                // The name is spelled as in the lower source, where it is declared.
                match entries.iter().position(|existing| same(&existing.key)) {
                    None => entries.push(entry),
                    Some(index) => {
                        let existing = entries.remove(index);
                        let key = existing.key;
                        path.push(key.clone());
                        let table = matches!(
                            (&existing.node.value, &entry.node.value),
                            (ConfigValue::Table(_), ConfigValue::Table(_))
                        );
                        let origin = if table { existing.origin } else { entry.origin };
                        let node = merge(existing.node, entry.node, path);
                        path.pop();
                        entries.insert(index, super::node::TableEntry { key, origin, node });
                    }
                }
            }
            ConfigNode { value: ConfigValue::Table(entries), origin: lower.origin, raw: None }
        }
        (_, value) => ConfigNode { value, origin: upper.origin, raw: upper.raw },
    }
}
