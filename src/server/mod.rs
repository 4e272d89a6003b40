//! The process: files, sockets, signals.
//!
//! Pingora's proxy serves the connections; its `Server` is not used. That one
//! cannot say whether its listeners are bound, sleeps through its grace period
//! however idle it is, and needs its own hand-over for sockets. What is here
//! instead is short: bind everything, or say why not; accept; on a signal stop
//! accepting, let what is in flight end, and go.

mod access_log;
mod connection;
mod echo;
mod files;
mod listener;
mod resolve;

use std::{
    fmt, io,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::Arc,
    thread::{JoinHandle, available_parallelism},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pingora_core::{apps::HttpServerApp, server::configuration::ServerConf};
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::timeout,
};

pub use echo::start_echo;
pub use files::{Disk, Memory};

use crate::{
    config::Config,
    metrics::Metrics,
    proxy::{CONNECT_ATTEMPTS_MAX, Proxy},
    snapshot::{Snapshot, SnapshotCell},
};
use listener::{BindError, Bound};

/// How long requests in flight may take after SIGTERM, and after SIGINT.
const DRAIN: Duration = Duration::from_secs(30);
const DRAIN_SHORT: Duration = Duration::from_secs(2);

/// Idle connections to upstreams that are kept, for each thread.
const UPSTREAM_IDLE_CONNECTIONS: usize = 1024;

/// Why the process could not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener could not be bound.
    Bind(String),
    /// The access log could not be opened.
    AccessLog(io::Error),
    /// The operating system refused a thread, a signal or the like.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(text) => f.write_str(text),
            Self::AccessLog(error) => write!(f, "access_log.output cannot be opened: {error}"),
            Self::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<BindError> for StartError {
    fn from(error: BindError) -> Self {
        Self::Bind(error.to_string())
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// A process that serves.
pub struct Server {
    runtime: Runtime,
    signals: Signals,
    app: Arc<HttpProxy<Proxy>>,
    metrics: Metrics,
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    /// Ends when the last connection has: each holds a sender.
    last_closed: mpsc::Receiver<()>,
    writer: Option<JoinHandle<()>>,
}

/// Starts to serve: every listener of the configuration accepts when this returns.
///
/// # Errors
/// Nothing is served: a listener is not to be had, or the system refuses.
pub fn start(config: Config) -> Result<Server, StartError> {
    let config = Arc::new(config);
    let threads = threads(&config);
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("corsac")
        .enable_all()
        .build()?;
    let context = runtime.enter();
    // Before anything is bound, so that no signal finds its default action.
    let signals = Signals::new()?;
    let listeners = bind(&config)?;
    let metrics = Metrics::new();
    let writer = access_log::start(&config.access_log.output, metrics.access_log_dropped())
        .map_err(StartError::AccessLog)?;
    let (access_log, writer) = writer.unzip();
    let addresses = runtime.block_on(resolve::resolve(&config));
    let hash = config.hash();
    let snapshot = Snapshot::compile(config, addresses, None);
    let snapshots = Arc::new(SnapshotCell::new(snapshot, metrics.clone()));
    runtime.spawn(resolve::refresh(Arc::clone(&snapshots)));
    let settings = Arc::new(ServerConf {
        threads,
        max_retries: CONNECT_ATTEMPTS_MAX,
        upstream_keepalive_pool_size: UPSTREAM_IDLE_CONNECTIONS,
        ..ServerConf::default()
    });
    let app = Arc::new(http_proxy(&settings, Proxy::new(snapshots, metrics.clone(), access_log)));
    let (stop, stopped) = watch::channel(false);
    let (open, last_closed) = mpsc::channel(1);
    let mut addresses = Vec::with_capacity(listeners.len());
    for listener in listeners {
        log::info!("listening on {} (listeners.{})", listener.address, listener.name);
        addresses.push(listener.address);
        let connections = metrics.connections(&listener.name);
        runtime.spawn(listener.serve(Arc::clone(&app), stopped.clone(), open.clone(), connections));
    }
    drop(context);
    // A clock before 1970 is wrong in a way that does not matter here.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics.config_applied(&hash, now.as_secs());
    log::info!("ready");
    Ok(Server { runtime, signals, app, metrics, addresses, stop, last_closed, writer })
}

impl Server {
    /// The addresses that are listened on. No port is 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves until a signal: SIGTERM lets requests in flight take 30 s, SIGINT
    /// 2 s; either ends as soon as the last one has. A second signal ends it at once.
    pub fn run(mut self) {
        let drain = self.runtime.block_on(self.signals.recv());
        log::info!("stopping: requests in flight have {} s", drain.as_secs());
        self.drain(drain);
    }

    /// Stops, once requests in flight have ended, or after 2 s.
    pub fn stop(self) {
        self.drain(DRAIN_SHORT);
    }

    fn drain(mut self, limit: Duration) {
        // Fails if every listener has ended by itself, which comes to the same.
        let _ = self.stop.send(true);
        self.runtime.block_on(async {
            self.app.http_cleanup().await;
            tokio::select! {
                ended = timeout(limit, self.last_closed.recv()) => if ended.is_err() {
                    log::warn!("stopped with requests in flight");
                },
                _ = self.signals.recv() => log::warn!("stopped at once, by a second signal"),
            }
        });
        // What is left goes with the runtime, and with it the last ends of the
        // access log's queue, which lets its writer finish.
        drop(self.app);
        self.runtime.shutdown_timeout(Duration::from_millis(100));
        if let Some(writer) = self.writer {
            // It cannot panic; if it did, there is nothing left to write.
            let _ = writer.join();
        }
    }
}

/// How many threads serve: as many as are configured, else as there are cores.
fn threads(config: &Config) -> usize {
    let threads = config.server.threads.or_else(|| available_parallelism().ok());
    threads.map_or(1, NonZeroUsize::get)
}

fn bind(config: &Config) -> Result<Vec<Bound>, BindError> {
    config
        .listeners
        .iter()
        .flat_map(|listener| {
            listener.addresses.iter().map(|&address| Bound::new(&listener.name, address))
        })
        .collect()
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for a signal; how long requests in flight may take after it.
    async fn recv(&mut self) -> Duration {
        tokio::select! {
            _ = self.terminate.recv() => DRAIN,
            _ = self.interrupt.recv() => DRAIN_SHORT,
        }
    }
}
