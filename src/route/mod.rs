//! Which route a host, path and head belong to, pure.

mod pattern;
pub use pattern::{Expect, HostPattern, PathPattern, Pattern, PatternError, Predicates, Segment};
