//! The configuration's files, read from disk.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::config::Files;

/// A file larger than this is no configuration.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "is larger than 64 MiB"));
        }
        fs::read_to_string(path)
    }

    fn expand(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let text = pattern
            .to_str()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "is not UTF-8"))?;
        let matches = glob::glob(text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.msg))?;
        // `glob` sorts, which keeps reports in one order; no meaning hangs on it.
        matches.map(|path| path.map_err(io::Error::from)).collect()
    }
}

/// One file in memory, for configurations that are part of the program.
#[derive(Clone, Debug)]
pub struct Memory {
    path: PathBuf,
    text: String,
}

impl Memory {
    /// A file at `path` that holds `text`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, text: &str) -> Self {
        Self { path: path.into(), text: text.to_owned() }
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        if path == self.path { Ok(self.text.clone()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn expand(&self, _pattern: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}
