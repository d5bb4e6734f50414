//! One source laid over another: tables are merged key by key, anything else is replaced as a whole.

use super::keys;
use super::node::{Node, Value};

/// `upper` over `lower`, from the top of both.
pub(super) fn layered(lower: Node, upper: Node) -> Node {
    merge(lower, upper, &mut Vec::new())
}

fn merge(lower: Node, upper: Node, path: &mut Vec<String>) -> Node {
    match (lower.value, upper.value) {
        (Value::Table(mut entries), Value::Table(over)) => {
            let any_case = keys::names_at(path);
            for entry in over {
                let same = |key: &str| key == entry.key || any_case && key.to_lowercase() == entry.key.to_lowercase();
                // The lower source's spelling of a name stays: it is the declaration.
                match entries.iter().position(|existing| same(&existing.key)) {
                    None => entries.push(entry),
                    Some(index) => {
                        let existing = entries.remove(index);
                        let key = existing.key;
                        path.push(key.clone());
                        let table =
                            matches!((&existing.node.value, &entry.node.value), (Value::Table(_), Value::Table(_)));
                        let origin = if table { existing.origin } else { entry.origin };
                        let node = merge(existing.node, entry.node, path);
                        path.pop();
                        entries.insert(index, super::node::Entry { key, origin, node });
                    }
                }
            }
            Node { value: Value::Table(entries), origin: lower.origin, raw: None }
        }
        (_, value) => Node { value, origin: upper.origin, raw: upper.raw },
    }
}
