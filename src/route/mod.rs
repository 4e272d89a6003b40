//! Which route a host, path and head belong to, pure.
//!
//! A [`TableBuilder`] takes [`Pattern`]s and values and compiles them, once per
//! configuration, into a [`Table`]: a radix tree of path bytes for every host.
//! [`Table::find`] then answers a [`Head`] without allocating and without a lock.
//!
//! **The most specific route that matches the whole request wins.** In this order:
//!
//! 1. host: exact, then `*.suffix`, longest first, then any;
//! 2. path, segment by segment from the left: text, then `:param`, then `*`;
//! 3. priority, higher first;
//! 4. number of predicates, more first.
//!
//! When a route's predicates refuse a request, the next most specific route is
//! tried, through shorter paths and less specific hosts to the last. Two routes
//! that tie on all four and can match one request are a [`Conflict`].
//!
//! What is matched is canonical: see [`canonical_host`] and [`canonical_path`].

mod error;
mod head;
mod host;
#[cfg(test)]
mod oracle;
mod path;
mod pattern;
mod table;

pub use error::PatternError;
pub use head::{Fit, Head};
pub use host::{HostPattern, canonical_host};
pub use path::{BadPath, canonical_path};
pub use pattern::{Expect, MAX_SEGMENTS, PathPattern, Pattern, Predicates, Segment};
pub use table::{Allow, Conflict, Match, Shadowed, Table, TableBuilder};
