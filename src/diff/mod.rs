//! The difference between two configurations, by what they mean.
//!
//! What is spelled differently and means the same is no change: the order of
//! tables, a text for a list of one, a policy by name or in place, a default
//! that is written out. What many routes take from one place, such as a shared
//! policy, is told where it takes effect: on those routes.
//!
//! The comparisons take every structure apart by name, so a key that is added to
//! the configuration does not compile until it is compared here.

mod change;
mod policy;
mod process;
mod routes;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Serialize;

pub use self::change::{Access, Change, Subject};
use crate::config::{Config, Service};

/// The difference between two configurations: routes by their names, then
/// upstreams, listeners and the process.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Diff {
    changes: Vec<Change>,
}

/// Compares two configurations. `[[tests]]` are not compared: they change nothing.
#[must_use]
pub fn diff(before: &Config, after: &Config) -> Diff {
    // `routes`, `policy` and `process` compare everything that a configuration is made of.
    // The guard is what listeners and certificates say.
    let Config {
        listeners: _,
        certificates: _,
        guard: _,
        upstreams: _,
        services,
        routes: _,
        table: _,
        limits: _,
        access_log: _,
        request_id: _,
        admin: _,
        server: _,
        tests: _,
        sources: _,
        looked_for: _,
    } = after;
    // A service is its routes: what else it says, they have by now.
    let _ = services.first().map(|Service { name: _, place: _, hosts: _, hsts: _ }| ());
    let mut changes = routes::compare(before, after);
    changes.extend(process::compare(before, after));
    Diff { changes }
}

impl Diff {
    /// All changes; those of one route stand together.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether both configurations mean the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many changes widen access.
    #[must_use]
    pub fn widening(&self) -> usize {
        self.changes.iter().filter(|change| change.access == Access::Widens).count()
    }

    /// One line: `2 routes added, 1 changed; 3 changes widen access`.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.is_empty() {
            return "no change".to_owned();
        }
        let parts: Vec<String> =
            Subject::ALL.iter().filter_map(|(subject, word)| self.count(*subject, word)).collect();
        let widening = match self.widening() {
            0 => "no change widens access".to_owned(),
            1 => "1 change widens access".to_owned(),
            more => format!("{more} changes widen access"),
        };
        format!("{}; {widening}", parts.join(", "))
    }

    /// The lines for a log, which is cut after `max` of them: first those that
    /// widen access, which must not be what is cut, then the others.
    pub fn log_lines(&self, max: usize) -> impl Iterator<Item = String> {
        let widens = |change: &&Change| change.access == Access::Widens;
        let (first, rest): (Vec<&Change>, Vec<_>) = self.changes.iter().partition(widens);
        let more = self.changes.len().checked_sub(max).filter(|more| *more > 0);
        let lines = first.into_iter().chain(rest).take(max).map(Change::to_string);
        lines.chain(more.map(|more| format!("and {more} more")))
    }

    /// `2 routes added, 1 changed`; `None`: nothing of this subject changed.
    fn count(&self, subject: Subject, word: &str) -> Option<String> {
        let of = || self.changes.iter().filter(|change| change.subject == subject);
        let names = |kind: fn(&Change) -> bool| -> BTreeSet<&String> {
            of().filter(|change| kind(change)).flat_map(|change| &change.on).collect()
        };
        let added = names(|change| change.is_of_whole_route() && change.before.is_none());
        let removed = names(|change| change.is_of_whole_route() && change.after.is_none());
        let changed = names(|_| true).len() - added.len() - removed.len();
        let counts = [(added.len(), "added"), (removed.len(), "removed"), (changed, "changed")];
        let mut text = String::new();
        for (count, verb) in counts.into_iter().filter(|(count, _)| *count > 0) {
            let plural = if count == 1 { "" } else { "s" };
            let noun = if text.is_empty() { format!(" {word}{plural}") } else { String::new() };
            let comma = if text.is_empty() { "" } else { ", " };
            text = format!("{text}{comma}{count}{noun} {verb}");
        }
        (!text.is_empty()).then_some(text)
    }
}
