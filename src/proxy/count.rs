//! What of a request is counted, and when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::{
    answer::is_interim,
    context::{Context, Served},
    error,
};
use crate::{
    config::Cors,
    cors::{Kind, Mode, Reason, browser::Page},
    edge::Cause,
    metrics::Direction,
};

/// The request was decided: what its policy said.
pub(super) fn decided(request: &HeaderMap, ctx: &Context) {
    let Some((served, cors, kind, reason)) = judged(ctx) else { return };
    let mode = cors.policy.mode();
    if let Some(metrics) = served.metrics() {
        metrics.decision(kind, reason, mode);
    }
    if reason.blames_the_origin() {
        note_refused(request, served, cors, reason);
    }
}

/// An endpoint was chosen once more, after an attempt that failed.
pub(super) fn again(ctx: &Context) {
    if let Some(metrics) = ctx.upstream_metrics() {
        metrics.retried();
    }
}

/// The head of an upstream's answer has come; it was not changed yet.
pub(super) fn answered(request: &HeaderMap, response: &ResponseHeader, ctx: &Context) {
    if is_interim(response.status) {
        return;
    }
    if let (Some(metrics), Some(took)) = (ctx.upstream_metrics(), ctx.attempts.elapsed()) {
        metrics.answered(took);
    }
    if let Some((served, cors, kind, reason)) = judged(ctx)
        && cors.policy.mode() == Mode::Report
        && let Some(allows) = upstream_allows(kind, request, response)
        && let Some(metrics) = served.metrics()
    {
        metrics.report(reason == Reason::Ok, allows);
    }
}

/// An attempt has failed, or the whole request.
pub(super) fn failed(cause: Cause, ctx: &Context) {
    if let (Some(metrics), Some(error)) = (ctx.upstream_metrics(), error::of_upstream(cause)) {
        metrics.failed(error);
    }
}

/// What is known of a request that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    /// What the client got, if anything.
    pub(super) status: Option<StatusCode>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) duration: Duration,
}

impl Totals {
    pub(super) fn new(session: &Session, ctx: &Context) -> Self {
        Self {
            // Another one than Pingora has written, where that was taken back.
            status: session.response_written().map(|head| ctx.status.unwrap_or(head.status)),
            bytes_in: session.body_bytes_read() as u64,
            bytes_out: session.body_bytes_sent() as u64,
            duration: ctx.started.elapsed(),
        }
    }

    /// Of a request whose session is gone. The counts may be ahead of the session's, by what
    /// had not left yet.
    pub(super) fn of_context(ctx: &Context) -> Self {
        let (bytes_in, bytes_out) = ctx.attempts.bytes();
        Self { status: ctx.status, bytes_in, bytes_out, duration: ctx.started.elapsed() }
    }
}

/// The request has ended.
pub(super) fn ended(totals: &Totals, ctx: &Context) {
    let metrics = ctx.metrics().unwrap_or_else(|| ctx.record.metrics.unrouted());
    metrics.request(totals.status.filter(|status| !is_interim(*status)), totals.duration);
    metrics.bytes(Direction::In, totals.bytes_in);
    metrics.bytes(Direction::Out, totals.bytes_out);
}

/// The policy that the request met, and what it said. Without an origin, nothing.
fn judged(ctx: &Context) -> Option<(&Served, &Cors, Kind, Reason)> {
    let served = ctx.served()?;
    let (kind, reason) = ctx.decided.cors?;
    Some((served, served.route()?.cors.as_deref()?, kind, reason))
}

/// Counts the origin, and logs it once in a while.
fn note_refused(request: &HeaderMap, served: &Served, cors: &Cors, reason: Reason) {
    let (Some(refused), Some(origin)) = (served.refused(), request.get(ORIGIN)) else { return };
    // A clock before 1970 is wrong in a way that does not matter here.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if let Some(origin) = refused.note(origin.as_bytes(), now) {
        let verb = if cors.policy.mode() == Mode::Report { "would refuse" } else { "refuses" };
        let route = served.route().map_or("", |route| &route.name);
        log::info!("{} {verb} the origin {origin}: {reason} (route {route})", cors.name);
    }
}

/// Whether a browser lets the page go on, after what the upstream said. A proxy cannot know
/// whether the page sends credentials, so none are assumed.
///
/// `None`: CORS does not cover `WebSocket`s. Allocates, but a report is for a while.
fn upstream_allows(kind: Kind, request: &HeaderMap, response: &ResponseHeader) -> Option<bool> {
    let text = |name: HeaderName| {
        request.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let asked = text(ACCESS_CONTROL_REQUEST_HEADERS).split(',').map(str::trim);
    let headers: Vec<(&str, &str)> =
        asked.filter(|name| !name.is_empty()).map(|name| (name, "")).collect();
    let page = Page {
        origin: text(ORIGIN),
        method: text(ACCESS_CONTROL_REQUEST_METHOD),
        headers: &headers,
        credentials: false,
    };
    match kind {
        Kind::Preflight => Some(page.check_preflight(response.status, &response.headers).is_ok()),
        Kind::Actual => Some(page.check_response(&response.headers).is_ok()),
        Kind::WebSocket => None,
    }
}
