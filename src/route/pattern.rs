//! What a route asks of a request.

use http::{HeaderName, Method};

/// Everything that one route asks of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    /// Of its host.
    pub host: HostPattern,
    /// Of its path.
    pub path: PathPattern,
    /// Higher first, between patterns of the same host and path.
    pub priority: i64,
    /// Of the rest of its head.
    pub predicates: Predicates,
}

/// What a route asks of a request's host.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum HostPattern {
    /// This host, in lower case.
    Exact(Box<str>),
    /// Any host that ends in `.` and this suffix: `*.example.com`.
    Suffix(Box<str>),
    /// Nothing.
    Any,
}

/// What a route asks of a request's path.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PathPattern {
    segments: Box<[Segment]>,
    /// Ends in `/*`.
    wildcard: bool,
}

/// What stands between two slashes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Segment {
    /// This text.
    Text(Box<str>),
    /// Any text that is not empty: `:id`.
    Param(Box<str>),
}

/// What a route asks of a request's method, headers and query.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Predicates {
    /// One of these; empty: any.
    pub methods: Vec<Method>,
    /// Each of these headers.
    pub headers: Vec<(HeaderName, Expect)>,
    /// Each of these query parameters, percent-decoded.
    pub query: Vec<(Box<str>, Expect)>,
}

/// What a header or a query parameter must be.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Expect {
    /// There, with any value: `*`.
    Present,
    /// Exactly this.
    Equals(Box<str>),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PatternError {
    /// What is wrong, with the value.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl HostPattern {
    /// Parses a host of a service.
    pub fn parse(_text: &str) -> Result<Self, PatternError> {
        Ok(Self::Any)
    }
}

impl PathPattern {
    /// Parses a path of a route.
    pub fn parse(_text: &str) -> Result<Self, PatternError> {
        Ok(Self { segments: Box::default(), wildcard: false })
    }
}
