//! What systemd is told, where it listens (`NOTIFY_SOCKET`); else nothing happens.

use std::net::SocketAddr;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::Instant;

use super::accept::self_check;
use crate::proxy::SelfCheck;

/// Every listener accepts.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Every listener accepts, and this process is the service's main one from now on.
pub(super) fn took_over() {
    tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
}

/// The process is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// A reload, from its start to the drop of this.
pub(super) struct Reloading;

impl Reloading {
    pub(super) fn start() -> Self {
        // Type=notify-reload needs the time (sd_notify(3), MONOTONIC_USEC).
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
        Self
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        // After a refusal, too: what was served is served on.
        ready();
    }
}

/// Tells systemd, as often as it wants to know, that this process answers on every
/// listener; as long as it does. A timer would only prove that timers work.
///
/// Ends at once where systemd does not ask.
pub(super) async fn watchdog(addresses: Vec<SocketAddr>, check: SelfCheck) {
    let Some(limit) = watchdog_enabled() else { return };
    // Half of it, as sd_watchdog_enabled(3) says, leaves room for one slow answer.
    let interval = limit / 2;
    loop {
        let next = Instant::now() + interval;
        match self_check::answers_on(&addresses, &check, next).await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(reason) => log::error!("the watchdog is not fed: {reason}"),
        }
        tokio::time::sleep_until(next).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        log::warn!("systemd cannot be told: {error}");
    }
}
