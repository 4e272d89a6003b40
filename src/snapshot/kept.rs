//! What survives a reload: what has the same name in the configuration before it and in
//! the one after it.

use std::{collections::HashMap, sync::Arc};

use super::addresses::{Addresses, nodes};
use crate::{
    config::{Config, Cors},
    metrics::{CertificateDates, RouteMetrics, Series, UpstreamMetrics},
    refused::RefusedOrigins,
    upstream::Pool,
};

/// What a snapshot has of the one before it, and gives to the next one.
#[derive(Debug)]
pub(super) struct Kept {
    /// One for each upstream. It goes on where it stood while its nodes are the same.
    pub(super) pools: Box<[Arc<Pool>]>,
    /// Counts go on.
    pub(super) series: Arc<Series>,
    /// One for each route, which share it where they share the policy.
    pub(super) refused: Box<[Option<Arc<RefusedOrigins>>]>,
}

/// A configuration, and what is kept for it.
type Before<'b> = Option<(&'b Config, &'b Kept)>;

impl Kept {
    /// All that a configuration needs: what is there already, or what is new.
    pub(super) fn of(config: &Config, addresses: &Addresses, before: Before<'_>) -> Self {
        Self {
            pools: pools(config, addresses, before),
            series: Arc::new(series(config, before)),
            refused: refused(config, before),
        }
    }
}

fn pools(config: &Config, addresses: &Addresses, before: Before<'_>) -> Box<[Arc<Pool>]> {
    let there = before.into_iter().flat_map(|(config, kept)| {
        config.upstreams.iter().map(|upstream| &*upstream.name).zip(&kept.pools)
    });
    let mut pools = ByName::of(there);
    let pools = config.upstreams.iter().map(|upstream| {
        let nodes = nodes(upstream, addresses);
        pools.forget_if(&upstream.name, |pool| pool.nodes() != nodes);
        pools.get_or(&upstream.name, || Pool::new(nodes))
    });
    pools.collect()
}

fn series(config: &Config, before: Before<'_>) -> Series {
    let there = || before.into_iter().map(|(_, kept)| &*kept.series);
    let routes = there().flat_map(|series| &series.routes);
    let mut routes = ByName::of(routes.map(|there| (there.name(), there)));
    let upstreams = there().flat_map(|series| &series.upstreams);
    let mut upstreams = ByName::of(upstreams.map(|there| (there.name(), there)));
    let routes = config.routes.iter().map(|route| {
        let service = config.services.get(route.service).map_or("", |service| &service.name);
        routes.get_or(&route.name, || RouteMetrics::new(service, &route.name))
    });
    let upstreams = config
        .upstreams
        .iter()
        .map(|upstream| upstreams.get_or(&upstream.name, || UpstreamMetrics::new(&upstream.name)));
    let certificates = config.certificates.iter().map(|certificate| CertificateDates {
        name: certificate.name.clone(),
        not_before: certificate.pair.leaf.not_before,
        not_after: certificate.pair.leaf.not_after,
    });
    Series {
        routes: routes.collect(),
        upstreams: upstreams.collect(),
        certificates: certificates.collect(),
    }
}

fn refused(config: &Config, before: Before<'_>) -> Box<[Option<Arc<RefusedOrigins>>]> {
    let there = before.into_iter().flat_map(|(config, kept)| policies(config).zip(&kept.refused));
    let there = there.filter_map(|(cors, table)| Some((&*cors?.name, table.as_ref()?)));
    let mut tables = ByName::of(there);
    let tables = policies(config).map(|cors| Some(tables.get_or(&cors?.name, RefusedOrigins::new)));
    tables.collect()
}

/// The policy of each route.
fn policies(config: &Config) -> impl Iterator<Item = Option<&Cors>> {
    config.routes.iter().map(|route| route.cors.as_deref())
}

/// What there is of one kind, by its name in the configuration.
struct ByName<'n, T>(HashMap<&'n str, Arc<T>>);

impl<'n, T: 'n> ByName<'n, T> {
    fn of(there: impl Iterator<Item = (&'n str, &'n Arc<T>)>) -> Self {
        Self(there.map(|(name, there)| (name, Arc::clone(there))).collect())
    }

    /// What has this name, or something new, which has the name from now on.
    fn get_or(&mut self, name: &'n str, new: impl FnOnce() -> T) -> Arc<T> {
        Arc::clone(self.0.entry(name).or_insert_with(|| Arc::new(new())))
    }

    /// What has this name is none for it any more, if it has changed.
    fn forget_if(&mut self, name: &str, has_changed: impl FnOnce(&T) -> bool) {
        if self.0.get(name).is_some_and(|there| has_changed(there)) {
            self.0.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use std::time::Duration;

    use http::StatusCode;

    use crate::{
        metrics::Metrics,
        snapshot::{Snapshot, SnapshotCell},
        upstream::Tried,
    };

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

    /// A pool goes on across a reload unless its nodes are others, or are elsewhere.
    #[test]
    fn pools_survive_by_name_and_nodes() {
        let config = |nodes: &str| {
            let text = format!(
                "version = 1\nlisteners.http.address = \"127.0.0.1:0\"\n\
                 upstreams.a.nodes = {nodes}\nupstreams.b.nodes = \"127.0.0.1:2\"\n\
                 services.s.routes.a = {{ paths = \"/a\", upstream = \"a\" }}\n\
                 services.s.routes.b = {{ paths = \"/b\", upstream = \"b\" }}\n"
            );
            Arc::new(crate::config::parse(&text, "corsac.toml").unwrap().0)
        };
        let turns =
            |snapshot: &Snapshot| [0, 1].map(|index| snapshot.upstream(index).unwrap().1.turn());
        let named = config("\"a.internal:1\"");
        let name = named.upstreams[0].nodes[0].address.clone();
        let at = |last| Addresses::from([(name.clone(), [([127, 0, 0, last], 1).into()].into())]);
        let first = Snapshot::compile(Arc::clone(&named), at(1), None);
        for index in 0..2 {
            first.upstream(index).unwrap().1.pick(&Tried::default()).unwrap();
        }
        let cases = [
            ("the same", &named, at(1), [1, 1]),
            ("elsewhere", &named, at(2), [0, 1]),
            ("others", &config("\"127.0.0.1:3\""), at(1), [0, 1]),
        ];
        for (case, config, addresses, expected) in cases {
            let next = Snapshot::compile(Arc::clone(config), addresses, Some(&first));
            assert_eq!(turns(&next), expected, "{case}");
        }
    }
}
