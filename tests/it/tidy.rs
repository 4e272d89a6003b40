//! The order of the house, as data: who may know whom, and who may touch what.

mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The top-level modules from the bottom up. A module may name those of lower
/// layers; an arrow within a layer is written down in [`SIDEWAYS`].
const LAYERS: [&[&str]; 7] = [
    &[
        "certificate",
        "cors",
        "edits",
        "forwarded",
        "http1",
        "http2",
        "proxy_protocol",
        "route",
        "upstream",
    ],
    &["metrics", "refused", "diagnose", "config", "tls"],
    &["edge", "load", "snapshot", "explain", "diff", "carried"],
    &["proxy"],
    &["server"],
    &["cli"],
    &["main"],
];

/// Arrows within one layer. Together they must make no cycle.
const SIDEWAYS: [(&str, &str); 8] = [
    ("cors", "edits"),
    ("http2", "http1"),
    ("route", "cors"),
    ("config", "diagnose"),
    ("load", "edge"),
    ("explain", "edge"),
    ("explain", "load"),
    ("carried", "snapshot"),
];

/// What only some modules may name, and why the others must not.
#[rustfmt::skip]
const CONFINED: [(&str, &[&str], &str); 9] = [
    ("pingora",      &["proxy", "server", "cli", "main"], "the core is tested without Pingora"),
    ("toml",         &["config"],                         "TOML is the configuration's alone"),
    ("prometheus",   &["metrics"],                        "what is counted has types of its own"),
    ("std::fs",      &["server", "cli"],                  "files are not for those below the process"),
    ("std::env",     &["server", "cli", "main"],          "the environment is the process's"),
    ("std::net::TcpStream", &["server", "cli"],           "deciding is apart from doing"),
    ("SystemTime",   &["proxy", "server", "cli"],         "time is a parameter"),
    ("Instant::now", &["proxy", "server", "cli"],         "time is a parameter"),
    ("aws_lc_rs",    &["tls"],                            "one provider of cryptography, named once"),
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
    /// The module that it is: `["config", "cors"]`.
    is: Vec<String>,
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

/// No circle among the modules of one folder, at any depth. `mod.rs` is one of them: it may
/// name the others, as a front door does, or be named by them, but not both.
#[test]
fn no_module_depends_on_itself() {
    let mut circles = Vec::new();
    for (folder, arrows) in by_folder(&sources()) {
        let round = arrows.iter().filter(|(from, to)| reaches(&arrows, to, from));
        circles.extend(round.map(|(from, to)| format!("{folder}: {from} -> {to}")));
    }
    assert!(circles.is_empty(), "arrows that close circles:\n{}", circles.join("\n"));
}

/// The arrows between the modules of each folder, `mod` for its `mod.rs`.
fn by_folder(sources: &[Source]) -> BTreeMap<String, Vec<(String, String)>> {
    let mut folders: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for (from, to, _) in paths::between(sources) {
        let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
        let below = |module: &[String]| module.get(shared).map_or("mod", String::as_str).to_owned();
        let arrow = (below(&from), below(&to));
        if arrow.0 != arrow.1 {
            folders.entry(from[..shared].join("/")).or_default().insert(arrow);
        }
    }
    folders.into_iter().map(|(folder, arrows)| (folder, arrows.into_iter().collect())).collect()
}

fn reaches(arrows: &[(String, String)], from: &str, to: &str) -> bool {
    let (mut reached, mut ahead) = (BTreeSet::new(), vec![from]);
    while let Some(next) = ahead.pop() {
        if reached.insert(next) {
            let on = arrows.iter().filter(|(from, _)| from == next);
            ahead.extend(on.map(|(_, to)| to.as_str()));
        }
    }
    reached.contains(to)
}

/// One word for one thing: no two types that more than their own file can see.
#[test]
fn no_two_types_have_one_name() {
    let declared =
        regex::Regex::new(r"(?m)^ *pub(?:\([a-z:]+\))? (?:struct|enum|trait|type|union) (\w+)")
            .unwrap();
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        for found in declared.captures_iter(&source.code) {
            let path = source.path.display().to_string();
            files.entry(found[1].to_owned()).or_default().insert(path);
        }
    }
    let twice: BTreeMap<_, _> = files.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(twice.is_empty(), "call one of them otherwise: {twice:?}");
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

/// What other modules can see says what it is. A field or a variant may be clear by its name.
#[test]
fn what_others_see_is_explained() {
    let item = regex::Regex::new(
        r"^ *pub (?:const |async )?(?:fn|struct|enum|trait|type|const|static) \w+",
    )
    .unwrap();
    let mut wrong = Vec::new();
    for source in sources() {
        let text = fs::read_to_string(root().join(&source.path)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| item.is_match(line)) {
            let mut above = lines[..index].iter().rev().map(|line| line.trim_start());
            // Attributes stand between, some of several lines.
            let mut inside = false;
            let before = above.find(|line| {
                inside |= line.ends_with(")]") && !line.starts_with("#[");
                let is_attribute = inside || line.starts_with("#[");
                inside &= !line.starts_with("#[");
                !is_attribute
            });
            if !before.is_some_and(|line| line.starts_with("///")) {
                wrong.push(format!("{}:{}: {}", source.path.display(), index + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
    let of = |text: &str| -> Vec<String> {
        paths::named(text).into_iter().map(|path| path.join("::")).collect()
    };
    let seen = ["crate::cors::Policy", "crate::cors::spec", "crate::edits", "crate::route::x"];
    assert_eq!(of(&code), [&seen[..], &["crate::config"]].concat());
    assert_eq!(
        of("use super::a::{self, B as C, d::*};\nlet x = super::super::e::F::new(g::H);"),
        ["super::a::self", "super::a::B", "super::a::d::*", "super::super::e::F::new", "g::H"]
    );
    assert_eq!(of("pub(in crate::a) fn f(x: b::C)"), ["b::C"]);
    assert!(names("use pingora_core::x;", "pingora") && names("a(std::fs::read)", "std::fs"));
    assert!(!names("use crate::toml_like;", "toml") && !names("my_toml::x", "toml"));
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// Who names whom, and in which file, from one top-level module to another.
fn arrows(sources: &[Source]) -> BTreeSet<(String, String, String)> {
    let named = paths::between(sources).into_iter().filter_map(|(from, to, file)| {
        let [from, to] = [from, to].map(|module| module.into_iter().next());
        Some((from?, to?, file))
    });
    named.filter(|(from, to, _)| from != to).collect()
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
                // Tests may know everything.
                if !path.ends_with("tests") {
                    folders.push(path);
                }
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
    let stem = below.with_extension("");
    let is = stem.iter().map(|name| name.to_str().unwrap().to_owned());
    Source {
        path: Path::new("src").join(below),
        module: first.file_stem().unwrap().to_str().unwrap().to_owned(),
        is: is.filter(|name| name != "mod").collect(),
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
