//! What a running corsac says of itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Instant, SystemTime},
};

use serde::Serialize;

use super::reload::{Attempt, Reloader};
use crate::metrics::Metrics;

/// What the process knows of itself.
pub(super) struct State {
    pub(super) reloader: Arc<Reloader>,
    pub(super) metrics: Arc<Metrics>,
    started: Instant,
    stopping: AtomicBool,
}

/// `/status`. Documented in `docs/operations.md`; keys are only ever added.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    pid: u32,
    state: &'static str,
    uptime_seconds: u64,
    configuration: Configuration,
    connections: i64,
    requests_in_flight: i64,
    upstreams: Vec<UpstreamStatus>,
    refused_origins: Vec<RefusedOrigins>,
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
struct RefusedOrigins {
    route: String,
    origins: Vec<crate::refused::Entry>,
}

impl State {
    pub(super) fn new(reloader: Arc<Reloader>, metrics: Arc<Metrics>) -> Self {
        Self { reloader, metrics, started: Instant::now(), stopping: AtomicBool::new(false) }
    }

    /// From now on the process is not ready.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
