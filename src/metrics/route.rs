//! What is counted of the requests of one route.

use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;

use super::cells::{Cells, Counted, Family, Visit};
use super::definitions::{self, Definition};
use super::durations::Durations;
use crate::cors::{Kind, Mode, Overridden, Reason};

/// What is counted of the requests of one route, or of those that have none.
///
/// To count is to add to an atomic. A word of a small set, such as a reason, is an index
/// here. A route without requests takes next to no memory: its first request makes its
/// counters.
#[derive(Debug)]
pub struct RouteMetrics {
    /// The service's name, and the route's.
    labels: [Box<str>; 2],
    counts: OnceLock<Box<RouteCounts>>,
}

#[derive(Debug, Default)]
pub(crate) struct RouteCounts {
    requests: Statuses,
    duration: Durations,
    bytes: Cells<{ Direction::ALL.len() }>,
    decisions: Cells<{ Kind::ALL.len() * Reason::ALL.len() * MODES }>,
    overridden: Cells<{ Overridden::NAMES.len() }>,
    reports: Cells<{ VERDICTS.len() * VERDICTS.len() }>,
}

const MODES: usize = Mode::ALL.len();

/// The words for `false` and `true`.
const VERDICTS: [&str; 2] = ["deny", "allow"];

/// The common statuses, in order. 0: there was no answer, since the client was gone.
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

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl RouteMetrics {
    /// Of the route `S/R` in the service `S`; both empty: of requests without a route.
    #[must_use]
    pub fn new(service: &str, route: &str) -> Self {
        Self { labels: [service.into(), route.into()], counts: OnceLock::new() }
    }

    /// The route's name.
    #[must_use]
    pub fn name(&self) -> &str {
        let [_, route] = &self.labels;
        route
    }

    /// Counts a request that has ended. `status`: what the client got, if anything.
    pub fn request(&self, status: Option<StatusCode>, duration: Duration) {
        let counts = self.made();
        counts.requests.add(status);
        counts.duration.observe(duration);
    }

    /// Counts bytes of a body.
    pub fn bytes(&self, direction: Direction, bytes: u64) {
        self.made().bytes.add(direction as usize, bytes);
    }

    /// Counts what the policy said.
    pub fn decision(&self, kind: Kind, reason: Reason, mode: Mode) {
        let index = (kind as usize * Reason::ALL.len() + reason as usize) * MODES + mode as usize;
        self.made().decisions.add(index, 1);
    }

    /// Counts the headers of an upstream that did not pass as they were.
    pub fn overridden(&self, headers: Overridden) {
        for (index, _) in headers.iter() {
            self.made().overridden.add(index, 1);
        }
    }

    /// Counts what a policy that only reports would do, against what the upstream did.
    pub fn report(&self, policy_allows: bool, upstream_allows: bool) {
        let index = usize::from(policy_allows) * VERDICTS.len() + usize::from(upstream_allows);
        self.made().reports.add(index, 1);
    }

    fn made(&self) -> &RouteCounts {
        self.counts.get_or_init(Box::default)
    }
}

impl Counted for RouteMetrics {
    type Counts = RouteCounts;

    const FAMILIES: &'static [Family<RouteCounts>] = &[
        (&definitions::REQUESTS, |counts, visit| counts.requests.visit(visit)),
        (&definitions::REQUEST_DURATION, |counts, visit| counts.duration.visit(visit)),
        (&definitions::BYTES, |counts, visit| {
            counts.bytes.visit(Direction::ALL.map(|direction| [direction.as_str()]), visit);
        }),
        (&definitions::CORS_DECISIONS, |counts, visit| counts.decisions.visit(decisions(), visit)),
        (&definitions::CORS_OVERRIDDEN, |counts, visit| {
            counts.overridden.visit(Overridden::NAMES.map(|name| [name]), visit);
        }),
        (&definitions::CORS_REPORT, |counts, visit| {
            let words = VERDICTS.into_iter().flat_map(|policy| VERDICTS.map(|up| [policy, up]));
            counts.reports.visit(words, visit);
        }),
    ];

    fn name(&self) -> &str {
        self.name()
    }

    fn labels(&self) -> &[Box<str>] {
        &self.labels
    }

    fn counts(&self) -> Option<&RouteCounts> {
        self.counts.get().map(AsRef::as_ref)
    }

    fn make(&self, metric: &Definition, word: &str) {
        let counts = self.made();
        if metric.name == definitions::REQUESTS.name
            && let Ok(status) = StatusCode::from_bytes(word.as_bytes())
        {
            counts.requests.make(status);
        }
    }
}

/// The words of every decision, in the order of their indexes.
fn decisions() -> impl Iterator<Item = [&'static str; 3]> {
    let modes = |kind: Kind, reason: Reason| {
        Mode::ALL.iter().map(move |&(mode, _)| [kind.as_str(), reason.as_str(), mode])
    };
    let reasons = move |kind| Reason::ALL.iter().flat_map(move |&reason| modes(kind, reason));
    Kind::ALL.into_iter().flat_map(reasons)
}

/// Requests by their status. There are 900; the rare ones get cells, all of them, with
/// the first one of any.
#[derive(Debug, Default)]
struct Statuses {
    common: Cells<{ CODES.len() }>,
    rare: OnceLock<Box<Cells<900>>>,
}

/// The least status that there is.
const LEAST: u16 = 100;

impl Statuses {
    fn add(&self, status: Option<StatusCode>) {
        let code = status.map_or(0, |status| status.as_u16());
        match CODES.binary_search(&code) {
            Ok(index) => self.common.add(index, 1),
            Err(_) => self.rare().add(usize::from(code.saturating_sub(LEAST)), 1),
        }
    }

    fn rare(&self) -> &Cells<900> {
        self.rare.get_or_init(Box::default)
    }

    fn make(&self, status: StatusCode) {
        if CODES.binary_search(&status.as_u16()).is_err() {
            self.rare();
        }
    }

    fn visit(&self, visit: Visit<'_>) {
        let common = CODES.into_iter().zip(self.common.iter());
        let rare = self.rare.get().into_iter().flat_map(|rare| (LEAST..).zip(rare.iter()));
        let rare = rare.filter(|(code, _)| CODES.binary_search(code).is_err());
        for (code, cell) in common.chain(rare) {
            let status = StatusCode::from_u16(code).ok();
            visit(&[status.as_ref().map_or("none", StatusCode::as_str)], cell);
        }
    }
}
