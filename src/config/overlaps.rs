//! Routes that get in each other's way: what `route` finds, in the words of the file.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;

use super::report::Diagnostic;
use super::routes::Route;
use super::sources::Notes;
use crate::route::{Conflict, TableBuilder};

/// Notes the routes that tie (E210), and those that can never match (W212).
///
/// A route has a pattern for each host and path, so what is found between
/// patterns is told once for each pair of routes.
pub(super) fn check(notes: &Notes<'_>, routes: &[Route]) {
    let mut table = TableBuilder::new();
    let mut owners = Vec::new();
    for route in routes {
        for pattern in &route.patterns {
            table.insert(pattern.clone(), ());
            owners.push(route);
        }
    }
    let owner = |pattern: usize| owners.get(pattern).copied();
    match table.build() {
        Ok((_, shadowed)) => {
            // By the start of its table: the route, how many of its patterns are
            // shadowed, and by which routes.
            let mut found: BTreeMap<_, (&Route, usize, BTreeMap<_, &Route>)> = BTreeMap::new();
            for shadowed in shadowed {
                let Some(route) = owner(shadowed.route) else { continue };
                let (_, patterns, takers) =
                    found.entry(route.place).or_insert((route, 0, BTreeMap::new()));
                *patterns += 1;
                takers.extend(
                    shadowed.by.iter().filter_map(|by| owner(*by)).map(|by| (by.place, by)),
                );
            }
            for (route, patterns, takers) in found.into_values() {
                if patterns == route.patterns.len() {
                    notes.add(unreachable(route, takers.into_values().collect()));
                }
            }
        }
        Err(conflicts) => {
            let mut told = BTreeSet::new();
            for conflict in conflicts {
                let (Some(one), Some(other)) = (owner(conflict.routes.0), owner(conflict.routes.1))
                else {
                    continue;
                };
                if told.insert((one.place, other.place)) {
                    notes.add(ambiguous(one, other, &conflict));
                }
            }
        }
    }
}

fn ambiguous(one: &Route, other: &Route, conflict: &Conflict) -> Diagnostic {
    let Conflict { path, method, .. } = conflict;
    let host = if conflict.host == "*" { "any host" } else { &format!("host {}", conflict.host) };
    if one.place == other.place {
        return Diagnostic::error("E210", format!("{} matches the same requests twice", one.key()))
            .at(one.place)
            .note(format!("twice: {host}, path {path}, method {method}"));
    }
    Diagnostic::error("E210", "two routes match the same requests")
        .at(other.place)
        .label(other.key())
        .related(one.place, one.key())
        .note(format!("both: {host}, path {path}, method {method}"))
        .help("give one of them another path or method, or set `priority` on one".to_owned())
}

fn unreachable(route: &Route, takers: Vec<&Route>) -> Diagnostic {
    let takes = match takers.len() {
        1 => "takes every request that it could get",
        _ => "takes some of the requests that it could get",
    };
    let found = Diagnostic::warning("W212", format!("{} can never match", route.key()));
    takers.into_iter().fold(found.at(route.place), |found, taker| {
        found.related(taker.place, format!("{} ({}) {takes}", taker.key(), rank(taker)))
    })
}

/// What puts a route before others of the same host and path.
fn rank(route: &Route) -> String {
    // All patterns of a route have the same priority and predicates.
    let Some(pattern) = route.patterns.first() else { return String::new() };
    let methods: Vec<_> = pattern.predicates.methods.iter().map(Method::as_str).collect();
    let methods = if methods.is_empty() { "all methods".to_owned() } else { methods.join(", ") };
    format!("priority {}, {methods}", pattern.priority)
}
