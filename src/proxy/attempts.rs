//! The attempts that one request makes to reach its upstream.

use std::time::{Duration, Instant};

use crate::upstream::{Endpoint, Pool, Tried};

/// Endpoints that a request is tried on, while none accepts a connection.
pub const CONNECT_ATTEMPTS_MAX: usize = 3;

/// Where a request was sent, and what of it has passed.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// The endpoint that was chosen last.
    endpoint: Option<Endpoint>,
    /// When it was chosen.
    started: Option<Instant>,
    tried: Tried,
    /// How often no connection came about.
    connects: usize,
    /// Bytes of the request's body that have passed.
    body_bytes: u64,
}

impl Attempts {
    /// The endpoint that the request goes to, or went to last.
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
    }

    /// Picks an endpoint: one that was not tried yet, where there is one. `None`: no node
    /// has an address.
    pub(super) fn pick(&self, pool: &Pool) -> Option<Endpoint> {
        pool.pick(&self.tried)
    }

    /// Begins an attempt at `endpoint`, for a request that has `begun` then. Returns
    /// whether it is another one, after one that failed.
    pub(super) fn begin(&mut self, endpoint: Endpoint, begun: Instant) -> bool {
        self.endpoint = Some(endpoint);
        // The first is chosen as soon as the request is there.
        let now = if self.started.is_none() { begun } else { Instant::now() };
        self.started.replace(now).is_some()
    }

    /// How long the attempt that goes on has taken so far.
    pub(super) fn elapsed(&self) -> Option<Duration> {
        Some(self.started?.elapsed())
    }

    /// Notes that no connection came about. Returns whether another endpoint is to be
    /// tried: nothing was sent, so that is always safe.
    pub(super) fn not_connected(&mut self, pool: Option<&Pool>) -> bool {
        self.connects += 1;
        if let Some(endpoint) = self.endpoint {
            self.tried.add(endpoint);
        }
        let another = pool.is_some_and(|pool| pool.has_other_than(&self.tried));
        another && self.connects < CONNECT_ATTEMPTS_MAX
    }

    /// Notes that `bytes` more of the request's body have passed. Returns how many there
    /// were so far.
    pub(super) fn passed(&mut self, bytes: usize) -> u64 {
        self.body_bytes = self.body_bytes.saturating_add(bytes as u64);
        self.body_bytes
    }
}
