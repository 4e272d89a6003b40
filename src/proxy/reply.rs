//! Every response that corsac makes itself, and the headers of all others.

use std::{fmt::Display, io::Write as _, time::SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH},
    response,
};
use jiff::Timestamp;
use pingora_core::Result;
use pingora_proxy::Session;

use super::{
    answer::{is_interim, may_have_body},
    context::Context,
    explanation,
    wire::Wire,
};
use crate::edge::{self, Cause, Reply};

/// Headers that most responses get: the id, and four of CORS.
const ADDED: usize = 5;

/// A reply in the form in which Pingora writes it.
#[derive(Debug)]
pub(super) struct Written {
    head: response::Parts,
    body: Bytes,
    is_complete: bool,
    closes: bool,
}

impl Written {
    /// Makes the head: what was prebuilt, and the few headers of this reply alone.
    pub(super) fn new(reply: &Reply<'_>) -> Self {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = reply.status;
        if let Some(prebuilt) = reply.prebuilt {
            parts.headers.clone_from(prebuilt);
        }
        reply.edits.apply(&mut parts.headers);
        if !reply.complete && may_have_body(reply.status) {
            parts.headers.insert(CONTENT_LENGTH, reply.body.len().into());
        }
        let Reply { complete, closes, body, .. } = *reply;
        Self { head: parts, body: Bytes::copy_from_slice(body), is_complete: complete, closes }
    }

    /// Adds what every response has; see [`finish`].
    pub(super) fn finish(&mut self, ctx: &Context) {
        finish(ctx, &mut self.head.headers, self.is_complete);
    }

    /// Adds a header.
    pub(super) fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        self.head.headers.insert(name, value);
    }

    /// As bytes, for where Pingora has written another head already, or has no session.
    /// After it the connection is over.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let Self { mut head, body, is_complete: _, closes: _ } = self;
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let mut bytes = Vec::with_capacity(512);
        // Writing to memory cannot fail.
        let _ = write!(bytes, "HTTP/1.1 {}\r\nDate: {}\r\n", head.status, httpdate());
        for (name, value) in &head.headers {
            let _ = write!(bytes, "{name}: ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Writes it. The connection stays open if it may, and the request's body was read.
    pub(super) async fn send(self, session: &mut Session) -> Result<()> {
        let Self { head, body, is_complete: _, closes } = self;
        if closes {
            session.as_downstream_mut().set_keepalive(None);
        }
        let with_body = !body.is_empty()
            && may_have_body(head.status)
            && session.req_header().method != Method::HEAD;
        session.write_response_header(Box::new(head.into()), !with_body).await?;
        if with_body {
            session.write_response_body(Some(body), true).await?;
        }
        Ok(())
    }
}

/// Now, as RFC 9110, 5.6.7 writes it.
fn httpdate() -> impl Display {
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    now.strftime("%a, %d %b %Y %H:%M:%S GMT")
}

/// Finishes a response: the id, what its route does, and why, if that was asked.
///
/// The id comes first, so that the route can change it like other headers. To a response
/// that `is_complete` ([`Reply::complete`]) the route adds nothing.
pub(super) fn finish(ctx: &Context, response: &mut HeaderMap, is_complete: bool) {
    if !is_complete {
        // At once: each time that it grows, a map is copied.
        response.reserve(ADDED);
    }
    if let (Some(asked), Some(config)) = (&ctx.asked, ctx.config()) {
        response.insert(&config.request_id.header, asked.id.clone());
    }
    if !is_complete
        && let Some(served) = ctx.served()
        && let Some(route) = served.route()
    {
        let overridden = edge::finish(route, &served.judgement, ctx.scheme(), response);
        if let Some(metrics) = served.metrics() {
            metrics.overridden(overridden);
        }
    }
    if ctx.asked.as_ref().is_some_and(|asked| asked.is_explained)
        && let Some(config) = ctx.config()
    {
        response.insert(explanation::HEADER, explanation::of(ctx, config));
    }
}

/// Takes back the head of an answer that failed before anything of it has left, and puts
/// the error in its place.
pub(super) fn replace(wire: &Wire, ctx: &mut Context, status: StatusCode, cause: Cause) {
    ctx.status = Some(status);
    let mut reply = Written::new(&Reply::failure(status, cause));
    reply.finish(ctx);
    wire.replace(reply.into_bytes());
}

/// Answers a request that failed, unless an answer has begun. Returns the status
/// for Pingora's records; 0: none was sent.
pub(super) async fn send_error(
    session: &mut Session,
    ctx: &Context,
    status: StatusCode,
    cause: Cause,
) -> u16 {
    if has_begun(session) {
        return 0;
    }
    let mut reply = Written::new(&Reply::failure(status, cause));
    reply.finish(ctx);
    match reply.send(session).await {
        Ok(()) => status.as_u16(),
        // The client is gone, and cannot be told.
        Err(_) => 0,
    }
}

/// Whether the final answer was written, if only as far as the connection.
pub(super) fn has_begun(session: &Session) -> bool {
    session.response_written().is_some_and(|head| !is_interim(head.status))
}
