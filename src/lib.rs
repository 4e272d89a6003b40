//! corsac, an edge proxy that gets CORS right, and says why.
//!
//! Deciding is apart from doing. The layers, each of which knows only those
//! above it in this list:
//!
//! ```text
//! L0  cors  edits  http1  route        pure: functions of policies, heads and bytes
//!     upstream  certificate  proxy_protocol  forwarded
//! L1  diagnose  config                 what was found in texts; text -> Config, or a report of every mistake
//!     metrics  refused  tls            what is counted; the cryptography of TLS
//! L2  edge  load  snapshot             what the edge does with a request; Config -> Snapshot
//!     explain  diff  carried           why it does so; what another configuration changes;
//!                                      what an upgrade of the process keeps
//! L3  proxy                            Pingora's hooks, each a few lines
//! L4  server                           the process: files, sockets, signals
//! L5  cli                              the commands
//! ```
//!
//! `tests/it/tidy.rs` keeps the direction of the arrows.

pub mod certificate;
pub mod config;
pub mod cors;
pub mod diagnose;
pub mod edits;
pub mod forwarded;
pub mod http1;
pub mod http2;
pub mod metrics;
pub mod proxy_protocol;
pub mod refused;
pub mod route;
pub mod upstream;

pub mod carried;
pub mod diff;
pub mod edge;
pub mod explain;
pub mod load;
pub mod snapshot;

#[cfg(feature = "server")]
pub mod tls;

#[cfg(feature = "server")]
pub mod proxy;

#[cfg(feature = "server")]
pub mod server;

#[cfg(feature = "server")]
pub mod cli;
