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

#[path = "cases/route.rs"]
mod cases;

use std::hint::black_box;

use cases::{
    REQUESTS, ROUTES, build, head, hits, misses, on_any_host, pattern, patterns, requests_to_hosts,
    table_of_hosts,
};
use corsac::route::{Table, canonical_host, canonical_path};
use divan::Bencher;
use divan::counter::ItemsCount;
use http::HeaderMap;

fn main() {
    divan::main();
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
    look_up(bencher, &table_of_hosts(routes), &requests_to_hosts(routes));
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
