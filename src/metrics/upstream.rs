//! What is counted of one upstream.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntCounter};

use super::definitions;
use super::route::Cells;

/// What is counted of one upstream; as [`RouteMetrics`](super::RouteMetrics).
#[derive(Debug)]
pub struct UpstreamMetrics {
    name: Box<str>,
    duration: Histogram,
    errors: Cells<{ UpstreamError::ALL.len() }>,
    retries: IntCounter,
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
        Self {
            name: name.into(),
            duration: definitions::UPSTREAM_DURATION.histogram(&[name]),
            errors: Cells::new(definitions::UPSTREAM_ERRORS.counters(&[name])),
            retries: definitions::UPSTREAM_RETRIES.counter(&[name]),
        }
    }

    /// The upstream's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Notes how long it took until an answer's head was there.
    pub fn answered(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    /// Counts an attempt that failed.
    pub fn failed(&self, error: UpstreamError) {
        self.errors.add(error as usize, &[error.as_str()]);
    }

    /// Counts a further attempt for the same request.
    pub fn retried(&self) {
        self.retries.inc();
    }

    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let collectors: [&dyn Collector; 3] = [&self.duration, &self.errors.all, &self.retries];
        collectors.into_iter().flat_map(Collector::collect).collect()
    }
}
