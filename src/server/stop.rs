//! The end of a process: nothing in flight is cut before its time, and the process does
//! not wait for what is over.

use std::time::Duration;

use tokio::time::{Instant, interval, sleep_until, timeout};

use super::{
    drain::{DRAIN_SHORT, Done, Drain, Event},
    running::RunningServer,
    signals::Stop,
    upgrade::{Draining, HandedOver, Successor},
};

/// How long a connection may wait for its next request while the process drains. Its
/// answer then says `Connection: close`, so that clients which are busy never see a
/// connection end that they are about to use.
const IDLE: Duration = Duration::from_millis(500);

/// How long the command that asked for the upgrade may take to read how it went.
const ANSWER: Duration = Duration::from_secs(1);

/// How often a process that was replaced says what it still has to do.
const REPORT: Duration = Duration::from_millis(500);

/// Connections that such a report names.
const CLIENTS_SHOWN: usize = 20;

/// What makes a process end.
enum End {
    /// A signal.
    Stop(Stop),
    /// Another process serves.
    Replaced(Box<HandedOver>),
    /// The process that was to be replaced serves on.
    Withdrawn,
}

/// The process that serves instead, if it is there to be told what this one has counted.
type Heir = Option<Box<Successor>>;

impl RunningServer {
    /// Serves until a signal, or until another process serves instead. SIGTERM: it is
    /// not ready for `limits.lame_duck`, then what is in flight has `limits.drain`.
    /// SIGINT: what is in flight has 2 s. It ends as soon as the last connection has;
    /// a second signal ends it at once. SIGHUP reads the configuration again, SIGUSR1
    /// opens the access log again.
    ///
    /// # Errors
    /// The process that was to serve instead has ended, and there is no other.
    pub fn run(mut self) -> Result<(), SuccessorEnded> {
        let runtime = self.runtime.handle().clone();
        let end = runtime.block_on(async {
            tokio::select! {
                biased;
                Some(handed_over) = self.replaced.recv() => End::Replaced(Box::new(handed_over)),
                stop = self.signals.stop(&self.state) => End::Stop(stop),
            }
        });
        self.end(end)
    }

    /// Stops, once requests in flight have ended, or after 2 s.
    pub fn stop(self) {
        // No other process serves instead, so none can have ended.
        let _ = self.end(End::Stop(Stop::Interrupt));
    }

    /// Ends a process that accepts, and is not to serve: what it has accepted has 2 s.
    pub(super) fn withdraw(self) {
        // As above.
        let _ = self.end(End::Withdrawn);
    }

    fn end(mut self, end: End) -> Result<(), SuccessorEnded> {
        let runtime = self.runtime.handle().clone();
        let wound_up = runtime.block_on(self.wind_up(end));
        // What is left is cut off with the threads, written down and counted.
        self.workers.end();
        let ended = wound_up.map(|heir| {
            if let Some(heir) = heir {
                runtime.block_on(heir.bequeath(&self.state.upgrader.carried()));
            }
        });
        // The last ends of the access log's queue, which lets its writer finish.
        drop((self.proxy, self.gates));
        self.runtime.shutdown_timeout(Duration::from_millis(100));
        if let Some(writer) = self.writer {
            writer.finish();
        }
        self.log.finish();
        ended
    }

    /// Ends all but what is cut off. Returns whom this process owes its last counts.
    async fn wind_up(&mut self, end: End) -> Result<Heir, SuccessorEnded> {
        let limits = self.state.reloader.serving().config().limits.clone();
        match end {
            End::Replaced(handed_over) => self.wind_up_replaced(*handed_over, None).await,
            End::Stop(stop) => {
                self.not_ready().await;
                // The hand-over that was under way could not be stopped any more.
                if let Ok(handed_over) = self.replaced.try_recv() {
                    return self.wind_up_replaced(handed_over, Some(stop)).await;
                }
                let limit = match stop {
                    Stop::Interrupt => DRAIN_SHORT,
                    Stop::Terminate if self.is_ended_as_lame_duck(limits.lame_duck).await => {
                        log::warn!("stopped at once, by a second signal");
                        return Ok(None);
                    }
                    Stop::Terminate => limits.drain,
                };
                self.stop_accepting().await;
                self.drain(Drain::stopping(Instant::now(), limit), None).await
            }
            End::Withdrawn => {
                self.stop_accepting().await;
                self.drain(Drain::stopping(Instant::now(), DRAIN_SHORT), None).await
            }
        }
    }

    async fn wind_up_replaced(
        &mut self,
        handed_over: HandedOver,
        stop: Option<Stop>,
    ) -> Result<Heir, SuccessorEnded> {
        let HandedOver { to, accepting } = handed_over;
        self.stop_accepting().await;
        drop(accepting);
        let (now, limit) = (Instant::now(), self.state.reloader.serving().config().limits.drain);
        let mut drain = Drain::replaced(now, limit);
        if let Some(stop) = stop {
            // The first one is expected.
            drain.on(stop.into(), now);
        }
        let ended = self.drain(drain, Some(Box::new(to))).await;
        // Too long: the command that asked does not read.
        let _ = timeout(ANSWER, self.answered.recv()).await;
        ended
    }

    async fn not_ready(&self) {
        self.state.stop();
        self.state.upgrader.withdraw().await;
        // If another process has the service now, systemd is told nothing.
        self.state.notifier.stopping();
        self.state.elders.tell_stopping();
    }

    /// Accepts for a while, though it is not ready, so that load balancers see that
    /// first. Returns whether a second signal came.
    async fn is_ended_as_lame_duck(&mut self, time: Duration) -> bool {
        if time.is_zero() {
            return false;
        }
        log::info!("stopping: connections are accepted for {} s more", time.as_secs_f32());
        timeout(time, self.signals.stop(&self.state)).await.is_ok()
    }

    /// Accepts nothing more. From now on answers close their connections.
    async fn stop_accepting(&mut self) {
        self.closing.begin();
        self.stop.send_replace(true);
        while self.accepting.join_next().await.is_some() {}
    }

    /// Waits for what is in flight: `drain` says for how long.
    async fn drain(
        &mut self,
        mut drain: Drain,
        mut successor: Option<Box<Successor>>,
    ) -> Result<Heir, SuccessorEnded> {
        let began = Instant::now();
        let limit = drain.deadline() - began;
        log::info!("what is in flight has {:.1} s", limit.as_secs_f32());
        self.connections.drain(IDLE.min(limit));
        let mut reports = interval(REPORT);
        let done = loop {
            let watched = successor.as_mut().filter(|_| drain.has_successor());
            let is_watched = watched.is_some();
            let event = tokio::select! {
                biased;
                () = self.connections.none_left() => Event::NoneLeft,
                event = end_of(watched) => event,
                () = sleep_until(drain.deadline()) => Event::TimeIsUp,
                stop = self.signals.stop(&self.state) => stop.into(),
                _ = reports.tick(), if is_watched => {
                    if let Some(successor) = &successor {
                        successor.report(self.draining(began));
                    }
                    continue;
                }
            };
            if event == Event::SuccessorEnded && !drain.is_stopping() {
                log::error!("the process that serves instead has ended");
            }
            if let Some(done) = drain.on(event, Instant::now()) {
                break done;
            }
        };
        match done {
            Done::NoneLeft => {}
            Done::TimeIsUp => {
                log::warn!("stopped; connections still open: {}", self.connections.count());
            }
            Done::Insisted => log::warn!("stopped at once, by a second signal"),
        }
        if drain.has_lost_successor() {
            return Err(SuccessorEnded);
        }
        Ok(successor.filter(|_| drain.has_successor()))
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
async fn end_of(successor: Option<&mut Box<Successor>>) -> Event {
    match successor {
        Some(successor) => match successor.ended().await {
            Ok(()) => Event::SuccessorStops,
            Err(()) => Event::SuccessorEnded,
        },
        None => std::future::pending().await,
    }
}

impl From<Stop> for Event {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Terminate => Self::Terminate,
            Stop::Interrupt => Self::Interrupt,
        }
    }
}

/// No process serves: the one that took over has ended while this one drained.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SuccessorEnded;
