//! What reading a configuration found: for people, with carets, or as JSON.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level, Padding, Renderer, Snippet};
use serde::Serialize;

use super::sources::{LookedFor, Place, Source};
use crate::cors::Severity;

/// One thing that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    /// Whether the configuration can load.
    pub severity: Severity,
    /// Which of [`CODES`](super::codes::CODES).
    pub code: &'static str,
    /// What is wrong, with the value, in one line.
    pub message: String,
    /// Where; `None` if there is no such place, as in a file that cannot be read.
    pub place: Option<Place>,
    /// What stands beside the carets; may be empty.
    pub label: String,
    /// Other places that have to do with it, and what each is.
    pub related: Vec<(Place, String)>,
    /// More facts, a line each.
    pub notes: Vec<String>,
    /// What to write instead, where one thing is known to be right.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Something that stops the configuration from loading.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    /// Something to think about.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    /// A test of `[[tests]]` that fails.
    #[must_use]
    pub fn failed_test(name: &str, place: Place, expected: &str, got: &str) -> Self {
        Self::error("E301", format!("test fails: {name:?}"))
            .at(place)
            .note(format!("expected {expected}"))
            .note(format!("got      {got}"))
    }

    fn new(severity: Severity, code: &'static str, message: String) -> Self {
        Self {
            severity,
            code,
            message,
            place: None,
            label: String::new(),
            related: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// Says where it is.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Says what stands beside the carets.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Points at another place.
    #[must_use]
    pub fn related(mut self, place: Place, label: impl Into<String>) -> Self {
        self.related.push((place, label.into()));
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }
}

/// Everything that reading a configuration found, by file and line.
#[derive(Clone, Debug)]
pub struct Report {
    sources: Arc<[Source]>,
    looked_for: Arc<LookedFor>,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Sorts the diagnostics by file and line.
    #[must_use]
    pub fn new(
        sources: Arc<[Source]>,
        looked_for: Arc<LookedFor>,
        mut diagnostics: Vec<Diagnostic>,
    ) -> Self {
        diagnostics.sort_by(|a, b| (a.place, a.code).cmp(&(b.place, b.code)));
        Self { sources, looked_for, diagnostics }
    }

    /// This report with more diagnostics about the same files.
    #[must_use]
    pub fn with(self, more: impl IntoIterator<Item = Diagnostic>) -> Self {
        let diagnostics = self.diagnostics.into_iter().chain(more).collect();
        Self::new(self.sources, self.looked_for, diagnostics)
    }

    /// A report that corsac itself failed, which says nothing of any configuration.
    #[must_use]
    pub fn bug(message: &str) -> Self {
        let bug = Diagnostic::error("E511", format!("a bug: {message}"));
        Self::new(Arc::default(), Arc::default(), vec![bug])
    }

    /// The hash of what was read; see [`hash`](super::hash).
    #[must_use]
    pub fn hash(&self) -> String {
        super::sources::hash(&self.sources)
    }

    /// What was found, by file and line.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The files that the places refer to.
    #[must_use]
    pub fn sources(&self) -> &Arc<[Source]> {
        &self.sources
    }

    /// What was looked for.
    #[must_use]
    pub fn looked_for(&self) -> &Arc<LookedFor> {
        &self.looked_for
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// How many stop the configuration from loading.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|found| found.severity == Severity::Error).count()
    }

    /// How many do not.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.diagnostics.len() - self.errors()
    }

    /// The report as compilers print theirs; empty if nothing was found.
    #[must_use]
    pub fn to_text(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for found in &self.diagnostics {
            text.push_str(&renderer.render(&[self.group(found)]));
            text.push_str("\n\n");
        }
        if !self.is_empty() {
            let counts = [(self.errors(), "error"), (self.warnings(), "warning")];
            let counts: Vec<_> = counts.into_iter().filter(|(n, _)| *n > 0).map(counted).collect();
            let _ = writeln!(text, "{}", counts.join(", "));
        }
        text
    }

    fn group<'a>(&'a self, found: &'a Diagnostic) -> Group<'a> {
        let level = match found.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&*found.message).id(found.code));
        if let Some(snippet) = found.place.and_then(|place| self.excerpt(place, &found.label)) {
            group = group.element(snippet);
        }
        for (place, label) in &found.related {
            if let Some(excerpt) = self.excerpt(*place, label) {
                group = group.element(excerpt);
            }
        }
        let has_messages = !found.notes.is_empty() || found.help.is_some();
        if found.place.is_some() && has_messages {
            group = group.element(Padding);
        }
        for note in &found.notes {
            group = group.element(Level::NOTE.no_name().message(&**note));
        }
        if let Some(help) = &found.help {
            group = group.element(Level::HELP.message(&**help));
        }
        group
    }

    /// The first line of a place, with carets below it.
    ///
    /// One line is enough to find the place, and keeps the cost of a report
    /// apart from the size of the files.
    fn excerpt<'a>(&'a self, place: Place, label: &'a str) -> Option<Element<'a>> {
        let source = self.sources.get(place.source)?;
        let (line, start) = source.line_at(place.start);
        let text = source.text.get(start..)?.lines().next().unwrap_or_default();
        let from = place.start.saturating_sub(start).min(text.len());
        let to = place.end.saturating_sub(start).clamp(from, text.len());
        let label = Some(label).filter(|label| !label.is_empty());
        let snippet = Snippet::source(text)
            .line_start(line)
            .path(source.path.to_string_lossy())
            .annotation(AnnotationKind::Primary.span(on_boundaries(text, from..to)).label(label));
        Some(snippet.into())
    }

    /// The report as one JSON object on one line; `ok` is the caller's to say,
    /// since warnings may count as errors.
    ///
    /// # Panics
    ///
    /// Never: what it prints are strings, numbers and booleans.
    #[must_use]
    pub fn to_json(&self, ok: bool) -> String {
        let report = JsonReport {
            ok,
            diagnostics: self.diagnostics.iter().map(|found| self.json(found)).collect(),
        };
        serde_json::to_string(&report).expect("strings, numbers and booleans are always JSON")
    }

    fn json<'a>(&'a self, found: &'a Diagnostic) -> JsonDiagnostic<'a> {
        let location = found.place.and_then(|place| {
            let source = self.sources.get(place.source)?;
            Some((source, source.locate(place)))
        });
        JsonDiagnostic {
            severity: match found.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            code: found.code,
            message: &found.message,
            file: location.as_ref().map(|(source, _)| source.path.to_string_lossy().into_owned()),
            line: location.as_ref().map(|(_, at)| at.line),
            column: location.as_ref().map(|(_, at)| at.column),
            help: found
                .help
                .as_deref()
                .or_else(|| Some(found.label.as_str()).filter(|label| !label.is_empty())),
        }
    }
}

#[derive(Serialize)]
struct JsonReport<'a> {
    ok: bool,
    diagnostics: Vec<JsonDiagnostic<'a>>,
}

/// What scripts and editors read; its names are an interface.
#[derive(Serialize)]
struct JsonDiagnostic<'a> {
    severity: &'static str,
    code: &'static str,
    message: &'a str,
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    help: Option<&'a str>,
}

/// A span that starts and ends between characters, for one that may not.
fn on_boundaries(text: &str, span: Range<usize>) -> Range<usize> {
    text.floor_char_boundary(span.start)..text.ceil_char_boundary(span.end)
}

fn counted((count, noun): (usize, &str)) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
