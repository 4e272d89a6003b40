//! Answers to what is no request: its head is malformed, too large or too slow, so no
//! hook ever sees it.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderValue, StatusCode, Version};
use jiff::Timestamp;

use super::{
    line::{Chosen, Line, Plain},
    log::AccessLog,
    request_id,
};
use crate::{
    edge::{Cause, Reply},
    http1::{Malformed, head::RequestLine},
    metrics::{Limit, Metrics},
    snapshot::Lender,
};

/// Refuses, counts and logs, for the connections of one listener.
#[derive(Clone, Debug)]
pub struct Refuser {
    /// `None`: of a listener that is not for clients, and is not logged.
    snapshots: Option<Lender>,
    metrics: Metrics,
    access_log: Option<AccessLog>,
    listener: Arc<str>,
}

/// What was sent instead of a request.
#[derive(Clone, Copy, Debug)]
pub struct Unread<'h> {
    /// What is wrong with it; `None`: it did not come in time.
    pub why: Option<Malformed>,
    /// As much of it as came.
    pub head: &'h [u8],
    /// Who sent it.
    pub client: Option<SocketAddr>,
    /// Since it began.
    pub duration: Duration,
}

impl Refuser {
    /// For clients: with an id as the configuration names it, and a line in the log.
    pub(super) fn new(
        snapshots: Lender,
        metrics: Metrics,
        access_log: Option<AccessLog>,
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

    /// The answer, as bytes. After it the connection is over.
    #[must_use]
    pub fn answer(&self, unread: &Unread<'_>) -> Vec<u8> {
        let (status, cause, limit) = judge(unread.why);
        self.metrics.request_refused(&self.listener, cause.as_str());
        if let Some(limit) = limit {
            self.limit_reached(limit);
        }
        let snapshot = self.snapshots.as_ref().map(Lender::load);
        let id = snapshot
            .map(|snapshot| (snapshot.config().request_id.header.clone(), request_id::new()));
        let reply = Reply::error(status, cause);
        let answer = written(&reply, id.as_ref().map(|(name, id)| (name.as_str(), id)));
        if let Some(access_log) = &self.access_log {
            let id = id.as_ref().map(|(_, id)| id);
            access_log.write(&line(unread, id, &reply));
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

/// By hand: Pingora writes answers of its sessions alone.
fn written(reply: &Reply<'_>, id: Option<(&str, &HeaderValue)>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    // Writing to memory cannot fail.
    let _ = write!(
        bytes,
        "HTTP/1.1 {}\r\nDate: {}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n",
        reply.status,
        httpdate(),
        reply.body.len(),
    );
    if reply.cause == Cause::MethodNotAllowed {
        bytes.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    }
    if let Some((name, id)) = id {
        let _ = write!(bytes, "{name}: ");
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(reply.body);
    bytes
}

/// Now, as RFC 9110, 5.6.7 writes it.
pub(super) fn httpdate() -> impl std::fmt::Display {
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    now.strftime("%a, %d %b %Y %H:%M:%S GMT")
}

fn line<'r>(unread: &Unread<'r>, id: Option<&'r HeaderValue>, reply: &'r Reply<'_>) -> Line<'r> {
    let RequestLine { method, target } = RequestLine::of(unread.head);
    // As of other requests, the query is not logged: it may hold secrets.
    let path = target.and_then(|target| target.split(|byte| *byte == b'?').next());
    Line {
        time: Timestamp::now(),
        request_id: id.map(|id| Plain(id.as_bytes())),
        client: unread.client,
        method: method.map(|method| Plain(method.as_bytes())),
        host: None,
        path: path.map(Chosen),
        version: Version::HTTP_11,
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
    }
}
