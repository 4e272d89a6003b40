//! Changes to the headers of a message, as a value.
//!
//! Leaf functions return [`HeaderEdits`] instead of touching a message, so they
//! stay pure, tests compare data, and one value serves a Pingora header, a bench
//! and a model browser.

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

/// One change to the headers of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edit {
    /// Every line of this name goes.
    Remove(HeaderName),
    /// Every line of this name goes, and one line with this value comes.
    Set(HeaderName, HeaderValue),
    /// One more line.
    Append(HeaderName, HeaderValue),
}

impl Edit {
    /// The name that changes.
    #[must_use]
    pub fn name(&self) -> &HeaderName {
        let (Self::Remove(name) | Self::Set(name, _) | Self::Append(name, _)) = self;
        name
    }
}

/// Changes to the headers of a message, applied in their order.
///
/// Up to nine are held in place: the most that CORS changes in one response.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderEdits(SmallVec<[Edit; 9]>);

impl HeaderEdits {
    /// No change.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds: every line of `name` goes.
    pub fn remove(&mut self, name: HeaderName) {
        self.0.push(Edit::Remove(name));
    }

    /// Adds: `value` replaces every line of `name`.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push(Edit::Set(name, value));
    }

    /// Adds: one more line of `name`.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push(Edit::Append(name, value));
    }

    /// The changes, in the order in which they apply.
    pub fn iter(&self) -> impl Iterator<Item = &Edit> {
        self.0.iter()
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies the changes to a plain header map.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for edit in self.iter() {
            match edit {
                Edit::Remove(name) => {
                    headers.remove(name);
                }
                Edit::Set(name, value) => {
                    headers.insert(name, value.clone());
                }
                Edit::Append(name, value) => {
                    headers.append(name, value.clone());
                }
            }
        }
    }
}
