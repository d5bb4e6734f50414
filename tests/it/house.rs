//! The house rules that a compiler does not know: floors, file heads, sizes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each module of `src/`; src/lib.rs describes them. `main` stands on all.
const FLOORS: [(&str, u8); 22] = [
    ("main", 10),
    ("server", 9),
    ("telemetry", 9),
    ("transport", 8),
    ("api", 8),
    ("connection", 7),
    ("hub", 6),
    ("delivery", 5),
    ("registry", 4),
    ("backplane", 4),
    ("session", 3),
    ("outbox", 3),
    ("auth", 3),
    ("frame", 2),
    ("wire", 2),
    ("close", 2),
    ("metrics", 2),
    ("phase", 2),
    ("protocol", 1),
    ("target", 1),
    ("config", 1),
    ("ids", 0),
];
const MOST_LINES: usize = 600;
const MEDIAN_LINES: usize = 200;

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
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
    found.into_iter().map(|path| (path.strip_prefix(&root).unwrap().to_owned(), fs::read_to_string(&path).unwrap())).collect()
}

/// The module of `src/` that a file belongs to.
fn module(path: &Path) -> String {
    path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The modules that follow `prefix` (`crate::`) in code: comments are no imports.
fn imports(text: &str, prefix: &str) -> BTreeSet<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
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
    let mut wrong = Vec::new();
    for (path, text) in files("src").iter().filter(|(path, _)| path != Path::new("lib.rs")) {
        let own = module(path);
        let Some(height) = floor(&own) else {
            wrong.push(format!("{}: the module {own} has no floor; give it one in FLOORS and in src/lib.rs", path.display()));
            continue;
        };
        for name in imports(text, "crate::").into_iter().chain(imports(text, "hubplane::")) {
            match floor(&name) {
                _ if name == own => {}
                Some(other) if other < height => {}
                Some(other) => wrong.push(format!("{}: floor {height} imports {name} of floor {other}", path.display())),
                None => wrong.push(format!("{}: imports {name}, which has no floor", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "imports must point to lower floors:\n{}", wrong.join("\n"));
}

#[test]
fn the_map_is_true() {
    let modules: BTreeSet<_> = files("src").iter().map(|(path, _)| module(path)).filter(|name| name != "lib").collect();
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for name in modules {
        let height = floor(&name).unwrap_or_else(|| panic!("{name} has no floor")).min(9);
        let row = map.lines().find(|line| line.starts_with("//! |") && line.contains(&format!("`{name}`")));
        let row = row.unwrap_or_else(|| panic!("src/lib.rs does not tell of {name}"));
        assert!(row.starts_with(&format!("//! | {height} |")), "{name} stands on floor {height}, src/lib.rs says: {row}");
    }
}

#[test]
fn files_say_what_they_are_for() {
    for folder in ["src", "tests/it", "examples"] {
        if Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).exists() {
            for (path, text) in files(folder) {
                let head = text.lines().next().unwrap_or_default();
                assert!(head.starts_with("//! ") && head.len() > 12, "{folder}/{}: begins with {head:?}", path.display());
            }
        }
    }
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let mut lengths = Vec::new();
    for (folder, counts) in [("src", true), ("tests/it", false)] {
        for (path, text) in files(folder) {
            let length = text.lines().count();
            assert!(length <= MOST_LINES, "{folder}/{}: {length} lines, at most {MOST_LINES}", path.display());
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
