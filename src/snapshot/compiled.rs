//! A configuration, ready to serve.

use std::{collections::BTreeMap, sync::Arc};

#[cfg(feature = "server")]
use super::tls::{AllTls, ListenerTls};
use super::{addresses::Addresses, kept::Kept};
#[cfg(feature = "server")]
use crate::tls::TicketKeys;
use crate::{
    config::{Config, Upstream},
    metrics::{Held, Metrics, RouteMetrics, Series, UpstreamMetrics},
    refused::RefusedOrigins,
    upstream::Pool,
};

/// A configuration, ready to serve: its table, its policies and its pools.
///
/// A request is decided and answered by the one snapshot that it began with.
#[derive(Debug)]
pub struct Snapshot {
    config: Arc<Config>,
    addresses: Addresses,
    /// For the next one, too.
    kept: Kept,
    #[cfg(feature = "server")]
    tls: AllTls,
    /// Counted for as long as it lives, once it serves.
    held: Option<Held>,
}

impl Snapshot {
    /// Makes a configuration ready. It goes on with what `previous` has under the names of
    /// its upstreams, routes and policies: pools whose nodes are the same, and all counts.
    #[must_use]
    pub fn compile(config: Arc<Config>, addresses: Addresses, previous: Option<&Self>) -> Self {
        let before = previous.map(|previous| (&*previous.config, &previous.kept));
        let kept = Kept::of(&config, &addresses, before);
        #[cfg(feature = "server")]
        let tls = AllTls::of(&config, previous.and_then(|previous| previous.tls.tickets()));
        Self {
            config,
            addresses,
            kept,
            #[cfg(feature = "server")]
            tls,
            held: None,
        }
    }

    /// The first one of a process: `tickets` seal what TLS sessions are resumed by, here and in
    /// those that follow. Without, none is.
    #[cfg(feature = "server")]
    #[must_use]
    pub fn first(
        config: Arc<Config>,
        addresses: Addresses,
        tickets: Option<Arc<TicketKeys>>,
    ) -> Self {
        let kept = Kept::of(&config, &addresses, None);
        let tls = AllTls::of(&config, tickets);
        Self { config, addresses, kept, tls, held: None }
    }

    /// The same configuration, after its nodes' names resolved to `addresses`.
    #[must_use]
    pub fn with_addresses(&self, addresses: Addresses) -> Self {
        Self::compile(Arc::clone(&self.config), addresses, Some(self))
    }

    /// The configuration that this serves.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the names of nodes resolved to.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The upstream at this index of the configuration, and its pool.
    #[must_use]
    pub fn upstream(&self, index: usize) -> Option<(&Upstream, &Pool)> {
        Some((self.config.upstreams.get(index)?, self.kept.pools.get(index)?))
    }

    /// The TLS of the listener at this index of the configuration; `None`: it serves in the
    /// clear.
    #[cfg(feature = "server")]
    #[must_use]
    pub fn tls(&self, listener: usize) -> Option<&Arc<ListenerTls>> {
        self.tls.listener(listener)
    }

    /// What is counted of its routes and upstreams.
    #[must_use]
    pub fn series(&self) -> &Series {
        &self.kept.series
    }

    /// What is counted of the route at this index of the configuration.
    #[must_use]
    pub fn route_metrics(&self, index: usize) -> Option<&Arc<RouteMetrics>> {
        self.kept.series.routes.get(index)
    }

    /// What is counted of the upstream at this index of the configuration.
    #[must_use]
    pub fn upstream_metrics(&self, index: usize) -> Option<&Arc<UpstreamMetrics>> {
        self.kept.series.upstreams.get(index)
    }

    /// The origins that the policy of the route at this index refused.
    #[must_use]
    pub fn refused(&self, index: usize) -> Option<&RefusedOrigins> {
        self.kept.refused.get(index)?.as_deref()
    }

    /// Every policy that a route has, with the origins that it refused; by its name,
    /// such as `policies.cors.app`.
    #[must_use]
    pub fn policies(&self) -> BTreeMap<&str, &RefusedOrigins> {
        let routes = self.config.routes.iter().zip(&self.kept.refused);
        routes
            .filter_map(|(route, refused)| {
                Some((route.cors.as_ref()?.name.as_str(), refused.as_deref()?))
            })
            .collect()
    }

    /// It serves from now on: `metrics` shows what is counted of it, and counts it, too.
    pub(super) fn serves(&mut self, metrics: &Metrics) {
        metrics.serve(Arc::clone(&self.kept.series));
        self.held = Some(metrics.snapshot());
    }
}
