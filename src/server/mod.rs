//! The process: files, sockets, signals.
//!
//! Pingora's proxy serves the connections; its `Server` is not used. That one
//! cannot say whether its listeners are bound, sleeps through its grace period
//! however idle it is, and needs its own hand-over for sockets. What is here
//! instead is short: bind everything, or say why not; accept; on a signal stop
//! accepting, let what is in flight end, and go.

mod accept;
mod access_log;
mod admin;
mod aside;
mod echo;
mod process;
mod reload;
mod stop;
mod supply;
mod systemd;
mod upgrade;
mod upstreams;

use std::{
    fmt, io,
    net::SocketAddr,
    num::NonZeroUsize,
    os::fd::{OwnedFd, RawFd},
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use pingora::time::fast_timeout::set_fast_timeout_to_tokio_threshold;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout},
};

pub use admin::LiveRequest;
pub use echo::start_echo;
pub use reload::Source;
pub use stop::SuccessorEnded;
pub use supply::files::{Disk, Memory};
pub use upgrade::{Takeover, UpgradeRequest, launch};

use crate::{
    config::Config,
    metrics::Metrics,
    proxy::{ATTEMPTS_MAX, Closing, Proxy, SelfCheck},
    snapshot::{Addresses, Snapshot, SnapshotCell},
};
use accept::{
    connection::Connection,
    connections::Connections,
    gate::Gate,
    listener::{BindError, Bound},
    reserve, self_check,
    sockets::{Given, Shared},
    workers::Workers,
};
use admin::status::State;
use reload::Reloader;
use stop::{DRAIN_SHORT, Signals};
use supply::watcher;
use upgrade::{Elders, HandedOver, Predecessor, Received, Upgrader, Withdrawn};
use upstreams::resolve;

/// How long a listener may take to answer the process itself at its start.
const PROOF: Duration = Duration::from_secs(30);

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
    /// A listener accepts, and does not answer.
    Mute(String),
    /// The process that was to be replaced serves on.
    Withdrawn,
    /// The operating system refused a thread, a signal or the like.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(text) => f.write_str(text),
            Self::AccessLog(error) => write!(f, "access_log.output cannot be opened: {error}"),
            Self::Mute(reason) => write!(f, "a listener does not answer: {reason}"),
            Self::Withdrawn => f.write_str("the process that was to be replaced serves on"),
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

/// Where the sockets come from that are there already.
#[derive(Debug)]
pub enum Inherited {
    /// There are none.
    Nothing,
    /// From systemd, where it passes any. The process must not have a second thread
    /// yet, since they are taken out of the environment.
    FromSystemd,
    /// From the process that this one replaces.
    FromPredecessor(Takeover),
}

/// A process that serves.
pub struct Server {
    /// For all but requests: signals, reloads, the watcher, the upgrade.
    runtime: Runtime,
    workers: Workers<HttpProxy<Proxy>>,
    signals: Signals,
    state: Arc<State>,
    self_check: SelfCheck,
    proxy: Proxy,
    reserved_from: RawFd,
    addresses: Vec<SocketAddr>,
    connections: Arc<Connections>,
    accepting: JoinSet<io::Result<()>>,
    closing: Closing,
    /// True: no connection is accepted any more.
    stop: watch::Sender<bool>,
    /// The same for the admin listener, which serves through a stop.
    stop_admin: watch::Sender<bool>,
    replaced: mpsc::Receiver<HandedOver>,
    /// Disconnects when whoever asked on the admin socket has an answer.
    answered: mpsc::Receiver<()>,
    writer: Option<access_log::Writer>,
}

/// Starts to serve: when this returns, it was seen that every listener of the
/// configuration answers. `source` is where the configuration came from, to be read
/// again.
///
/// # Errors
/// Nothing is served: a listener is not to be had, or the system refuses.
pub fn start(config: Config, source: Source, inherited: &Inherited) -> Result<Server, StartError> {
    // While there is but one thread.
    let by_systemd = if matches!(inherited, Inherited::FromSystemd) {
        Given::by_systemd()
    } else {
        Given::default()
    };
    // The runtime's timers: Pingora's own take longer to set, and a thread that wakes up a
    // hundred times a second. It takes those still for what is under a second.
    set_fast_timeout_to_tokio_threshold(Some(Duration::ZERO));
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()?;
    let _context = runtime.handle().clone().enter();
    // Before anything is bound, so that no signal finds its default action.
    let signals = Signals::new()?;
    let (predecessor, received) = match inherited {
        Inherited::FromPredecessor(takeover) => {
            let (predecessor, received) = runtime.block_on(Predecessor::receive(takeover))?;
            (Some(predecessor), received)
        }
        Inherited::FromSystemd | Inherited::Nothing => (None, Received::nothing_but(by_systemd)),
    };
    let Received { mut sockets, self_check, carried, elders } = received;
    let listeners = bind(&config, &mut sockets)?;
    let admin = admin::Listeners::bind(&config.admin, &mut sockets)?;
    if predecessor.is_some() {
        runtime.block_on(upgrade::pause_at("new:bound"));
    }
    let shared = listeners.iter().map(Bound::shared).chain(admin.shared()).collect();
    let mut server = Server::new(runtime, signals, config, source, shared, self_check)?;
    carried.apply(&server.state.reloader.serving(), &server.state.metrics);
    server.accept(listeners)?;
    server.prove()?;
    server.go_live(admin, predecessor, elders, sockets)?;
    Ok(server)
}

impl Server {
    /// Everything but what listens.
    fn new(
        runtime: Runtime,
        signals: Signals,
        config: Config,
        source: Source,
        sockets: Vec<Shared>,
        self_check: SelfCheck,
    ) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let rotated = signal(SignalKind::user_defined1())?;
        let connections = Arc::<Connections>::default();
        runtime.spawn(Arc::clone(&connections).sweep());
        let metrics = Metrics::new();
        let writer = access_log::start(&config.access_log, metrics.access_log_dropped())
            .map_err(StartError::AccessLog)?;
        let (access_log, writer) = writer.unzip();
        runtime.spawn(access_log::reopen_when(rotated, access_log.clone()));
        let addresses = runtime.block_on(resolve::resolve(&config, &Addresses::new()));
        let (settings, threads) = (settings(), threads(&config));
        let snapshot = Snapshot::compile(config, addresses, None);
        let snapshots = Arc::new(SnapshotCell::new(snapshot, metrics.clone()));
        let reloader = Arc::new(Reloader::new(source, Arc::clone(&snapshots), metrics.clone()));
        let reserved_from = reserve::from();
        let proxy = Proxy::new(
            &snapshots,
            metrics.clone(),
            access_log,
            self_check.clone(),
            Connection::wire_of,
            reserved_from,
        );
        let elders = Arc::new(Elders::new(Arc::clone(&reloader), metrics.clone()));
        let stop_admin = watch::Sender::new(false);
        let (upgrader, replaced) = Upgrader::new(
            Arc::clone(&reloader),
            metrics.clone(),
            sockets,
            self_check.clone(),
            Arc::clone(&elders),
            stop_admin.clone(),
        );
        Ok(Self {
            runtime,
            signals,
            state: Arc::new(State::new(reloader, metrics, upgrader, elders)),
            closing: proxy.closing(),
            workers: Workers::start((0..threads).map(|_| http_proxy(&settings, proxy.clone())))?,
            self_check,
            proxy: proxy.clone(),
            reserved_from,
            addresses: Vec::new(),
            connections,
            accepting: JoinSet::new(),
            stop: watch::Sender::new(false),
            stop_admin,
            replaced,
            answered: mpsc::channel(1).1,
            writer,
        })
    }

    /// Accepts from now on.
    fn accept(&mut self, listeners: Vec<Bound>) -> io::Result<()> {
        for listener in listeners {
            log::info!("listening on {} ({})", listener.address, listener.name);
            self.addresses.push(listener.address);
            let gate = self.gate(listener.short_name());
            for (runtime, seat) in self.workers.seats() {
                let stop = self.stop.subscribe();
                let serving = listener.try_clone()?.serve(seat, stop, Arc::clone(&gate));
                self.accepting.spawn_on(serving, runtime);
            }
        }
        Ok(())
    }

    fn gate(&self, listener: &str) -> Arc<Gate> {
        let (reloader, name) = (Arc::clone(&self.state.reloader), listener.to_owned());
        let limits = Box::new(move || {
            let serving = reloader.serving();
            let config = serving.config();
            let listener = config.listeners.iter().find(|listener| *listener.name == *name);
            // No reload takes a listener away.
            Arc::clone(listener.map_or(&config.limits.clients, |listener| &listener.limits))
        });
        let (connections, metrics) = (&self.connections, &self.state.metrics);
        let refuser = self.proxy.refuser(listener);
        Gate::new(listener, limits, connections, metrics, refuser, self.reserved_from)
    }

    /// Sees that every listener answers. Clients may have come in meanwhile; if this
    /// fails, they are served before the process ends.
    fn prove(&self) -> Result<(), StartError> {
        self.runtime.block_on(async {
            let deadline = Instant::now() + PROOF;
            let proof = self_check::answers_on(&self.addresses, &self.self_check, deadline).await;
            if let Err(reason) = proof {
                self.stop.send_replace(true);
                // Too long: there was a chance.
                let _ = timeout(DRAIN_SHORT, self.connections.none_left()).await;
                return Err(StartError::Mute(reason));
            }
            Ok(())
        })
    }

    /// Takes the service over from the process that had it, if one had, and tells
    /// the service manager.
    fn go_live(
        &mut self,
        admin: admin::Listeners,
        predecessor: Option<Predecessor>,
        elders: Vec<OwnedFd>,
        unused: Given,
    ) -> Result<(), StartError> {
        let state = Arc::clone(&self.state);
        if let Some(predecessor) = &predecessor {
            let replaced = self.runtime.block_on(predecessor.replace());
            replaced.map_err(|Withdrawn| StartError::Withdrawn)?;
        }
        unused.close();
        self.answered = admin.serve(&state, self.stop_admin.subscribe())?;
        if let Some(watcher) = watcher::start(&state.reloader) {
            let stop = self.stop.subscribe();
            self.runtime.spawn(watcher.run(Arc::clone(&state.reloader), stop));
        }
        self.runtime.spawn(reload::refresh_addresses(Arc::clone(&state.reloader)));
        match predecessor {
            None => systemd::ready(),
            Some(predecessor) => {
                systemd::took_over();
                self.runtime.block_on(predecessor.took_over(&state.elders, elders));
            }
        }
        let watchdog = systemd::watchdog(self.addresses.clone(), self.self_check.clone());
        self.runtime.spawn(watchdog);
        log::info!("ready");
        Ok(())
    }

    /// The addresses that are listened on. No port is 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// Of one worker's proxy.
fn settings() -> Arc<ServerConf> {
    Arc::new(ServerConf {
        threads: 1,
        max_retries: ATTEMPTS_MAX,
        upstream_keepalive_pool_size: UPSTREAM_IDLE_CONNECTIONS,
        ..ServerConf::default()
    })
}

/// How many threads serve: as many as are configured, else as there are cores.
fn threads(config: &Config) -> usize {
    let threads = config.server.threads.or_else(|| available_parallelism().ok());
    threads.map_or(1, NonZeroUsize::get)
}

fn bind(config: &Config, given: &mut Given) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for listener in &config.listeners {
        let name = format!("listeners.{}", listener.name);
        bound.extend(Bound::all(&name, &listener.addresses, given)?);
    }
    Ok(bound)
}
