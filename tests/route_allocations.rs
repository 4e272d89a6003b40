//! Looking a route up allocates nothing.
//!
//! In a binary of its own, for the allocator counts for the whole process; so there
//! is one test in it.

#![allow(unsafe_code, reason = "counting allocations needs a global allocator")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use corsac::route::{
    Expect, Head, HostPattern, Match, PathPattern, Pattern, Predicates, Table, TableBuilder,
    canonical_host, canonical_path,
};
use http::header::ACCESS_CONTROL_REQUEST_HEADERS;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let before = ALLOCATIONS.get();
    let result = work();
    (ALLOCATIONS.get() - before, result)
}

fn table() -> Table<usize> {
    let token = (HeaderName::from_static("x-token"), Expect::Equals("1".into()));
    let beta = (Box::from("beta"), Expect::Equals("a b".into()));
    let predicates = [
        Predicates { methods: vec![Method::GET], headers: vec![token], query: vec![beta] },
        Predicates { methods: vec![Method::PUT, Method::DELETE], ..Predicates::default() },
    ];
    // Text beside a parameter in each segment: as much backtracking as can be.
    let paths = (0..1 << 8).map(|bits| {
        (0..8).fold(String::new(), |path, i| match bits >> i & 1 {
            0 => path + "/a",
            _ => format!("{path}/:p{i}"),
        })
    });
    let mut builder = TableBuilder::new();
    for (i, path) in paths.chain(["/*".to_owned(), "/a/*".to_owned()]).enumerate() {
        for host in ["api.test", "*.test", "*.api.test"] {
            for predicates in &predicates {
                let pattern = Pattern {
                    host: HostPattern::parse(host).unwrap(),
                    path: PathPattern::parse(&path).unwrap(),
                    priority: 0,
                    predicates: predicates.clone(),
                };
                builder.insert(pattern, i);
            }
        }
    }
    builder.build().unwrap().0
}

#[test]
fn a_lookup_allocates_nothing() {
    let table = table();
    let mut headers = HeaderMap::new();
    headers.append("x-token", HeaderValue::from_static("1"));
    headers.append(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("a, x-token"));
    let long = "/a".repeat(10_000);
    let cases = [
        // path              query                 method          announced
        ("/a/a/a/a/a/a/a/a", Some("beta=a+%62"), Method::GET, false),
        ("/a/a/a/a/a/a/a/a", Some("beta=a+%62"), Method::GET, true),
        ("/a/x/a/x/a/x/a/x", None, Method::DELETE, false),
        ("/a/a/a/a/a/a/a/a", None, Method::POST, false),
        ("/a/a/a/a/a/a/a/", None, Method::GET, false),
        (&long, None, Method::PUT, false),
    ];
    for (path, query, method, announced) in &cases {
        for host in ["api.test:443", "b.a.api.test.", "test"] {
            let (count, found) = allocations(|| {
                let host = &*canonical_host(host);
                let path = &*canonical_path(path).unwrap();
                let headers = &headers;
                table.find(&Head {
                    host,
                    path,
                    query: *query,
                    method,
                    headers,
                    announced: *announced,
                })
            });
            assert_eq!(count, 0, "{method} {host} {found:?}");
            assert_eq!(found == Match::NotFound, host == "test");
        }
    }
    assert!(allocations(|| vec![1]).0 > 0, "the counter counts");
}
