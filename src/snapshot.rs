//! What the proxy serves by: one immutable value, swapped whole.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use arc_swap::ArcSwap;

use crate::{
    config::{Config, NodeAddress, Route, Upstream},
    metrics::{Held, Metrics, RouteMetrics, Series, UpstreamMetrics},
    refused::RefusedOrigins,
    upstream::{Node, Pool},
};

/// The addresses that the host names of upstream nodes resolve to. A name that is
/// not there does not resolve.
pub type Addresses = HashMap<NodeAddress, Box<[SocketAddr]>>;

/// A configuration, ready to serve: its table, its policies and its pools.
///
/// A request is decided and answered by the one snapshot that it began with.
#[derive(Debug)]
pub struct Snapshot {
    config: Arc<Config>,
    addresses: Addresses,
    /// One for each of `config.upstreams`.
    pools: Box<[Arc<Pool>]>,
    series: Arc<Series>,
    /// One for each of `config.routes`, which share it where they share the policy.
    refused: Box<[Option<Arc<RefusedOrigins>>]>,
    /// Counted for as long as it lives, once it serves.
    held: Option<Held>,
}

impl Snapshot {
    /// Makes a configuration ready. The pool of an upstream whose nodes are the
    /// same in `previous` is carried over, and goes on where it stood; so is what was
    /// counted for routes, upstreams and policies that are still there, by their names.
    #[must_use]
    pub fn compile(config: Arc<Config>, addresses: Addresses, previous: Option<&Self>) -> Self {
        let pools = config
            .upstreams
            .iter()
            .map(|upstream| {
                let nodes = nodes(upstream, &addresses);
                previous
                    .and_then(|previous| previous.pool_of(&upstream.name))
                    .filter(|pool| pool.nodes() == nodes)
                    .cloned()
                    .unwrap_or_else(|| Arc::new(Pool::new(nodes)))
            })
            .collect();
        let series = Arc::new(series(&config, previous.map(|previous| &*previous.series)));
        let refused = refused(&config, previous);
        Self { config, addresses, pools, series, refused, held: None }
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
        Some((self.config.upstreams.get(index)?, self.pools.get(index)?))
    }

    /// What is counted of its routes and upstreams.
    #[must_use]
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// What is counted of the route at this index of the configuration.
    #[must_use]
    pub fn route_metrics(&self, index: usize) -> Option<&Arc<RouteMetrics>> {
        self.series.routes.get(index)
    }

    /// What is counted of the upstream at this index of the configuration.
    #[must_use]
    pub fn upstream_metrics(&self, index: usize) -> Option<&Arc<UpstreamMetrics>> {
        self.series.upstreams.get(index)
    }

    /// The origins that the policy of the route at this index refused.
    #[must_use]
    pub fn refused(&self, index: usize) -> Option<&RefusedOrigins> {
        self.refused.get(index)?.as_deref()
    }

    /// Every policy that a route has, with the origins that it refused; by its name,
    /// such as `policies.cors.app`.
    #[must_use]
    pub fn policies(&self) -> BTreeMap<&str, &RefusedOrigins> {
        let routes = self.config.routes.iter().zip(&self.refused);
        routes
            .filter_map(|(route, refused)| {
                Some((route.cors.as_ref()?.name.as_str(), refused.as_deref()?))
            })
            .collect()
    }

    fn pool_of(&self, name: &str) -> Option<&Arc<Pool>> {
        let index = self.config.upstreams.iter().position(|upstream| *upstream.name == *name)?;
        self.pools.get(index)
    }
}

/// The handles of every route and upstream: those that are there already, or new ones.
fn series(config: &Config, previous: Option<&Series>) -> Series {
    let previous = || previous.into_iter();
    let routes: HashMap<&str, &Arc<RouteMetrics>> =
        previous().flat_map(|series| &series.routes).map(|there| (there.name(), there)).collect();
    let upstreams: HashMap<&str, &Arc<UpstreamMetrics>> = previous()
        .flat_map(|series| &series.upstreams)
        .map(|there| (there.name(), there))
        .collect();
    let route = |route: &Route| {
        let service = config.services.get(route.service).map_or("", |service| &service.name);
        let new = || Arc::new(RouteMetrics::new(service, &route.name));
        routes.get(&*route.name).map_or_else(new, |&there| Arc::clone(there))
    };
    let upstream = |upstream: &Upstream| {
        let new = || Arc::new(UpstreamMetrics::new(&upstream.name));
        upstreams.get(&*upstream.name).map_or_else(new, |&there| Arc::clone(there))
    };
    Series {
        routes: config.routes.iter().map(route).collect(),
        upstreams: config.upstreams.iter().map(upstream).collect(),
    }
}

/// For each route, where the refusals of its policy are counted.
fn refused(config: &Config, previous: Option<&Snapshot>) -> Box<[Option<Arc<RefusedOrigins>>]> {
    let mut tables: HashMap<&str, Arc<RefusedOrigins>> = HashMap::new();
    if let Some(previous) = previous {
        for (route, table) in previous.config.routes.iter().zip(&previous.refused) {
            if let (Some(cors), Some(table)) = (&route.cors, table) {
                tables.insert(&cors.name, Arc::clone(table));
            }
        }
    }
    let policies = config.routes.iter().map(|route| route.cors.as_deref());
    policies.map(|cors| Some(Arc::clone(tables.entry(&cors?.name).or_default()))).collect()
}

fn nodes(upstream: &Upstream, addresses: &Addresses) -> Vec<Node> {
    let resolved = |address: &NodeAddress| match address {
        NodeAddress::Ip(address) => Box::from([*address]),
        NodeAddress::Name(..) => addresses.get(address).cloned().unwrap_or_default(),
    };
    upstream
        .nodes
        .iter()
        .map(|node| Node { weight: u32::from(node.weight), addresses: resolved(&node.address) })
        .collect()
}

/// The one place where a snapshot is swapped for another.
#[derive(Debug)]
pub struct SnapshotCell {
    serving: ArcSwap<Snapshot>,
    /// What is lent out, by those who lend.
    lenders: Mutex<Vec<Weak<ArcSwap<Lent>>>>,
    metrics: Metrics,
}

/// Lends the snapshot that serves now to the requests of one thread, whose references are
/// counted apart from other threads'. A clone is for another thread.
#[derive(Debug)]
pub struct Lender {
    cell: Arc<SnapshotCell>,
    lent: Arc<ArcSwap<Lent>>,
}

/// A snapshot, lent to the requests of one thread.
#[derive(Debug)]
pub struct Lent(Arc<Snapshot>);

impl Deref for Lent {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

impl SnapshotCell {
    /// A cell that serves `snapshot`, whose series `metrics` shows.
    #[must_use]
    pub fn new(mut snapshot: Snapshot, metrics: Metrics) -> Self {
        metrics.serve(Arc::clone(&snapshot.series));
        snapshot.held = Some(metrics.snapshot());
        let lenders = Mutex::default();
        Self { serving: ArcSwap::from_pointee(snapshot), lenders, metrics }
    }

    /// The snapshot that serves now. Takes no lock.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.serving.load_full()
    }

    /// One more who lends the snapshot that serves.
    #[must_use]
    pub fn lender(self: &Arc<Self>) -> Lender {
        let mut lenders = self.lenders();
        lenders.retain(|lent| lent.strong_count() > 0);
        let lent = Arc::new(ArcSwap::from_pointee(Lent(self.load())));
        lenders.push(Arc::downgrade(&lent));
        drop(lenders);
        Lender { cell: Arc::clone(self), lent }
    }

    /// Serves `snapshot` from the next request on.
    pub fn store(&self, mut snapshot: Snapshot) {
        self.metrics.serve(Arc::clone(&snapshot.series));
        snapshot.held = Some(self.metrics.snapshot());
        let snapshot = Arc::new(snapshot);
        // Held until all have it, so that nobody begins with the old one meanwhile.
        let lenders = self.lenders();
        self.serving.store(Arc::clone(&snapshot));
        for lent in lenders.iter().filter_map(Weak::upgrade) {
            lent.store(Arc::new(Lent(Arc::clone(&snapshot))));
        }
    }

    fn lenders(&self) -> MutexGuard<'_, Vec<Weak<ArcSwap<Lent>>>> {
        self.lenders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Lender {
    fn clone(&self) -> Self {
        self.cell.lender()
    }
}

impl Lender {
    /// The snapshot that serves now. Takes no lock.
    #[must_use]
    pub fn load(&self) -> Arc<Lent> {
        self.lent.load_full()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use std::time::Duration;

    use http::StatusCode;

    use super::*;

    fn config(routes: &[&str], upstream: &str) -> Arc<Config> {
        let paths = routes.iter().map(|route| format!("routes.{route}.paths = \"/{route}\"\n"));
        let text = format!(
            "version = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n\
             [upstreams.{upstream}]\nnodes = \"127.0.0.1:1\"\n\
             [policies.cors.app]\nallow_origins = \"https://a.example\"\n\
             [services.s]\nupstream = \"{upstream}\"\ncors = \"app\"\n{}",
            paths.collect::<String>()
        );
        Arc::new(crate::config::parse(&text, "corsac.toml").unwrap().0)
    }

    /// Counts go on across a reload for what is still there, and only for that.
    #[test]
    fn counts_survive_by_name() {
        let metrics = Metrics::new();
        let first = Snapshot::compile(config(&["a", "b"], "one"), HashMap::new(), None);
        let cell = SnapshotCell::new(first, metrics.clone());
        let old = cell.load();
        for index in 0..2 {
            old.route_metrics(index).unwrap().request(Some(StatusCode::OK), Duration::ZERO);
            let _ = old.refused(index).unwrap().note(b"https://b.example", 0);
        }
        // In another order, and one more.
        let second = config(&["c", "b"], "two");
        cell.store(Snapshot::compile(second, HashMap::new(), Some(&old)));
        let new = cell.load();
        let index = new.config().routes.iter().position(|route| &*route.name == "s/b").unwrap();
        for snapshot in [&old, &new] {
            let index = if Arc::ptr_eq(snapshot, &new) { index } else { 1 };
            snapshot.route_metrics(index).unwrap().request(Some(StatusCode::OK), Duration::ZERO);
        }
        old.route_metrics(0).unwrap().request(Some(StatusCode::NOT_FOUND), Duration::ZERO);
        old.upstream_metrics(0).unwrap().retried();
        let text = metrics.render();
        assert!(text.contains("requests_total{code=\"200\",route=\"s/b\",service=\"s\"} 3\n"));
        assert!(text.contains("upstream_retries_total{upstream=\"two\"} 0\n"), "{text}");
        assert!(!text.contains("s/a") && !text.contains("\"one\""), "{text}");
        let policies = new.policies();
        let names: Vec<_> = policies.keys().copied().collect();
        assert_eq!(names, ["policies.cors.app"], "one table for a policy, however many routes");
        assert_eq!(policies["policies.cors.app"].snapshot()[0].count, 2);
    }
}
