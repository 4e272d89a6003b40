//! The order of the house, as data: who may know whom, and who may touch what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The top-level modules from the bottom up. A module may name those of lower
/// layers; an arrow within a layer is written down in [`SIDEWAYS`].
const LAYERS: [&[&str]; 7] = [
    &["cors", "edits", "http1", "route", "upstream"],
    &["metrics", "refused", "diagnose", "config"],
    &["edge", "load", "snapshot", "explain", "diff", "carried"],
    &["proxy"],
    &["server"],
    &["cli"],
    &["main"],
];

/// Arrows within one layer. Together they must make no cycle.
const SIDEWAYS: [(&str, &str); 7] = [
    ("cors", "edits"),
    ("route", "cors"),
    ("config", "diagnose"),
    ("load", "edge"),
    ("explain", "edge"),
    ("explain", "load"),
    ("carried", "snapshot"),
];

/// What only some modules may name, and why the others must not.
#[rustfmt::skip]
const CONFINED: [(&str, &[&str], &str); 7] = [
    ("pingora",      &["proxy", "server", "cli", "main"], "the core is tested without Pingora"),
    ("toml",         &["config"],                         "TOML is the configuration's alone"),
    ("std::fs",      &["server", "cli"],                  "files are not for those below the process"),
    ("std::env",     &["server", "cli", "main"],          "the environment is the process's"),
    ("std::net::TcpStream", &["server", "cli"],           "deciding is apart from doing"),
    ("SystemTime",   &["proxy", "server", "cli"],         "time is a parameter"),
    ("Instant::now", &["proxy", "server", "cli"],         "time is a parameter"),
];

/// State that a `static` could hide, so that two requests or two tests share it.
const SHARED_STATE: [&str; 8] =
    ["Mutex", "RwLock", "Atomic", "Cell<", "OnceLock", "LazyLock", "ArcSwap", "thread_local!"];

const LONGEST_FILE: usize = 700;

/// A file of `src`, without comments and without its tests.
struct Source {
    path: PathBuf,
    /// The top-level module that it belongs to.
    module: String,
    code: String,
    lines: usize,
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for (from, to, path) in arrows(&sources()) {
        let (Some(above), Some(below)) = (layer(&from), layer(&to)) else {
            wrong.push(format!("{path}: {from} -> {to}: one of them has no layer; see LAYERS"));
            continue;
        };
        let sideways = SIDEWAYS.contains(&(from.as_str(), to.as_str()));
        if below > above || (below == above && !sideways) {
            wrong.push(format!("{path}: {from} -> {to} is a new arrow, and does not point down"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_module_depends_on_itself() {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to, _) in arrows(&sources()) {
        known.entry(from).or_default().insert(to);
    }
    for module in known.keys() {
        let mut reached = BTreeSet::new();
        let mut ahead: Vec<&String> = known[module].iter().collect();
        while let Some(next) = ahead.pop() {
            if reached.insert(next) {
                ahead.extend(known.get(next).into_iter().flatten());
            }
        }
        assert!(!reached.contains(module), "{module} depends on itself, by way of {reached:?}");
    }
}

#[test]
fn what_is_confined_stays_there() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, allowed, why) in CONFINED {
            if names(&source.code, name) && !allowed.contains(&source.module.as_str()) {
                wrong.push(format!("{}: `{name}`: {why}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_static_hides_state() {
    for source in sources() {
        for line in source.code.lines() {
            let is_static = line.trim_start().trim_start_matches("pub ").starts_with("static ");
            let hides = (is_static || line.contains("thread_local!"))
                && SHARED_STATE.iter().any(|kind| line.contains(kind));
            assert!(!hides, "{}: pass it instead: {line}", source.path.display());
        }
    }
}

#[test]
fn files_are_of_one_idea() {
    for source in sources() {
        let Source { path, lines, .. } = source;
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines; split it by idea", path.display());
    }
}

#[test]
fn every_dependency_says_why() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut in_dependencies = false;
    let mut above = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if in_dependencies && line.contains(" = ") {
            let says = line.contains('#') || above.starts_with('#');
            assert!(says, "Cargo.toml: say why it is needed: {line}");
        }
        above = line;
    }
}

/// The readers above are code too: what they must see, and what they must not.
#[test]
fn the_readers_see() {
    let code = without_tests_and_comments(
        "use crate::{cors::{Policy, spec}, edits};\n// crate::proxy\nlet a = crate::route::x();\n\
         #[cfg(test)]\nmod tests {\n    use crate::server;\n}\nuse crate::config;\n",
    );
    assert_eq!(
        named_modules(&code),
        ["config", "cors", "edits", "route"].map(str::to_owned).into()
    );
    assert!(names("use pingora_core::x;", "pingora") && names("a(std::fs::read)", "std::fs"));
    assert!(!names("use crate::toml_like;", "toml") && !names("my_toml::x", "toml"));
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// Who names whom, and in which file, from one top-level module to another.
fn arrows(sources: &[Source]) -> BTreeSet<(String, String, String)> {
    let mut arrows = BTreeSet::new();
    for source in sources {
        for to in named_modules(&source.code) {
            if to != source.module {
                let path = source.path.display().to_string();
                arrows.insert((source.module.clone(), to, path));
            }
        }
    }
    arrows
}

/// The modules in `crate::a`, `crate::{a::x, b}` and, in `main.rs`, `corsac::a`.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (prefix, at) in ["crate::", "corsac::"]
        .iter()
        .flat_map(|p| code.match_indices(p))
        .map(|(at, prefix)| (prefix, at))
    {
        if code[..at].ends_with(is_identifier) {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => modules.extend(first_name(rest)),
            Some(list) => modules.extend(elements(list).into_iter().filter_map(first_name)),
        }
    }
    modules
}

/// The elements of a `{…}` list at its first level; `list` begins after the brace.
fn elements(list: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut elements) = (0_i32, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                elements.push(&list[begin..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                elements.push(&list[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    elements
}

/// A module's name is in lower case; items of the crate's root are not.
fn first_name(path: &str) -> Option<String> {
    let path = path.trim_start();
    let name = &path[..path.find(|c| !is_identifier(c)).unwrap_or(path.len())];
    name.starts_with(|c: char| c.is_ascii_lowercase()).then(|| name.to_owned())
}

/// Whether `code` names `item` as an identifier, or as the beginning of one of
/// Pingora's crates.
fn names(code: &str, item: &str) -> bool {
    code.match_indices(item).any(|(at, _)| {
        let after = &code[at + item.len()..];
        let whole = !after.starts_with(is_identifier) || after.starts_with('_');
        let is_path = item != "toml" || after.starts_with("::");
        whole && is_path && !code[..at].ends_with(is_identifier)
    })
}

fn is_identifier(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let src = root().join("src");
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                sources.push(source(&src, &path));
            }
        }
    }
    // `lib.rs` declares the modules and belongs to none.
    sources.retain(|source| source.module != "lib");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn source(src: &Path, path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let below = path.strip_prefix(src).unwrap();
    let first = Path::new(below.components().next().unwrap().as_os_str());
    Source {
        path: Path::new("src").join(below),
        module: first.file_stem().unwrap().to_str().unwrap().to_owned(),
        code: without_tests_and_comments(&text),
        lines: text.lines().count(),
    }
}

/// Relies on rustfmt: the closing brace of an item stands as deep as its start.
fn without_tests_and_comments(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("#[cfg(test)]") {
            let depth = line.len() - trimmed.len();
            let closing = format!("{}}}", &line[..depth]);
            // A whole block, or one line such as `mod tests;`.
            let item = lines.by_ref().find(|item| !item.trim_start().starts_with("#["));
            if item.is_some_and(|item| item.ends_with('{')) {
                lines.by_ref().find(|line| *line == closing);
            }
        } else if !trimmed.starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
