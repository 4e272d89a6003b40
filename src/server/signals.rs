//! The signals that a process listens to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{admin::status::State, reload::Trigger};

/// The signals that say something about the process; SIGUSR1 is the access log's.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// A signal that ends the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

impl Signals {
    /// From now on none of them has its default effect.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that ends the process, and does what others ask for
    /// meanwhile.
    pub(super) async fn stop(&mut self, state: &State) -> Stop {
        loop {
            tokio::select! {
                stop = Self::either(&mut self.terminate, &mut self.interrupt) => return stop,
                _ = self.hangup.recv() => reload(state),
            }
        }
    }

    /// Waits for a signal that ends the process; others wait, too.
    pub(super) async fn stop_alone(&mut self) -> Stop {
        Self::either(&mut self.terminate, &mut self.interrupt).await
    }

    async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> Stop {
        tokio::select! {
            _ = terminate.recv() => Stop::Terminate,
            _ = interrupt.recv() => Stop::Interrupt,
        }
    }
}

/// By SIGHUP. A process that stops, or that was replaced, only ends what it has begun.
fn reload(state: &State) {
    if !state.notifier.is_main() {
        let pid = std::process::id();
        log::info!("SIGHUP: process {pid} is to end, and does not read its configuration again");
        return;
    }
    // What is wrong is logged where it is found.
    drop(state.reloader.reload(Trigger::Signal));
}
