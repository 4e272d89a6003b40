//! All origins that a policy allows, compiled.

use foldhash::HashMap;

use super::origin::Origin;
use super::pattern::{OriginPattern, PortPattern, TuplePattern};
use super::spec::Part;
use regex::Regex;

/// Which requests a set is about, before it looks at any single origin.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Scope {
    /// Those whose origin is listed.
    #[default]
    Listed,
    /// All tuple origins: `**`.
    Echo,
    /// All, with an origin or without: `*`.
    Any,
}

/// An entry as it was written, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginEntry {
    /// Where it stands in the policy.
    pub place: Part,
    /// How it is written there.
    pub text: String,
}

/// A compiled union of origin patterns and regexes.
///
/// Looking an origin up takes time linear in its bytes, however many are listed:
/// two hash look-ups, and a walk up its labels. Regexes come last, one by one.
#[derive(Debug, Default)]
pub(super) struct OriginSet {
    scope: Scope,
    null: Option<usize>,
    /// By serialisation.
    exact: HashMap<Box<str>, usize>,
    /// `:*` without `*.`, by serialisation without the port.
    any_port: HashMap<Box<str>, usize>,
    subdomains: LabelTree,
    regexes: Vec<(Regex, usize)>,
    entries: Vec<OriginEntry>,
}

impl OriginSet {
    /// Adds a pattern. Of two that match the same, the first is the one found.
    pub(super) fn insert(&mut self, pattern: &OriginPattern, place: Part) {
        let index = self.push(pattern.to_string(), place);
        match pattern {
            OriginPattern::Any => self.scope = Scope::Any,
            OriginPattern::Echo => self.scope = Scope::Echo,
            OriginPattern::Null => self.null = Some(index),
            OriginPattern::Tuple(tuple) if tuple.subdomains => self.subdomains.insert(tuple, index),
            OriginPattern::Tuple(tuple) if tuple.port == PortPattern::Any => {
                let site = format!("{}://{}", tuple.scheme, tuple.host);
                self.any_port.entry(site.into()).or_insert(index);
            }
            OriginPattern::Tuple(tuple) => {
                self.exact.entry(tuple.to_string().into()).or_insert(index);
            }
        }
    }

    /// Adds a regex, which must be anchored.
    pub(super) fn insert_regex(&mut self, regex: Regex, text: &str, place: Part) {
        let index = self.push(text.to_owned(), place);
        self.regexes.push((regex, index));
    }

    fn push(&mut self, text: String, place: Part) -> usize {
        self.entries.push(OriginEntry { place, text });
        self.entries.len() - 1
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    pub(super) fn allows_null(&self) -> bool {
        self.null.is_some()
    }

    pub(super) fn contains(&self, origin: &Origin<'_>) -> bool {
        self.scope != Scope::Listed || self.find(origin).is_some()
    }

    /// The entry that allows an origin.
    pub(super) fn entry(&self, origin: &Origin<'_>) -> Option<&OriginEntry> {
        match self.scope {
            Scope::Listed => self.entries.get(self.find(origin)?),
            // `*` and `**` stand alone.
            Scope::Echo | Scope::Any => self.entries.first(),
        }
    }

    /// The entry that allows `null`.
    pub(super) fn null_entry(&self) -> Option<&OriginEntry> {
        self.entries.get(self.null?)
    }

    pub(super) fn entries(&self) -> &[OriginEntry] {
        &self.entries
    }

    fn find(&self, origin: &Origin<'_>) -> Option<usize> {
        self.exact
            .get(origin.as_str())
            .or_else(|| self.any_port.get(origin.without_port()))
            .copied()
            .or_else(|| self.subdomains.find(origin))
            .or_else(|| {
                let found = self.regexes.iter().find(|(regex, _)| regex.is_match(origin.as_str()));
                found.map(|(_, index)| *index)
            })
    }
}

/// `*.` patterns by the labels of their suffix, from the right.
///
/// A walk stops at the first label that no pattern has, so a host of 126 labels
/// costs no more than the deepest pattern. Hashing each suffix of the host instead
/// would read its bytes once for every label.
#[derive(Debug, Default)]
struct LabelTree {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    /// The patterns whose suffix ends here: few, since they differ in scheme or port alone.
    ends: Vec<(TuplePattern, usize)>,
}

impl LabelTree {
    fn insert(&mut self, pattern: &TuplePattern, index: usize) {
        let mut node = &mut self.root;
        for label in pattern.host.rsplit('.') {
            node = node.children.entry(label.into()).or_default();
        }
        node.ends.push((pattern.clone(), index));
    }

    fn find(&self, origin: &Origin<'_>) -> Option<usize> {
        let mut node = &self.root;
        for label in origin.host().rsplit('.') {
            node = node.children.get(label)?;
            let end = node.ends.iter().find(|(pattern, _)| pattern.matches(origin));
            if let Some((_, index)) = end {
                return Some(*index);
            }
        }
        None
    }
}
