//! Tables of routes as a REST API has them, and paths to look up: collections, items,
//! what items have, and files below a wildcard.

use corsac::route::{Head, HostPattern, PathPattern, Pattern, Predicates, Table, TableBuilder};
use http::{HeaderMap, Method};

pub(crate) const ROUTES: [usize; 3] = [10, 1_000, 100_000];
pub(crate) const REQUESTS: usize = 1_024;

const WORDS: [&str; 24] = [
    "orders",
    "users",
    "products",
    "invoices",
    "payments",
    "carts",
    "sessions",
    "teams",
    "projects",
    "issues",
    "comments",
    "labels",
    "events",
    "reports",
    "accounts",
    "cards",
    "addresses",
    "shipments",
    "returns",
    "coupons",
    "reviews",
    "stores",
    "regions",
    "tags",
];

/// The `i`th route of an API: five to a collection, in services of 24 collections.
pub(crate) fn pattern(i: usize) -> String {
    let (collection, shape) = (i / 5, i % 5);
    let base = format!("/svc{}/v1/{}", collection / WORDS.len(), WORDS[collection % WORDS.len()]);
    let part = WORDS[(collection * 7 + 3) % WORDS.len()];
    match shape {
        0 => base,
        1 => format!("{base}/:id"),
        2 => format!("{base}/:id/{part}"),
        3 => format!("{base}/:id/{part}/:part"),
        _ => format!("{base}/files/*"),
    }
}

/// A path that the pattern matches, with an id of its own.
fn path(pattern: &str, i: usize) -> String {
    let segments = pattern.split('/').skip(1).map(|segment| match segment {
        "*" => format!("/2026/11/{i}.pdf"),
        param if param.starts_with(':') => format!("/{}", i * 7919 % 1_000_003),
        text => format!("/{text}"),
    });
    segments.collect()
}

/// Paths spread over the whole table in a fixed, mixed order.
pub(crate) fn hits(routes: usize) -> Vec<String> {
    (0..REQUESTS).map(|i| path(&pattern(i * 48_271 % 2_147_483_647 % routes), i)).collect()
}

/// Nearly as long as hits, and as deep, but wrong at the end or in the middle.
pub(crate) fn misses(routes: usize) -> Vec<String> {
    let spoiled = hits(routes).into_iter().enumerate();
    spoiled
        .map(|(i, path)| match i % 3 {
            0 => format!("{path}/x/y/z").replace("files", "filed"),
            1 => path.replace("/v1/", "/v2/"),
            _ => path.replacen('s', "z", 2),
        })
        .collect()
}

pub(crate) fn patterns(routes: usize) -> Vec<Pattern> {
    (0..routes)
        .map(|i| Pattern {
            host: HostPattern::Any,
            path: PathPattern::parse(&pattern(i)).unwrap(),
            priority: 0,
            predicates: Predicates::default(),
        })
        .collect()
}

pub(crate) fn build(patterns: Vec<Pattern>) -> Table<usize> {
    let mut builder = TableBuilder::new();
    for (i, pattern) in patterns.into_iter().enumerate() {
        builder.insert(pattern, i);
    }
    builder.build().unwrap().0
}

fn host(i: usize) -> String {
    format!("api-{}.example.com", i % 100)
}

/// Each route on one of a hundred hosts, half of them for some methods only.
pub(crate) fn table_of_hosts(routes: usize) -> Table<usize> {
    let mut patterns = patterns(routes);
    for (i, pattern) in patterns.iter_mut().enumerate() {
        pattern.host = HostPattern::parse(&host(i / 5)).unwrap();
        if i % 2 == 0 {
            pattern.predicates.methods = vec![Method::GET, Method::PUT, Method::DELETE];
        }
    }
    patterns.push(Pattern {
        host: HostPattern::parse("*.example.com").unwrap(),
        path: PathPattern::parse("/healthz").unwrap(),
        priority: 0,
        predicates: Predicates::default(),
    });
    build(patterns)
}

/// A host and a path each, which this table has, for any method.
pub(crate) fn requests_to_hosts(routes: usize) -> Vec<(String, String)> {
    let requests = (0..REQUESTS).map(|i| {
        let route = i * 48_271 % 2_147_483_647 % routes;
        (host(route / 5), path(&pattern(route), i))
    });
    requests.collect()
}

pub(crate) fn head<'r>(host: &'r str, path: &'r str, headers: &'r HeaderMap) -> Head<'r> {
    Head { host, path, query: None, method: &Method::GET, headers, announced: false }
}

pub(crate) fn on_any_host(paths: Vec<String>) -> Vec<(String, String)> {
    paths.into_iter().map(|path| (String::new(), path)).collect()
}
