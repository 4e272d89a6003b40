//! What the tests are written in: [`Corsac`], an [`Origin`] behind it, a
//! [`Connection`] in front of it.
//!
//! Threads, blocking sockets, conditions. No test waits a fixed time and no port
//! is fixed; only the exit of a process and the start of nginx are polled, since
//! `std` cannot await them. Every wait ends by [`DEADLINE`], so a bug fails a test
//! instead of hanging it.

// Without the binary only the harness's own tests use these.
#![cfg_attr(
    not(feature = "server"),
    allow(dead_code, unused_imports, reason = "used by tests of the binary")
)]

mod client;
#[cfg(feature = "server")]
mod corsac;
#[cfg(feature = "server")]
mod http2;
#[cfg(feature = "server")]
mod in_process;
mod message;
#[cfg(feature = "server")]
mod nginx;
mod origin;
#[cfg(feature = "server")]
mod tls;
mod workdir;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use client::{Call, Connection, Response};
#[cfg(feature = "server")]
pub(crate) use corsac::{Corsac, Lines, Setup, await_exit, corsac, signal};
#[cfg(feature = "server")]
pub(crate) use http2::{End, Http2, fields, frame};
#[cfg(feature = "server")]
pub(crate) use in_process::InProcess;
#[cfg(feature = "server")]
pub(crate) use nginx::Nginx;
pub(crate) use origin::{Answer, Gate, Origin, Unreachable};
#[cfg(feature = "server")]
pub(crate) use tls::{Authority, Certified, TlsClient, TlsConnection, expires_in};
pub(crate) use workdir::Workdir;

/// How long anything may take before the test fails. Generous: it is only ever
/// waited for when something is wrong, or when the machine is very busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn await_some<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "{what}: not in time");
        // Nothing tells when a process has changed its mind.
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// `length` bytes without any period that a buffer could have: pseudo-random,
/// the same in every run.
pub(crate) fn payload(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Fails with a short message instead of printing both bodies.
#[track_caller]
pub(crate) fn assert_same_bytes(got: &[u8], expected: &[u8], case: &str) {
    let differ = got.iter().zip(expected).position(|(a, b)| a != b);
    assert!(
        got == expected,
        "{case}: {} bytes where {} were expected; the first difference is at {differ:?}",
        got.len(),
        expected.len(),
    );
}
