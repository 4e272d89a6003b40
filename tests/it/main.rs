//! corsac as its users meet it: the real binary, real sockets, scripted origins.
//!
//! Each test starts what it needs on ports of its own, so all of them run side by
//! side. Without the feature `server` there is no binary; `tidy` and the tests of
//! the harness itself run all the same.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic; that is how it fails"
)]

mod conf;
mod docs;
mod golden;
mod harness;
mod metrics_docs;
mod tidy;

#[cfg(feature = "server")]
mod access_log;
#[cfg(feature = "server")]
mod admin;
#[cfg(feature = "server")]
mod at_the_edge;
#[cfg(feature = "server")]
mod bad_input;
#[cfg(feature = "server")]
mod client_certificates;
#[cfg(feature = "server")]
mod commands;
#[cfg(feature = "server")]
mod conformance;
#[cfg(feature = "server")]
mod debug_header;
#[cfg(feature = "server")]
mod diff;
#[cfg(feature = "server")]
mod explained;
#[cfg(feature = "server")]
mod forwarding;
#[cfg(feature = "server")]
mod http2;
#[cfg(feature = "server")]
mod lifecycle;
#[cfg(feature = "server")]
mod limits;
#[cfg(feature = "server")]
#[cfg(feature = "server")]
mod metrics;
#[cfg(feature = "server")]
mod pipelined;
#[cfg(feature = "server")]
mod proxied;
#[cfg(feature = "server")]
mod proxy_protocol;
#[cfg(feature = "server")]
mod readme;
#[cfg(feature = "server")]
mod reload;
#[cfg(feature = "server")]
mod request_id;
#[cfg(feature = "server")]
mod self_check;
#[cfg(feature = "server")]
mod snapshots;
#[cfg(feature = "server")]
mod tickets;
#[cfg(feature = "server")]
mod tls;
#[cfg(feature = "server")]
mod trust_forwarded;
#[cfg(feature = "server")]
mod upgrade;
#[cfg(feature = "server")]
mod upstreams;
#[cfg(feature = "server")]
mod watched;
#[cfg(feature = "server")]
mod wire;
