//! Pingora's hooks, in the order in which they run, each a few lines.
//!
//! What to do is decided in [`crate::edge`]; here it is done.

mod body;
mod count;
mod error;
mod explanation;
mod forward;
mod line;
mod log;
mod plain;
mod reply;
mod request_id;
mod self_check;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_core::{
    Error, ErrorType, Result, modules::http::HttpModules, upstreams::peer::HttpPeer,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

pub use line::{Chosen, Line, Plain};
pub use log::{AccessLog, Lines};
pub use self_check::SelfCheck;

use crate::{
    cors::{Judgement, Kind, Reason},
    edge::{self, Cause, Step},
    metrics::{Held, Metrics, RouteMetrics, UpstreamMetrics},
    refused::RefusedOrigins,
    snapshot::{Lender, Lent, SnapshotCell},
    upstream::{Endpoint, Tried},
};

/// How long a connection may be idle between two requests. Pingora would wait for ever.
const IDLE_SECONDS: u64 = 75;

/// Headers that most responses get: the id, and four of CORS.
const ADDED: usize = 5;

/// Endpoints that a request is tried on, while none accepts a connection.
pub const CONNECT_ATTEMPTS_MAX: usize = 3;

/// The proxy. A thread that serves has a clone of its own.
#[derive(Clone, Debug)]
pub struct Proxy {
    snapshots: Lender,
    metrics: Metrics,
    access_log: Option<AccessLog>,
    self_check: SelfCheck,
    closing: Closing,
}

impl Proxy {
    /// A proxy that serves by what `snapshots` holds, and counts into `metrics`. Without
    /// an access log, none is written.
    #[must_use]
    pub fn new(
        snapshots: &Arc<SnapshotCell>,
        metrics: Metrics,
        access_log: Option<AccessLog>,
        self_check: SelfCheck,
    ) -> Self {
        let snapshots = snapshots.lender();
        Self { snapshots, metrics, access_log, self_check, closing: Closing::default() }
    }

    /// What makes it close its connections.
    #[must_use]
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }
}

/// Whether each answer is to be the last one of its connection.
#[derive(Clone, Debug, Default)]
pub struct Closing(Arc<AtomicBool>);

impl Closing {
    /// From now on answers say `Connection: close`, and connections end with them.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Bounds how long the connection waits for its next request, if there is to be one.
    ///
    /// Only where keep-alive is still on: Pingora switches it off for requests whose
    /// framing is suspicious, and that must stay.
    fn limit_idle(&self, session: &mut Session) {
        let downstream = session.as_downstream_mut();
        if downstream.get_keepalive().is_some() {
            let closing = self.0.load(Ordering::Relaxed);
            downstream.set_keepalive((!closing).then_some(IDLE_SECONDS));
        }
    }
}

/// What is kept of one request between two hooks.
#[derive(Debug)]
pub struct Context {
    started: Instant,
    /// Also where a hook panics: the count ends with the context.
    _in_flight: Held,
    /// The request's id, in the header that carries it; there from the first hook on.
    id: Option<(HeaderName, HeaderValue)>,
    /// The hash of the configuration, if the client asked why and may.
    explained: Option<String>,
    /// What the request is served by, from its first hook to its last.
    serving: Option<Serving>,
    cors: Option<(Kind, Reason)>,
    /// Why corsac answered itself, if it did.
    cause: Option<Cause>,
    /// Bytes of the request's body that have passed.
    body_bytes: u64,
    endpoint: Option<Endpoint>,
    /// When that endpoint was chosen.
    attempt_started: Option<Instant>,
    tried: Tried,
    connect_attempts: usize,
    /// The process asks itself: not counted, not logged.
    is_self_check: bool,
}

/// What a request is served by, once it has a route.
#[derive(Debug)]
struct Serving {
    snapshot: Arc<Lent>,
    route: usize,
    judgement: Judgement,
    /// Index of the upstream, if the request goes there.
    upstream: Option<usize>,
    /// The path that the upstream gets, where it is not the one that came.
    path: Option<String>,
}

impl Serving {
    fn route(&self) -> Option<&crate::config::Route> {
        self.snapshot.config().routes.get(self.route)
    }

    fn metrics(&self) -> Option<&RouteMetrics> {
        self.snapshot.route_metrics(self.route)
    }

    fn refused(&self) -> Option<&RefusedOrigins> {
        self.snapshot.refused(self.route)
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            started: Instant::now(),
            _in_flight: self.metrics.request(),
            id: None,
            explained: None,
            serving: None,
            cors: None,
            cause: None,
            body_bytes: 0,
            endpoint: None,
            attempt_started: None,
            tried: Tried::default(),
            connect_attempts: 0,
            is_self_check: false,
        }
    }

    /// None: Pingora's default adds compression, which costs every request an
    /// allocation even where it is off.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Decides, then answers here or lets the request go upstream.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        if self.self_check.is_asked(session) {
            ctx.is_self_check = true;
            return Box::pin(self.self_check.answer(session)).await.map(|()| true);
        }
        let snapshot = self.snapshots.load();
        let config = snapshot.config();
        ctx.id = Some((config.request_id.header.clone(), request_id::of(session, config)));
        ctx.explained = explanation::is_due(session, config).then(|| config.hash());
        let head = session.req_header();
        let decision = match forward::request(head) {
            Some(request) => edge::decide(config, &request),
            None => edge::Decision::host_missing(),
        };
        ctx.cors = decision.cors;
        let (upstream, path, reply) = match decision.step {
            Step::Forward { upstream, path } => (Some(upstream), path, None),
            Step::Reply(reply) => {
                ctx.cause = Some(reply.cause);
                (None, None, Some(reply::Written::new(&reply)))
            }
        };
        let judgement = decision.judgement;
        ctx.serving =
            decision.route.map(|route| Serving { snapshot, route, judgement, upstream, path });
        count::decided(&session.req_header().headers, ctx);
        match reply {
            None => {
                plain::forget_case(session.req_header_mut());
                Ok(false)
            }
            Some(mut reply) => {
                self.closing.limit_idle(session);
                reply.finish(ctx);
                // Boxed: otherwise every forwarded request would carry its size.
                Box::pin(reply.send(session)).await.map(|()| true)
            }
        }
    }

    /// Picks the endpoint.
    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let endpoint = ctx.upstream().and_then(|(_, pool)| pool.pick(ctx.tried));
        let (Some(endpoint), Some((upstream, _))) = (endpoint, ctx.upstream()) else {
            return Err(Error::explain(
                ErrorType::Custom(error::UNRESOLVED),
                "no node of the upstream has an address",
            ));
        };
        let peer = forward::peer(endpoint, upstream);
        ctx.endpoint = Some(endpoint);
        count::attempt(ctx);
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

    /// Moves on to the next endpoint: nothing was sent, so that is always safe.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        ctx.connect_attempts += 1;
        if let Some(endpoint) = ctx.endpoint {
            ctx.tried.add(endpoint);
        }
        let another = ctx.upstream().is_some_and(|(_, pool)| pool.has_other_than(ctx.tried));
        let again = another && ctx.connect_attempts < CONNECT_ATTEMPTS_MAX;
        error.set_retry(again);
        if again {
            // The last error goes on to `fail_to_proxy`, which counts it.
            count::failed(error::classify(&error).1, ctx);
        }
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

    /// What the client sees of the upstream's answer.
    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        count::answered(&session.req_header().headers, response, ctx);
        // 1xx passes as it is, and after 101 there is no HTTP left to govern.
        if !response.status.is_informational() {
            self.closing.limit_idle(session);
            plain::change(response, |parts| {
                reply::strip_hop_by_hop(&mut parts.headers);
                ctx.finish(&mut parts.headers, false);
            });
        }
        Ok(())
    }

    /// Pingora sends errors past `response_filter`, so they are finished here.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let (status, cause) = error::classify(error);
        ctx.cause = Some(cause);
        count::failed(cause, ctx);
        let error_code = reply::send_error(session, ctx, status, cause).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        if ctx.is_self_check {
            return;
        }
        let duration = ctx.started.elapsed();
        count::ended(session, ctx, &self.metrics, duration);
        if let Some(access_log) = &self.access_log {
            access_log.write(&Line::new(session, ctx, duration));
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

impl Context {
    fn upstream(&self) -> Option<(&crate::config::Upstream, &crate::upstream::Pool)> {
        let serving = self.serving.as_ref()?;
        serving.snapshot.upstream(serving.upstream?)
    }

    fn upstream_metrics(&self) -> Option<&UpstreamMetrics> {
        let serving = self.serving.as_ref()?;
        serving.snapshot.upstream_metrics(serving.upstream?)
    }

    /// Finishes a response: the id, what its route does, and why, if that was asked.
    ///
    /// The id comes first, so that it is the route's to change like other headers. To
    /// what `is_complete` ([`edge::Reply::complete`]) the route adds nothing.
    fn finish(&self, response: &mut HeaderMap, is_complete: bool) {
        if !is_complete {
            // At once: each time that it grows, a map is copied.
            response.reserve(ADDED);
        }
        if let Some((name, id)) = &self.id {
            response.insert(name, id.clone());
        }
        if !is_complete
            && let Some(serving) = &self.serving
            && let Some(route) = serving.route()
        {
            let overridden = edge::finish(route, &serving.judgement, response);
            if let Some(metrics) = serving.metrics() {
                metrics.overridden(overridden);
            }
        }
        if let Some(hash) = &self.explained {
            response.insert(explanation::HEADER, explanation::of(self, hash));
        }
    }
}

/// The address of the connection's other end; of an IPv4 client, as IPv4.
fn client_ip(session: &Session) -> Option<std::net::IpAddr> {
    Some(session.client_addr()?.as_inet()?.ip().to_canonical())
}
