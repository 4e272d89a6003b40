//! What a line of the access log costs who serves, without I/O:
//! `cargo bench --bench access_log`.
//!
//! A line is made and handed over; the writer, on the same thread, takes what waits
//! after every hundred lines and throws it away.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

#[path = "cases/access_log.rs"]
mod cases;

use cases::LINES;
use corsac::config::LogFormat;
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn json(bencher: Bencher<'_, '_>) {
    write(bencher, LogFormat::Json);
}

#[divan::bench]
fn combined(bencher: Bencher<'_, '_>) {
    write(bencher, LogFormat::Combined);
}

fn write(bencher: Bencher<'_, '_>, format: LogFormat) {
    bencher.counter(LINES).bench_local(cases::hundred_lines(format));
}
