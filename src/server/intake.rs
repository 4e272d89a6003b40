//! The tasks that accept connections, for the code that ends them: it tells them, and waits.

use tokio::sync::watch;

/// The tasks that accept on the admin listener.
#[derive(Debug)]
pub(super) struct Intake {
    /// True: nothing more is to be accepted.
    closed: watch::Sender<bool>,
    /// Has a receiver in each task that accepts.
    accepting: watch::Sender<()>,
}

/// Held by a task for as long as it accepts.
#[derive(Debug)]
pub(super) struct Accepting {
    closed: watch::Receiver<bool>,
    _task: watch::Receiver<()>,
}

impl Intake {
    /// Open, and no task accepts yet.
    pub(super) fn new() -> Self {
        Self { closed: watch::Sender::new(false), accepting: watch::Sender::new(()) }
    }

    /// For one task.
    pub(super) fn accepting(&self) -> Accepting {
        Accepting { closed: self.closed.subscribe(), _task: self.accepting.subscribe() }
    }

    /// Ends the tasks. When this returns, none of them accepts any more.
    pub(super) async fn close(&self) {
        self.closed.send_replace(true);
        self.accepting.closed().await;
    }
}

impl Accepting {
    /// Waits until nothing more is to be accepted.
    pub(super) async fn closed(&mut self) {
        // Failed: nothing is left that could close it, which is as good.
        let _ = self.closed.wait_for(|closed| *closed).await;
    }

    /// Turns true when nothing more is to be accepted.
    pub(super) fn stop(&self) -> watch::Receiver<bool> {
        self.closed.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use tokio::{sync::oneshot, time::Duration};

    use super::*;

    #[tokio::test]
    async fn whoever_closes_it_waits_for_the_last_task() {
        let intake = Intake::new();
        let mut accepting = intake.accepting();
        let (let_go, held) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            accepting.closed().await;
            held.await.unwrap();
        });
        let early = tokio::time::timeout(Duration::from_millis(5), intake.close()).await;
        assert!(early.is_err(), "a task accepts still");
        let_go.send(()).unwrap();
        intake.close().await;
        task.await.unwrap();
        // No task is left to be waited for.
        intake.close().await;
    }
}
