//! What was found in texts, and where: for people, with carets, or as JSON.
//!
//! A [`Source`] is a text that was read, a [`Place`] a range of bytes in it, and a
//! [`Diagnostic`] one thing to say about such a place. A [`Report`] is all of them
//! with their texts. Nothing here knows what a text means: that is
//! [`config`](crate::config)'s.

pub mod codes;

mod report;
mod sources;

pub use report::{Diagnostic, Report};
pub use sources::{Files, Location, LookedFor, NoFiles, Place, Source, hash};
