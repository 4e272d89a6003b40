//! What systemd is told, if it listens (`NOTIFY_SOCKET`); otherwise nothing happens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::Instant;

use super::accept::self_check;
use crate::proxy::SelfCheck;

/// What this process is to the service. systemd believes every process of the service
/// (`NotifyAccess=all`), so only the main one may speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// It does not serve yet.
    Starting,
    /// It is the main process.
    Main,
    /// It is the main process, and stops.
    Stopping,
    /// Another one is the main process.
    Replaced,
}

/// Says what systemd is to know. Words and roles keep one order: a word is said under
/// the lock of the role that allows it.
#[derive(Debug)]
pub(super) struct Notifier(Mutex<Role>);

impl Notifier {
    /// Of a process that does not serve yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Role::Starting))
    }

    /// Every listener accepts.
    pub(super) fn ready(&self) {
        let mut role = self.lock();
        if matches!(*role, Role::Starting | Role::Main) {
            *role = Role::Main;
            tell(&[NotifyState::Ready]);
        }
    }

    /// Every listener accepts, and this process is the service's main one from now on.
    pub(super) fn took_over(&self) {
        let mut role = self.lock();
        *role = Role::Main;
        tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
    }

    /// This process is the main one still, though another one may have said otherwise.
    pub(super) fn reclaim(&self) {
        let main = NotifyState::MainPid(std::process::id());
        match *self.lock() {
            Role::Stopping => tell(&[main, NotifyState::Stopping]),
            _ => tell(&[main, NotifyState::Ready]),
        }
    }

    /// Another process is the main one, and this one says nothing more.
    pub(super) fn replaced(&self) {
        *self.lock() = Role::Replaced;
    }

    /// The process is about to end.
    pub(super) fn stopping(&self) {
        let mut role = self.lock();
        if *role == Role::Main {
            *role = Role::Stopping;
            tell(&[NotifyState::Stopping]);
        }
    }

    /// A reload begins; it ends when what is returned is dropped.
    pub(super) fn reloading(self: &Arc<Self>) -> Reloading {
        if *self.lock() == Role::Main
            // Type=notify-reload needs the time (sd_notify(3), MONOTONIC_USEC).
            && let Ok(now) = NotifyState::monotonic_usec_now()
        {
            tell(&[NotifyState::Reloading, now]);
        }
        Reloading(Arc::clone(self))
    }

    /// Whether this is the process that serves, and does not stop.
    pub(super) fn is_main(&self) -> bool {
        *self.lock() == Role::Main
    }

    fn lock(&self) -> MutexGuard<'_, Role> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reload, from its start to the drop of this.
pub(super) struct Reloading(Arc<Notifier>);

impl Drop for Reloading {
    fn drop(&mut self) {
        // After a refusal, too: what was served is served on.
        if self.0.is_main() {
            self.0.ready();
        }
    }
}

/// Tells systemd, as often as it wants to know, that this process answers on every
/// listener, for as long as it does and is the main one. A timer would only prove that
/// timers work.
///
/// Ends at once if systemd does not ask.
pub(super) async fn watchdog(
    notifier: Arc<Notifier>,
    accepting: Vec<self_check::Entrance>,
    check: SelfCheck,
) {
    let Some(limit) = watchdog_enabled() else { return };
    // Half of it, as sd_watchdog_enabled(3) says, leaves room for one slow answer.
    let interval = limit / 2;
    while notifier.is_main() {
        let next = Instant::now() + interval;
        let answer = self_check::answers_on(&accepting, &check, next).await;
        match (answer, *notifier.lock()) {
            (Ok(()), Role::Main) => tell(&[NotifyState::Watchdog]),
            (Err(reason), Role::Main) => log::error!("the watchdog is not fed: {reason}"),
            // It has stopped accepting meanwhile.
            _ => return,
        }
        tokio::time::sleep_until(next).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        log::warn!("systemd cannot be told: {error}");
    }
}
