//! The integration tests, in one binary, so that they link once.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

mod conf;
mod cors_configs;
mod golden;
