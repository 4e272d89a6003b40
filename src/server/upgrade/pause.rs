//! Holding a process at a step of the hand-over, for tests. Nothing in a release.

use super::step::HandOverStep;

/// Waits for ever, if this is the step at which the process is to be held.
#[cfg(debug_assertions)]
pub(in crate::server) async fn pause_at(step: HandOverStep) {
    if std::env::var("CORSAC_PAUSE_AT").is_ok_and(|paused| paused == step.name()) {
        log::info!("process {} is held at {}", std::process::id(), step.name());
        std::future::pending::<()>().await;
    }
}

#[cfg(not(debug_assertions))]
#[expect(clippy::unused_async, reason = "as above")]
pub(in crate::server) async fn pause_at(_step: HandOverStep) {}
