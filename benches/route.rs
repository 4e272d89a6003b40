//! The cost of one route lookup, without I/O, beside `matchit` on the same paths.
//!
//! The tables are those of a REST API: collections, items, what items have, and
//! files below a wildcard. One iteration looks up 1,024 paths in a mixed order, so
//! that neither branch prediction nor the cache is flattered; times are per 1,024.
//!
//! `path` is what `matchit` does too: one host and no predicates. `matchit` also
//! captures the parameters; corsac also looks for the host. `request` has a hundred
//! hosts, methods and a suffix: what the proxy pays. A `miss` is a 404.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a bench may panic")]

use std::hint::black_box;

use corsac::route::{
    Head, HostPattern, PathPattern, Pattern, Predicates, Table, TableBuilder, canonical_host,
    canonical_path,
};
use divan::Bencher;
use divan::counter::ItemsCount;
use http::{HeaderMap, Method};

const ROUTES: [usize; 3] = [10, 1_000, 100_000];
const REQUESTS: usize = 1_024;

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

fn main() {
    divan::main();
}

/// The `i`th route of an API: five to a collection, in services of 24 collections.
fn pattern(i: usize) -> String {
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
fn hits(routes: usize) -> Vec<String> {
    (0..REQUESTS).map(|i| path(&pattern(i * 48_271 % 2_147_483_647 % routes), i)).collect()
}

/// Nearly as long as hits, and as deep, but wrong at the end or in the middle.
fn misses(routes: usize) -> Vec<String> {
    let spoiled = hits(routes).into_iter().enumerate();
    spoiled
        .map(|(i, path)| match i % 3 {
            0 => format!("{path}/x/y/z").replace("files", "filed"),
            1 => path.replace("/v1/", "/v2/"),
            _ => path.replacen('s', "z", 2),
        })
        .collect()
}

fn matchit(routes: usize) -> matchit::Router<usize> {
    let mut table = matchit::Router::new();
    for i in 0..routes {
        let segments = pattern(i).split('/').skip(1).fold(String::new(), |path, segment| {
            match segment.strip_prefix(':') {
                Some(name) => format!("{path}/{{{name}}}"),
                None if segment == "*" => format!("{path}/{{*rest}}"),
                None => format!("{path}/{segment}"),
            }
        });
        table.insert(segments, i).unwrap();
    }
    table
}

fn patterns(routes: usize) -> Vec<Pattern> {
    (0..routes)
        .map(|i| Pattern {
            host: HostPattern::Any,
            path: PathPattern::parse(&pattern(i)).unwrap(),
            priority: 0,
            predicates: Predicates::default(),
        })
        .collect()
}

fn build(patterns: Vec<Pattern>) -> Table<usize> {
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
fn table_of_hosts(routes: usize) -> Table<usize> {
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

fn head<'r>(host: &'r str, path: &'r str, headers: &'r HeaderMap) -> Head<'r> {
    Head { host, path, query: None, method: &Method::GET, headers, announced: false }
}

fn look_up(bencher: Bencher<'_, '_>, table: &Table<usize>, requests: &[(String, String)]) {
    let headers = HeaderMap::new();
    // Made before, as the paths for `matchit` are: only looking up is timed.
    let heads: Vec<_> = requests.iter().map(|(host, path)| head(host, path, &headers)).collect();
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| {
        for head in &heads {
            black_box(table.find(black_box(head)));
        }
    });
}

fn on_any_host(paths: Vec<String>) -> Vec<(String, String)> {
    paths.into_iter().map(|path| (String::new(), path)).collect()
}

#[divan::bench(args = ROUTES)]
fn hit_path(bencher: Bencher<'_, '_>, routes: usize) {
    look_up(bencher, &build(patterns(routes)), &on_any_host(hits(routes)));
}

#[divan::bench(args = ROUTES)]
fn hit_path_matchit(bencher: Bencher<'_, '_>, routes: usize) {
    let (table, paths) = (matchit(routes), hits(routes));
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| {
        for path in &paths {
            let _ = black_box(table.at(black_box(path)));
        }
    });
}

#[divan::bench(args = ROUTES)]
fn miss_path(bencher: Bencher<'_, '_>, routes: usize) {
    look_up(bencher, &build(patterns(routes)), &on_any_host(misses(routes)));
}

#[divan::bench(args = ROUTES)]
fn miss_path_matchit(bencher: Bencher<'_, '_>, routes: usize) {
    let (table, paths) = (matchit(routes), misses(routes));
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| {
        for path in &paths {
            let _ = black_box(table.at(black_box(path)));
        }
    });
}

#[divan::bench(args = ROUTES)]
fn hit_request(bencher: Bencher<'_, '_>, routes: usize) {
    let requests = (0..REQUESTS).map(|i| {
        let route = i * 48_271 % 2_147_483_647 % routes;
        (host(route / 5), path(&pattern(route), i))
    });
    look_up(bencher, &table_of_hosts(routes), &requests.collect::<Vec<_>>());
}

#[divan::bench(args = [10, 1_000, 10_000, 100_000], sample_count = 10, sample_size = 1)]
fn build_table(bencher: Bencher<'_, '_>, routes: usize) {
    bencher.with_inputs(|| patterns(routes)).bench_local_values(build);
}

#[divan::bench]
fn canonical(bencher: Bencher<'_, '_>) {
    let paths = hits(1_000);
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| {
        for path in &paths {
            let _ = black_box(canonical_path(black_box(path)));
            black_box(canonical_host(black_box("api-42.example.com:8443")));
        }
    });
}
