//! Which route a request leads to, with every step told.

use std::borrow::Cow;

use http::Method;

use super::request::Request;
use crate::{
    config::{Config, Route},
    cors::{self, Policy},
    route::{Allow, Fit, Head, Match, canonical_host, canonical_path},
};

/// Where a request leads.
#[derive(Debug)]
pub enum Found<'s, 'r> {
    Route {
        /// Index into the configuration's routes.
        index: usize,
        route: &'s Route,
        /// The canonical path: what was matched.
        path: Cow<'r, str>,
        /// The request is a probe that the route's policy answers, whatever the route's
        /// methods are.
        is_probe: bool,
    },
    /// Nowhere: the path is none.
    PathMalformed,
    /// Nowhere: no route's host and path match.
    NotFound,
    /// Nowhere: a route's host and path match, its methods do not.
    MethodNotAllowed(Allow<'s>),
}

/// One step of the search.
#[derive(Clone, Copy, Debug)]
pub enum Told<'t> {
    /// What is matched: the canonical host and path.
    Target {
        /// The host, without its port.
        host: &'t str,
        /// The path, without the query.
        path: &'t str,
    },
    /// A preflight, routed as the request that it announces, of this method.
    Announced(&'t Method),
    /// No route with a policy takes that request, so the preflight is routed as what it is.
    NotAnnounced(&'t Method),
    /// A probe: the policy of a route that refuses nothing but OPTIONS may answer it.
    Probe,
    /// A route of the host and path, in matching order.
    Candidate {
        /// Index into the configuration's routes.
        route: usize,
        /// What became of it.
        fit: Fit<'t>,
        /// What it was asked for.
        head: &'t Head<'t>,
    },
}

/// Finds the route: a preflight asks about the request to come, and falls back
/// to what it is itself where that request has no route with a policy. A probe asks
/// about a path, so the first route there whose policy answers takes it.
///
/// What tells nobody costs nothing: `tell` is compiled into the search.
pub fn find<'s, 'r>(
    config: &'s Config,
    request: &Request<'r>,
    mut tell: impl FnMut(Told<'_>),
) -> Found<'s, 'r> {
    let Ok(path) = canonical_path(request.path) else { return Found::PathMalformed };
    let host = canonical_host(request.facts.authority);
    tell(Told::Target { host: &host, path: &path });
    let head = Head {
        host: &host,
        path: &path,
        query: request.query,
        method: request.method,
        headers: request.headers,
        announced: false,
    };
    let found = if cors::is_probe(request.method, request.headers) {
        tell(Told::Probe);
        let answers = |index: &usize| policy(config, *index).is_some_and(Policy::answers_probes);
        let tell = |&route: &usize, fit| tell(Told::Candidate { route, fit, head: &head });
        config.table.trace_probe(&head, answers, tell)
    } else if let Some(index) = announced(config, &head, &mut tell) {
        Match::Found(index)
    } else {
        search(config, &head, &mut tell)
    };
    let (index, is_probe) = match found {
        Match::Found(&index) => (index, false),
        Match::ButForMethod(&index) => (index, true),
        Match::MethodNotAllowed(allow) => return Found::MethodNotAllowed(allow),
        Match::NotFound => return Found::NotFound,
    };
    match config.routes.get(index) {
        Some(route) => Found::Route { index, route, path, is_probe },
        None => Found::NotFound,
    }
}

fn policy(config: &Config, route: usize) -> Option<&Policy> {
    config.routes.get(route)?.cors.as_ref().map(|cors| &cors.policy)
}

/// The route with a policy that takes the request which a preflight announces.
fn announced<'s>(
    config: &'s Config,
    head: &Head<'_>,
    tell: &mut impl FnMut(Told<'_>),
) -> Option<&'s usize> {
    let method = cors::announced(head.method, head.headers)?;
    tell(Told::Announced(&method));
    let announced = Head { method: &method, announced: true, ..*head };
    if let Match::Found(index) = search(config, &announced, tell)
        && policy(config, *index).is_some()
    {
        return Some(index);
    }
    tell(Told::NotAnnounced(&method));
    None
}

fn search<'s>(
    config: &'s Config,
    head: &Head<'_>,
    tell: &mut impl FnMut(Told<'_>),
) -> Match<'s, usize> {
    config.table.trace(head, |&route, fit| tell(Told::Candidate { route, fit, head }))
}
