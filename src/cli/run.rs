//! `corsac run`.

use std::{io::Write, path::Path, process::ExitCode, sync::Arc};

use clap::ValueEnum;

use super::configuration::load;
use super::output::{Exit, NO, complain, print_report};
use crate::server::{self, Disk, Inherited, ProcessLog, Supply};

/// What is logged where `RUST_LOG` does not say otherwise. Pingora logs an error
/// for each connection that a client drops; the access log has those.
const LOG_FILTER: &str = "warn,corsac=info,pingora=off,pingora_core=off,pingora_proxy=off";

/// What a process that `corsac upgrade` starts is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum TakeoverRole {
    /// Start the process that takes over, and end.
    Launch,
    /// Take over.
    Serve,
}

/// Serves by the configuration at `path` until a signal ends it.
pub(super) fn run(path: &Path, takeover: Option<TakeoverRole>) -> Exit {
    let log = ProcessLog::default();
    start_log(&log);
    let inherited = match takeover {
        None => Inherited::FromSystemd,
        Some(TakeoverRole::Launch) => {
            server::launch(path)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(TakeoverRole::Serve) => Inherited::FromPredecessor(server::Takeover::on_stdin()?),
    };
    let refused = |reason: &str| {
        if let Inherited::FromPredecessor(takeover) = &inherited {
            takeover.refuse(reason);
        }
    };
    let (config, warnings) = match load(path) {
        Ok(loaded) => loaded,
        Err(report) => {
            print_report(&report)?;
            refused(&report.to_text(false));
            return Ok(NO);
        }
    };
    if !warnings.is_empty() {
        print_report(&warnings)?;
    }
    let supply = Supply { path: path.to_owned(), files: Arc::new(Disk) };
    match server::start(config, supply, &inherited, log) {
        Ok(server) => Ok(server.run().map_or(NO, |()| ExitCode::SUCCESS)),
        Err(error) => {
            complain(&error.to_string());
            refused(&error.to_string());
            Ok(NO)
        }
    }
}

/// Log lines go to stderr: level and text. A time is added on a terminal alone,
/// for elsewhere the journal has its own.
fn start_log(log: &ProcessLog) {
    let stderr = std::io::stderr();
    let with_time = std::io::IsTerminal::is_terminal(&stderr);
    let has_colours = anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
    let environment = env_logger::Env::default()
        .default_filter_or(LOG_FILTER)
        .default_write_style_or(if has_colours { "always" } else { "never" });
    env_logger::Builder::from_env(environment)
        .target(env_logger::Target::Pipe(Box::new(log.clone())))
        .format(move |out, record| {
            let style = out.default_level_style(record.level());
            if with_time {
                write!(out, "{} ", out.timestamp_seconds())?;
            }
            writeln!(out, "{style}{:5}{style:#} {}", record.level(), record.args())
        })
        .init();
}
