//! Answers to what is no request: its head is malformed, too large or too slow, so no
//! hook ever sees it.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, Version, header::ALLOW};
use jiff::Timestamp;

use super::{
    line::{Chosen, Line, Plain},
    log::AccessLogQueue,
    request_id,
    wire::Arrival,
    written::Written,
};
use crate::{
    edge::{Caller, Cause, Reply},
    http1::Malformed,
    metrics::{Limit, Metrics},
    snapshot::Lender,
};

/// What is allowed where `CONNECT` is not: it names no path, so no route says more.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Refuses, counts and logs, for the connections of one listener.
#[derive(Clone, Debug)]
pub struct Refuser {
    /// `None`: of a listener that is not for clients, and is not logged.
    snapshots: Option<Lender>,
    metrics: Metrics,
    access_log: Option<AccessLogQueue>,
    listener: Arc<str>,
}

/// What was sent instead of a request.
#[derive(Clone, Copy, Debug)]
pub struct Unread<'h> {
    /// What is wrong with it; `None`: it did not come in time.
    pub why: Option<Malformed>,
    /// Its method, if it can be told.
    pub method: Option<&'h str>,
    /// Its target, if it can be told.
    pub target: Option<&'h [u8]>,
    pub version: Version,
    /// How its connection has arrived.
    pub arrival: &'h Arrival,
    /// Since it began.
    pub duration: Duration,
}

impl Refuser {
    /// For clients: with an id as the configuration names it, and a line in the log.
    pub(super) fn new(
        snapshots: Lender,
        metrics: Metrics,
        access_log: Option<AccessLogQueue>,
        listener: Arc<str>,
    ) -> Self {
        Self { snapshots: Some(snapshots), metrics, access_log, listener }
    }

    /// For a listener that is not for clients.
    #[must_use]
    pub fn plain(metrics: Metrics, listener: Arc<str>) -> Self {
        Self { snapshots: None, metrics, access_log: None, listener }
    }

    /// Counts that a client has reached a limit.
    pub fn limit_reached(&self, limit: Limit) {
        self.metrics.limit_reached(&self.listener, limit);
    }

    /// Counts a request of HTTP/2 that was malformed, so that there is no more of it than a
    /// reset.
    pub fn malformed(&self) {
        self.metrics.request_refused(&self.listener, Cause::HeadMalformed.as_str());
    }

    /// The answer.
    #[must_use]
    pub fn answer(&self, unread: &Unread<'_>) -> Written {
        let (status, cause, limit) = judge(unread.why);
        self.metrics.request_refused(&self.listener, cause.as_str());
        if let Some(limit) = limit {
            self.limit_reached(limit);
        }
        let id = self.snapshots.as_ref().map(|_| request_id::new());
        let reply = Reply::error(status, cause);
        if let Some(access_log) = &self.access_log {
            access_log.write(&line(unread, id.as_ref(), &reply));
        }
        let mut answer = Written::new(&reply);
        if cause == Cause::MethodNotAllowed {
            answer.insert(ALLOW, HeaderValue::from_static(METHODS));
        }
        if let (Some(snapshots), Some(id)) = (&self.snapshots, id) {
            answer.insert(snapshots.load().config().request_id.header.clone(), id);
        }
        answer
    }
}

/// What the client is told, and what is counted.
fn judge(why: Option<Malformed>) -> (StatusCode, Cause, Option<Limit>) {
    let bad_request = StatusCode::BAD_REQUEST;
    match why {
        None => (StatusCode::REQUEST_TIMEOUT, Cause::ClientSlow, Some(Limit::Head)),
        Some(Malformed::Syntax) => (bad_request, Cause::HeadMalformed, None),
        Some(Malformed::Target) => (bad_request, Cause::PathMalformed, None),
        Some(Malformed::HostMissing) => (bad_request, Cause::HostMissing, None),
        Some(Malformed::Host) => (bad_request, Cause::HostMalformed, None),
        Some(Malformed::Framing) => (bad_request, Cause::FramingMalformed, None),
        Some(Malformed::Coding) => (StatusCode::NOT_IMPLEMENTED, Cause::CodingUnknown, None),
        Some(Malformed::Connect) => (StatusCode::METHOD_NOT_ALLOWED, Cause::MethodNotAllowed, None),
        Some(Malformed::TargetTooLong) => {
            (StatusCode::URI_TOO_LONG, Cause::ClientLimit, Some(Limit::Target))
        }
        Some(Malformed::TooLarge) => {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            (status, Cause::ClientLimit, Some(Limit::HeadSize))
        }
    }
}

fn line<'r>(unread: &Unread<'r>, id: Option<&'r HeaderValue>, reply: &'r Reply<'_>) -> Line<'r> {
    let arrival = unread.arrival;
    Line {
        time: Timestamp::now(),
        request_id: id.map(|id| Plain(id.as_bytes())),
        listener: Some(Plain(arrival.listener.as_bytes())),
        // What cannot be read names nobody.
        caller: Some(Caller::direct(arrival.peer, arrival.scheme())),
        method: unread.method.map(|method| Plain(method.as_bytes())),
        host: None,
        path: unread.target.map(|target| Chosen(target).without_query()),
        version: unread.version,
        route: None,
        status: Some(reply.status.as_u16()),
        bytes_in: 0,
        bytes_out: reply.body.len() as u64,
        duration: unread.duration,
        upstream: None,
        reason: Some(Plain(reply.cause.as_str().as_bytes())),
        cors_kind: None,
        cors_reason: None,
        origin: None,
        referer: None,
        user_agent: None,
        secured: arrival.secured.as_ref(),
    }
}
