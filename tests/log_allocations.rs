//! A line of the access log allocates nothing, once its thread's buffer has grown. A
//! global allocator that counts needs a binary of its own.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use corsac::config::LogFormat;
use corsac::edge::{Caller, Scheme};
use corsac::metrics::Metrics;
use corsac::proxy::{AccessLogQueue, Chosen, Line, Plain};
use http::Version;

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

#[test]
fn a_line_allocates_nothing() {
    let chosen = |text: &'static str| Chosen(text.as_bytes());
    let plain = |text: &'static str| Plain(text.as_bytes());
    let line = Line {
        time: "2026-01-31T12:00:00.123Z".parse().unwrap(),
        request_id: Some(plain("01930f3e-7b2a-7c3d-8e4f-0123456789ab")),
        listener: Some(plain("http")),
        caller: Some(Caller::direct("[2001:db8::7]:4711".parse().unwrap(), Scheme::Http)),
        method: Some(plain("GET")),
        host: Some(chosen("api.example.com")),
        path: Some(chosen("/v1/orders/7")),
        version: Version::HTTP_11,
        route: Some(plain("shop/orders")),
        status: Some(200),
        bytes_in: 1_234,
        bytes_out: 123_456,
        duration: Duration::from_micros(1_234),
        upstream: Some("10.0.1.11:8080".parse().unwrap()),
        reason: None,
        cors_kind: Some(plain("actual")),
        cors_reason: Some(plain("ok")),
        origin: Some(chosen("https://app.example.com")),
        referer: Some(chosen("https://app.example.com/orders")),
        user_agent: Some(chosen(
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        )),
        secured: None,
    };
    for format in [LogFormat::Json, LogFormat::Combined] {
        let (log, lines) = AccessLogQueue::new(format, Metrics::new().access_log_dropped());
        let mut batch = Vec::new();
        // A thread and the writer have two buffers, which both must have grown.
        let counts = [(); 3].map(|()| {
            let before = ALLOCATIONS.get();
            (0..20).for_each(|_| log.write(&line));
            let count = ALLOCATIONS.get() - before;
            lines
                .take(&mut batch, |written| {
                    written.clear();
                    Ok(())
                })
                .unwrap();
            count
        });
        let [first, second, third] = counts;
        assert!(first > 0 && second > 0 && third == 0, "{counts:?}");
    }
}
