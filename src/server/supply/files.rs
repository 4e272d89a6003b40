//! The configuration's files, read from disk.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::diagnose::Files;

/// A file larger than this is no configuration.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut bytes = Vec::new();
        // Not by the length that the file system tells: in `/proc` that is 0.
        open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(in_words)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB"));
        }
        String::from_utf8(bytes).map_err(|error| {
            let before = error.as_bytes().get(..error.utf8_error().valid_up_to());
            let line = before.unwrap_or_default().split(|byte| *byte == b'\n').count();
            io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
        })
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

    fn is_open_to_others(&self, path: &Path) -> bool {
        const OTHERS_READ: u32 = 0o004;
        fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OTHERS_READ != 0)
    }
}

/// Opens a regular file. To open or read anything else may take for ever, such as a FIFO
/// into which no process writes: without `O_NONBLOCK`, the check of what it is would come
/// too late.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let what = kind_in_words(kind);
    let says = format!("it is {what}, and a configuration is read from regular files");
    Err(io::Error::new(io::ErrorKind::InvalidInput, says))
}

fn kind_in_words(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    }
}

/// The common errors as people say them, without the number of the system's.
fn in_words(error: io::Error) -> io::Error {
    let words = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file",
        io::ErrorKind::PermissionDenied => "permission denied",
        _ => return error,
    };
    io::Error::new(error.kind(), words)
}

/// Files in memory, for configurations that are part of the program.
#[derive(Clone)]
pub struct Memory(BTreeMap<PathBuf, String>);

/// Without what is in them, which may be a key.
impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Memory {
    /// One file, at `path`, that holds `text`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, text: &str) -> Self {
        Self([(path.into(), text.to_owned())].into())
    }

    /// And one more.
    #[must_use]
    pub fn with(mut self, path: impl Into<PathBuf>, text: String) -> Self {
        self.0.insert(path.into(), text);
        self
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn expand(&self, _pattern: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}
