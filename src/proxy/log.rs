//! The access log: one JSON object a line, written off the request path.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use jiff::Timestamp;
use pingora_proxy::Session;
use prometheus::IntCounter;
use serde::Serialize;

use super::Context;

/// Lines that wait for the writer. At 400 bytes a line, 3 MiB at the most.
const QUEUE_LINES: usize = 8 * 1024;

/// The near end of the access log's queue.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: SyncSender<Vec<u8>>,
    dropped: IntCounter,
}

impl AccessLog {
    /// A queue, and its far end, from which lines are to be written as they are. Those
    /// that are dropped, since the writer could not keep up, are counted in `dropped`.
    #[must_use]
    pub fn queue(dropped: IntCounter) -> (Self, Receiver<Vec<u8>>) {
        let (lines, receiver) = sync_channel(QUEUE_LINES);
        (Self { lines, dropped }, receiver)
    }

    /// Hands a line to the writer; drops and counts it where the queue is full.
    /// Never waits.
    pub(super) fn write(&self, line: &Line<'_>) {
        let mut text = Vec::with_capacity(512);
        // Serialising text and numbers into memory cannot fail.
        let written = serde_json::to_writer(&mut text, line).is_ok();
        text.push(b'\n');
        if !written || self.lines.try_send(text).is_err() {
            self.dropped.inc();
        }
    }
}

/// One line. `docs/config.md` says what its fields mean.
#[derive(Debug, Serialize)]
pub(super) struct Line<'r> {
    time: String,
    client: Option<String>,
    method: &'r str,
    host: Option<&'r str>,
    path: &'r str,
    route: Option<&'r str>,
    status: Option<u16>,
    bytes_in: usize,
    bytes_out: usize,
    duration_ms: f64,
    upstream: Option<String>,
    reason: Option<&'static str>,
    cors_kind: Option<&'static str>,
    cors_reason: Option<&'static str>,
    origin: Option<&'r str>,
    user_agent: Option<&'r str>,
}

impl<'r> Line<'r> {
    /// The line of a request that has ended.
    pub(super) fn new(session: &'r Session, ctx: &'r Context) -> Self {
        let head = session.req_header();
        let header =
            |name| head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        let route = ctx.serving.as_ref().and_then(|serving| Some(&*serving.route()?.name));
        Self {
            time: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            client: session.client_addr().map(ToString::to_string),
            method: head.method.as_str(),
            host: header(http::header::HOST),
            path: head.uri.path(),
            route,
            status: session.response_written().map(|response| response.status.as_u16()),
            bytes_in: session.body_bytes_read(),
            bytes_out: session.body_bytes_sent(),
            duration_ms: (ctx.started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
            upstream: ctx.endpoint.map(|endpoint| endpoint.address.to_string()),
            reason: ctx.cause.map(crate::edge::Cause::as_str),
            cors_kind: ctx.cors.map(|(kind, _)| kind.as_str()),
            cors_reason: ctx.cors.map(|(_, reason)| reason.as_str()),
            origin: header(http::header::ORIGIN),
            user_agent: header(http::header::USER_AGENT),
        }
    }
}
