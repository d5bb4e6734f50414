//! Reads `[hubs.NAME]` tables into hubs, and checks that their paths and names are unique.

use super::HubConfig;
use super::auth_tables::{read_allowed_groups, read_authorize};
use super::key_names;
use super::method_tables::{read_hook, read_method};
use super::node::{self, ConfigNode, Origin};
use super::options::{self, OptionsWithOrigins};
use super::parse::{self, Parsed};
use super::problem::Problem;
use super::reader::ConfigReader;
use crate::hub_path::{self, HubPath};

/// The paths of the server's own pages, which no hub may have.
const PAGES: [&str; 3] = [hub_path::HEALTHZ, hub_path::READYZ, hub_path::METRICS];

/// Reads all hubs, in the order in which they are declared. `checked` says whether there are keys to check tokens with.
pub(super) fn read_hubs(
    reader: &mut ConfigReader,
    node: Option<ConfigNode>,
    defaults: &OptionsWithOrigins,
    demo: bool,
    checked: bool,
) -> Vec<HubConfig> {
    let table = reader.table(node, "hubs".to_owned());
    let mut hubs: Vec<HubConfig> = Vec::new();
    for entry in table.into_entries() {
        let key = node::key_path("hubs", &entry.key);
        if let Some(other) = hubs.iter().find(|hub| hub.name.to_lowercase() == entry.key.to_lowercase()) {
            let text = format!("differs from the hub {} only in case", node::quoted(&other.name));
            reader.problems.push(Problem::of_key(key, Some(entry.origin), text));
            continue;
        }
        let (hub, place, named) = read_hub(reader, &entry.key, entry.node, &key, (defaults, checked));
        check_unique(reader, &hub, &key, (&place, &named), &hubs, demo);
        hubs.push(hub);
    }
    hubs
}

/// Reads one hub. Also returns where its path and its backplane name come from.
fn read_hub(
    reader: &mut ConfigReader,
    name: &str,
    node: ConfigNode,
    key: &str,
    (defaults, checked): (&OptionsWithOrigins, bool),
) -> (HubConfig, Origin, Origin) {
    let origin = node.origin.clone();
    let mut table = reader.table(Some(node), key.to_owned());
    if name.trim().is_empty() {
        reader.problems.push(Problem::of_key(key, Some(origin.clone()), "a hub needs a name"));
    }
    let implied = format!("/{name}");
    let by_name = HubPath::parse_plain(&implied);
    let fallback = by_name.clone().unwrap_or_else(|_| HubPath::stand_in(&implied));
    let (path, mut path_origin) = reader.take(&mut table, "path", (fallback, Origin::Default), path);
    if path_origin == Origin::Default {
        if let Err(expected) = by_name {
            let text = format!("the hub's name cannot be a path ({}: {expected}); set one", node::quoted(&implied));
            reader.problems.push(Problem::of_key(table.key("path"), Some(origin.clone()), text));
        }
        path_origin = origin.clone();
    }
    let fallback = (name.to_owned(), Origin::Default);
    let (backplane_name, mut named) = reader.take(&mut table, "backplane_name", fallback, parse::non_empty_text);
    if named == Origin::Default {
        named = origin;
    }
    let options = options::read(reader, &mut table, defaults, checked);
    let authorize = read_authorize(reader, &mut table, checked);
    let allowed_groups = read_allowed_groups(reader, &mut table);
    let mut steps = |reader: &mut ConfigReader, key: &str| {
        let given = table.remove(key);
        read_hook(reader, given, &table.key(key)).unwrap_or_default()
    };
    let on_connected = steps(reader, "on_connected");
    let on_disconnected = steps(reader, "on_disconnected");
    let mut methods: Vec<super::steps::MethodConfig> = Vec::new();
    let declared = table.remove("methods");
    let declared = reader.table(declared, table.key("methods"));
    let methods_path = declared.path.clone();
    for entry in declared.into_entries() {
        let key = node::key_path(&methods_path, &entry.key);
        if let Some(other) = methods.iter().find(|method| method.name.to_lowercase() == entry.key.to_lowercase()) {
            let other = node::quoted(&other.name);
            let text = format!("differs from the method {other} only in case; method names are case-insensitive");
            reader.problems.push(Problem::of_key(key, Some(entry.origin), text));
            continue;
        }
        methods.push(read_method(reader, entry.key, entry.node, key, checked));
    }
    reader.finish(table, &key_names::hub_keys());
    let name = name.to_owned();
    let hub = HubConfig {
        name,
        path,
        backplane_name,
        options: options.values,
        authorize,
        allowed_groups,
        on_connected,
        on_disconnected,
        methods,
    };
    (hub, path_origin, named)
}

fn path(node: &ConfigNode) -> Parsed<HubPath> {
    HubPath::parse_plain(&parse::text(node)?).map_err(|error| error.to_string())
}

/// Checks that no two hubs share a path, a negotiate address or a backplane name, and that no hub hides a page of the
/// server.
fn check_unique(
    reader: &mut ConfigReader,
    hub: &HubConfig,
    key: &str,
    (place, named): (&Origin, &Origin),
    others: &[HubConfig],
    demo: bool,
) {
    let mut wrong = |key: String, origin: &Origin, text: String| {
        reader.problems.push(Problem::of_key(key, Some(origin.clone()), text));
    };
    let (path, path_key) = (&hub.path, format!("{key}.path"));
    let shown = node::quoted(path.as_str());
    if PAGES.iter().any(|page| path.is_page(page)) {
        wrong(path_key.clone(), place, format!("{shown} is a page of the server itself; choose another path"));
    }
    if path.as_str() == "/" && demo {
        let text = "\"/\" is the demo page while `demo` is true; choose another path or set demo = false";
        wrong(path_key.clone(), place, text.to_owned());
    }
    for other in others {
        let name = node::quoted(&other.name);
        if other.path == *path {
            wrong(
                path_key.clone(),
                place,
                format!("{shown} is also the path of the hub {name}; each hub needs its own"),
            );
        } else if other.path.collides_with(path) {
            wrong(path_key.clone(), place, format!("{shown} collides with the negotiate address of the hub {name}"));
        }
        if other.backplane_name == hub.backplane_name {
            let text = format!("{} is also the name of the hub {name}", node::quoted(&hub.backplane_name));
            wrong(format!("{key}.backplane_name"), named, text);
        }
    }
}
