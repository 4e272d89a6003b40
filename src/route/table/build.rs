//! Compiles patterns into a table, and finds those that get in each other's way.

use std::cmp::{Ordering, Reverse};

use http::Method;

use super::search::{Entry, Hosts, Table};
use super::tree::{Forest, Leaf, Root, index, key};
use crate::route::{Expect, HostPattern, Pattern, Predicates, Segment};

/// Collects routes for a [`Table`]. Their order does not matter.
#[derive(Debug)]
pub struct TableBuilder<T> {
    routes: Vec<Draft<T>>,
}

/// Two routes that tie and can match one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conflict {
    /// The routes, counted from 0 as they were inserted, the smaller first.
    pub routes: (usize, usize),
    /// A host that both match, or the pattern `*` for any.
    pub host: String,
    /// A path that both match.
    pub path: String,
    /// A method that both match.
    pub method: Method,
}

/// A route that can never match, since others take every request that it could get.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shadowed {
    /// The route, counted from 0 as it was inserted.
    pub route: usize,
    /// Those that take its requests.
    pub by: Vec<usize>,
}

#[derive(Debug)]
struct Draft<T> {
    /// Its place among all that were inserted.
    inserted: usize,
    key: Box<[u8]>,
    pattern: Pattern,
    value: T,
}

impl<T> Default for TableBuilder<T> {
    fn default() -> Self {
        Self { routes: Vec::new() }
    }
}

impl<T> TableBuilder<T> {
    /// No route yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route.
    pub fn insert(&mut self, at: Pattern, value: T) {
        let pattern = Pattern { predicates: sorted(at.predicates), ..at };
        self.routes.push(Draft {
            inserted: self.routes.len(),
            key: key(&pattern.path),
            pattern,
            value,
        });
    }

    /// Compiles the table, and reports the routes that can never match.
    ///
    /// A route is known to be shadowed if those tried before it on the same host
    /// and path take all its requests: together they take all its methods, and
    /// none asks for a header or parameter that it does not ask for. That is exact
    /// within one host and path. Across them a route is never reported. It could
    /// be shadowed only where more specific patterns exhaust a wildcard (`/`, `//*`,
    /// `/:a` and `/:a/*` leave nothing to `/*`); nobody writes that by mistake.
    ///
    /// # Errors
    ///
    /// Each route that conflicts with an earlier one, with the first of those.
    pub fn build(self) -> Result<(Table<T>, Vec<Shadowed>), Vec<Conflict>> {
        let mut routes = self.routes;
        routes.sort_unstable_by(|one, other| {
            matching_order(one, other).then(one.inserted.cmp(&other.inserted))
        });
        let mut conflicts: Vec<_> = groups(&routes).flat_map(conflicts).collect();
        if conflicts.is_empty() {
            let shadowed = groups(&routes).flat_map(shadowed).collect();
            return Ok((compile(routes), shadowed));
        }
        conflicts.sort_unstable_by_key(|conflict| conflict.routes);
        Err(conflicts)
    }
}

/// The routes by host and path pattern; their predicates decide between them.
fn groups<T>(routes: &[Draft<T>]) -> impl Iterator<Item = &[Draft<T>]> {
    routes.chunk_by(|one, other| one.key == other.key && one.pattern.host == other.pattern.host)
}

/// The predicates, each once, in an order that does not depend on how they were written.
fn sorted(mut predicates: Predicates) -> Predicates {
    predicates.methods.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    predicates.methods.dedup();
    predicates
        .headers
        .sort_unstable_by(|(one, a), (other, b)| (one.as_str(), a).cmp(&(other.as_str(), b)));
    predicates.headers.dedup();
    predicates.query.sort_unstable();
    predicates.query.dedup();
    predicates
}

/// Which route is tried first.
fn matching_order<T>(one: &Draft<T>, other: &Draft<T>) -> Ordering {
    by_host(&one.pattern.host, &other.pattern.host)
        .then_with(|| one.key.cmp(&other.key))
        .then_with(|| rank(&one.pattern).cmp(&rank(&other.pattern)))
        // Between routes that never match the same actual request. Two can match
        // one preflight, which announces no values: then at least not by chance.
        .then_with(|| by_text(&one.pattern.predicates, &other.pattern.predicates))
}

fn by_host(one: &HostPattern, other: &HostPattern) -> Ordering {
    match (one, other) {
        (HostPattern::Suffix(one), HostPattern::Suffix(other)) => {
            (Reverse(one.len()), one).cmp(&(Reverse(other.len()), other))
        }
        // The variants stand in the order of matching.
        _ => one.cmp(other),
    }
}

/// Of routes of one host and path.
fn rank(pattern: &Pattern) -> (Reverse<i64>, Reverse<usize>) {
    (Reverse(pattern.priority), Reverse(pattern.predicates.count()))
}

fn by_text(one: &Predicates, other: &Predicates) -> Ordering {
    fn methods(predicates: &Predicates) -> impl Iterator<Item = &str> {
        predicates.methods.iter().map(Method::as_str)
    }
    fn headers(predicates: &Predicates) -> impl Iterator<Item = (&str, &Expect)> {
        predicates.headers.iter().map(|(name, expect)| (name.as_str(), expect))
    }
    methods(one)
        .cmp(methods(other))
        .then_with(|| headers(one).cmp(headers(other)))
        .then_with(|| one.query.cmp(&other.query))
}

/// Each route of a group that ties with an earlier one, with the earliest inserted.
fn conflicts<T>(group: &[Draft<T>]) -> impl Iterator<Item = Conflict> {
    group.chunk_by(|one, other| rank(&one.pattern) == rank(&other.pattern)).flat_map(|tied| {
        tied.iter().filter_map(|later| {
            let earlier = tied.iter().filter(|earlier| earlier.inserted < later.inserted);
            let ties = earlier
                .filter_map(|earlier| Some((earlier.inserted, common_method(earlier, later)?)));
            let (first, method) = ties.min_by_key(|(inserted, _)| *inserted)?;
            Some(Conflict {
                routes: (first, later.inserted),
                host: sample_host(&later.pattern.host),
                path: sample_path(later.pattern.path.segments()),
                method,
            })
        })
    })
}

/// A method of a request that both routes match, if their predicates can both hold.
fn common_method<T>(one: &Draft<T>, other: &Draft<T>) -> Option<Method> {
    let (one, other) = (&one.pattern.predicates, &other.pattern.predicates);
    if excludes(&one.headers, &other.headers) || excludes(&one.query, &other.query) {
        return None;
    }
    match (&*one.methods, &*other.methods) {
        ([], []) => Some(Method::GET),
        ([], [method, ..]) | ([method, ..], []) => Some(method.clone()),
        (one, other) => one.iter().find(|method| other.contains(method)).cloned(),
    }
}

/// Whether some name must have two values.
fn excludes<N: PartialEq>(one: &[(N, Expect)], other: &[(N, Expect)]) -> bool {
    one.iter().any(|(name, expect)| {
        other.iter().any(|(same, otherwise)| {
            name == same
                && expect != otherwise
                && *expect != Expect::Present
                && *otherwise != Expect::Present
        })
    })
}

fn sample_host(host: &HostPattern) -> String {
    match host {
        HostPattern::Suffix(suffix) => format!("any.{suffix}"),
        HostPattern::Exact(_) | HostPattern::Any => host.to_string(),
    }
}

fn sample_path(segments: &[Segment]) -> String {
    let text = |segment: &Segment| match segment {
        Segment::Text(text) => format!("/{text}"),
        Segment::Param(_) => "/1".to_owned(),
        Segment::Wildcard => "/any".to_owned(),
    };
    segments.iter().map(text).collect()
}

/// The routes of a group that those before them leave nothing to.
fn shadowed<T>(group: &[Draft<T>]) -> impl Iterator<Item = Shadowed> {
    group.iter().enumerate().filter_map(|(i, route)| {
        let by = shadow(group.get(..i).unwrap_or_default(), &route.pattern.predicates)?;
        Some(Shadowed { route: route.inserted, by })
    })
}

/// Those of `before` that take all that `asks` could get, if they do.
fn shadow<T>(before: &[Draft<T>], asks: &Predicates) -> Option<Vec<usize>> {
    let mut left = asks.methods.clone();
    let mut by = Vec::new();
    for route in before {
        let taken = &route.pattern.predicates;
        if !implies(&asks.headers, &taken.headers) || !implies(&asks.query, &taken.query) {
            continue;
        }
        if taken.methods.is_empty() {
            return Some(vec![route.inserted]);
        }
        let count = left.len();
        left.retain(|method| !taken.methods.contains(method));
        if left.len() < count {
            by.push(route.inserted);
        }
    }
    // No list of methods exhausts "any method": extensions are without number.
    (!asks.methods.is_empty() && left.is_empty()).then_some(by)
}

/// Whether all of `claims` hold wherever all of `asks` do.
fn implies<N: PartialEq>(asks: &[(N, Expect)], claims: &[(N, Expect)]) -> bool {
    claims.iter().all(|(name, claim)| {
        asks.iter().any(|(same, ask)| name == same && (ask == claim || *claim == Expect::Present))
    })
}

/// Makes the table of routes in matching order.
fn compile<T>(routes: Vec<Draft<T>>) -> Table<T> {
    let mut forest = Forest::default();
    let mut hosts = Hosts::default();
    let mut leaves: Vec<(&[u8], Leaf)> = Vec::new();
    let mut lasts = vec![false; routes.len()];
    let mut count = 0;
    for of_host in routes.chunk_by(|one, other| one.pattern.host == other.pattern.host) {
        leaves.clear();
        for group in of_host.chunk_by(|one, other| one.key == other.key) {
            leaves.extend(group.first().map(|route| (&*route.key, index(count))));
            count += group.len();
            if let Some(last) = lasts.get_mut(count - 1) {
                *last = true;
            }
        }
        let root = forest.plant(&leaves);
        if let Some(route) = of_host.first() {
            hosts.add(&route.pattern.host, root);
        }
    }
    let routes = routes.into_iter().zip(lasts).map(|(draft, is_last)| Entry {
        has_predicates: draft.pattern.predicates.count() > 0,
        pattern: draft.pattern,
        value: draft.value,
        is_last,
    });
    Table { routes: routes.collect(), forest, hosts }
}

impl Hosts {
    /// Adds the tree of a host. Suffixes come longest first.
    fn add(&mut self, host: &HostPattern, root: Root) {
        match host {
            HostPattern::Exact(host) => drop(self.exact.insert(host.clone(), root)),
            HostPattern::Suffix(suffix) => {
                self.suffixes.insert(suffix.clone(), root);
                self.suffix_lens.push(suffix.len());
                self.suffix_lens.dedup();
            }
            HostPattern::Any => self.any = Some(root),
        }
    }
}
