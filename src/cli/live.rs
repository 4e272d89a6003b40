//! `corsac reload`, `corsac upgrade` and `corsac status`: what is asked of a running
//! corsac.

use std::{
    io::Write,
    path::{PathBuf, absolute},
    process::ExitCode,
    time::Duration,
};

use super::{
    output::{Exit, Format, NO, complain},
    socket::{AdminAnswer, Socket, TIMEOUT},
};
use crate::{config::value::parse_duration, server::UpgradeRequest};

/// Makes it read its configuration again; with `wait`, says how that went.
pub(super) fn reload(socket: &Socket, wait: bool) -> Exit {
    if wait {
        return said(&socket.post_for("/reload?wait", b"", TIMEOUT)?);
    }
    said(&socket.post("/reload", b"")?)
}

/// Makes it replace itself; with `wait`, says how that went.
pub(super) fn upgrade(
    socket: &Socket,
    binary: Option<PathBuf>,
    wait: bool,
    timeout: Duration,
) -> Exit {
    // Its working directory is not ours.
    let binary = binary.map(absolute).transpose()?;
    let request = serde_json::to_vec(&UpgradeRequest { binary, timeout })?;
    if wait {
        // It has two steps of that time, and a margin to take over, or to be ended.
        return said(&socket.post_for("/upgrade?wait", &request, timeout * 2 + TIMEOUT)?);
    }
    said(&socket.post("/upgrade", &request)?)
}

/// A time on the command line.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("{}: {}", error.message, error.help))
}

fn said(answer: &AdminAnswer) -> Exit {
    if matches!(answer.status, 200 | 202) {
        write!(anstream::stdout(), "{}", answer.body)?;
        return Ok(ExitCode::SUCCESS);
    }
    write!(anstream::stderr(), "{}", answer.body)?;
    Ok(NO)
}

/// Shows what it says of itself.
pub(super) fn status(socket: &Socket, format: Format) -> Exit {
    let answer = socket.get("/status")?;
    if answer.status != 200 {
        complain(answer.body.trim_end());
        return Ok(NO);
    }
    match format {
        Format::Json => writeln!(std::io::stdout(), "{}", answer.body)?,
        Format::Text => {
            let status: serde_json::Value = serde_json::from_str(&answer.body)?;
            print(&mut anstream::stdout(), &status, 0)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints any JSON as indented lines, so that what is added to the status shows
/// up here by itself.
fn print(out: &mut impl Write, value: &serde_json::Value, depth: usize) -> std::io::Result<()> {
    use serde_json::Value;
    let indent = "  ".repeat(depth);
    let line = |out: &mut dyn Write, key: &str, value: &Value| match value {
        Value::String(text) => writeln!(out, "{indent}{key}: {text}"),
        other => writeln!(out, "{indent}{key}: {other}"),
    };
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Value::Null => {}
                    Value::Array(items) if items.is_empty() => {}
                    Value::Object(_) | Value::Array(_) => {
                        writeln!(out, "{indent}{key}:")?;
                        print(out, value, depth + 1)?;
                    }
                    value => line(out, key, value)?,
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Object(_) => {
                        print(out, item, depth)?;
                    }
                    item => line(out, "-", item)?,
                }
            }
        }
        value => line(out, "-", value)?,
    }
    Ok(())
}
