//! One change, and what it does to access.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

/// What a change does to access.
///
/// Access is which requests pass the edge, from anyone, and what pages of other
/// origins may send, with what, and read. What stands behind the edge is not
/// looked at: the same request to another upstream is the same access.
///
/// The rule is one of possibility. Take an upstream that says nothing of CORS,
/// and one that allows everything; if with either of them something gets through
/// that did not before, the change widens. So it widens to attach a policy, for
/// the first upstream's answers can now be read by those whom the policy lists;
/// and to detach one, since the second's can now be read by all. It may close
/// something at the same time.
///
/// Changes are judged one by one. An entry that others cover changes nothing; where
/// that is hard to tell, as between two regular expressions, it counts as if it
/// did. Limits, lifetimes and statuses are not access; neither is a `dangerous`
/// switch, since what it lets load is a change of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It stays as it is.
    Same,
    /// Something is refused that was let through, and nothing the other way round.
    Narrows,
    /// Something may be let through that was refused.
    Widens,
}

impl Access {
    /// Of a switch whose larger value lets more through.
    pub(super) fn by_order<T: Ord>(before: &T, after: &T) -> Self {
        match before.cmp(after) {
            std::cmp::Ordering::Less => Self::Widens,
            std::cmp::Ordering::Equal => Self::Same,
            std::cmp::Ordering::Greater => Self::Narrows,
        }
    }
}

/// What a change is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Routes: `shop/orders`.
    Route,
    /// An upstream: `upstreams.shop`.
    Upstream,
    /// A listener: `listeners.http`.
    Listener,
    /// A certificate: `certificates.shop`.
    Certificate,
    /// The process: `server`, `access_log`.
    Process,
}

impl Subject {
    pub(super) const ALL: [(Self, &str); 5] = [
        (Self::Route, "route"),
        (Self::Upstream, "upstream"),
        (Self::Listener, "listener"),
        (Self::Certificate, "certificate"),
        (Self::Process, "setting"),
    ];
}

/// One change. Prints as one line without control characters.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Change {
    /// What [`Self::on`] names.
    pub subject: Subject,
    /// Where it takes effect: never empty; more than one for routes alone.
    pub on: Vec<String>,
    /// The key, such as `allow_origins`; `route` for a route as a whole.
    pub what: String,
    /// What there was; `None`: it is added.
    pub before: Option<String>,
    /// What there is; `None`: it is removed.
    pub after: Option<String>,
    /// What it does to access.
    pub access: Access,
}

impl Change {
    /// The names that a line has room for.
    const NAMES_MAX: usize = 3;

    pub(super) fn is_of_whole_route(&self) -> bool {
        self.what == ROUTE
    }
}

/// The key of a route as a whole; no key of a route has this name.
pub(super) const ROUTE: &str = "route";

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, from, to) = match (&self.before, &self.after) {
            (None, to) => ('+', None, to.as_deref()),
            (from, None) => ('-', None, from.as_deref()),
            (from, to) => ('~', from.as_deref(), to.as_deref()),
        };
        write!(out, "{sign} ")?;
        for (index, name) in self.on.iter().take(Self::NAMES_MAX).enumerate() {
            write!(out, "{}{name}", if index == 0 { "" } else { ", " })?;
        }
        if let Some(more) = self.on.len().checked_sub(Self::NAMES_MAX).filter(|more| *more > 0) {
            write!(out, " and {more} more")?;
        }
        write!(out, ": {}", Line(&self.what))?;
        if let Some(from) = from {
            write!(out, ": {} ->", Line(from))?;
        } else if to.is_some_and(|to| !to.is_empty()) {
            out.write_str(":")?;
        }
        if let Some(to) = to.filter(|to| !to.is_empty()) {
            write!(out, " {}", Line(to))?;
        }
        out.write_str(if self.access == Access::Widens { "  [widens]" } else { "" })
    }
}

/// A text of a configuration, which may hold anything, as part of a line of a log
/// or a terminal.
struct Line<'a>(&'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            char if char.is_control() => write!(out, "{}", char.escape_debug()),
            char => write!(out, "{char}"),
        })
    }
}

/// The changes of one subject while they are collected.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Changes(pub(super) Vec<Difference>);

/// A [`Change`] that does not know yet where it takes effect.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Difference {
    pub(super) what: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    pub(super) access: Access,
}

impl Changes {
    /// Adds a change, if it is one.
    pub(super) fn value(
        &mut self,
        what: &str,
        before: Option<String>,
        after: Option<String>,
        access: Access,
    ) {
        if before != after {
            self.0.push(Difference { what: what.to_owned(), before, after, access });
        }
    }

    /// As [`Self::value`], of what both sides have.
    pub(super) fn pair<T: ToString>(&mut self, what: &str, sides: [T; 2], access: Access) {
        let [before, after] = sides.map(|side| Some(side.to_string()));
        self.value(what, before, after, access);
    }

    /// What is in one set and not in the other; `access` says what an entry does
    /// that is added (`true`) or removed.
    pub(super) fn entries(
        &mut self,
        what: &str,
        before: &BTreeSet<String>,
        after: &BTreeSet<String>,
        access: impl Fn(&str, bool) -> Access,
    ) {
        for entry in before.difference(after) {
            self.value(what, Some(entry.clone()), None, access(entry, false));
        }
        for entry in after.difference(before) {
            self.value(what, None, Some(entry.clone()), access(entry, true));
        }
    }

    /// What a map has under each key; the key follows `what`.
    pub(super) fn map(
        &mut self,
        what: &str,
        before: &BTreeMap<String, String>,
        after: &BTreeMap<String, String>,
        access: impl Fn(&str, Option<&String>, Option<&String>) -> Access,
    ) {
        let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for key in keys {
            let (from, to) = (before.get(key), after.get(key));
            let access = access(key, from, to);
            self.value(&format!("{what} {key}"), from.cloned(), to.cloned(), access);
        }
    }

    /// What they do together.
    pub(super) fn access(&self) -> Access {
        self.0.iter().map(|change| change.access).max().unwrap_or(Access::Same)
    }

    pub(super) fn on(self, subject: Subject, names: Vec<String>) -> impl Iterator<Item = Change> {
        self.0.into_iter().map(move |Difference { what, before, after, access }| Change {
            subject,
            on: names.clone(),
            what,
            before,
            after,
            access,
        })
    }
}

/// What an entry of a list that allows does: nothing, if it is covered by what
/// there was before it, or is left after it.
pub(super) fn allowing(is_added: bool, is_covered: bool) -> Access {
    match (is_covered, is_added) {
        (true, _) => Access::Same,
        (false, true) => Access::Widens,
        (false, false) => Access::Narrows,
    }
}

/// Both sides of each name, in the order of names.
pub(super) fn by_name<'c, T>(
    before: &'c [T],
    after: &'c [T],
    name: impl Fn(&'c T) -> &'c str,
) -> BTreeMap<&'c str, (Option<&'c T>, Option<&'c T>)> {
    let mut sides: BTreeMap<&str, (Option<&T>, Option<&T>)> = BTreeMap::new();
    for item in before {
        sides.entry(name(item)).or_default().0 = Some(item);
    }
    for item in after {
        sides.entry(name(item)).or_default().1 = Some(item);
    }
    sides
}
