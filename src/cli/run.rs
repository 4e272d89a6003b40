//! `corsac run`.

use std::{io::Write, path::Path, process::ExitCode};

use super::{NO, Outcome, complain, print_report};
use crate::{
    load::load,
    server::{self, Disk},
};

/// What is logged where `RUST_LOG` does not say otherwise. Pingora logs an error
/// for each connection that a client drops; the access log has those.
const LOG_FILTER: &str = "warn,corsac=info,pingora=off,pingora_core=off,pingora_proxy=off";

/// Serves by the configuration at `path` until a signal ends it.
pub(super) fn run(path: &Path) -> Outcome {
    start_log();
    match load(path, &Disk) {
        Ok((config, warnings)) => {
            if !warnings.is_empty() {
                print_report(&warnings)?;
            }
            Ok(serve(config))
        }
        Err(report) => {
            print_report(&report)?;
            Ok(NO)
        }
    }
}

/// Serves until a signal ends it.
fn serve(config: crate::config::Config) -> ExitCode {
    match server::start(config) {
        Ok(server) => {
            server.run();
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            NO
        }
    }
}

/// Log lines go to stderr: level and text. A time is added on a terminal alone,
/// for elsewhere the journal has its own.
fn start_log() {
    let with_time = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let environment = env_logger::Env::default().default_filter_or(LOG_FILTER);
    env_logger::Builder::from_env(environment)
        .format(move |out, record| {
            let style = out.default_level_style(record.level());
            if with_time {
                write!(out, "{} ", out.timestamp_seconds())?;
            }
            writeln!(out, "{style}{:5}{style:#} {}", record.level(), record.args())
        })
        .init();
}
