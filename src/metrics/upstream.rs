//! What is counted of one upstream.

use std::time::Duration;

use super::cells::{Cells, Counted, Family};
use super::definitions::{self, Definition};
use super::durations::Durations;

/// What is counted of one upstream; as [`RouteMetrics`](super::RouteMetrics).
#[derive(Debug)]
pub struct UpstreamMetrics {
    labels: [Box<str>; 1],
    counts: UpstreamCounts,
}

#[derive(Debug, Default)]
pub(crate) struct UpstreamCounts {
    duration: Durations,
    errors: Cells<{ UpstreamError::ALL.len() }>,
    retries: Cells<1>,
}

/// How an attempt at an upstream failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpstreamError {
    /// No node has an address.
    Unresolved,
    /// No connection.
    Connect,
    /// It took too long.
    Timeout,
    /// It closed the connection, or sent no HTTP.
    Failed,
}

impl UpstreamError {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Unresolved, Self::Connect, Self::Timeout, Self::Failed];

    /// The word for it, which is the access log's.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unresolved => "upstream_unresolved",
            Self::Connect => "upstream_connect",
            Self::Timeout => "upstream_timeout",
            Self::Failed => "upstream_failed",
        }
    }
}

impl UpstreamMetrics {
    /// Of the upstream of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { labels: [name.into()], counts: UpstreamCounts::default() }
    }

    /// The upstream's name.
    #[must_use]
    pub fn name(&self) -> &str {
        let [name] = &self.labels;
        name
    }

    /// Notes how long it took until an answer's head was there.
    pub fn answered(&self, duration: Duration) {
        self.counts.duration.observe(duration);
    }

    /// Counts an attempt that failed.
    pub fn failed(&self, error: UpstreamError) {
        self.counts.errors.add(error as usize, 1);
    }

    /// Counts a further attempt for the same request.
    pub fn retried(&self) {
        self.counts.retries.add(0, 1);
    }
}

impl Counted for UpstreamMetrics {
    type Counts = UpstreamCounts;

    const FAMILIES: &'static [Family<UpstreamCounts>] = &[
        (&definitions::UPSTREAM_DURATION, |counts, visit| counts.duration.visit(visit)),
        (&definitions::UPSTREAM_ERRORS, |counts, visit| {
            counts.errors.visit(UpstreamError::ALL.map(|error| [error.as_str()]), visit);
        }),
        (&definitions::UPSTREAM_RETRIES, |counts, visit| counts.retries.visit([[]], visit)),
    ];

    fn name(&self) -> &str {
        self.name()
    }

    fn labels(&self) -> &[Box<str>] {
        &self.labels
    }

    fn counts(&self) -> Option<&UpstreamCounts> {
        Some(&self.counts)
    }

    fn make(&self, _: &Definition, _: &str) {}
}
