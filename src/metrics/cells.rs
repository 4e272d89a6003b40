//! Counters that are told apart by words of fixed sets: an array of atomics, and nothing
//! else.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

use super::definitions::Definition;

/// Gets each counter of one metric: the words that tell it apart, which are the values of
/// its last labels, and the counter.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&[&str], &AtomicU64);

/// A metric, and what shows its counters. Of a histogram these are its buckets, by their
/// upper bounds, and its sum.
pub(crate) type Family<C> = (&'static Definition, fn(&C, Visit<'_>));

/// What has metrics of its own: a route, an upstream.
pub(crate) trait Counted {
    /// What is counted of it.
    type Counts: 'static;

    /// Its metrics.
    const FAMILIES: &'static [Family<Self::Counts>];

    /// Its name.
    fn name(&self) -> &str;

    /// The values of the first labels of all its metrics.
    fn labels(&self) -> &[Box<str>];

    /// `None`: nothing was counted yet.
    fn counts(&self) -> Option<&Self::Counts>;

    /// Makes the counter of that metric with that word, if it is one that begins to exist
    /// when it counts something.
    fn make(&self, metric: &Definition, word: &str);
}

/// Counters of one metric, each found by its index.
#[derive(Debug)]
pub(super) struct Cells<const N: usize>([AtomicU64; N]);

impl<const N: usize> Cells<N> {
    /// Counts `count` more. An index past the last cell counts nothing.
    pub(super) fn add(&self, index: usize, count: u64) {
        if let Some(cell) = self.0.get(index) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Shows every counter. `words` are those of each, in the order of the indexes.
    pub(super) fn visit<'w, const L: usize>(
        &self,
        words: impl IntoIterator<Item = [&'w str; L]>,
        visit: Visit<'_>,
    ) {
        for (words, cell) in words.into_iter().zip(&self.0) {
            visit(&words, cell);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &AtomicU64> {
        self.0.iter()
    }
}

impl<const N: usize> Default for Cells<N> {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}
