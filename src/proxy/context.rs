//! What is kept of one request between two hooks.

use std::{mem, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::{
    answer,
    attempts::Attempts,
    records::Record,
    wire::{self, Arrival, Wire},
};
use crate::{
    config::{Config, Route, Upstream},
    cors::{Judgement, Kind, Reason},
    edge::{Caller, Cause, Scheme},
    metrics::{Held, RouteMetrics, UpstreamMetrics},
    refused::RefusedOrigins,
    snapshot::Lent,
    upstream::Pool,
};

/// One request, from its first hook to its last.
#[derive(Debug)]
pub struct Context {
    pub(super) started: Instant,
    /// Also where a hook panics: the count ends with the context.
    _in_flight: Held,
    /// There from the first hook on, except where the process asks itself: that is
    /// neither counted nor logged.
    pub(super) asked: Option<Identity>,
    /// How the connection has arrived, where there is a wire.
    pub(super) arrival: Option<Arc<Arrival>>,
    /// There from the first hook on, as `asked` is.
    pub(super) caller: Option<Caller>,
    pub(super) decided: Decided,
    pub(super) attempts: Attempts,
    /// The status of the answer, where the upstream has given one.
    pub(super) status: Option<StatusCode>,
    /// The answer may be on its way for long.
    is_long: bool,
    /// Where it is noted that the request has ended.
    pub(super) record: Record,
    /// What the client asked, if it went upstream and is not in the access log yet.
    pub(super) unwritten: Option<Unwritten>,
}

/// A request's head: for the access log, which reads it when the session is gone. Shares the
/// session's memory.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// As it came.
    Http1 {
        raw: Bytes,
        version: Version,
    },
    Http2(Box<Http2Head>),
}

/// What of a head over HTTP/2 is logged.
#[derive(Debug)]
pub(super) struct Http2Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) host: Option<HeaderValue>,
    pub(super) origin: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
    /// Knows whether the client has reset the request.
    pub(super) wire: Option<Arc<Wire>>,
}

/// What of the request itself goes into its answer.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) id: HeaderValue,
    /// The client asked why, and may.
    pub(super) is_explained: bool,
}

/// What becomes of the request.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) serving: Serving,
    pub(super) cors: Option<(Kind, Reason)>,
    /// Why corsac answered itself, if it did.
    pub(super) cause: Option<Cause>,
}

/// What a request is served by.
#[derive(Debug, Default)]
pub(super) enum Serving {
    /// Nothing: it is not decided yet.
    #[default]
    Nothing,
    /// A snapshot that has no route for it.
    Unrouted(Arc<Lent>),
    /// A route of a snapshot.
    Route(Served),
    /// What is left of that once an answer passes that may take long: a tunnel that is open
    /// for days must not keep a whole configuration in memory.
    Rest(Rest),
}

/// A route of a snapshot, and what it makes of the request.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) snapshot: Arc<Lent>,
    pub(super) route: usize,
    pub(super) judgement: Judgement,
    /// Index of the upstream, if the request goes there.
    pub(super) upstream: Option<usize>,
    /// The path that the upstream gets, where it is not the one that came.
    pub(super) path: Option<String>,
}

/// What is needed to the end of a request.
#[derive(Debug)]
pub(super) struct Rest {
    route: Arc<RouteMetrics>,
    upstream: Option<Arc<UpstreamMetrics>>,
    body_limit: Option<u64>,
}

impl Context {
    /// Of a request that has just begun.
    pub(super) fn new(record: Record) -> Self {
        Self {
            started: Instant::now(),
            _in_flight: record.metrics.request(),
            asked: None,
            arrival: None,
            caller: None,
            decided: Decided::default(),
            attempts: Attempts::default(),
            status: None,
            is_long: false,
            record,
            unwritten: None,
        }
    }

    /// How the client reached corsac, or the trusted peer.
    pub(super) fn scheme(&self) -> Scheme {
        self.caller.map(|caller| caller.scheme()).unwrap_or_default()
    }

    pub(super) fn id(&self) -> Option<&HeaderValue> {
        Some(&self.asked.as_ref()?.id)
    }

    /// The configuration, until [`Self::let_go`].
    pub(super) fn config(&self) -> Option<&Config> {
        match &self.decided.serving {
            Serving::Unrouted(snapshot) => Some(snapshot.config()),
            Serving::Route(served) => Some(served.snapshot.config()),
            Serving::Nothing | Serving::Rest(_) => None,
        }
    }

    /// What serves the request, until [`Self::let_go`].
    pub(super) fn served(&self) -> Option<&Served> {
        match &self.decided.serving {
            Serving::Route(served) => Some(served),
            Serving::Nothing | Serving::Unrouted(_) | Serving::Rest(_) => None,
        }
    }

    /// The route, until [`Self::let_go`].
    pub(super) fn route(&self) -> Option<&Route> {
        self.served()?.route()
    }

    /// The upstream and its pool, until [`Self::let_go`].
    pub(super) fn upstream(&self) -> Option<(&Upstream, &Pool)> {
        self.decided.serving.upstream()
    }

    pub(super) fn route_name(&self) -> Option<&str> {
        match &self.decided.serving {
            Serving::Nothing | Serving::Unrouted(_) => None,
            Serving::Route(served) => Some(&served.route()?.name),
            Serving::Rest(rest) => Some(rest.route.name()),
        }
    }

    pub(super) fn body_limit(&self) -> Option<u64> {
        match &self.decided.serving {
            Serving::Nothing | Serving::Unrouted(_) => None,
            Serving::Route(served) => served.route()?.body_limit,
            Serving::Rest(rest) => rest.body_limit,
        }
    }

    pub(super) fn metrics(&self) -> Option<&RouteMetrics> {
        match &self.decided.serving {
            Serving::Nothing | Serving::Unrouted(_) => None,
            Serving::Route(served) => served.metrics(),
            Serving::Rest(rest) => Some(&rest.route),
        }
    }

    pub(super) fn upstream_metrics(&self) -> Option<&UpstreamMetrics> {
        match &self.decided.serving {
            Serving::Nothing | Serving::Unrouted(_) => None,
            Serving::Route(served) => served.upstream_metrics().map(Arc::as_ref),
            Serving::Rest(rest) => rest.upstream.as_deref(),
        }
    }

    /// The head of the final answer goes to the client.
    pub(super) fn begins_answer(&mut self, head: &ResponseHeader, has_body: bool) {
        self.status = Some(head.status);
        self.is_long = answer::may_take_long(head);
        if !has_body && head.status != StatusCode::SWITCHING_PROTOCOLS {
            self.attempts.passed_back(0, true);
        }
    }

    /// Lets go of the snapshot, unless the answer will be gone soon: its head is finished,
    /// and all that is left to do is to pass a body on, and to count.
    pub(super) fn let_go(&mut self) {
        if self.is_long
            && let Serving::Route(served) = &self.decided.serving
            && let Some(rest) = served.rest()
        {
            drop(mem::replace(&mut self.decided.serving, Serving::Rest(rest)));
        }
    }
}

impl Unwritten {
    pub(super) fn of(session: &Session) -> Self {
        match session.as_downstream().as_http1() {
            Some(session) => Self::Http1 {
                raw: session.get_headers_raw_bytes(),
                version: session.req_header().version,
            },
            None => Self::Http2(Box::new(Http2Head::of(session))),
        }
    }

    /// Whether it is known that the client wanted no answer any more.
    pub(super) fn is_left(&self) -> bool {
        let Self::Http2(head) = self else { return false };
        head.wire.as_ref().is_some_and(|wire| wire.is_left())
    }
}

impl Http2Head {
    fn of(session: &Session) -> Self {
        let head = session.req_header();
        let header = |name: HeaderName| head.headers.get(name).cloned();
        Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: header(header::HOST),
            origin: header(header::ORIGIN),
            referer: header(header::REFERER),
            user_agent: header(header::USER_AGENT),
            wire: wire::of_stream(session).cloned(),
        }
    }
}

impl Serving {
    pub(super) fn upstream(&self) -> Option<(&Upstream, &Pool)> {
        let Self::Route(served) = self else { return None };
        served.snapshot.upstream(served.upstream?)
    }
}

impl Served {
    pub(super) fn route(&self) -> Option<&Route> {
        self.snapshot.config().routes.get(self.route)
    }

    pub(super) fn metrics(&self) -> Option<&RouteMetrics> {
        self.snapshot.route_metrics(self.route).map(Arc::as_ref)
    }

    pub(super) fn refused(&self) -> Option<&RefusedOrigins> {
        self.snapshot.refused(self.route)
    }

    fn upstream_metrics(&self) -> Option<&Arc<UpstreamMetrics>> {
        self.snapshot.upstream_metrics(self.upstream?)
    }

    fn rest(&self) -> Option<Rest> {
        Some(Rest {
            route: self.snapshot.route_metrics(self.route).cloned()?,
            upstream: self.upstream_metrics().cloned(),
            body_limit: self.route()?.body_limit,
        })
    }
}
