//! `corsac check` and `corsac test`.

use std::{io::Write, path::Path, process::ExitCode};

use super::configuration::load;
use super::output::{Exit, Format, NO, complain, print_report};
use crate::diagnose::Report;

/// Says everything that is wrong with the configuration at `path`.
pub(super) fn check(path: &Path, deny_warnings: bool, format: Format) -> Exit {
    let (report, loaded) = match load(path) {
        Ok((_, report)) => (report, true),
        Err(report) => (report, false),
    };
    let ok = loaded && (report.is_empty() || !deny_warnings);
    print(&report, ok, format)?;
    if format == Format::Text {
        if ok {
            writeln!(anstream::stdout(), "{}: the configuration is fine", path.display())?;
        } else if loaded {
            complain("warnings count as errors, since --deny-warnings says so");
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { NO })
}

/// Runs the tests of the configuration at `path`.
pub(super) fn test(path: &Path, format: Format) -> Exit {
    match load(path) {
        Ok((config, report)) => {
            if format == Format::Json {
                print(&report, true, format)?;
            } else {
                let mut out = anstream::stdout();
                for test in &config.tests {
                    writeln!(out, "ok   {}", test.name)?;
                }
                writeln!(out, "{} passed", config.tests.len())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(report) => {
            print(&report, false, format)?;
            Ok(NO)
        }
    }
}

fn print(report: &Report, ok: bool, format: Format) -> std::io::Result<()> {
    match format {
        Format::Text => print_report(report),
        Format::Json => writeln!(std::io::stdout(), "{}", report.to_json(ok)),
    }
}
