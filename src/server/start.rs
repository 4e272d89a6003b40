//! The start of a process: it binds everything, or says why not; then it accepts, and
//! serves once it has seen itself answer.

use std::time::Duration;

use pingora::time::fast_timeout::set_fast_timeout_to_tokio_threshold;
use rustix::thread::disable_transparent_huge_pages;
use tokio::runtime::Builder;

use super::{
    accept::{
        listener::{BindError, Bound},
        sockets::Given,
    },
    admin,
    process_log::ProcessLog,
    reload::Supply,
    running::{RunningServer, StartError},
    signals::Signals,
    upgrade::{HandOverStep, Predecessor, Received, Takeover, pause_at},
};
use crate::config::Config;

/// Where sockets that exist already come from.
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

/// Starts to serve: when this returns, every listener of the configuration has answered.
/// `supply` is where the configuration came from, to be read again; `log` is where the
/// lines of the `log` facade go.
///
/// # Errors
/// Nothing is served: a listener cannot be bound, or the system refuses.
pub fn start(
    config: Config,
    supply: Supply,
    inherited: &Inherited,
    log: ProcessLog,
) -> Result<RunningServer, StartError> {
    // While there is only one thread.
    let by_systemd = if matches!(inherited, Inherited::FromSystemd) {
        Given::by_systemd()
    } else {
        Given::default()
    };
    // Of a buffer of 64 KiB, what is used is to take memory, and not all. Where this cannot
    // be had, nothing else is lost.
    let _ = disable_transparent_huge_pages(true);
    // The runtime's timers: Pingora's own take longer to set, and a thread that wakes up a
    // hundred times a second. Pingora still takes its own for what is under a second.
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
    let Received { mut sockets, secrets, carried, elders } = received;
    let listeners = bind(&config, &mut sockets)?;
    let admin = admin::Listeners::bind(&config.admin, &mut sockets)?;
    if predecessor.is_some() {
        runtime.block_on(pause_at(HandOverStep::Bound));
    }
    let shared = listeners.iter().map(Bound::shared).chain(admin.shared()).collect();
    let mut server = RunningServer::new(runtime, signals, config, supply, shared, secrets, log)?;
    carried.apply(&server.state.reloader.serving(), &server.state.metrics);
    // Clients may come from here on; they are served before the process ends.
    let live = server
        .accept(listeners)
        .map_err(StartError::from)
        .and_then(|()| server.go_live(admin, predecessor, elders, sockets));
    match live {
        Ok(()) => Ok(server),
        Err(error) => {
            server.withdraw();
            Err(error)
        }
    }
}

fn bind(config: &Config, given: &mut Given) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for listener in &config.listeners {
        let name = format!("listeners.{}", listener.name);
        bound.extend(Bound::all(&name, &listener.addresses, given)?);
    }
    Ok(bound)
}
