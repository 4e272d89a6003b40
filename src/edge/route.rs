//! Which route a request leads to, with every step told.

use std::borrow::Cow;

use http::Method;

use super::request::Request;
use crate::{
    config::{Config, Route},
    cors,
    route::{Allow, Fit, Head, Match, canonical_host, canonical_path},
};

/// Where a request leads.
#[derive(Debug)]
pub enum Found<'s, 'r> {
    /// To a route.
    Route {
        /// Index into the configuration's routes.
        index: usize,
        /// The route.
        route: &'s Route,
        /// The canonical path: what was matched.
        path: Cow<'r, str>,
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
/// to what it is itself where that request has no route with a policy.
///
/// What tells nobody costs nothing: `tell` is compiled into the search.
pub fn find<'s, 'r>(
    config: &'s Config,
    request: &Request<'r>,
    mut tell: impl FnMut(Told<'_>),
) -> Found<'s, 'r> {
    let Ok(path) = canonical_path(request.path) else { return Found::PathMalformed };
    let host = canonical_host(request.host);
    tell(Told::Target { host: &host, path: &path });
    let head = Head {
        host: &host,
        path: &path,
        query: request.query,
        method: request.method,
        headers: request.headers,
        announced: false,
    };
    let found = match announced(config, &head, &mut tell) {
        Some(index) => Match::Found(index),
        None => search(config, &head, &mut tell),
    };
    match found {
        Match::Found(&index) => match config.routes.get(index) {
            Some(route) => Found::Route { index, route, path },
            None => Found::NotFound,
        },
        Match::MethodNotAllowed(allow) => Found::MethodNotAllowed(allow),
        Match::NotFound => Found::NotFound,
    }
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
        && config.routes.get(*index).is_some_and(|route| route.cors.is_some())
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
