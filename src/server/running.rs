//! A process that serves: how it comes to be.

use std::{
    fmt, io,
    net::SocketAddr,
    num::NonZeroUsize,
    os::fd::{OwnedFd, RawFd},
    pin::pin,
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use super::{
    accept::{
        connection::Connection,
        connections::Connections,
        gate::{Gate, Terms},
        listener::{BindError, Bound},
        reserve, self_check,
        sockets::{Given, Shared},
        workers::Workers,
    },
    access_log,
    admin::{self, status::State},
    intake::Intake,
    process_log::ProcessLog,
    reload::{self, Reloader, Supply},
    signals::Signals,
    supply::watcher,
    systemd::{Notifier, watchdog},
    upgrade::{
        Elders, HandOverStep, HandedOver, Predecessor, Secrets, Upgrader, pause_at, steps::new,
    },
    upstreams::resolve::Resolver,
};
use crate::{
    config::Config,
    metrics::Metrics,
    proxy::{ATTEMPTS_MAX, Closing, Proxy, SelfCheck},
    snapshot::{Addresses, Snapshot, SnapshotCell},
};

/// How long a listener may take to answer the process itself at its start.
const PROOF: Duration = Duration::from_secs(30);

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
    /// The process was told to stop before it had taken over.
    Stopped,
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
            Self::Stopped => f.write_str("it was told to stop before it had taken over"),
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
pub struct RunningServer {
    /// For everything except requests: signals, reloads, the watcher, the upgrade.
    pub(super) runtime: Runtime,
    pub(super) workers: Workers<HttpProxy<Proxy>>,
    pub(super) signals: Signals,
    pub(super) state: Arc<State>,
    self_check: SelfCheck,
    pub(super) proxy: Proxy,
    reserved_from: RawFd,
    addresses: Vec<SocketAddr>,
    /// The same, as the process asks itself whether it answers there.
    pub(super) gates: Vec<self_check::Entrance>,
    pub(super) connections: Arc<Connections>,
    pub(super) accepting: JoinSet<io::Result<()>>,
    pub(super) closing: Closing,
    /// True: no connection is accepted any more.
    pub(super) stop: watch::Sender<bool>,
    /// The admin listener's: it accepts during a stop, too.
    admin_intake: Arc<Intake>,
    pub(super) replaced: mpsc::Receiver<HandedOver>,
    /// Disconnects when the last command on the admin socket has its answer.
    pub(super) answered: mpsc::Receiver<()>,
    pub(super) writer: Option<access_log::Writer>,
    pub(super) log: ProcessLog,
}

impl RunningServer {
    /// Everything except what listens.
    pub(super) fn new(
        runtime: Runtime,
        signals: Signals,
        config: Config,
        supply: Supply,
        sockets: Vec<Shared>,
        secrets: Secrets,
        log: ProcessLog,
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
        let resolver = Resolver::new();
        let addresses = runtime.block_on(resolver.resolve(&config, &Addresses::new()));
        let (settings, threads) = (settings(), threads(&config));
        let Secrets { self_check, tickets } = secrets.clone();
        let snapshot = Snapshot::first(config, addresses, tickets);
        let snapshots = Arc::new(SnapshotCell::new(snapshot, metrics.clone()));
        let notifier = Arc::new(Notifier::new());
        let reloader = Reloader::new(
            supply,
            Arc::clone(&snapshots),
            metrics.clone(),
            Arc::clone(&notifier),
            resolver,
        );
        let reloader = Arc::new(reloader);
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
        let admin_intake = Arc::new(Intake::new());
        let (upgrader, replaced) = Upgrader::new(
            Arc::clone(&reloader),
            metrics.clone(),
            sockets,
            secrets,
            Arc::clone(&elders),
            Arc::clone(&admin_intake),
            Arc::clone(&notifier),
        );
        let workers = (0..threads).map(|_| http_proxy(&settings, proxy.clone()));
        let workers = Workers::start(workers)?;
        // From here on there are threads that must not wait for stderr, and nothing fails.
        log.start(metrics.log_dropped())?;
        Ok(Self {
            runtime,
            signals,
            state: Arc::new(State::new(reloader, metrics, upgrader, elders, notifier)),
            closing: proxy.closing(),
            workers,
            self_check,
            proxy: proxy.clone(),
            reserved_from,
            addresses: Vec::new(),
            gates: Vec::new(),
            connections,
            accepting: JoinSet::new(),
            stop: watch::Sender::new(false),
            admin_intake,
            replaced,
            answered: mpsc::channel(1).1,
            writer,
            log,
        })
    }

    /// Accepts from now on.
    pub(super) fn accept(&mut self, listeners: Vec<Bound>) -> io::Result<()> {
        for listener in listeners {
            log::info!("listening on {} ({})", listener.address, listener.name);
            self.addresses.push(listener.address);
            let gate = self.gate(listener.short_name());
            self.gates.push((listener.address, Arc::clone(&gate)));
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
        let terms = Box::new(move || {
            let serving = reloader.serving();
            let listeners = &serving.config().listeners;
            // No reload takes a listener away.
            let mut listeners = listeners.iter().enumerate();
            let (index, listener) = listeners.find(|(_, listener)| *listener.name == *name)?;
            let tls = serving.tls(index).cloned();
            // What was to be TLS is never spoken in the clear.
            (listener.tls.is_some() == tls.is_some()).then(|| Terms {
                limits: Arc::clone(&listener.limits),
                proxies: listener.proxy_protocol.clone(),
                hops: listener.trust_forwarded.clone(),
                tls,
                h2: listener.h2,
            })
        });
        let (connections, metrics) = (&self.connections, &self.state.metrics);
        let refuser = self.proxy.refuser(listener);
        let (reserved_from, self_check) = (self.reserved_from, self.self_check.clone());
        Gate::new(listener, terms, connections, metrics, refuser, reserved_from, self_check)
    }

    /// Takes the service over from the process that had it, if one had, and begins the
    /// tasks that only a process that serves has.
    pub(super) fn go_live(
        &mut self,
        admin: admin::Listeners,
        predecessor: Option<Predecessor>,
        elders: Vec<OwnedFd>,
        unused: Given,
    ) -> Result<(), StartError> {
        let runtime = self.runtime.handle().clone();
        runtime.block_on(self.take_over(admin, predecessor.as_ref()))?;
        if let Some(predecessor) = predecessor {
            predecessor.watched_by(&self.state.elders, elders);
        }
        unused.close();
        if let Some(watcher) = watcher::start(&self.state.reloader) {
            let stop = self.stop.subscribe();
            runtime.spawn(watcher.run(Arc::clone(&self.state.reloader), stop));
        }
        runtime.spawn(reload::refresh_addresses(Arc::clone(&self.state.reloader)));
        let notifier = Arc::clone(&self.state.notifier);
        runtime.spawn(watchdog(notifier, self.gates.clone(), self.self_check.clone()));
        log::info!("ready");
        Ok(())
    }

    /// Sees that every listener answers, and takes over: drives [`new::State`].
    async fn take_over(
        &mut self,
        admin: admin::Listeners,
        predecessor: Option<&Predecessor>,
    ) -> Result<(), StartError> {
        let mut admin = Some(admin);
        let mut proof = pin!(async {
            let deadline = Instant::now() + PROOF;
            self_check::answers_on(&self.gates, &self.self_check, deadline).await?;
            if predecessor.is_some() {
                pause_at(HandOverStep::Answering).await;
            }
            Ok(())
        });
        let is_alone = predecessor.is_none_or(Predecessor::has_ended);
        let mut state = new::State::Proving { alone: is_alone };
        let mut why = StartError::Withdrawn;
        loop {
            let event = tokio::select! {
                biased;
                event = heard_from(predecessor), if state.listens() => event,
                _ = self.signals.stop_alone(), if predecessor.is_some() => {
                    why = StartError::Stopped;
                    new::Event::Stop
                }
                proof = &mut proof, if state.proves() => match proof {
                    Ok(()) => new::Event::Proved,
                    Err(reason) => {
                        why = StartError::Mute(reason);
                        new::Event::Mute
                    }
                },
            };
            let acts;
            (state, acts) = state.on(event);
            for act in acts {
                match (act, predecessor) {
                    (new::Act::ServeAdmin, _) => {
                        if let Some(admin) = admin.take() {
                            self.answered = admin.serve(&self.state, &self.admin_intake)?;
                        }
                    }
                    (new::Act::BeMain, None) => self.state.notifier.ready(),
                    (new::Act::BeMain, Some(_)) => {
                        self.state.notifier.took_over();
                        pause_at(HandOverStep::Replacing).await;
                    }
                    (new::Act::SayServing, Some(old)) => old.say_serving().await,
                    (new::Act::SayTookOver, Some(old)) => old.say_took_over().await,
                    (new::Act::SayFailed, Some(old)) => old.say_failed(&why).await,
                    (_, None) => {}
                }
            }
            match state {
                new::State::Serving => return Ok(()),
                new::State::Withdrawn => return Err(why),
                new::State::Proving { .. } | new::State::Offered => {}
            }
        }
    }

    /// The addresses that are listened on. No port is 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// What the process to be replaced says next, if there is one.
async fn heard_from(predecessor: Option<&Predecessor>) -> new::Event {
    match predecessor {
        Some(predecessor) => predecessor.hear().await,
        None => std::future::pending().await,
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
