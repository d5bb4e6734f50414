//! Rules for the source that a compiler does not check: layers, the first line of a file, sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 600;
const MEDIAN_LINES: usize = 200;

/// The layer of each module, as the map in src/lib.rs tells it. `main` and the modules it declares for itself stand on all.
fn layers() -> BTreeMap<String, u8> {
    let source = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).unwrap();
    let mut layers = BTreeMap::new();
    for row in source("lib.rs").lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let mut cells = row.split(" | ");
        if let (Some(Ok(layer)), Some(names)) = (cells.next().map(str::parse::<u8>), cells.next()) {
            layers.extend(names.split('`').skip(1).step_by(2).map(|name| (name.to_owned(), layer)));
        }
    }
    assert!(layers.len() > 10, "src/lib.rs has lost its map: {layers:?}");
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

/// The module of `src/` that a file belongs to.
fn module(path: &Path) -> String {
    path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The modules that follow `prefix` (`crate::`) in code: comments are no imports.
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

/// The first words of the items of a braced list.
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
        let Some(&height) = layers.get(&own) else {
            wrong.push(format!(
                "{}: the module {own} has no layer; give it one in the map of src/lib.rs",
                path.display()
            ));
            continue;
        };
        for name in imports(text, "crate::").into_iter().chain(imports(text, "hubplane::")) {
            match layers.get(&name) {
                _ if name == own => {}
                Some(&other) if other < height || height == 10 => {}
                Some(other) => {
                    wrong.push(format!("{}: layer {height} imports {name} of layer {other}", path.display()))
                }
                None => wrong.push(format!("{}: imports {name}, which has no layer", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "imports must point to lower layers:\n{}", wrong.join("\n"));
}

#[test]
fn the_map_names_what_is_there() {
    let modules: BTreeSet<_> = files("src").iter().map(|(path, _)| module(path)).collect();
    for name in layers().keys() {
        assert!(modules.contains(name), "src/lib.rs tells of {name}, which is not there");
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
fn files_can_be_read_in_one_sitting() {
    let mut lengths = Vec::new();
    for (folder, counts) in [("src", true), ("tests/it", false), ("tests/kit", false)] {
        for (path, text) in files(folder) {
            let length = text.lines().count();
            assert!(length <= MAX_LINES, "{folder}/{}: {length} lines, at most {MAX_LINES}", path.display());
            if counts {
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
