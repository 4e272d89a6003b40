//! What the access log says of a request, gathered.

use http::{HeaderName, HeaderValue, Version, header};
use jiff::Timestamp;
use pingora_proxy::Session;

use super::{
    context::{Context, Unwritten},
    count::Totals,
    line::{Chosen, Line, Plain},
};
use crate::http1::head::RequestLine;

impl<'r> Line<'r> {
    /// The line of a request that has ended.
    pub(super) fn new(session: &'r Session, totals: &Totals, ctx: &'r Context) -> Self {
        let head = session.req_header();
        let header = |name: HeaderName| head.headers.get(name).map(chosen);
        Self {
            method: Some(word(head.method.as_str())),
            host: header(header::HOST),
            path: Some(Chosen(head.uri.path().as_bytes())),
            version: head.version,
            origin: header(header::ORIGIN),
            referer: header(header::REFERER),
            user_agent: header(header::USER_AGENT),
            ..Self::of(totals, ctx)
        }
    }

    /// The line of a request that was cut off, so that its session is gone.
    pub(super) fn cut_off(unwritten: &'r Unwritten, totals: &Totals, ctx: &'r Context) -> Self {
        let line = Self::of(totals, ctx);
        match unwritten {
            Unwritten::Http1 { raw, version } => {
                let RequestLine { method, target } = RequestLine::of(raw);
                let header = |name: HeaderName| line_of(raw, &name).map(Chosen);
                Self {
                    method: method.map(word),
                    host: header(header::HOST),
                    path: target.map(|target| Chosen(target).without_query()),
                    version: *version,
                    origin: header(header::ORIGIN),
                    referer: header(header::REFERER),
                    user_agent: header(header::USER_AGENT),
                    ..line
                }
            }
            Unwritten::Http2(head) => Self {
                method: Some(word(head.method.as_str())),
                host: head.host.as_ref().map(chosen),
                path: Some(Chosen(head.uri.path().as_bytes())),
                version: Version::HTTP_2,
                origin: head.origin.as_ref().map(chosen),
                referer: head.referer.as_ref().map(chosen),
                user_agent: head.user_agent.as_ref().map(chosen),
                ..line
            },
        }
    }

    /// What does not stand in the head.
    fn of(totals: &Totals, ctx: &'r Context) -> Self {
        Self {
            time: Timestamp::now(),
            request_id: ctx.id().map(|id| Plain(id.as_bytes())),
            listener: ctx.arrival.as_ref().map(|arrival| word(&arrival.listener)),
            caller: ctx.caller,
            method: None,
            host: None,
            path: None,
            version: Version::HTTP_11,
            route: ctx.route_name().map(word),
            status: totals.status.map(|status| status.as_u16()),
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
            duration: totals.duration,
            upstream: ctx.attempts.endpoint().map(|endpoint| endpoint.address),
            reason: ctx.decided.cause.map(|cause| word(cause.as_str())),
            cors_kind: ctx.decided.cors.map(|(kind, _)| word(kind.as_str())),
            cors_reason: ctx.decided.cors.map(|(_, reason)| word(reason.as_str())),
            origin: None,
            referer: None,
            user_agent: None,
            secured: ctx.arrival.as_ref().and_then(|arrival| arrival.secured.as_ref()),
        }
    }
}

/// The first header of this name in a head that Pingora has parsed.
fn line_of<'h>(head: &'h [u8], name: &HeaderName) -> Option<&'h [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (called, value) = line.split_at_checked(colon)?;
        let is_it = called.eq_ignore_ascii_case(name.as_str().as_bytes());
        is_it.then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })
}

fn chosen(value: &HeaderValue) -> Chosen<'_> {
    Chosen(value.as_bytes())
}

fn word(word: &str) -> Plain<'_> {
    Plain(word.as_bytes())
}
