//! What a running corsac says of itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use serde::Serialize;

use crate::{
    certificate::Particulars,
    config::{Certificate, Config, Listener},
    metrics::Metrics,
    refused::RefusedOrigin,
    server::{
        reload::{Attempt, Reloader},
        systemd::Notifier,
        upgrade::{Draining, Elders, Upgrader},
    },
    snapshot::Snapshot,
};

/// What the process knows of itself.
pub(in crate::server) struct State {
    pub(in crate::server) reloader: Arc<Reloader>,
    pub(in crate::server) metrics: Metrics,
    pub(in crate::server) upgrader: Upgrader,
    pub(in crate::server) elders: Arc<Elders>,
    pub(in crate::server) notifier: Arc<Notifier>,
    started: Instant,
    stopping: AtomicBool,
}

/// `/status`. Documented in `docs/operations.md`; keys are only ever added.
#[derive(Serialize)]
pub(in crate::server) struct Status {
    version: &'static str,
    pid: u32,
    state: &'static str,
    uptime_seconds: u64,
    configuration: Configuration,
    connections: i64,
    requests_in_flight: i64,
    certificates: Vec<CertificateStatus>,
    upstreams: Vec<UpstreamStatus>,
    refused_origins: Vec<PolicyStatus>,
    /// Processes that were replaced by an upgrade and still drain.
    draining: Vec<Draining>,
}

#[derive(Serialize)]
struct Configuration {
    path: String,
    /// The hash of what was read last.
    wanted: String,
    /// The hash of what serves.
    running: String,
    /// How long ago the last attempt ended.
    age_seconds: u64,
    /// Why what was read last does not serve, if it does not.
    refused: Option<String>,
    routes: usize,
}

#[derive(Serialize)]
struct CertificateStatus {
    name: String,
    /// The servers that it is for.
    names: Vec<String>,
    /// What its key signs by.
    kind: &'static str,
    /// In seconds since 1970.
    not_before: i64,
    not_after: i64,
    /// SHA-256 of it, in hexadecimal digits.
    fingerprint: String,
    /// Those that show it.
    listeners: Vec<String>,
}

#[derive(Serialize)]
struct UpstreamStatus {
    name: String,
    nodes: Vec<NodeStatus>,
}

#[derive(Serialize)]
struct NodeStatus {
    address: String,
    weight: u32,
    /// What the address resolves to.
    endpoints: Vec<String>,
}

#[derive(Serialize)]
struct PolicyStatus {
    policy: String,
    /// The origins that were refused most; `docs/metrics.md` says how exactly.
    origins: Vec<RefusedOrigin>,
    /// Refusals that are in no count.
    skipped: u64,
}

impl PolicyStatus {
    fn has_refused(&self) -> bool {
        self.skipped > 0 || !self.origins.is_empty()
    }
}

impl State {
    pub(in crate::server) fn new(
        reloader: Arc<Reloader>,
        metrics: Metrics,
        upgrader: Upgrader,
        elders: Arc<Elders>,
        notifier: Arc<Notifier>,
    ) -> Self {
        let (started, stopping) = (Instant::now(), AtomicBool::new(false));
        Self { reloader, metrics, upgrader, elders, notifier, started, stopping }
    }

    /// From now on the process is not ready.
    pub(in crate::server) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// What is to be said now.
    pub(in crate::server) fn status(&self) -> Status {
        let snapshot = self.reloader.serving();
        let config = snapshot.config();
        let Attempt { at, hash, refused } = self.reloader.last();
        let policies = snapshot.policies().into_iter().map(|(policy, refused)| PolicyStatus {
            policy: policy.to_owned(),
            origins: refused.snapshot(),
            skipped: refused.skipped(),
        });
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            state: if self.is_stopping() { "stopping" } else { "serving" },
            uptime_seconds: self.started.elapsed().as_secs(),
            configuration: Configuration {
                path: self.reloader.path().display().to_string(),
                wanted: hash,
                running: config.hash(),
                age_seconds: at.elapsed().unwrap_or_default().as_secs(),
                refused: refused.map(|report| report.to_text(false)),
                routes: config.routes.len(),
            },
            connections: self.metrics.open_connections(),
            requests_in_flight: self.metrics.requests_in_flight(),
            certificates: certificates(config),
            upstreams: upstreams(&snapshot),
            refused_origins: policies.filter(PolicyStatus::has_refused).collect(),
            draining: self.elders.draining(),
        }
    }

    pub(in crate::server) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

fn certificates(config: &Config) -> Vec<CertificateStatus> {
    let of = |(index, certificate): (usize, &Certificate)| {
        let uses = |listener: &&Listener| {
            listener.tls.as_ref().is_some_and(|tls| tls.certificates.contains(&index))
        };
        let Particulars { names, addresses, not_before, not_after, fingerprint, kind, .. } =
            &certificate.pair.leaf;
        let addresses = addresses.iter().map(ToString::to_string);
        CertificateStatus {
            name: certificate.name.to_string(),
            names: names.iter().map(ToString::to_string).chain(addresses).collect(),
            kind: kind.as_str(),
            not_before: *not_before,
            not_after: *not_after,
            fingerprint: fingerprint.clone(),
            listeners: config.listeners.iter().filter(uses).map(|it| it.name.to_string()).collect(),
        }
    };
    config.certificates.iter().enumerate().map(of).collect()
}

fn upstreams(snapshot: &Snapshot) -> Vec<UpstreamStatus> {
    let upstreams = &snapshot.config().upstreams;
    let pools = (0..upstreams.len()).filter_map(|index| snapshot.upstream(index));
    pools
        .map(|(upstream, pool)| UpstreamStatus {
            name: upstream.name.to_string(),
            nodes: upstream
                .nodes
                .iter()
                .zip(pool.nodes())
                .map(|(node, resolved)| NodeStatus {
                    address: node.address.to_string(),
                    weight: resolved.weight,
                    endpoints: resolved.addresses.iter().map(ToString::to_string).collect(),
                })
                .collect(),
        })
        .collect()
}
