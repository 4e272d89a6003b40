//! The mistakes of a policy, collected.

use super::spec::{Finding, Part, Severity};

/// Findings in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn error(&mut self, code: &'static str, place: Part, message: impl Into<String>) {
        self.push(Severity::Error, code, place, message.into(), None);
    }

    pub(super) fn warning(&mut self, code: &'static str, place: Part, message: impl Into<String>) {
        self.push(Severity::Warning, code, place, message.into(), None);
    }

    /// Adds what to write instead to the last finding.
    pub(super) fn help(&mut self, help: impl Into<String>) {
        if let Some(last) = self.0.last_mut() {
            last.help = Some(help.into());
        }
    }

    pub(super) fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: Part,
        message: String,
        help: Option<String>,
    ) {
        self.0.push(Finding { severity, code, place, message, help });
    }

    pub(super) fn has_error(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.0
    }
}
