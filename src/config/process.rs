//! `[access_log]` and `[server]`: what holds for the process as a whole.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::decode::{Placed, Reader, Value};
use super::notes::Notes;
use crate::diagnose::Diagnostic;

/// `[access_log]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccessLog {
    /// `output`.
    pub output: LogOutput,
    /// `format`.
    pub format: LogFormat,
}

/// Where the access log goes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum LogOutput {
    /// `"stdout"`.
    #[default]
    Stdout,
    /// `"off"`: nowhere.
    Off,
    /// A file, relative to the configuration file.
    File(PathBuf),
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// `"json"`: an object.
    #[default]
    Json,
    /// `"combined"`: NCSA's combined format, as web servers have written it since 1995.
    Combined,
}

pub(super) fn access_log(mut table: Reader<'_>) -> AccessLog {
    let notes = table.notes;
    let log = AccessLog {
        output: table.text("output").map(|text| output(notes, text)).unwrap_or_default(),
        format: table
            .choice("format", &[("json", LogFormat::Json), ("combined", LogFormat::Combined)])
            .unwrap_or_default(),
    };
    table.finish();
    log
}

fn output(notes: &Notes<'_>, text: Placed<&str>) -> LogOutput {
    match text.value {
        "stdout" => LogOutput::Stdout,
        "off" => LogOutput::Off,
        path => LogOutput::File(notes.beside(text.place.source, path)),
    }
}

/// `[server]`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Server {
    /// `threads`: how many serve requests. `None`, or `"auto"`: one for each core.
    pub threads: Option<NonZeroUsize>,
}

impl Server {
    /// More threads than any machine has cores are a slip of the finger.
    const THREADS_MAX: i64 = 1_024;
}

pub(super) fn server(mut table: Reader<'_>) -> Server {
    let threads = table.value("threads").and_then(threads);
    table.finish();
    Server { threads }
}

fn threads(value: Value<'_>) -> Option<NonZeroUsize> {
    if !value.is_text() {
        let threads = value.integer(1..=Server::THREADS_MAX)?;
        return usize::try_from(threads.value).ok().and_then(NonZeroUsize::new);
    }
    let (notes, name, text) = (value.notes, value.name(), value.text()?);
    if text.value != "auto" {
        let message = format!("{name} cannot be {:?}", text.value);
        let help = "write \"auto\", or a number without quotes";
        notes.add(Diagnostic::error("E005", message).at(text.place).help(help.to_owned()));
    }
    None
}
