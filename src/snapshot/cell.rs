//! The snapshot that serves, and those who lend it to requests.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use arc_swap::ArcSwap;

use super::compiled::Snapshot;
use crate::metrics::Metrics;

/// The one place where a snapshot is swapped for another.
#[derive(Debug)]
pub struct SnapshotCell {
    serving: ArcSwap<Snapshot>,
    /// What is lent out, by those who lend.
    lenders: Mutex<Vec<Weak<ArcSwap<Lent>>>>,
    metrics: Metrics,
}

/// Lends the snapshot that serves now to the requests of one thread, whose references are
/// counted apart from other threads'. A clone is for another thread.
#[derive(Debug)]
pub struct Lender {
    cell: Arc<SnapshotCell>,
    lent: Arc<ArcSwap<Lent>>,
}

/// A snapshot, lent to the requests of one thread.
#[derive(Debug)]
pub struct Lent(Arc<Snapshot>);

impl Deref for Lent {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

impl SnapshotCell {
    /// A cell that serves `snapshot`, whose series `metrics` shows.
    #[must_use]
    pub fn new(mut snapshot: Snapshot, metrics: Metrics) -> Self {
        snapshot.serves(&metrics);
        let lenders = Mutex::default();
        Self { serving: ArcSwap::from_pointee(snapshot), lenders, metrics }
    }

    /// The snapshot that serves now. Takes no lock.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.serving.load_full()
    }

    /// One more who lends the snapshot that serves.
    #[must_use]
    pub fn lender(self: &Arc<Self>) -> Lender {
        let mut lenders = self.lenders();
        lenders.retain(|lent| lent.strong_count() > 0);
        let lent = Arc::new(ArcSwap::from_pointee(Lent(self.load())));
        lenders.push(Arc::downgrade(&lent));
        drop(lenders);
        Lender { cell: Arc::clone(self), lent }
    }

    /// Serves `snapshot` from the next request on.
    pub fn store(&self, mut snapshot: Snapshot) {
        snapshot.serves(&self.metrics);
        let snapshot = Arc::new(snapshot);
        // Held until all have it, so that nobody begins with the old one meanwhile.
        let lenders = self.lenders();
        self.serving.store(Arc::clone(&snapshot));
        for lent in lenders.iter().filter_map(Weak::upgrade) {
            lent.store(Arc::new(Lent(Arc::clone(&snapshot))));
        }
    }

    fn lenders(&self) -> MutexGuard<'_, Vec<Weak<ArcSwap<Lent>>>> {
        self.lenders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Lender {
    fn clone(&self) -> Self {
        self.cell.lender()
    }
}

impl Lender {
    /// The snapshot that serves now. Takes no lock.
    #[must_use]
    pub fn load(&self) -> Arc<Lent> {
        self.lent.load_full()
    }
}
