//! What systemd is told, where it listens (`NOTIFY_SOCKET`); else nothing happens.

use sd_notify::{NotifyState, notify};

/// Every listener accepts.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
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

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        log::warn!("systemd cannot be told: {error}");
    }
}
