//! Deciding and counting allocate nothing, and refused origins fill no memory. A global allocator that counts needs a binary of its own.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use corsac::cors::{Kind, Mode, Policy, PolicySpec, Reason};
use corsac::metrics::{Direction, Metrics, RouteMetrics, UpstreamError, UpstreamMetrics};
use corsac::refused::RefusedOrigins;
use http::header::{ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

#[allow(unsafe_code, reason = "the trait is unsafe; every call goes on to the system's allocator")]
// SAFETY: `System` upholds the contract, and counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE_BYTES.set(LIVE_BYTES.get() + layout.size().cast_signed() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.set(LIVE_BYTES.get() - layout.size().cast_signed() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A value as Pingora's are: a part of the buffer that was read, which clones share.
fn value(text: &str) -> HeaderValue {
    let value: HeaderValue = text.parse().unwrap();
    let _shared = value.clone();
    value
}

fn policy(headers: &str) -> Policy {
    let exact = (0..1000).map(|i| format!("https://app-{i}.example.com"));
    let wildcards = (0..1000).map(|i| format!("https://*.tenant-{i}.example.com"));
    let spec = PolicySpec {
        allow_origins: exact.chain(wildcards).collect(),
        allow_methods: Some(vec!["GET".to_owned(), "PUT".to_owned()]),
        allow_headers: Some(headers.split(',').map(str::to_owned).collect()),
        expose_headers: Some(vec!["x-total".to_owned()]),
        allow_credentials: true,
        ..PolicySpec::default()
    };
    Policy::new(&spec).unwrap().0
}

fn request(origin: &str) -> HeaderMap {
    HeaderMap::from_iter([
        (ORIGIN, value(origin)),
        (ACCESS_CONTROL_REQUEST_METHOD, value("PUT")),
        (ACCESS_CONTROL_REQUEST_HEADERS, value("authorization,content-type,x-id")),
    ])
}

fn allocations(decide: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    decide();
    ALLOCATIONS.get() - before
}

#[test]
fn deciding_allocates_nothing() {
    let upstream = HeaderMap::from_iter([
        ("access-control-allow-origin".parse().unwrap(), value("*")),
        ("access-control-allow-credentials".parse().unwrap(), value("true")),
        ("access-control-allow-methods".parse().unwrap(), value("*")),
        ("access-control-allow-headers".parse().unwrap(), value("*")),
        ("access-control-max-age".parse().unwrap(), value("1")),
        ("access-control-allow-private-network".parse().unwrap(), value("true")),
        ("access-control-expose-headers".parse().unwrap(), value("*")),
        ("vary".parse().unwrap(), value("Accept-Encoding, Origin")),
    ]);
    let policies = [("listed", policy("Authorization,Content-Type,X-Id")), ("echo", policy("**"))];
    let origins = [
        ("listed", "https://app-999.example.com"),
        ("wildcard", "https://a.b.tenant-999.example.com"),
        ("not listed", "https://evil.example"),
        ("malformed", "https://evil.example/"),
        ("null", "null"),
    ];
    for (headers, policy) in &policies {
        for (case, origin) in origins {
            let request = request(origin);
            for method in [Method::OPTIONS, Method::PUT] {
                let count = allocations(|| {
                    let admission = policy.admit(&method, &request, Some("api.example.com"));
                    let _edits = policy.stamp(&admission.judgement, &upstream);
                });
                assert_eq!(count, 0, "{method} of {case} origin, {headers} headers");
            }
        }
    }
    assert_eq!(allocations(|| drop(Box::new(1))), 1, "the allocator counts");
}

#[test]
fn counting_allocates_nothing() {
    let metrics = Metrics::new();
    let route = RouteMetrics::new("shop", "shop/orders");
    let upstream = UpstreamMetrics::new("app");
    let refused = RefusedOrigins::new();
    let count = || {
        let _in_flight = metrics.request();
        route.decision(Kind::Actual, Reason::OriginNotListed, Mode::Enforce);
        let _logged = refused.note(b"https://evil.example", 0);
        upstream.retried();
        upstream.failed(UpstreamError::Timeout);
        upstream.answered(Duration::from_millis(3));
        route.request(Some(StatusCode::OK), Duration::from_millis(4));
        route.bytes(Direction::Out, 1234);
    };
    assert!(allocations(count) > 0, "the first of each kind makes its series");
    assert_eq!(allocations(count), 0);
}

/// An attacker who never sends an origin twice, each as long as a header can be.
#[test]
fn refused_origins_fill_no_memory() {
    let refused = RefusedOrigins::new();
    let before = LIVE_BYTES.get();
    let mut settled = 0;
    for i in 0..100_000_u64 {
        let mut origin = [b'a'; 4096];
        origin[..8].copy_from_slice(&i.to_le_bytes());
        drop(refused.note(&origin, i));
        if i == 20_000 {
            settled = LIVE_BYTES.get() - before;
        }
    }
    let end = LIVE_BYTES.get() - before;
    assert!(end < 320 * 1024, "{end} bytes");
    assert!(end <= settled + 1024, "{settled} bytes after 20,000, {end} after 100,000");
}
