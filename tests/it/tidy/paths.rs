//! Which modules a file names: a reader of paths, as far as rustfmt's code needs one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, is_identifier};

type Module = Vec<String>;

/// From which module to which, and in which file. What a module gives on counts as the
/// module's that has it.
pub(super) fn between(sources: &[Source]) -> BTreeSet<(Module, Module, String)> {
    let modules = Modules::of(sources);
    let mut between = BTreeSet::new();
    for source in sources {
        for path in named(&source.code) {
            if let Some(to) = modules.resolve(&source.is, &path)
                && to != source.is
            {
                between.insert((source.is.clone(), to, source.path.display().to_string()));
            }
        }
    }
    between
}

/// All modules, and what each gives on, by its name there.
struct Modules(BTreeMap<Module, BTreeMap<String, Vec<String>>>);

impl Modules {
    fn of(sources: &[Source]) -> Self {
        let given = |source: &Source| {
            let statements = source.code.split(';').filter_map(|text| text.split_once("use "));
            let paths = statements.flat_map(|(_, path)| tree(path));
            paths.filter_map(|path| Some((path.last()?.clone(), path))).collect()
        };
        Self(sources.iter().map(|source| (source.is.clone(), given(source))).collect())
    }

    /// The module that has what a path names, seen from another; `None`: it is none of ours.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut at = match path.first()?.as_str() {
            "crate" | "corsac" => Vec::new(),
            "self" => from.clone(),
            "super" => from[..from.len() - 1].to_vec(),
            child => {
                let below = [&from[..], &[child.to_owned()]].concat();
                self.0.contains_key(&below).then_some(below)?
            }
        };
        for (index, name) in path.iter().enumerate().skip(1) {
            if name == "super" {
                at.pop();
                continue;
            }
            let below = [&at[..], std::slice::from_ref(name)].concat();
            if self.0.contains_key(&below) {
                at = below;
                continue;
            }
            // An item: of this module, or given on by it.
            let given = self.0.get(&at).and_then(|given| given.get(name));
            let further = given.filter(|given| given[..] != path[..=index] || at != *from);
            return match further.and_then(|given| self.resolve(&at, given)) {
                Some(module) => Some(module),
                None => Some(at),
            };
        }
        Some(at)
    }
}

/// Every path of a text that begins in lower case: `crate::a::B`, `child::c`.
pub(super) fn named(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("::") {
        let begin = rest[..at].rfind(|c| !is_identifier(c)).map_or(0, |before| before + 1);
        let is_first = rest[begin..].starts_with(|c: char| c.is_ascii_lowercase());
        let (before, length) = (&rest[..begin], expression(&rest[begin..]).1);
        if before.ends_with("pub(in ") {
            // Who may name the item is not what the item names.
            rest = &rest[begin + length..];
        } else if is_first && !before.ends_with(':') {
            paths.extend(expression(&rest[begin..]).0);
            rest = &rest[begin + length..];
        } else {
            rest = &rest[at + 2..];
        }
    }
    paths
}

/// The paths of one expression at the start of a text, and how long it is.
fn expression(text: &str) -> (Vec<Vec<String>>, usize) {
    let (mut depth, mut end) = (0_i32, text.len());
    for (at, character) in text.char_indices() {
        let goes_on = match character {
            '{' if text[..at].ends_with("::") || depth > 0 => {
                depth += 1;
                true
            }
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    end = at + 1;
                    break;
                }
                true
            }
            _ => depth > 0 || is_identifier(character) || ":*".contains(character),
        };
        if !goes_on {
            end = at;
            break;
        }
    }
    (tree(&text[..end]), end)
}

/// `a::{b, c::d as e}` as `a::b`, `a::c::d`.
fn tree(text: &str) -> Vec<Vec<String>> {
    let text = text.trim();
    let Some((before, list)) = text.split_once('{') else {
        let path = text.split(" as ").next().unwrap_or_default();
        let names = path.split("::").map(str::trim).filter(|name| !name.is_empty());
        let path: Vec<String> = names.map(str::to_owned).collect();
        return if path.is_empty() { Vec::new() } else { vec![path] };
    };
    let start: Vec<String> = before
        .split("::")
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let below = elements(list).into_iter().flat_map(tree);
    below.map(|path| [start.clone(), path].concat()).collect()
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
