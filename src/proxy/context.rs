//! What is kept of one request between two hooks.

use std::{sync::Arc, time::Instant};

use http::{HeaderName, HeaderValue};

use super::attempts::Attempts;
use crate::{
    config::{Route, Upstream},
    cors::{Judgement, Kind, Reason},
    edge::Cause,
    metrics::{Held, Metrics, RouteMetrics, UpstreamMetrics},
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
    pub(super) asked: Option<Asked>,
    pub(super) decided: Decided,
    pub(super) attempts: Attempts,
}

/// What of the request itself goes into its answer.
#[derive(Debug)]
pub(super) struct Asked {
    /// Its id, in the header that carries it.
    pub(super) id: (HeaderName, HeaderValue),
    /// The hash of the configuration, if the client asked why and may.
    pub(super) explained: Option<String>,
}

/// What becomes of the request.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// What serves it, once it has a route.
    pub(super) serving: Option<Serving>,
    pub(super) cors: Option<(Kind, Reason)>,
    /// Why corsac answered itself, if it did.
    pub(super) cause: Option<Cause>,
}

/// What a request is served by.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) snapshot: Arc<Lent>,
    pub(super) route: usize,
    pub(super) judgement: Judgement,
    /// Index of the upstream, if the request goes there.
    pub(super) upstream: Option<usize>,
    /// The path that the upstream gets, where it is not the one that came.
    pub(super) path: Option<String>,
}

impl Context {
    /// Of a request that has just begun.
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            started: Instant::now(),
            _in_flight: metrics.request(),
            asked: None,
            decided: Decided::default(),
            attempts: Attempts::default(),
        }
    }

    pub(super) fn serving(&self) -> Option<&Serving> {
        self.decided.serving.as_ref()
    }

    pub(super) fn route(&self) -> Option<&Route> {
        self.serving()?.route()
    }

    pub(super) fn id(&self) -> Option<&(HeaderName, HeaderValue)> {
        Some(&self.asked.as_ref()?.id)
    }

    pub(super) fn upstream(&self) -> Option<(&Upstream, &Pool)> {
        self.serving()?.upstream()
    }

    pub(super) fn upstream_metrics(&self) -> Option<&UpstreamMetrics> {
        let serving = self.serving()?;
        serving.snapshot.upstream_metrics(serving.upstream?)
    }
}

impl Serving {
    pub(super) fn route(&self) -> Option<&Route> {
        self.snapshot.config().routes.get(self.route)
    }

    pub(super) fn metrics(&self) -> Option<&RouteMetrics> {
        self.snapshot.route_metrics(self.route)
    }

    pub(super) fn refused(&self) -> Option<&RefusedOrigins> {
        self.snapshot.refused(self.route)
    }

    pub(super) fn upstream(&self) -> Option<(&Upstream, &Pool)> {
        self.snapshot.upstream(self.upstream?)
    }
}
