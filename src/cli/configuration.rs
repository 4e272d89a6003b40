//! The configuration that a command is given.

use std::path::Path;

use jiff::Timestamp;

use crate::{
    config::Config,
    diagnose::{Files, Report},
    load::load as load_at,
    server::Disk,
};

/// Reads it from disk, as it is now.
///
/// # Errors
/// A report of every mistake.
pub(super) fn load(path: &Path) -> Result<(Config, Report), Report> {
    load_from(path, &Disk)
}

/// Reads it from these files.
///
/// # Errors
/// A report of every mistake.
pub(super) fn load_from(path: &Path, files: &dyn Files) -> Result<(Config, Report), Report> {
    load_at(path, files, Timestamp::now().as_second())
}
