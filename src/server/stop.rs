//! The end of a process: nothing in flight is cut before its time, and nobody waits
//! for what is over.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, interval, sleep_until, timeout},
};

use super::{
    Server,
    admin::status::State,
    reload::Trigger,
    systemd,
    upgrade::{Draining, HandedOver, Successor},
};

/// How long what is in flight may take after SIGINT.
pub(super) const DRAIN_SHORT: Duration = Duration::from_secs(2);

/// How long a connection may wait for its next request while the process drains. Its
/// answer then says `Connection: close`, so that clients which are busy never see a
/// connection end that they are about to use.
const IDLE: Duration = Duration::from_millis(500);

/// How long a client may take to send a head whose first bytes are there.
const HEAD: Duration = Duration::from_secs(1);

/// How long whoever asked for the upgrade may take to read how it went.
const ANSWER: Duration = Duration::from_secs(1);

/// How often a process that was replaced says what it still has to do.
const REPORT: Duration = Duration::from_millis(500);

/// Connections that such a report names.
const CLIENTS_SHOWN: usize = 20;

/// What makes a process end.
enum End {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// Another process serves.
    Replaced(Box<HandedOver>),
}

impl Server {
    /// Serves until a signal, or until another process serves instead. SIGTERM: it is
    /// not ready for `limits.lame_duck`, then what is in flight has `limits.drain`.
    /// SIGINT: what is in flight has 2 s. It ends as soon as the last connection has;
    /// a second signal ends it at once. SIGHUP reads the configuration again, SIGUSR1
    /// opens the access log again.
    ///
    /// # Errors
    /// The process that was to serve instead has ended; there is nobody else.
    pub fn run(mut self) -> Result<(), SuccessorEnded> {
        let runtime = self.runtime.handle().clone();
        let end = runtime.block_on(async {
            tokio::select! {
                end = self.signals.end(&self.state) => end,
                Some(handed_over) = self.replaced.recv() => End::Replaced(Box::new(handed_over)),
            }
        });
        self.end(end)
    }

    /// Stops, once requests in flight have ended, or after 2 s.
    pub fn stop(self) {
        // No other process serves instead, so none can have ended.
        let _ = self.end(End::Interrupt);
    }

    fn end(mut self, end: End) -> Result<(), SuccessorEnded> {
        let runtime = self.runtime.handle().clone();
        let ended = runtime.block_on(self.wind_up(end));
        // What is left goes with the threads, and with it the last ends of the access
        // log's queue, which lets its writer finish.
        self.workers.end();
        self.runtime.shutdown_timeout(Duration::from_millis(100));
        if let Some(writer) = self.writer {
            writer.finish();
        }
        ended
    }

    async fn wind_up(&mut self, end: End) -> Result<(), SuccessorEnded> {
        let limits = self.state.reloader.serving().config().limits.clone();
        match end {
            End::Replaced(handed_over) => {
                let HandedOver { to, accepting } = *handed_over;
                self.stop_accepting().await;
                drop(accepting);
                let ended = self.drain(limits.drain, Some(Box::new(to))).await;
                // Too long: whoever asked does not read.
                let _ = timeout(ANSWER, self.answered.recv()).await;
                ended
            }
            End::Interrupt => {
                self.not_ready().await;
                self.stop_accepting().await;
                self.drain(DRAIN_SHORT, None).await
            }
            End::Terminate => {
                self.not_ready().await;
                if self.is_ended_as_lame_duck(limits.lame_duck).await {
                    log::warn!("stopped at once, by a second signal");
                    return Ok(());
                }
                self.stop_accepting().await;
                self.drain(limits.drain, None).await
            }
        }
    }

    async fn not_ready(&self) {
        systemd::stopping();
        self.state.stop();
        self.state.upgrader.withdraw().await;
        self.state.elders.tell_stopping();
    }

    /// Accepts for a while, though it is not ready, so that load balancers see that
    /// first. Whether a second signal came.
    async fn is_ended_as_lame_duck(&mut self, time: Duration) -> bool {
        if time.is_zero() {
            return false;
        }
        log::info!("stopping: connections are accepted for {} s more", time.as_secs_f32());
        timeout(time, self.signals.end(&self.state)).await.is_ok()
    }

    /// Accepts nothing more. From now on answers close their connections.
    async fn stop_accepting(&mut self) {
        self.closing.begin();
        self.stop.send_replace(true);
        while self.accepting.join_next().await.is_some() {}
    }

    /// Waits for what is in flight.
    async fn drain(
        &mut self,
        limit: Duration,
        mut successor: Option<Box<Successor>>,
    ) -> Result<(), SuccessorEnded> {
        let began = Instant::now();
        let mut deadline = began + limit;
        // Whoever was replaced has not been told to stop yet.
        let mut signals_expected = usize::from(successor.is_some());
        let mut is_stopping = successor.is_none();
        log::info!("what is in flight has {} s", limit.as_secs_f32());
        self.connections.drain(IDLE.min(limit));
        self.workers.clean_up(HEAD.min(limit));
        let mut reports = interval(REPORT);
        let mut ended = Ok(());
        loop {
            tokio::select! {
                biased;
                () = self.connections.none_left() => break,
                told = end_of(&mut successor) => {
                    successor = None;
                    // systemd signals all processes, and once more those that are left
                    // when the main one has gone.
                    signals_expected += usize::from(told.is_ok());
                    if told.is_err() && !is_stopping {
                        log::error!("the process that serves instead has ended");
                        deadline = deadline.min(Instant::now() + DRAIN_SHORT);
                        ended = Err(SuccessorEnded);
                    }
                }
                () = sleep_until(deadline) => {
                    log::warn!("stopped; connections still open: {}", self.connections.count());
                    break;
                }
                end = self.signals.end(&self.state) => {
                    if signals_expected == 0 {
                        log::warn!("stopped at once, by a second signal");
                        break;
                    }
                    signals_expected -= 1;
                    is_stopping = true;
                    if matches!(end, End::Interrupt) {
                        deadline = deadline.min(Instant::now() + DRAIN_SHORT);
                    }
                }
                _ = reports.tick(), if successor.is_some() => {
                    if let Some(successor) = &successor {
                        successor.report(self.draining(began));
                    }
                }
            }
        }
        if let Some(successor) = successor {
            successor.bequeath(&self.state.upgrader.carried()).await;
        }
        ended
    }

    fn draining(&self, began: Instant) -> Draining {
        Draining {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seconds: began.elapsed().as_secs(),
            connections: self.connections.count(),
            clients: self.connections.oldest(CLIENTS_SHOWN),
        }
    }
}

/// Waits for the end of the process that serves instead, if there is one.
async fn end_of(successor: &mut Option<Box<Successor>>) -> Result<(), ()> {
    match successor {
        Some(successor) => successor.ended().await,
        None => std::future::pending().await,
    }
}

/// Nobody serves: the process that took over has ended while this one drained.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SuccessorEnded;

/// The signals that a process listens to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that ends the process, and does what others ask for
    /// meanwhile.
    async fn end(&mut self, state: &State) -> End {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return End::Terminate,
                _ = self.interrupt.recv() => return End::Interrupt,
                _ = self.hangup.recv() => {
                    let reloader = Arc::clone(&state.reloader);
                    // What is wrong is logged where it is found.
                    tokio::spawn(async move { reloader.reload(Trigger::Signal).await });
                }
            }
        }
    }
}
