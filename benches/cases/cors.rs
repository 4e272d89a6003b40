//! Policies, and requests to decide.

use corsac::cors::{Policy, PolicySpec};
use http::header::{ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, HeaderValue};

pub(crate) fn policy(case: &str) -> Policy {
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
pub(crate) fn value(text: &str) -> HeaderValue {
    let value: HeaderValue = text.parse().unwrap();
    let _shared = value.clone();
    value
}

pub(crate) fn request(origin: &str, asked: &str) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([
        (ACCESS_CONTROL_REQUEST_METHOD, value("PUT")),
        (ACCESS_CONTROL_REQUEST_HEADERS, value(asked)),
    ]);
    if !origin.is_empty() {
        headers.insert(ORIGIN, value(origin));
    }
    headers
}

pub(crate) fn origin_of(case: &str) -> &'static str {
    match case {
        "wildcard_1000" => "https://a.b.app-999.example.com",
        "refused_1000" => "https://app-999.example.com.evil.example",
        "no_origin" => "",
        _ => "https://app-999.example.com",
    }
}
