//! Tests of rules for the source code that the compiler does not check: layers, the first line of files, and sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 600;
const MEDIAN_LINES: usize = 200;

/// The layer of each module, as the table in src/lib.rs defines it. `main` and the modules that it declares are above
/// all others.
fn layers() -> BTreeMap<String, u8> {
    let source = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).unwrap();
    let mut layers = BTreeMap::new();
    for row in source("lib.rs").lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let mut cells = row.split(" | ");
        if let (Some(Ok(layer)), Some(names)) = (cells.next().map(str::parse::<u8>), cells.next()) {
            layers.extend(names.split('`').skip(1).step_by(2).map(|name| (name.to_owned(), layer)));
        }
    }
    assert!(layers.len() > 10, "src/lib.rs has no table of layers: {layers:?}");
    for line in source("main.rs").lines() {
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            layers.insert(name.to_owned(), 10);
        }
    }
    layers.insert("main".to_owned(), 10);
    layers
}

/// All Rust files below a folder of this crate, with their text.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| (path.strip_prefix(&root).unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// The top-level module that a file below `src/` belongs to.
fn module(path: &Path) -> String {
    path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The modules that follow `prefix` (`crate::`) in code; comments are ignored.
fn imports(text: &str, prefix: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    let own = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    for (at, _) in code.match_indices(prefix).filter(|(at, _)| own(&code[..*at])) {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => drop(found.insert(word(rest))),
            Some(list) => found.extend(heads(list)),
        }
    }
    found.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    found
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first word of each item of a braced list.
fn heads(list: &str) -> Vec<String> {
    let (mut depth, mut found, mut item) = (0, Vec::new(), String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(word(&std::mem::take(&mut item))),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    found.push(word(&item));
    found
}

#[test]
fn imports_point_downwards() {
    let (layers, mut wrong) = (layers(), Vec::new());
    for (path, text) in files("src").iter().filter(|(path, _)| path != Path::new("lib.rs")) {
        let own = module(path);
        let Some(&layer) = layers.get(&own) else {
            wrong.push(format!("{}: the module {own} has no layer; add it to the table in src/lib.rs", path.display()));
            continue;
        };
        for name in imports(text, "crate::").into_iter().chain(imports(text, "hubplane::")) {
            match layers.get(&name) {
                _ if name == own => {}
                Some(&other) if other < layer || layer == 10 => {}
                Some(other) => wrong.push(format!("{}: layer {layer} imports {name} of layer {other}", path.display())),
                None => wrong.push(format!("{}: imports {name}, which has no layer", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "imports must point to lower layers:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_in_the_table_of_layers_exists() {
    let modules: BTreeSet<_> = files("src").iter().map(|(path, _)| module(path)).collect();
    for name in layers().keys() {
        assert!(modules.contains(name), "src/lib.rs names the module {name}, which does not exist");
    }
}

#[test]
fn files_say_what_they_are_for() {
    for folder in ["src", "tests/it", "tests/kit", "examples"] {
        if Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).exists() {
            for (path, text) in files(folder) {
                let head = text.lines().next().unwrap_or_default();
                assert!(
                    head.starts_with("//! ") && head.len() > 12,
                    "{folder}/{}: begins with {head:?}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn files_are_not_too_long() {
    let mut lengths = Vec::new();
    for (folder, in_median) in [("src", true), ("tests/it", false), ("tests/kit", false)] {
        for (path, text) in files(folder) {
            let length = text.lines().count();
            assert!(length <= MAX_LINES, "{folder}/{}: {length} lines, at most {MAX_LINES}", path.display());
            if in_median {
                lengths.push(length);
            }
        }
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= MEDIAN_LINES, "the median file has {median} lines, at most {MEDIAN_LINES}");
}

#[test]
fn imports_are_found() {
    let text = "use crate::{ids::ConnectionId, hub::{Hub, x::y}, Config};\nlet x = crate::frame::of(); // crate::server\nother::crate::no";
    assert_eq!(imports(text, "crate::").into_iter().collect::<Vec<_>>(), ["frame", "hub", "ids"]);
}
