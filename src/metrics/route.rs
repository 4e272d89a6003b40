//! What is counted of the requests of one route.

use std::array;
use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntCounter, IntCounterVec};

use super::definitions;
use crate::cors::{Kind, Mode, Overridden, Reason};

/// What is counted of the requests of one route, or of those that have none.
///
/// Whoever counts only adds to an atomic. A word of a small set, such as a reason, is
/// an index here; its series begins to exist with its first request.
#[derive(Debug)]
pub struct RouteMetrics {
    name: Box<str>,
    requests: Cells<{ CODES.len() }>,
    duration: Histogram,
    bytes_in: IntCounter,
    bytes_out: IntCounter,
    decisions: Cells<{ Kind::ALL.len() * Reason::ALL.len() * MODES }>,
    overridden: Cells<{ Overridden::NAMES.len() }>,
    reports: Cells<4>,
}

const MODES: usize = Mode::ALL.len();

/// The statuses that are counted without a look-up, in order. 0: there was no answer,
/// for the client was gone.
const CODES: [u16; 32] = [
    0, 101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406,
    408, 409, 410, 412, 413, 415, 416, 422, 429, 500, 502, 503, 504,
];

/// Whose bytes they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// The client's.
    In,
    /// The answer's.
    Out,
}

impl RouteMetrics {
    /// Of the route `S/R` in the service `S`; both empty: of requests without a route.
    #[must_use]
    pub fn new(service: &str, route: &str) -> Self {
        let bytes = |direction| definitions::BYTES.counter(&[service, route, direction]);
        Self {
            name: route.into(),
            requests: Cells::new(definitions::REQUESTS.counters(&[service, route])),
            duration: definitions::REQUEST_DURATION.histogram(&[service, route]),
            bytes_in: bytes("in"),
            bytes_out: bytes("out"),
            decisions: Cells::new(definitions::CORS_DECISIONS.counters(&[service, route])),
            overridden: Cells::new(definitions::CORS_OVERRIDDEN.counters(&[service, route])),
            reports: Cells::new(definitions::CORS_REPORT.counters(&[service, route])),
        }
    }

    /// The route's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a request that has ended. `status`: what the client got, if anything.
    pub fn request(&self, status: Option<StatusCode>, duration: Duration) {
        let code = status.map_or(0, |status| status.as_u16());
        let label = status.as_ref().map_or("none", StatusCode::as_str);
        // There are 900 statuses; the rare ones are worth a look-up, not a cell for each route.
        self.requests.add(CODES.binary_search(&code).unwrap_or(usize::MAX), &[label]);
        self.duration.observe(duration.as_secs_f64());
    }

    /// Counts bytes of a body.
    pub fn bytes(&self, direction: Direction, bytes: u64) {
        match direction {
            Direction::In => self.bytes_in.inc_by(bytes),
            Direction::Out => self.bytes_out.inc_by(bytes),
        }
    }

    /// Counts what the policy said.
    pub fn decision(&self, kind: Kind, reason: Reason, mode: Mode) {
        let index = (kind as usize * Reason::ALL.len() + reason as usize) * MODES + mode as usize;
        self.decisions.add(index, &[kind.as_str(), reason.as_str(), mode.as_str()]);
    }

    /// Counts the headers of an upstream that did not pass as they were.
    pub fn overridden(&self, headers: Overridden) {
        for (index, name) in headers.iter() {
            self.overridden.add(index, &[name]);
        }
    }

    /// Counts what a policy that only reports would do, against what the upstream did.
    pub fn report(&self, policy_allows: bool, upstream_allows: bool) {
        let word = |allows| if allows { "allow" } else { "deny" };
        let index = usize::from(policy_allows) * 2 + usize::from(upstream_allows);
        self.reports.add(index, &[word(policy_allows), word(upstream_allows)]);
    }

    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let collectors: [&dyn Collector; 7] = [
            &self.requests.all,
            &self.duration,
            &self.bytes_in,
            &self.bytes_out,
            &self.decisions.all,
            &self.overridden.all,
            &self.reports.all,
        ];
        collectors.into_iter().flat_map(Collector::collect).collect()
    }
}

/// Counters that are told apart by words of a fixed set, each found by an index.
#[derive(Debug)]
pub(super) struct Cells<const N: usize> {
    pub(super) all: IntCounterVec,
    cells: [OnceLock<IntCounter>; N],
}

impl<const N: usize> Cells<N> {
    pub(super) fn new(all: IntCounterVec) -> Self {
        Self { all, cells: array::from_fn(|_| OnceLock::new()) }
    }

    /// Counts one more. `labels` are what `index` stands for; past the last cell they are
    /// looked up.
    pub(super) fn add(&self, index: usize, labels: &[&str]) {
        let make = || self.all.with_label_values(labels);
        match self.cells.get(index) {
            Some(cell) => cell.get_or_init(make).inc(),
            None => make().inc(),
        }
    }
}
