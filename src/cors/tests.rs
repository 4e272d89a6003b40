//! The conformance data, and properties of whole policies.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may panic")]

mod conformance;
mod decisions;
mod diagnostics;
mod properties;
