//! What a line of the access log costs who serves, in instructions: `make guard`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a guard may panic")]

mod baseline;
mod callgrind;
#[path = "../cases/access_log.rs"]
mod cases;

use std::process::ExitCode;

use callgrind::Case;
use corsac::config::LogFormat;

fn main() -> ExitCode {
    callgrind::guard("access-log", || {
        let lines = |name, format| Case::new(name, cases::LINES, cases::hundred_lines(format));
        vec![lines("JSON", LogFormat::Json), lines("combined", LogFormat::Combined)]
    })
}
