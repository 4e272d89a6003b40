//! Which of the compiled routes takes a request.

use std::fmt;
use std::ops::ControlFlow;

use foldhash::HashMap;
use http::Method;
use smallvec::SmallVec;

use super::tree::{Forest, Root};
use crate::route::{Fit, Head, Pattern};

/// Compiled routes, immutable. Made by [`TableBuilder::build`](super::TableBuilder::build).
///
/// # Invariants
///
/// - The routes stand in matching order: by host, path, priority and number of
///   predicates. Those of one host and path are neighbours.
/// - No two routes tie and match one actual request.
#[derive(Debug)]
pub struct Table<T> {
    pub(super) routes: Box<[Entry<T>]>,
    pub(super) forest: Forest,
    pub(super) hosts: Hosts,
}

#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) pattern: Pattern,
    pub(super) value: T,
    /// Of those of its host and path.
    pub(super) is_last: bool,
    /// Whether it has any predicate; most routes have none.
    pub(super) has_predicates: bool,
}

/// The tree of each host pattern.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Its keys are the configuration's, so a fast hash is a safe one.
    pub(super) exact: HashMap<Box<str>, Root>,
    pub(super) suffixes: HashMap<Box<str>, Root>,
    /// The lengths that suffixes have, longest first, each once: a lookup tries only
    /// these, so a host of a thousand labels costs no more than another.
    pub(super) suffix_lens: Vec<usize>,
    pub(super) any: Option<Root>,
}

/// What a table says to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Match<'t, T> {
    /// This route takes it.
    Found(&'t T),
    /// A route of its host and path would take it with another method: 405.
    MethodNotAllowed(Allow<'t>),
    /// No route takes it: 404.
    NotFound,
    /// This route refuses nothing but the method, and answers all the same. Only
    /// [`Table::trace_probe`] says so.
    ButForMethod(&'t T),
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
    /// Allocates nothing and takes no lock. Linear in the head, except for a
    /// configuration's own alternatives; see the module `tree`.
    #[must_use]
    pub fn find(&self, head: &Head<'_>) -> Match<'_, T> {
        self.trace(head, |_, _| {})
    }

    /// The same search, telling each route of the request's host and path, in
    /// matching order, and what became of it, up to the one that takes it.
    #[inline]
    pub fn trace<'t>(&'t self, head: &Head<'_>, tell: impl FnMut(&'t T, Fit<'t>)) -> Match<'t, T> {
        self.trace_probe(head, |_| false, tell)
    }

    /// As [`Self::trace`], for a request that asks what others may do, as the OPTIONS of a
    /// CORS probe does: a route that `answers` for its path takes it, though its methods
    /// do not.
    ///
    /// Of one host and path, a route whose methods do goes first.
    #[inline]
    pub fn trace_probe<'t>(
        &'t self,
        head: &Head<'_>,
        answers: impl Fn(&T) -> bool,
        mut tell: impl FnMut(&'t T, Fit<'t>),
    ) -> Match<'t, T> {
        let mut refused_a_method = false;
        let mut but_for_method = None;
        let found = self.candidates(head, |route| {
            let fit = route.check(head);
            tell(&route.value, fit);
            match fit {
                Fit::Taken => return ControlFlow::Break((&route.value, true)),
                Fit::Method => {
                    refused_a_method = true;
                    if but_for_method.is_none() && answers(&route.value) {
                        but_for_method = Some(&route.value);
                    }
                }
                Fit::Header(_) | Fit::Query(_) => {}
            }
            match but_for_method {
                Some(value) if route.is_last => ControlFlow::Break((value, false)),
                _ => ControlFlow::Continue(()),
            }
        });
        match found {
            ControlFlow::Break((value, true)) => Match::Found(value),
            ControlFlow::Break((value, false)) => Match::ButForMethod(value),
            ControlFlow::Continue(()) if refused_a_method => self.allow(head),
            ControlFlow::Continue(()) => Match::NotFound,
        }
    }

    /// The routes in matching order, the lists of their predicates sorted.
    #[must_use = "an iterator does nothing by itself"]
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
            if predicates.check_all_but_method(head) == Fit::Taken {
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
        mut visit: impl FnMut(&'t Entry<T>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut next = self.hosts.first(head.host);
        while let Some((root, place)) = next {
            self.forest.walk(root, head.path.as_bytes(), |leaf| {
                for route in self.routes.get(leaf as usize..).unwrap_or_default() {
                    visit(route)?;
                    if route.is_last {
                        break;
                    }
                }
                ControlFlow::Continue(())
            })?;
            next = self.hosts.after(head.host, place);
        }
        ControlFlow::Continue(())
    }
}

impl<T> Entry<T> {
    #[inline]
    fn check(&self, head: &Head<'_>) -> Fit<'_> {
        if self.has_predicates { self.pattern.predicates.check(head) } else { Fit::Taken }
    }
}

impl Hosts {
    /// The first tree for a host, in matching order, and its place in that order.
    #[inline]
    fn first(&self, host: &str) -> Option<(Root, usize)> {
        match self.exact.get(host) {
            Some(root) => Some((*root, 0)),
            None => self.after(host, 0),
        }
    }

    /// The next tree: places count the exact host, each length of suffixes, and "any".
    #[inline]
    fn after(&self, host: &str, place: usize) -> Option<(Root, usize)> {
        let lens = self.suffix_lens.get(place..)?;
        for (place, len) in (place + 1..).zip(lens) {
            if let Some(root) = self.suffixed(host, *len) {
                return Some((root, place));
            }
        }
        self.any.map(|root| (root, self.suffix_lens.len() + 1))
    }

    fn suffixed(&self, host: &str, len: usize) -> Option<Root> {
        let (labels, suffix) = host.split_at_checked(host.len().checked_sub(len)?)?;
        if labels.ends_with('.') { self.suffixes.get(suffix).copied() } else { None }
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
