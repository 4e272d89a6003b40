//! Where the texts of the configuration come from, and how a change of them is seen.

pub(in crate::server) mod files;
mod trail;
pub(in crate::server) mod watcher;
