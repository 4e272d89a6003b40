//! The `corsac` command.

use std::process::ExitCode;

/// Fewer cycles for each request than the system's allocator; how many is in
/// `docs/performance.md`.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    corsac::cli::run()
}
