//! The compiled routes: which of them takes a request.

mod build;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;

use http::Method;
use smallvec::SmallVec;

pub use self::build::{Conflict, Shadowed, TableBuilder};
use self::tree::{Forest, Leaf, Root};
use super::{Head, Pattern, Step};

/// Compiled routes, immutable. Made by [`TableBuilder::build`].
///
/// # Invariants
///
/// - The routes stand in matching order: by host, path, priority and number of
///   predicates. Those of one host and path are neighbours.
/// - No two routes tie and match one actual request.
#[derive(Debug)]
pub struct Table<T> {
    routes: Box<[Route<T>]>,
    /// Where the routes of each leaf end; they start where those of the leaf before end.
    ends: Box<[u32]>,
    forest: Forest,
    hosts: Hosts,
}

#[derive(Debug)]
struct Route<T> {
    pattern: Pattern,
    value: T,
}

/// The tree of each host pattern.
#[derive(Debug)]
struct Hosts {
    exact: HashMap<Box<str>, Root>,
    suffixes: HashMap<Box<str>, Root>,
    /// The lengths that suffixes have, longest first, each once: a lookup tries only
    /// these, so a host of a thousand labels costs no more than another.
    suffix_lens: Vec<usize>,
    any: Option<Root>,
}

/// What a table says to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Match<'t, T> {
    /// This route takes it.
    Found(&'t T),
    /// A route of its host and path would, but for the method: 405.
    MethodNotAllowed(Allow<'t>),
    /// No route takes it: 404.
    NotFound,
}

/// The methods that a request could have been sent with, sorted, for `Allow`
/// (RFC 9110, 10.2.1). Prints as the header's value: `GET, PUT`.
///
/// More than 12 methods on one path would move to the heap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Allow<'t>(SmallVec<[&'t Method; 12]>);

impl<T> Table<T> {
    /// The most specific route that takes the request.
    ///
    /// Allocates nothing and takes no lock. Linear in the head, but for a
    /// configuration's own alternatives; see the module `tree`.
    #[must_use]
    pub fn find(&self, head: &Head<'_>) -> Match<'_, T> {
        let mut refused_a_method = false;
        let found = self.candidates(head, |route| match route.pattern.predicates.check(head) {
            Step::Taken => ControlFlow::Break(&route.value),
            step => {
                refused_a_method |= step == Step::Method;
                ControlFlow::Continue(())
            }
        });
        match found {
            ControlFlow::Break(value) => Match::Found(value),
            ControlFlow::Continue(()) if refused_a_method => self.allow(head),
            ControlFlow::Continue(()) => Match::NotFound,
        }
    }

    /// The same search, telling each route of the request's host and path, in
    /// matching order, and what became of it, up to the one that takes it.
    pub fn trace<'t>(&'t self, head: &Head<'_>, mut tell: impl FnMut(&'t T, Step<'t>)) {
        let _: ControlFlow<()> = self.candidates(head, |route| {
            let step = route.pattern.predicates.check(head);
            tell(&route.value, step);
            if step == Step::Taken { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }

    /// The routes in matching order, the lists of their predicates sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Pattern, &T)> {
        self.routes.iter().map(|route| (&route.pattern, &route.value))
    }

    /// What to answer if no route takes the request, but some refuse its method.
    ///
    /// Apart from [`Self::find`], so that what is found does not pay for it.
    #[cold]
    fn allow(&self, head: &Head<'_>) -> Match<'_, T> {
        let mut allow = Allow(SmallVec::new());
        let _: ControlFlow<()> = self.candidates(head, |route| {
            let predicates = &route.pattern.predicates;
            if predicates.check_all_but_method(head) == Step::Taken {
                predicates.methods.iter().for_each(|method| allow.add(method));
            }
            ControlFlow::Continue(())
        });
        if allow.0.is_empty() { Match::NotFound } else { Match::MethodNotAllowed(allow) }
    }

    /// Shows `visit` each route whose host and path match, in matching order, until it breaks.
    #[inline]
    fn candidates<'t, B>(
        &'t self,
        head: &Head<'_>,
        mut visit: impl FnMut(&'t Route<T>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.hosts.of(head.host).try_for_each(|root| {
            self.forest.walk(root, head.path.as_bytes(), |leaf| {
                self.routes_of(leaf).iter().try_for_each(&mut visit)
            })
        })
    }

    #[inline]
    fn routes_of(&self, leaf: Leaf) -> &[Route<T>] {
        let end = |leaf: usize| self.ends.get(leaf).map_or(0, |end| *end as usize);
        let leaf = leaf as usize;
        let start = leaf.checked_sub(1).map_or(0, end);
        self.routes.get(start..end(leaf)).unwrap_or_default()
    }
}

impl Hosts {
    /// The trees for a host, in matching order.
    #[inline]
    fn of(&self, host: &str) -> impl Iterator<Item = Root> {
        let exact = self.exact.get(host).copied();
        let suffixes = self.suffix_lens.iter().filter_map(move |len| {
            let start = host.len().checked_sub(*len)?;
            host.get(..start)?
                .ends_with('.')
                .then(|| self.suffixes.get(host.get(start..)?).copied())?
        });
        exact.into_iter().chain(suffixes).chain(self.any)
    }
}

impl<'t> Allow<'t> {
    fn add(&mut self, method: &'t Method) {
        if let Err(place) = self.0.binary_search_by(|other| other.as_str().cmp(method.as_str())) {
            self.0.insert(place, method);
        }
    }

    /// The methods, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &'t Method> {
        self.0.iter().copied()
    }
}

impl fmt::Display for Allow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, method) in self.0.iter().enumerate() {
            write!(f, "{}{method}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
