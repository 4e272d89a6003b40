//! Routes that get in each other's way: what `route` finds, in the words of the file.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;

use super::notes::Notes;
use super::routes::Route;
use crate::diagnose::{Diagnostic, Place};
use crate::route::{Conflict, Shadowed, Table, TableBuilder};

/// Compiles the routes, as indexes into the configuration's.
///
/// Notes the routes that tie (E210), and those that can never match (W212). A
/// route has a pattern for each host and path, so what is found between
/// patterns is told once for each pair of routes.
///
/// `None`: two routes tie.
pub(super) fn compile(notes: &Notes<'_>, routes: &[Route]) -> Option<Table<usize>> {
    let mut table = TableBuilder::new();
    // Which route a pattern is of, by the pattern's place among all.
    let mut owners = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        for pattern in &route.patterns {
            table.insert(pattern.clone(), index);
            owners.push(route);
        }
    }
    match table.build() {
        Ok((table, shadowed)) => {
            warn_of_unreachable(notes, &owners, &shadowed);
            Some(table)
        }
        Err(conflicts) => {
            let mut told = BTreeSet::new();
            for conflict in conflicts {
                let (one, other) = conflict.routes;
                let (Some(one), Some(other)) = (owners.get(one), owners.get(other)) else {
                    continue;
                };
                if told.insert((one.place, other.place)) {
                    notes.add(ambiguous(one, other, &conflict));
                }
            }
            None
        }
    }
}

/// A route can never match if none of its patterns can.
fn warn_of_unreachable(notes: &Notes<'_>, owners: &[&Route], shadowed: &[Shadowed]) {
    // By the start of its table: how many patterns of a route are shadowed, and
    // which routes take their requests.
    let mut found: BTreeMap<Place, (usize, BTreeMap<Place, &Route>)> = BTreeMap::new();
    for Shadowed { route, by } in shadowed {
        let Some(route) = owners.get(*route) else { continue };
        let (patterns, takers) = found.entry(route.place).or_default();
        *patterns += 1;
        let by = by.iter().filter_map(|taker| owners.get(*taker));
        takers.extend(by.map(|taker| (taker.place, *taker)));
        if *patterns == route.patterns.len() {
            notes.add(unreachable(route, takers.values().copied()));
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

fn unreachable<'r>(route: &Route, takers: impl ExactSizeIterator<Item = &'r Route>) -> Diagnostic {
    let effect = match takers.len() {
        1 => "takes every request that it could get",
        _ => "takes some of the requests that it could get",
    };
    let found = Diagnostic::warning("W212", format!("{} can never match", route.key()));
    takers.fold(found.at(route.place), |found, taker| {
        found.related(taker.place, format!("{} ({}) {effect}", taker.key(), rank(taker)))
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
