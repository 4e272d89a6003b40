//! What the core costs in instructions: `make guard`. No time is measured, so neither
//! the machine nor what else runs on it matters.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a guard may panic")]

mod baseline;
mod callgrind;
#[path = "../cases/cors.rs"]
mod cors;
#[path = "../cases/metrics.rs"]
mod metrics;
#[path = "../cases/route.rs"]
mod route;

use std::{hint::black_box, process::ExitCode};

use callgrind::Case;
use corsac::route::Table;
use http::{HeaderMap, Method, header::VARY};

/// Many kinds of origins: each is decided in another way.
const ORIGINS: [&str; 5] = ["listed_1000", "wildcard_1000", "regex", "refused_1000", "no_origin"];

fn main() -> ExitCode {
    callgrind::guard("core", || {
        let mut cases = Vec::new();
        cases.extend(ORIGINS.map(preflight));
        cases.extend(ORIGINS.map(actual));
        cases.extend([1, 1_000].map(origin));
        cases.extend(route::ROUTES.map(hit));
        cases.extend(route::ROUTES.map(miss));
        cases.push(Case::new("metrics of a request", 1, metrics::request()));
        cases
    })
}

fn preflight(origin: &str) -> Case {
    let policy = cors::policy(origin);
    let request = cors::request(cors::origin_of(origin), "authorization,content-type,x-id");
    Case::new(format!("preflight, {origin}"), 1, move || {
        let host = Some("api.example.com");
        black_box(black_box(&policy).admit(&Method::OPTIONS, black_box(&request), host));
    })
}

/// With the response, whose `Vary` is merged.
fn actual(origin: &str) -> Case {
    let policy = cors::policy(origin);
    let request = cors::request(cors::origin_of(origin), "");
    let response = HeaderMap::from_iter([(VARY, cors::value("Accept-Encoding"))]);
    Case::new(format!("actual request, {origin}"), 1, move || {
        let host = Some("api.example.com");
        let admission = black_box(&policy).admit(&Method::GET, black_box(&request), host);
        black_box(policy.stamp(&admission.judgement, black_box(&response)));
    })
}

/// Hardly more than looking up: for a hundred origins, since the keys by which they
/// are hashed are random.
fn origin(listed: usize) -> Case {
    let policy = cors::policy(&format!("listed_{listed}"));
    let origins = (0..100).map(|i| format!("https://app-{}.example.com", 999 - i * 10 % listed));
    let requests: Vec<_> = origins.map(|origin| cors::request(&origin, "")).collect();
    Case::new(format!("origin, 1 of {listed}"), 100, move || {
        for request in &requests {
            black_box(black_box(&policy).admit(&Method::GET, black_box(request), None));
        }
    })
}

/// Among a hundred hosts, with methods.
fn hit(routes: usize) -> Case {
    let (table, requests) = (route::table_of_hosts(routes), route::requests_to_hosts(routes));
    look_up(format!("route, hit among {routes}"), table, requests)
}

fn miss(routes: usize) -> Case {
    let table = route::build(route::patterns(routes));
    look_up(format!("route, miss among {routes}"), table, route::on_any_host(route::misses(routes)))
}

fn look_up(name: String, table: Table<usize>, requests: Vec<(String, String)>) -> Case {
    let headers = HeaderMap::new();
    Case::new(name, route::REQUESTS, move || {
        for (host, path) in &requests {
            black_box(table.find(black_box(&route::head(host, path, &headers))));
        }
    })
}
