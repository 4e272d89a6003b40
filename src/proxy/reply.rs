//! Every response that corsac makes itself, and the headers of all others.

use http::{HeaderMap, Method, StatusCode};
use pingora_core::Result;
use pingora_proxy::Session;

use super::{
    answer::{is_interim, may_have_body},
    context::Context,
    explanation,
    wire::Wire,
    written::Written,
};
use crate::edge::{self, Cause, Reply};

/// Headers that most responses get: the id, and four of CORS.
const ADDED: usize = 5;

impl Written {
    /// Adds what every response has; see [`finish`].
    pub(super) fn finish(&mut self, ctx: &Context) {
        finish(ctx, &mut self.head.headers, self.is_complete);
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
    wire.replace(reply);
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
