//! What counting costs a request, without I/O: `cargo bench --bench metrics`.
//!
//! `request` is all that one costs: in flight, decided, overridden, answered by an
//! upstream, ended. It must not allocate. `refused_new` is the worst that an attacker
//! can ask for: an origin that was never seen, which evicts another.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

use std::time::Duration;

use corsac::{
    cors::{Kind, Mode, Overridden, Reason},
    edits::HeaderEdits,
    metrics::{Direction, Metrics, RouteMetrics, UpstreamMetrics},
    refused::RefusedOrigins,
};
use divan::{AllocProfiler, Bencher, black_box};
use http::{HeaderMap, HeaderValue, StatusCode, header::ACCESS_CONTROL_ALLOW_ORIGIN};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(threads = [1, 2])]
fn request(bencher: Bencher<'_, '_>) {
    let metrics = Metrics::new();
    let route = RouteMetrics::new("shop", "shop/orders");
    let upstream = UpstreamMetrics::new("app");
    let response =
        HeaderMap::from_iter([(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))]);
    let mut edits = HeaderEdits::new();
    edits.set(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("https://a.example"));
    let count = || {
        let _in_flight = metrics.request();
        route.decision(Kind::Actual, Reason::Ok, Mode::Enforce);
        upstream.answered(Duration::from_millis(3));
        route.overridden(Overridden::of(black_box(&edits), black_box(&response)));
        route.request(black_box(Some(StatusCode::OK)), Duration::from_millis(4));
        route.bytes(Direction::In, 0);
        route.bytes(Direction::Out, 1234);
    };
    // The first of each kind makes its series.
    count();
    bencher.bench(count);
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

/// A scrape of 1,000 routes.
#[divan::bench(sample_count = 10)]
fn render(bencher: Bencher<'_, '_>) {
    let metrics = Metrics::new();
    let routes = (0..1000).map(|i| RouteMetrics::new("s", &format!("s/{i}")).into()).collect();
    metrics.serve(corsac::metrics::Series { routes, upstreams: Box::default() }.into());
    bencher.bench(|| metrics.render());
}
