//! The notebook of one reading.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use crate::cors::Severity;
use crate::diagnose::{Diagnostic, Files, LookedFor, Place, Report, Source};

/// The files read so far, and what was found in them.
///
/// Every reader of a table writes here, at any depth, so it is shared and
/// appended to through `&self`.
pub(super) struct Notes<'f> {
    files: &'f dyn Files,
    sources: RefCell<Vec<Source>>,
    looked_for: RefCell<LookedFor>,
    diagnostics: RefCell<Vec<Diagnostic>>,
    errors: Cell<usize>,
}

impl<'f> Notes<'f> {
    pub(super) fn new(files: &'f dyn Files) -> Self {
        Self {
            files,
            sources: RefCell::default(),
            looked_for: RefCell::default(),
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
        self.looked_for.borrow_mut().files.insert(path.to_owned());
        let known = self.sources.borrow().iter().position(|source| source.path == path);
        let index = match known {
            Some(index) => index,
            None => self.hold(Source::new(path.to_owned(), self.files.read(path)?)),
        };
        let text = self.sources.borrow().get(index).map(|source| source.text.clone());
        Ok((index, text.unwrap_or_default()))
    }

    /// Reads a file that is no text of the configuration, such as a key: what is in it is
    /// in no report and no hash.
    pub(super) fn read_aside(&self, path: &Path) -> io::Result<String> {
        self.looked_for.borrow_mut().files.insert(path.to_owned());
        self.files.read(path)
    }

    pub(super) fn is_open_to_others(&self, path: &Path) -> bool {
        self.files.is_open_to_others(path)
    }

    /// Takes a text that is there already.
    pub(super) fn hold(&self, source: Source) -> usize {
        let mut sources = self.sources.borrow_mut();
        sources.push(source);
        sources.len() - 1
    }

    pub(super) fn expand(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        self.looked_for.borrow_mut().patterns.insert(pattern.to_owned());
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

    pub(super) fn into_report(self) -> Report {
        let looked_for = Arc::new(self.looked_for.into_inner());
        Report::new(self.sources.into_inner().into(), looked_for, self.diagnostics.into_inner())
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
