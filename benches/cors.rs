//! The cost of one CORS decision, without I/O: `cargo bench --bench cors`.
//!
//! The hostile cases are the worst that is accepted: expect those whose work is
//! bounded by a limit to cost no more than `acrh_4_kib`, which is read to its end.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a bench may panic")]

#[path = "cases/cors.rs"]
mod cases;

use cases::{origin_of, policy, request, value};
use divan::{Bencher, black_box};
use http::header::VARY;
use http::{HeaderMap, Method};

fn main() {
    divan::main();
}

const CASES: &[&str] =
    &["listed_1", "listed_1000", "wildcard_1000", "regex", "refused_1000", "no_origin"];

#[divan::bench(args = CASES)]
fn preflight(bencher: Bencher<'_, '_>, case: &str) {
    let policy = policy(case);
    let request = request(origin_of(case), "authorization,content-type,x-id");
    bencher.bench(|| {
        black_box(&policy).admit(&Method::OPTIONS, black_box(&request), Some("api.example.com"))
    });
}

#[divan::bench(args = CASES)]
fn actual(bencher: Bencher<'_, '_>, case: &str) {
    let policy = policy(case);
    let request = request(origin_of(case), "");
    let response = HeaderMap::from_iter([(VARY, value("Accept-Encoding"))]);
    bencher.bench(|| {
        let admission =
            black_box(&policy).admit(&Method::GET, black_box(&request), Some("api.example.com"));
        policy.stamp(&admission.judgement, black_box(&response))
    });
}

#[divan::bench(args = ["acrh_4_kib", "acrh_10_kib", "commas_4_kib", "origin_2_kib", "labels", "regex"])]
fn hostile(bencher: Bencher<'_, '_>, case: &str) {
    let policy = policy(if case == "regex" { "regex" } else { "wildcard_1000" });
    let allowed = "https://a.app-1.example.com";
    let many_labels = format!("https://{}app-1.example.com", "a.".repeat(110));
    let request = match case {
        "acrh_4_kib" => request(allowed, "content-type,".repeat(315).trim_end_matches(',')),
        "acrh_10_kib" => request(allowed, &"content-type,".repeat(800)),
        "commas_4_kib" => request(allowed, &",".repeat(4096)),
        "origin_2_kib" => request(&format!("https://{}", "a".repeat(2048)), ""),
        "labels" => request(&many_labels, ""),
        "regex" => request(&format!("https://app-{}.example.com", "1".repeat(200)), ""),
        other => panic!("no such case: {other}"),
    };
    bencher.bench(|| black_box(&policy).admit(&Method::OPTIONS, black_box(&request), None));
}
