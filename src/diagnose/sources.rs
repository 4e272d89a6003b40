//! Files as text: what was read, and where in it something stands.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// How files come in; this module opens none itself.
pub trait Files {
    /// The whole text of a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The files that a pattern of `include` names, sorted.
    ///
    /// # Errors
    ///
    /// The pattern is none, or a folder cannot be read.
    fn expand(&self, pattern: &Path) -> io::Result<Vec<PathBuf>>;

    /// Whether more than a file's owner and its group may read it.
    fn is_open_to_others(&self, path: &Path) -> bool {
        let _ = path;
        false
    }
}

/// No files: for a text that names none.
#[derive(Clone, Copy, Debug)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn expand(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

/// A file that was read: the main file, an included one, or a file of origins.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it was asked for.
    pub path: PathBuf,
    /// What stood in it.
    pub text: Arc<str>,
    /// The byte at which each line but the first starts.
    line_starts: Box<[usize]>,
}

impl Source {
    /// A text, by the name that diagnostics call it.
    #[must_use]
    pub fn new(path: PathBuf, text: String) -> Self {
        let line_starts = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        Self { path, text: text.into(), line_starts }
    }

    /// The line, from 1, that holds a byte; and the byte at which that line starts.
    pub(super) fn line_at(&self, byte: usize) -> (usize, usize) {
        let before = self.line_starts.partition_point(|&start| start <= byte);
        let start = before.checked_sub(1).and_then(|last| self.line_starts.get(last));
        (before + 1, start.copied().unwrap_or(0))
    }

    /// A place of this file, for people.
    #[must_use]
    pub fn locate(&self, place: Place) -> Location<'_> {
        let (line, start) = self.line_at(place.start);
        let before = self.text.get(start..place.start).unwrap_or_default();
        Location { path: &self.path, line, column: before.chars().count() + 1 }
    }
}

/// What a reading has looked for, whether it was there or not: what changes there may
/// change what is read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LookedFor {
    /// Files, as they were asked for.
    pub files: BTreeSet<PathBuf>,
    /// Patterns of `include`.
    pub patterns: BTreeSet<PathBuf>,
}

/// A range of bytes in one of the files that were read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// Which file: an index into [`Report::sources`](super::Report::sources), and into what else was read.
    pub source: usize,
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// A place, for people: prints as `corsac.toml:61`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Location<'a> {
    pub path: &'a Path,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Location<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.path.display(), self.line)
    }
}

/// What tells these texts from others: 16 hexadecimal digits, the first of the
/// SHA-256 over all of them, in the order of their paths.
#[must_use]
pub fn hash(sources: &[Source]) -> String {
    let mut sources: Vec<&Source> = sources.iter().collect();
    sources.sort_by_key(|source| &source.path);
    let mut hash = Sha256::new();
    for Source { text, .. } in sources {
        // With its length before it, no text can be taken for the end of another.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    let first = hash.finalize().iter().take(8).fold(0, |bits, &byte| bits << 8 | u64::from(byte));
    format!("{first:016x}")
}
