//! Deciding allocates nothing. A global allocator that counts needs a binary of its own.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use corsac::cors::{Policy, PolicySpec};
use http::header::{ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[allow(unsafe_code, reason = "the trait is unsafe; every call goes on to the system's allocator")]
// SAFETY: `System` upholds the contract, and counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
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
