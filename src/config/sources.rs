//! Files as text: what was read, and where in it something stands.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::report::{Diagnostic, Report};
use crate::cors::Severity;

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
}

/// No files: for a text that names none.
pub(super) struct NoFiles;

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

/// A range of bytes in one of the files that were read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// Which file: an index into [`Config::sources`](super::Config::sources).
    pub source: usize,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// A place, for people: prints as `corsac.toml:61`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Location<'a> {
    /// The file.
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
pub(super) fn hash(sources: &[Source]) -> String {
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

/// The notebook of one reading: the files read so far, and what was found in them.
///
/// Every reader of a table writes here, at any depth, so it is shared and
/// appended to through `&self`.
pub(super) struct Notes<'f> {
    files: &'f dyn Files,
    sources: RefCell<Vec<Source>>,
    directories: RefCell<BTreeSet<PathBuf>>,
    diagnostics: RefCell<Vec<Diagnostic>>,
    errors: Cell<usize>,
}

impl<'f> Notes<'f> {
    pub(super) fn new(files: &'f dyn Files) -> Self {
        Self {
            files,
            sources: RefCell::default(),
            directories: RefCell::default(),
            diagnostics: RefCell::default(),
            errors: Cell::default(),
        }
    }

    pub(super) fn add(&self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors.set(self.errors.get() + 1);
        }
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    /// How many errors there are so far: to see whether reading something added one.
    pub(super) fn errors(&self) -> usize {
        self.errors.get()
    }

    /// Reads a file once; a second time, the same index and text are given.
    pub(super) fn read(&self, path: &Path) -> io::Result<(usize, Arc<str>)> {
        self.directories.borrow_mut().extend(path.parent().map(Path::to_owned));
        let known = self.sources.borrow().iter().position(|source| source.path == path);
        let index = match known {
            Some(index) => index,
            None => self.hold(Source::new(path.to_owned(), self.files.read(path)?)),
        };
        let text = self.sources.borrow().get(index).map(|source| source.text.clone());
        Ok((index, text.unwrap_or_default()))
    }

    /// Takes a text that is there already.
    pub(super) fn hold(&self, source: Source) -> usize {
        let mut sources = self.sources.borrow_mut();
        sources.push(source);
        sources.len() - 1
    }

    pub(super) fn expand(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        // The last folder whose name is no pattern: what is new shows up there.
        let is_plain = |path: &&Path| !path.to_string_lossy().contains(['*', '?', '[']);
        let folder = pattern.ancestors().skip(1).find(is_plain);
        self.directories.borrow_mut().extend(folder.map(Path::to_owned));
        self.files.expand(pattern)
    }

    /// A path of a configuration file is relative to that file.
    pub(super) fn beside(&self, source: usize, path: &str) -> PathBuf {
        let sources = self.sources.borrow();
        let folder = sources.get(source).and_then(|source| source.path.parent());
        folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }

    pub(super) fn locate(&self, place: Place) -> String {
        let sources = self.sources.borrow();
        sources.get(place.source).map(|source| source.locate(place).to_string()).unwrap_or_default()
    }

    /// Where a file that was read, or looked for, stands.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        self.directories.borrow().iter().cloned().collect()
    }

    pub(super) fn into_report(self) -> Report {
        Report::new(self.sources.into_inner().into(), self.diagnostics.into_inner())
    }
}

/// Parses one file; what is not TOML is noted, each mistake of it.
pub(super) fn parse_toml<'t>(notes: &Notes<'_>, source: usize, text: &'t str) -> DeTable<'t> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let place = Place { source, start: span.start, end: span.end };
        let message = error.message().trim_end();
        notes.add(Diagnostic::error("E000", format!("not TOML: {message}")).at(place));
    }
    table.into_inner()
}
