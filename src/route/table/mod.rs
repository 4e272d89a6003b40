//! The compiled routes.

mod build;
mod search;
#[cfg(test)]
mod tests;
mod tree;

pub use build::{Conflict, Shadowed, TableBuilder};
pub use search::{Allow, Match, Table};
