//! How commands end, and what they print.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::ValueEnum;

use crate::diagnose::Report;

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// How a command ended, if not with an error of its own making.
pub(super) type Exit = io::Result<ExitCode>;

/// The answer is no.
pub(super) const NO: ExitCode = ExitCode::FAILURE;

/// Prints a report to stderr, in colour on a terminal.
pub(super) fn print_report(report: &Report) -> io::Result<()> {
    // anstream takes the colours out again where stderr is no terminal.
    write!(anstream::stderr(), "{}", report.to_text(true))
}

/// Prints one line about what went wrong.
pub(super) fn complain(message: &str) {
    // Nobody reads stderr if this fails.
    let _ = writeln!(anstream::stderr(), "corsac: {message}");
}

/// Prints a value for programs.
pub(super) fn print_json(value: &impl serde::Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}
