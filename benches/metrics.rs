//! What counting costs a request, without I/O: `cargo bench --bench metrics`.
//!
//! `request` is all that one costs: in flight, decided, overridden, answered by an
//! upstream, ended. It must not allocate. `refused_new` is the worst that an attacker
//! can ask for: an origin that was never seen, which evicts another.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

#[path = "cases/metrics.rs"]
mod cases;

use std::{collections::HashMap, fmt::Write as _, sync::Arc, time::Duration};

use corsac::{
    carried::Carried,
    config,
    cors::{Kind, Mode, Reason},
    metrics::{Direction, Metrics, RouteMetrics},
    refused::RefusedOrigins,
    snapshot::{Snapshot, SnapshotCell},
};
use divan::{AllocProfiler, Bencher, black_box};
use http::StatusCode;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(threads = [1, 2])]
fn request(bencher: Bencher<'_, '_>) {
    bencher.bench(cases::request());
}

#[divan::bench]
fn rare_status(bencher: Bencher<'_, '_>) {
    let route = RouteMetrics::new("shop", "shop/orders");
    let status = StatusCode::from_u16(418).unwrap();
    bencher.bench_local(|| route.request(black_box(Some(status)), Duration::from_millis(4)));
}

#[divan::bench]
fn refused_again(bencher: Bencher<'_, '_>) {
    let refused = RefusedOrigins::new();
    bencher.bench_local(|| refused.note(black_box(b"https://evil.example"), 0));
}

#[divan::bench]
fn refused_new(bencher: Bencher<'_, '_>) {
    let refused = RefusedOrigins::new();
    let mut origins = (0_u64..).map(|i| format!("https://{i}.evil.example"));
    origins.by_ref().take(5_000).for_each(|origin| drop(refused.note(origin.as_bytes(), 0)));
    bencher
        .with_inputs(|| origins.next().unwrap())
        .bench_local_refs(|origin| refused.note(origin.as_bytes(), 0));
}

/// A configuration of so many routes, of which each has answered some requests.
fn served(routes: usize) -> (Arc<Snapshot>, Metrics) {
    let mut text = "version = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n\
                    [upstreams.app]\nnodes = \"127.0.0.1:1\"\n[services.s]\nupstream = \"app\"\n"
        .to_owned();
    for route in 0..routes {
        writeln!(text, "routes.route-{route}.paths = \"/{route}\"").unwrap();
    }
    let config = config::parse(&text, "corsac.toml").unwrap().0;
    let metrics = Metrics::new();
    let snapshot = Snapshot::compile(config.into(), HashMap::new(), None);
    let snapshot = SnapshotCell::new(snapshot, metrics.clone()).load();
    for route in &snapshot.series().routes {
        for (code, ms) in [(200, 1), (204, 3), (304, 7), (404, 20), (502, 200)] {
            route.request(StatusCode::from_u16(code).ok(), Duration::from_millis(ms));
        }
        route.bytes(Direction::In, 1234);
        route.bytes(Direction::Out, 12_345_678);
        for reason in [Reason::Ok, Reason::OriginNotListed, Reason::MethodNotAllowed] {
            route.decision(Kind::Actual, reason, Mode::Enforce);
            route.decision(Kind::Preflight, reason, Mode::Enforce);
        }
    }
    (snapshot, metrics)
}

/// A scrape.
#[divan::bench(args = [1_000, 10_000], sample_count = 10)]
fn render(bencher: Bencher<'_, '_>, routes: usize) {
    let (_, metrics) = served(routes);
    bencher.bench(|| metrics.render());
}

/// What an upgrade of the process keeps of 10,000 routes, taken and written.
#[divan::bench(sample_count = 10)]
fn carried_written(bencher: Bencher<'_, '_>) {
    let (snapshot, metrics) = served(10_000);
    let write = || serde_json::to_vec(&Carried::of(&snapshot, &metrics)).unwrap();
    bencher.counter(divan::counter::BytesCount::new(write().len())).bench(write);
}

/// The same, read and applied.
#[divan::bench(sample_count = 10)]
fn carried_applied(bencher: Bencher<'_, '_>) {
    let (snapshot, metrics) = served(10_000);
    let text = serde_json::to_vec(&Carried::of(&snapshot, &metrics)).unwrap();
    bencher.bench(|| {
        let carried: Carried = serde_json::from_slice(&text).unwrap();
        carried.apply(&snapshot, &metrics);
    });
}
