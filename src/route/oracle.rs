//! The plainest search that is right: all patterns, one by one.
//!
//! The yardstick of the table's property tests and of the fuzz target `route_table`,
//! which includes this file. It shares no code with the table but the patterns.

use std::cmp::Reverse;

use percent_encoding::percent_decode_str;

use super::{Expect, Head, HostPattern, Match, PathPattern, Pattern, Predicates, Segment};

/// What a table must say: the value found, else the methods to allow (none: 404).
pub(crate) type Due<'t, T> = Result<&'t T, String>;

/// The answer of a table, for comparison.
pub(crate) fn answer<'t, T>(found: &Match<'t, T>) -> Due<'t, T> {
    match found {
        Match::Found(value) | Match::ButForMethod(value) => Ok(value),
        Match::MethodNotAllowed(allow) => Err(allow.to_string()),
        Match::NotFound => Err(String::new()),
    }
}

/// The answer that a table of these routes must give.
pub(crate) fn find<'t, T>(routes: &'t [(Pattern, T)], head: &Head<'_>) -> Due<'t, T> {
    let mut candidates: Vec<_> = routes
        .iter()
        .filter(|(at, _)| at.host.matches(head.host) && path_matches(&at.path, head.path))
        .collect();
    candidates.sort_by_key(|(at, _)| specificity(at));
    let mut allowed: Vec<&str> = Vec::new();
    for (at, value) in candidates {
        if !rest_holds(&at.predicates, head) {
            continue;
        }
        if at.predicates.methods.is_empty() || at.predicates.methods.contains(head.method) {
            return Ok(value);
        }
        allowed.extend(at.predicates.methods.iter().map(http::Method::as_str));
    }
    allowed.sort_unstable();
    allowed.dedup();
    Err(allowed.join(", "))
}

/// What takes a probe, by [`Table::trace_probe`](super::Table::trace_probe): the candidates
/// of the first host and path where any is taken, and of them the first that takes the
/// method, else the first that answers.
pub(crate) fn find_probe<'t, T>(
    routes: &'t [(Pattern, T)],
    head: &Head<'_>,
    answers: impl Fn(&T) -> bool,
) -> Option<&'t T> {
    let mut candidates: Vec<_> = routes
        .iter()
        .filter(|(at, _)| at.host.matches(head.host) && path_matches(&at.path, head.path))
        .filter(|(at, _)| rest_holds(&at.predicates, head))
        .collect();
    candidates.sort_by_key(|(at, _)| specificity(at));
    let of_one_path = candidates.chunk_by(|(one, _), (other, _)| {
        one.host == other.host && shape(&one.path) == shape(&other.path)
    });
    let takes = |at: &Pattern| {
        at.predicates.methods.is_empty() || at.predicates.methods.contains(head.method)
    };
    let found = of_one_path.filter_map(|group| {
        let first = group.iter().find(|(at, _)| takes(at));
        first.or_else(|| group.iter().find(|(_, value)| answers(value)))
    });
    found.map(|(_, value)| value).next()
}

/// Whether a table with both cannot be built.
pub(crate) fn conflict(one: &Pattern, other: &Pattern) -> bool {
    let rank =
        |at: &Pattern| (at.host.clone(), shape(&at.path), at.priority, set(&at.predicates).len());
    let (ones, others) = (set(&one.predicates), set(&other.predicates));
    let excluded = ones.iter().any(|a| {
        others.iter().any(|b| match (a, b) {
            ((0, ..), (0, ..)) => !one
                .predicates
                .methods
                .iter()
                .any(|method| other.predicates.methods.contains(method)),
            ((kind, name, Some(value)), (same, called, Some(otherwise))) => {
                kind == same && name == called && value != otherwise
            }
            _ => false,
        })
    });
    rank(one) == rank(other) && !excluded
}

/// Smaller is tried first.
fn specificity(at: &Pattern) -> impl Ord + use<> {
    let host = match &at.host {
        HostPattern::Exact(_) => (0, Reverse(0)),
        HostPattern::Suffix(suffix) => (1, Reverse(suffix.len())),
        HostPattern::Any => (2, Reverse(0)),
    };
    let mut methods: Vec<_> =
        at.predicates.methods.iter().map(|method| method.as_str().to_owned()).collect();
    methods.sort();
    methods.dedup();
    let predicates = set(&at.predicates);
    (host, shape(&at.path), Reverse(at.priority), Reverse(predicates.len()), methods, predicates)
}

/// Each segment as text, parameter or wildcard, without the parameter's name.
fn shape(path: &PathPattern) -> Vec<(u8, String)> {
    let of = |segment: &Segment| match segment {
        Segment::Text(text) => (0, text.to_string()),
        Segment::Param(_) => (1, String::new()),
        Segment::Wildcard => (2, String::new()),
    };
    path.segments().iter().map(of).collect()
}

/// The predicates sorted, each once: its kind, name and value. Methods are one.
fn set(predicates: &Predicates) -> Vec<(u8, String, Option<String>)> {
    let value = |expect: &Expect| match expect {
        Expect::Present => None,
        Expect::Equals(value) => Some(value.to_string()),
    };
    let methods = (!predicates.methods.is_empty()).then(|| (0, String::new(), None));
    let headers =
        predicates.headers.iter().map(|(name, expect)| (1, name.to_string(), value(expect)));
    let query = predicates.query.iter().map(|(name, expect)| (2, name.to_string(), value(expect)));
    let mut set: Vec<_> = methods.into_iter().chain(headers).chain(query).collect();
    set.sort();
    set.dedup();
    set
}

fn path_matches(pattern: &PathPattern, path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (wildcard, fixed) = match pattern.segments() {
        [fixed @ .., Segment::Wildcard] => (true, fixed),
        fixed => (false, fixed),
    };
    let fits = if wildcard { segments.len() > fixed.len() } else { segments.len() == fixed.len() };
    fits && fixed.iter().zip(&segments).all(|(segment, found)| match segment {
        Segment::Text(text) => **text == **found,
        Segment::Param(_) => !found.is_empty(),
        Segment::Wildcard => false,
    })
}

/// Whether the predicates on headers and query hold.
fn rest_holds(predicates: &Predicates, head: &Head<'_>) -> bool {
    let lines = |name: &str| -> Vec<String> {
        head.headers
            .get_all(name)
            .iter()
            .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
            .collect()
    };
    let announced = lines("access-control-request-headers").join(",").to_ascii_lowercase();
    let parameters: Vec<(String, String)> = head
        .query
        .unwrap_or_default()
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .map(|(name, value)| (form_decoded(name), form_decoded(value)))
        .collect();
    let holds = |found: Option<&str>, expect: &Expect| match expect {
        Expect::Present => found.is_some(),
        Expect::Equals(value) => found == Some(&**value),
    };
    predicates.headers.iter().all(|(name, expect)| {
        if head.announced {
            return announced.split(',').any(|element| element.trim() == name.as_str());
        }
        let lines = lines(name.as_str());
        holds((!lines.is_empty()).then(|| lines.join(", ")).as_deref(), expect)
    }) && predicates.query.iter().all(|(name, expect)| {
        let first = parameters.iter().find(|(found, _)| **found == **name);
        holds(first.map(|(_, value)| value.as_str()), expect)
    })
}

fn form_decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}
