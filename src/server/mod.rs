//! The process: files, sockets, signals.
//!
//! Pingora's proxy serves the connections; its `Server` is not used. That one
//! cannot say whether its listeners are bound, sleeps through its grace period
//! however idle it is, and needs its own hand-over for sockets. What is here
//! instead is short: bind everything, or say why not; accept; on a signal stop
//! accepting, let what is in flight end, and go.

mod access_log;
mod admin;
mod aside;
mod connection;
mod echo;
mod files;
mod listener;
mod process;
mod reload;
mod resolve;
mod status;
mod systemd;
mod watcher;

use std::{
    fmt, io, net::SocketAddr, num::NonZeroUsize, sync::Arc, thread::available_parallelism,
    time::Duration,
};

use pingora_core::{apps::HttpServerApp, server::configuration::ServerConf};
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::timeout,
};

pub use admin::LiveRequest;
pub use echo::start_echo;
pub use files::{Disk, Memory};
pub use reload::Source;

use crate::{
    config::Config,
    metrics::Metrics,
    proxy::{CONNECT_ATTEMPTS_MAX, Proxy},
    snapshot::{Snapshot, SnapshotCell},
};
use listener::{BindError, Bound};
use reload::{Reloader, Trigger};
use status::State;

/// How long requests in flight may take after SIGTERM, and after SIGINT.
const DRAIN: Duration = Duration::from_secs(30);
const DRAIN_SHORT: Duration = Duration::from_secs(2);

/// How often the same trouble is spoken of at the most: an attack must not fill the log.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

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
    state: Arc<State>,
    app: Arc<HttpProxy<Proxy>>,
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    /// Ends when the last connection has: each holds a sender.
    last_closed: mpsc::Receiver<()>,
    writer: Option<access_log::Writer>,
}

/// Starts to serve: every listener of the configuration accepts when this returns.
/// `source` is where the configuration came from, to be read again.
///
/// # Errors
/// Nothing is served: a listener is not to be had, or the system refuses.
pub fn start(config: Config, source: Source) -> Result<Server, StartError> {
    let config = Arc::new(config);
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads(&config))
        .thread_name("corsac")
        .enable_all()
        .build()?;
    let context = runtime.enter();
    // Before anything is bound, so that no signal finds its default action.
    let signals = Signals::new()?;
    let rotated = signal(SignalKind::user_defined1())?;
    let listeners = bind(&config)?;
    let admin = admin::Listeners::bind(&config.admin)?;
    let metrics = Metrics::new();
    let writer = access_log::start(&config.access_log, metrics.access_log_dropped())
        .map_err(StartError::AccessLog)?;
    let (access_log, writer) = writer.unzip();
    runtime.spawn(access_log::reopen_when(rotated, access_log.clone()));
    let addresses = runtime.block_on(resolve::resolve(&config));
    let settings = settings(&config);
    let snapshot = Snapshot::compile(config, addresses, None);
    let snapshots = Arc::new(SnapshotCell::new(snapshot, metrics.clone()));
    let reloader = Arc::new(Reloader::new(source, Arc::clone(&snapshots), metrics.clone()));
    let app = Arc::new(http_proxy(&settings, Proxy::new(snapshots, metrics.clone(), access_log)));
    let state = Arc::new(State::new(reloader, metrics.clone()));
    let (stop, stopped) = watch::channel(false);
    let (open, last_closed) = mpsc::channel(1);
    let mut addresses = Vec::with_capacity(listeners.len());
    for listener in listeners {
        log::info!("listening on {} ({})", listener.address, listener.name);
        addresses.push(listener.address);
        let name = listener.name.strip_prefix("listeners.").unwrap_or(&listener.name);
        let connections = metrics.connections(name);
        runtime.spawn(listener.serve(Arc::clone(&app), stopped.clone(), open.clone(), connections));
    }
    admin.serve(&state)?;
    if let Some(watcher) = watcher::start(&state.reloader) {
        runtime.spawn(watcher.run(Arc::clone(&state.reloader)));
    }
    runtime.spawn(reload::refresh_addresses(Arc::clone(&state.reloader)));
    drop(context);
    systemd::ready();
    log::info!("ready");
    Ok(Server { runtime, signals, state, app, addresses, stop, last_closed, writer })
}

impl Server {
    /// The addresses that are listened on. No port is 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until a signal: SIGTERM lets requests in flight take 30 s, SIGINT
    /// 2 s; either ends as soon as the last one has. A second signal ends it at once.
    /// SIGHUP reads the configuration again, SIGUSR1 opens the access log again.
    pub fn run(mut self) {
        let drain = self.runtime.block_on(self.signals.stop(&self.state));
        log::info!("stopping: requests in flight have {} s", drain.as_secs());
        self.drain(drain);
    }

    /// Stops, once requests in flight have ended, or after 2 s.
    pub fn stop(self) {
        self.drain(DRAIN_SHORT);
    }

    fn drain(mut self, limit: Duration) {
        systemd::stopping();
        self.state.stop();
        // Fails if every listener has ended by itself, which comes to the same.
        let _ = self.stop.send(true);
        self.runtime.block_on(async {
            self.app.http_cleanup().await;
            tokio::select! {
                ended = timeout(limit, self.last_closed.recv()) => if ended.is_err() {
                    log::warn!("stopped with requests in flight");
                },
                _ = self.signals.stop(&self.state) => {
                    log::warn!("stopped at once, by a second signal");
                }
            }
        });
        // What is left goes with the runtime, and with it the last ends of the
        // access log's queue, which lets its writer finish.
        drop(self.app);
        self.runtime.shutdown_timeout(Duration::from_millis(100));
        if let Some(writer) = self.writer {
            writer.finish();
        }
    }
}

fn settings(config: &Config) -> Arc<ServerConf> {
    Arc::new(ServerConf {
        threads: threads(config),
        max_retries: CONNECT_ATTEMPTS_MAX,
        upstream_keepalive_pool_size: UPSTREAM_IDLE_CONNECTIONS,
        ..ServerConf::default()
    })
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
            listener
                .addresses
                .iter()
                .map(|&address| Bound::new(&format!("listeners.{}", listener.name), address))
        })
        .collect()
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that ends the process, and does what others ask for
    /// meanwhile. Returns how long requests in flight may take.
    async fn stop(&mut self, state: &State) -> Duration {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return DRAIN,
                _ = self.interrupt.recv() => return DRAIN_SHORT,
                _ = self.hangup.recv() => {
                    let reloader = Arc::clone(&state.reloader);
                    // What is wrong is logged where it is found.
                    tokio::spawn(async move { reloader.reload(Trigger::Signal).await });
                }
            }
        }
    }
}
