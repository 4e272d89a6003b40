//! What the documents say is true: every block of TOML in them is read as the
//! program reads it, and their tables of codes, commands and log fields are the
//! program's.
//!
//! The language of a block says what it is: `toml` is a whole configuration,
//! `toml part` the rest of one, `toml policy` the keys of a CORS policy, and
//! `toml wrong` a configuration that must not load.

#[cfg(feature = "server")]
mod program;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use corsac::{config, diagnose::codes::CODES};

use crate::golden::InMemory;

const DOCUMENTS: [&str; 10] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/cors.md",
    "docs/config.md",
    "docs/metrics.md",
    "docs/operations.md",
    "docs/performance.md",
];

/// What a `toml part` is a part of.
const BASE: &str = "version = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n\
                    [upstreams.app]\nnodes = \"127.0.0.1:8081\"\n";

/// What a `toml policy` is the policy of.
const ROUTE: &str = "[services.s]\nupstream = \"app\"\n[services.s.routes.r]\npaths = \"/*\"\n";

pub(crate) fn read(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// The blocks of code of a document: language, first line, text.
fn blocks(document: &str) -> Vec<(String, usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize, String)> = None;
    for (number, line) in read(document).lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some((language.trim().to_owned(), number + 2, String::new()));
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, _, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn every_block_of_toml_loads() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        for (language, line, text) in blocks(document) {
            let (text, loads) = match language.as_str() {
                "toml" => (text, true),
                "toml part" => (format!("{BASE}{text}"), true),
                "toml policy" => (format!("{BASE}{ROUTE}[services.s.cors]\n{text}"), true),
                "toml wrong" => (text, false),
                _ if language.starts_with("toml") => {
                    wrong.push(format!("{document}:{line}: {language:?} is no kind of block"));
                    continue;
                }
                _ => continue,
            };
            seen += 1;
            match config::load(Path::new("block.toml"), &with_certificates("block.toml", text)) {
                Ok((_, report)) if !loads => {
                    wrong.push(format!("{document}:{line} loads: {}", report.to_text(false)));
                }
                Err(report) if loads => {
                    wrong.push(format!("{document}:{line}:\n{}", report.to_text(false)));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 10, "only {seen} blocks of TOML were found");
}

/// A configuration, and certificates with their keys beside it.
pub(crate) fn with_certificates(name: &str, text: String) -> InMemory {
    let file = |name: &str| read(&format!("tests/it/certificates/{name}"));
    let [a, b] =
        ["a", "b"].map(|name| file(&format!("{name}.pem")) + &file(&format!("{name}.key")));
    let files = [
        (name.into(), text),
        ("example.pem".into(), a.clone()),
        ("example.key".into(), a),
        ("other.pem".into(), b),
        // It vouches for itself.
        ("clients.pem".into(), file("a.pem")),
    ];
    InMemory(files.into_iter().collect())
}

/// The codes that a document's tables have a row for: `| E101 | … |`.
fn rows(document: &str) -> Vec<String> {
    let is_code = |cell: &&str| {
        cell.len() == 4
            && cell.starts_with(['E', 'W'])
            && cell.chars().skip(1).all(|digit| digit.is_ascii_digit())
    };
    read(document)
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next())
        .map(|cell| cell.trim().trim_matches('`'))
        .filter(is_code)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_code_has_one_row() {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for code in ["docs/cors.md", "docs/config.md"].into_iter().flat_map(rows) {
        *count.entry(code).or_default() += 1;
    }
    let expected: BTreeMap<String, usize> =
        CODES.iter().map(|(code, _)| ((*code).to_owned(), 1)).collect();
    assert_eq!(count, expected);
}

/// The date that `corsac --version` prints is that of the list that is compiled in.
#[test]
fn the_date_of_the_public_suffix_list() {
    const VERSION: &str = "2.1.247";
    let lock = read("Cargo.lock");
    assert!(
        lock.contains(&format!("name = \"psl\"\nversion = \"{VERSION}\"\n")),
        "psl has another version: set LIST_DATE to the day on which that was published"
    );
    assert_eq!(corsac::cors::PUBLIC_SUFFIX_LIST_DATE, "2026-11-05");
}

/// What a page of GitHub calls the place of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// The headings of a document, outside of its blocks of code.
fn anchors(document: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut anchors = BTreeSet::new();
    for line in read(document).lines() {
        is_code ^= line.trim_start().starts_with("```");
        if let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) {
            anchors.insert(anchor(heading.trim_start_matches('#').trim()));
        }
    }
    anchors
}

#[test]
fn every_link_leads_somewhere() {
    let link = regex::Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in DOCUMENTS {
        let text = read(document);
        for target in link.captures_iter(&text).map(|found| found.get(1).unwrap().as_str()) {
            if target.contains("://") {
                continue;
            }
            seen += 1;
            let (path, place) = target.split_once('#').unwrap_or((target, ""));
            let beside = Path::new(document).parent().unwrap();
            let path = if path.is_empty() { document.into() } else { beside.join(path) };
            let is_there = Path::new(env!("CARGO_MANIFEST_DIR")).join(&path).exists();
            let has_place = || anchors(path.to_str().unwrap()).contains(place);
            if !is_there || !place.is_empty() && !has_place() {
                wrong.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 50, "only {seen} links were found");
}

/// Every Rust file below a folder, with its text.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push((entry.display().to_string(), fs::read_to_string(&entry).unwrap()));
        }
    }
}

/// The files and folders that the tree of ARCHITECTURE.md names, as paths from the root.
///
/// An entry begins with names, which end in `.rs` or a slash; the rest of its line, and
/// lines without a name, say what they are. What is indented deeper is below.
fn tree(text: &str) -> BTreeSet<PathBuf> {
    let mut entries = BTreeSet::new();
    let mut above: Vec<(usize, PathBuf)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("```")) {
        let indent = line.len() - line.trim_start().len();
        above.retain(|(other, _)| *other < indent);
        let parent = above.last().map(|(_, path)| path.clone()).unwrap_or_default();
        let names = line.split_whitespace().map(|word| word.trim_end_matches(','));
        let is_name = |word: &&str| {
            word.ends_with('/') || Path::new(word).extension().is_some_and(|it| it == "rs")
        };
        for name in names.take_while(is_name) {
            let path = parent.join(name);
            if name.ends_with('/') {
                above.push((indent, path.clone()));
            }
            entries.insert(path);
        }
    }
    entries
}

/// The tree has each file of the sources and of the tests, and nothing else: its line,
/// or that of a folder of which nothing is told apart. A `mod.rs` comes with its folder, and
/// `tests.rs` with its module.
#[test]
fn the_tree_is_as_it_is_drawn() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = read("ARCHITECTURE.md");
    let drawn = tree(section(&text, "\n## The tree\n"));
    let mut wrong: Vec<String> = drawn
        .iter()
        .filter(|path| !root.join(path).exists())
        .map(|path| format!("drawn, and not there: {}", path.display()))
        .collect();
    let mut found = Vec::new();
    for folder in ["src", "tests/it"] {
        sources(&root.join(folder), &mut found);
    }
    for (path, _) in &found {
        let path = Path::new(path).strip_prefix(root).unwrap();
        let has_more =
            |folder: &Path| drawn.iter().any(|other| other != folder && other.starts_with(folder));
        let is_below =
            path.ancestors().skip(1).any(|above| drawn.contains(above) && !has_more(above));
        let is_mod = path.ends_with("mod.rs") && path.parent().is_some_and(|it| drawn.contains(it));
        if !drawn.contains(path) && !is_below && !is_mod && !path.ends_with("tests.rs") {
            wrong.push(format!("there, and not drawn: {}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(drawn.len() > 150, "only {} entries", drawn.len());
}

fn section<'t>(text: &'t str, heading: &str) -> &'t str {
    text.split_once(heading).unwrap().1.split_once("\n## ").unwrap().0
}

/// The tests that guard the invariants in ARCHITECTURE.md.
#[test]
fn every_test_is_there() {
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    let text = read("ARCHITECTURE.md");
    let mut wrong: Vec<&str> = Vec::new();
    let code = regex::Regex::new(r"`([a-z_0-9]+(?:::[a-z_0-9]+)+)`").unwrap();
    let names = code.captures_iter(section(&text, "\n## Invariants\n"));
    for name in names.map(|found| found.get(1).unwrap().as_str()) {
        let (module, last) = name.rsplit_once("::").unwrap();
        let module = module.rsplit("::").find(|part| *part != "tests").unwrap();
        let is_in = |path: &str| path.contains(&format!("/{module}"));
        let defined = |text: &str| {
            let item = ["fn ", "mod "].map(|kind| format!("{kind}{last}"));
            item.iter().any(|item| text.contains(&**item))
        };
        if !found.iter().any(|(path, text)| is_in(path) && defined(text)) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "not there: {wrong:?}");
}
