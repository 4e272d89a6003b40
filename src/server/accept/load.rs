//! How much a worker has to do.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many connections a worker has, and streams of HTTP/2 in them. On cache lines of its own, of which processors
/// fetch two at once.
#[derive(Clone, Default)]
pub(super) struct Load(Arc<Aligned>);

#[derive(Default)]
#[repr(align(128))]
struct Aligned(AtomicUsize);

impl Load {
    pub(super) fn get(&self) -> usize {
        self.0.0.load(Ordering::Relaxed)
    }

    /// One more, until what is returned is dropped.
    pub(super) fn hold(&self) -> Loaded {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        Loaded(self.clone())
    }
}

/// What is held of a worker.
pub(super) struct Loaded(Load);

impl Drop for Loaded {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
