//! Pingora's hooks, in the order in which they run, each a few lines.
//!
//! What to do is decided in [`crate::edge`]; here it is done.

mod answer;
mod attempts;
mod body;
mod caller;
mod claims;
mod closing;
mod context;
mod count;
mod cut_off;
mod entry;
mod error;
mod explanation;
mod forward;
mod line;
mod log;
mod peer;
mod plain;
mod records;
mod refuse;
mod reply;
mod request_id;
mod self_check;
mod wire;
mod written;

use std::{os::fd::RawFd, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{StatusCode, Version};
use pingora_core::{
    Error, ErrorSource, ErrorType, Result, modules::http::HttpModules, protocols::Digest,
    upstreams::peer::HttpPeer,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

pub use attempts::ATTEMPTS_MAX;
pub use claims::Claims;
pub use closing::Closing;
pub use context::Context;
pub use line::{Chosen, Line, Plain};
pub use log::{AccessLogQueue, Lines};
pub use refuse::{Refuser, Unread};
pub use self_check::{Asking, SelfCheck};
pub use wire::{Arrival, Awaited, Ended, FindWire, Secured, Wire};
pub use written::Written;

use attempts::Broken;
use context::{Decided, Identity, Served, Serving, Unwritten};
use count::Totals;
use records::{Both, Records};

use crate::{
    edge::{self, Cause, Step},
    metrics::Metrics,
    snapshot::{Lender, SnapshotCell},
};

/// The proxy. A thread that serves has a clone of its own.
#[derive(Clone, Debug)]
pub struct Proxy {
    snapshots: Lender,
    records: Records,
    self_check: SelfCheck,
    closing: Closing,
    find_wire: FindWire,
    /// A descriptor from this one on is not for requests.
    reserved_from: RawFd,
}

impl Proxy {
    /// A proxy that serves by what `snapshots` holds, and counts into `metrics`. Without
    /// an access log, none is written.
    #[must_use]
    pub fn new(
        snapshots: &Arc<SnapshotCell>,
        metrics: Metrics,
        access_log: Option<AccessLogQueue>,
        self_check: SelfCheck,
        find_wire: FindWire,
        reserved_from: RawFd,
    ) -> Self {
        let (snapshots, closing) = (snapshots.lender(), Closing::default());
        let records = Records::new(metrics, access_log);
        Self { snapshots, records, self_check, closing, find_wire, reserved_from }
    }

    /// Answers what is no request, for a listener of this name.
    #[must_use]
    pub fn refuser(&self, listener: &str) -> Refuser {
        let Both { metrics, access_log } = Both::clone(&self.records.record());
        Refuser::new(self.snapshots.clone(), metrics, access_log, listener.into())
    }

    /// What makes it close its connections.
    #[must_use]
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(self.records.record())
    }

    /// None: Pingora's default adds compression, which costs every request an
    /// allocation even where it is off.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Decides, then answers here or lets the request go upstream.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        if self.self_check.is_asked(session) {
            return Box::pin(self.self_check.answer(session)).await.map(|()| true);
        }
        claims::drop_forged(session);
        let snapshot = self.snapshots.load();
        let config = snapshot.config();
        ctx.arrival = wire::of(session, self.find_wire).map(Wire::arrival).cloned();
        let listener = ctx.arrival.as_ref().and_then(|it| config.listener(&it.listener));
        let caller = caller::of(session, ctx.arrival.as_deref(), listener)?;
        ctx.caller = Some(caller);
        ctx.asked = Some(Identity {
            id: request_id::of(session, caller, config),
            is_explained: explanation::is_due(session, caller, config),
        });
        let redirects_to = listener.and_then(|listener| listener.redirect_https);
        let arrival = ctx.arrival.as_deref();
        let decision = match forward::request(session, config, arrival, caller, redirects_to) {
            Some(request) => edge::decide(config, &request),
            None => edge::Decision::host_missing(),
        };
        let (upstream, path, cause, reply) = match decision.step {
            Step::Forward { upstream, path } => (Some(upstream), path, None, None),
            Step::Reply(reply) => {
                if let (Cause::Misdirected, true) = (reply.cause, reply.closes)
                    && let Some(wire) = wire::of(session, self.find_wire)
                {
                    wire.end();
                }
                (None, None, Some(reply.cause), Some(Written::new(&reply)))
            }
        };
        let (cors, judgement) = (decision.cors, decision.judgement);
        let serving = match decision.route {
            Some(route) => Serving::Route(Served { snapshot, route, judgement, upstream, path }),
            None => Serving::Unrouted(snapshot),
        };
        ctx.decided = Decided { serving, cors, cause };
        count::decided(&session.req_header().headers, ctx);
        match reply {
            None => {
                // HTTP/1.0 knows no interim answers (RFC 9110, 15.2).
                let is_old = session.req_header().version < Version::HTTP_11;
                session.as_downstream_mut().set_ignore_info_resp(is_old);
                plain::forget_case(session.req_header_mut());
                ctx.unwritten = Some(Unwritten::of(session));
                Ok(false)
            }
            Some(mut reply) => {
                self.closing.apply(session);
                reply.finish(ctx);
                // Boxed: otherwise every forwarded request would carry its size.
                Box::pin(reply.send(session)).await.map(|()| true)
            }
        }
    }

    /// Picks the endpoint.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let picked = ctx.upstream().and_then(|(upstream, pool)| {
            let endpoint = ctx.attempts.pick(pool)?;
            let mut peer = peer::of(endpoint, upstream);
            if let Some(wire) = wire::of(session, self.find_wire) {
                wire.forwards(upstream.timeouts.read);
                // While the request is not sent whole, corsac waits for the client, and
                // Pingora's clock would run all the same.
                peer.options.read_timeout = None;
            }
            Some((endpoint, peer))
        });
        let Some((endpoint, peer)) = picked else {
            return Err(Error::explain(
                ErrorType::Custom(error::UNRESOLVED),
                "no node of the upstream has an address",
            ));
        };
        if ctx.attempts.begin(endpoint, ctx.started) {
            count::again(ctx);
        }
        Ok(peer)
    }

    /// Counts the body while it passes.
    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<bytes::Bytes>,
        _end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        body::count(ctx, body.as_ref().map_or(0, bytes::Bytes::len))
    }

    /// Gives a descriptor back that is kept for the process itself.
    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        descriptor: RawFd,
        _digest: Option<&Digest>,
        _ctx: &mut Context,
    ) -> Result<()> {
        if descriptor >= self.reserved_from {
            return Err(Error::explain(ErrorType::SocketError, "no descriptor but a reserve"));
        }
        Ok(())
    }

    /// Moves on to the next endpoint: nothing was sent, so that is always safe.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let pool = ctx.decided.serving.upstream().map(|(_, pool)| pool);
        let again = ctx.attempts.not_connected(pool);
        error.set_retry(again);
        if again {
            // The last error goes on to `fail_to_proxy`, which counts it.
            count::failed(error::classify(&error).1, ctx);
        }
        error
    }

    /// Sends the request again, where that is safe; `Broken` says when.
    ///
    /// Pingora's own rule would do, if it looked whether a part of an answer had come.
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        was_reused: bool,
    ) -> Box<Error> {
        let broken = Broken {
            is_idempotent: session.req_header().method.is_idempotent(),
            was_reused,
            is_unanswered: error::is_unanswered(&error) && session.response_written().is_none(),
            has_body: !session.as_ref().retry_buffer_truncated(),
        };
        error.set_retry(ctx.attempts.broken(broken));
        error
    }

    /// What the upstream sees.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        forward::rewrite(session, request, ctx)
    }

    /// Refuses an answer that cannot be passed on.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let interim = ctx.attempts.answered(answer::is_interim(response.status));
        match answer::flaw(response, session.as_downstream().is_upgrade_req(), interim) {
            None => Ok(()),
            Some(flaw) => Err(Error::explain(ErrorType::InvalidHTTPHeader, flaw).into_up()),
        }
    }

    /// What the client sees of the upstream's answer.
    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        count::answered(&session.req_header().headers, response, ctx);
        if let Some(wire) = wire::of(session, self.find_wire) {
            wire.passes(response.status);
        }
        // Pingora would close for an interim answer, too, such as 100, which asks for the body.
        let closes = !answer::is_interim(response.status);
        session.as_downstream_mut().set_close_on_response_before_downstream_finish(closes);
        if answer::is_interim(response.status) {
            answer::pass_interim(response);
            return Ok(());
        }
        // After a switch of protocols there is no HTTP left to govern.
        if response.status != StatusCode::SWITCHING_PROTOCOLS {
            self.closing.apply(session);
            let client = session.req_header().version;
            plain::change(response, |parts| {
                answer::pass(parts, client);
                reply::finish(ctx, &mut parts.headers, false);
            });
        }
        let has_body = answer::has_body(response, &session.req_header().method);
        let wire = wire::of(session, self.find_wire);
        ctx.begins_answer(response, has_body);
        match wire.filter(|_| has_body && answer::has_length(response)) {
            Some(wire) => wire.hold(),
            None => ctx.let_go(),
        }
        Ok(())
    }

    /// Counts the answer's body while it passes.
    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<bytes::Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        if let Some(wire) = wire::of(session, self.find_wire)
            && wire.is_held()
        {
            wire.release();
            ctx.let_go();
        }
        ctx.attempts.passed_back(body.as_ref().map_or(0, bytes::Bytes::len), end_of_stream);
        Ok(None)
    }

    /// Pingora sends errors past `response_filter`, so they are finished here.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let (status, cause) = error::classify(error);
        count::failed(cause, ctx);
        // A client that has the whole answer of the upstream, such as an early one to a body
        // that turns out to be too large, gets no other.
        if ctx.attempts.is_answered() && *error.esource() != ErrorSource::Downstream {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        ctx.decided.cause = Some(cause);
        if let Some(wire) = wire::of(session, self.find_wire)
            && reply::has_begun(session)
            && wire.is_held()
        {
            reply::replace(wire, ctx, status, cause);
            session.as_downstream_mut().shutdown().await;
            return FailToProxy { error_code: status.as_u16(), can_reuse_downstream: false };
        }
        let error_code = reply::send_error(session, ctx, status, cause).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// Notes that the request has ended: where the process asks itself, nothing.
    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        if ctx.asked.is_none() {
            return;
        }
        ctx.unwritten = None;
        let totals = Totals::new(session, ctx);
        count::ended(&totals, ctx);
        if let Some(access_log) = &ctx.record.access_log {
            access_log.write(&Line::new(session, &totals, ctx));
        }
    }

    /// The access log has it; a dead upstream must not flood the other log.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }

    /// As above.
    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Context,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
