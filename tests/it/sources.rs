//! Tests that every source which a comment names exists: `docs/builders/signalr-protocol.md#4.9` must be a file with a
//! heading that begins with `4.9`. And that every test which the compatibility page names exists, and that the Rust
//! snippets of the README are compiled.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders whose comments are checked.
const FOLDERS: [&str; 5] = ["src", "tests/it", "tests/kit", "examples", "fuzz"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The comment lines of a file with their numbers.
fn comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| Some((index + 1, line.split_once("//")?.1)))
}

/// The pages that a comment names, each with the sections named: `docs/design.md#3, #6 to #7`.
fn links(comment: &str) -> Vec<(&str, Vec<&str>)> {
    let is_path = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    let mut found = Vec::new();
    for (at, _) in comment.match_indices(".md") {
        let begins = comment[..at].rfind(|c| !is_path(c)).map_or(0, |before| before + 1);
        let (path, mut rest) = comment[begins..].split_at(at + ".md".len() - begins);
        let mut sections = Vec::new();
        while let Some(section) = rest.strip_prefix('#') {
            let ends = section.find(|c: char| !c.is_alphanumeric() && c != '.').unwrap_or(section.len());
            let (section, after) = section.split_at(ends);
            sections.push(section.trim_end_matches('.'));
            rest = [", ", " to "].iter().find_map(|between| after.strip_prefix(between)).unwrap_or_default();
        }
        found.push((path, sections));
    }
    found
}

/// Whether a page has a section with that number: a heading `## 4. Calls`, `### 4.9 Close` or `## S. Seen`.
fn has_section(page: &str, section: &str) -> bool {
    let headings = page.lines().filter_map(|line| line.strip_prefix('#').map(|rest| rest.trim_start_matches('#')));
    headings.filter_map(|heading| heading.split_whitespace().next()).any(|first| first.trim_end_matches('.') == section)
}

#[test]
fn sources_that_comments_name_exist() {
    let (mut files, mut pages, mut wrong) = (Vec::new(), HashMap::new(), Vec::new());
    for folder in FOLDERS {
        rust_files(&root().join(folder), &mut files);
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let shown = file.strip_prefix(root()).unwrap().display().to_string();
        for (line, comment) in comments(&text) {
            for (path, sections) in links(comment) {
                let page = pages.entry(path.to_owned()).or_insert_with(|| fs::read_to_string(root().join(path)).ok());
                match page {
                    None => wrong.push(format!("{shown}:{line}: there is no file {path}")),
                    Some(page) => wrong.extend(
                        sections
                            .iter()
                            .filter(|section| !has_section(page, section))
                            .map(|section| format!("{shown}:{line}: {path} has no section {section}")),
                    ),
                }
            }
            // A section without its page cannot be found. Sections of RFCs are written with the number of the RFC.
            if comment.contains("(section ") || comment.contains("FINDINGS ") {
                wrong.push(format!("{shown}:{line}: name the page and the section, as in docs/design.md#3"));
            }
        }
    }
    assert!(wrong.is_empty(), "sources that cannot be found:\n{}", wrong.join("\n"));
}

/// The tests that a page names, as file and function: `connection/calls.rs::streams_end`. `FILE.rs` stands for any file.
fn tests_named(page: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_once("::")).filter(|(file, _)| file.ends_with(".rs") && !file.contains("FILE"))
}

/// Whether a page means `file` when it writes `named`. It leaves out the folder `tests` around unit tests.
fn is_named(file: &Path, named: &str) -> bool {
    let (folder, name) = named.rsplit_once('/').unwrap_or_default();
    file.ends_with(named) || (!folder.is_empty() && file.ends_with(Path::new(folder).join("tests").join(name)))
}

#[test]
fn tests_that_the_compatibility_page_names_exist() {
    let page = fs::read_to_string(root().join("docs/users/compatibility.md")).unwrap();
    let mut files = Vec::new();
    for folder in FOLDERS {
        rust_files(&root().join(folder), &mut files);
    }
    let exists = |named: &str, test: &str| {
        let function = format!("fn {test}(");
        let mut candidates = files.iter().filter(|file| is_named(file, named));
        candidates.any(|file| fs::read_to_string(file).unwrap().contains(&function))
    };
    assert!(tests_named(&page).count() > 50, "the page names no tests");
    let missing: Vec<_> = tests_named(&page).filter(|(file, test)| !exists(file, test)).collect();
    assert!(missing.is_empty(), "tests that do not exist: {missing:?}");
}

#[test]
fn links_are_found() {
    let comment = " as in docs/x.md#4.1, #4.4 to #4.7; `y.md`, and (docs/z.md#S, 6).";
    let expected = [("docs/x.md", vec!["4.1", "4.4", "4.7"]), ("y.md", vec![]), ("docs/z.md", vec!["S"])];
    assert_eq!(links(comment), expected);
    assert!(has_section("# A\n### 4.1 Calls\n## S. Seen\n", "4.1"));
    assert!(has_section("# A\n### 4.1 Calls\n## S. Seen\n", "S"));
    assert!(!has_section("# A\n### 4.1 Calls\n", "4"));
}

/// Compared without white space and trailing commas, since rustfmt breaks the lines of the example in its own way.
#[test]
fn the_rust_snippets_of_the_readme_are_compiled() {
    let without_space = |text: &str| text.split_whitespace().collect::<String>().replace(",)", ")");
    let compiled = without_space(&fs::read_to_string(root().join("examples/readme.rs")).unwrap());
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let snippets: Vec<&str> =
        readme.split("```rust").skip(1).filter_map(|rest| rest.split_once('\n')?.1.split("```").next()).collect();
    assert_eq!(snippets.len(), 6, "README.md has more or fewer snippets; put new ones into examples/readme.rs");
    for snippet in snippets {
        assert!(
            compiled.contains(&without_space(snippet)),
            "examples/readme.rs does not have this snippet:\n{snippet}"
        );
    }
}
