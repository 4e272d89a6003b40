//! Why a text is no pattern.

use std::fmt;

/// Why a text is no pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PatternError {
    /// What is wrong, with the value.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl PatternError {
    pub(super) fn new(message: String, help: Option<String>) -> Self {
        Self { message, help }
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}

impl std::error::Error for PatternError {}
