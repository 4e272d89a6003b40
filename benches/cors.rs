//! The cost of one CORS decision, without I/O: `cargo bench --bench cors`.
//!
//! The hostile cases are the worst that is accepted: expect those whose work is
//! bounded by a limit to cost no more than `acrh_4_kib`, which is read to its end.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a bench may panic")]

use corsac::cors::{Policy, PolicySpec};
use divan::{Bencher, black_box};
use http::header::{ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY};
use http::{HeaderMap, HeaderValue, Method};

fn main() {
    divan::main();
}

const CASES: &[&str] =
    &["listed_1", "listed_1000", "wildcard_1000", "regex", "refused_1000", "no_origin"];

fn policy(case: &str) -> Policy {
    let many = |pattern: fn(usize) -> String| (0..1000).map(pattern).collect();
    let listed: fn(usize) -> String = |i| format!("https://app-{i}.example.com");
    let (allow_origins, allow_origin_regex) = match case {
        "listed_1" => (vec![listed(999)], Vec::new()),
        "wildcard_1000" => (many(|i| format!("https://*.app-{i}.example.com")), Vec::new()),
        "regex" => (Vec::new(), vec![r"https://app-[0-9]+\.example\.com".to_owned()]),
        _ => (many(listed), Vec::new()),
    };
    let text = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
    let spec = PolicySpec {
        allow_origins,
        allow_origin_regex,
        allow_methods: text(&["GET", "PUT", "DELETE"]),
        allow_headers: text(&["authorization", "content-type", "x-id"]),
        expose_headers: text(&["x-total"]),
        allow_credentials: true,
        ..PolicySpec::default()
    };
    Policy::new(&spec).unwrap().0
}

/// A value as Pingora's are: clones share its buffer.
fn value(text: &str) -> HeaderValue {
    let value: HeaderValue = text.parse().unwrap();
    let _shared = value.clone();
    value
}

fn request(origin: &str, asked: &str) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([
        (ACCESS_CONTROL_REQUEST_METHOD, value("PUT")),
        (ACCESS_CONTROL_REQUEST_HEADERS, value(asked)),
    ]);
    if !origin.is_empty() {
        headers.insert(ORIGIN, value(origin));
    }
    headers
}

fn origin_of(case: &str) -> &'static str {
    match case {
        "wildcard_1000" => "https://a.b.app-999.example.com",
        "refused_1000" => "https://app-999.example.com.evil.example",
        "no_origin" => "",
        _ => "https://app-999.example.com",
    }
}

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
