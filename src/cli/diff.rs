//! `corsac diff`.

use std::{io::Write, path::Path, process::ExitCode};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::configuration::load;
use super::output::{Exit, Format, NO, print_json, print_report};
use crate::diff::{Access, Change, Diff, diff as compare};

const WIDENS: Style = AnsiColor::Yellow.on_default().bold();

/// What `--format json` prints.
#[derive(Serialize)]
struct Answer<'d> {
    summary: String,
    widening: usize,
    changes: &'d [Change],
}

/// Says what changes from the configuration at `before` to that at `after`. With
/// `exit_code`, as of `git diff`, any change is a 1.
pub(super) fn diff(before: &Path, after: &Path, exit_code: bool, format: Format) -> Exit {
    let (before, after) = match (load(before), load(after)) {
        (Ok((before, _)), Ok((after, _))) => (before, after),
        (before, after) => {
            for report in [before.err(), after.err()].into_iter().flatten() {
                print_report(&report)?;
            }
            return Ok(NO);
        }
    };
    let diff = compare(&before, &after);
    match format {
        Format::Json => print_json(&Answer {
            summary: diff.summary(),
            widening: diff.widening(),
            changes: diff.changes(),
        })?,
        Format::Text => print(&diff)?,
    }
    Ok(if exit_code && !diff.is_empty() { NO } else { ExitCode::SUCCESS })
}

fn print(diff: &Diff) -> std::io::Result<()> {
    let mut out = anstream::stdout();
    for change in diff.changes() {
        let style = if change.access == Access::Widens { WIDENS } else { Style::new() };
        writeln!(out, "{style}{change}{style:#}")?;
    }
    writeln!(out, "{}", diff.summary())
}
