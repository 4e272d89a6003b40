//! What was replaced, until nobody uses it any more.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::aside::aside;

/// How often it is looked what is still in use.
const PAUSE: Duration = Duration::from_secs(1);

/// Drops aside what its last user has let go of: dropping a snapshot of ten thousand
/// routes takes longer than a request may wait.
#[derive(Debug)]
pub(super) struct Retirer<T>(Arc<Mutex<Vec<Arc<T>>>>);

impl<T: Send + Sync + 'static> Retirer<T> {
    /// Nothing was replaced yet.
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Waits for the end of what nobody begins to use any more.
    pub(super) fn retire(&self, replaced: Arc<T>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(replaced);
        // Otherwise there is a task already.
        if waiting.len() == 1 {
            tokio::spawn(drop_unused(Arc::clone(&self.0)));
        }
    }
}

/// Drops what is not in use, until nothing is left.
async fn drop_unused<T: Send + Sync + 'static>(waiting: Arc<Mutex<Vec<Arc<T>>>>) {
    loop {
        let (unused, none_left) = {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let unused: Vec<_> =
                waiting.extract_if(.., |replaced| Arc::strong_count(replaced) == 1).collect();
            (unused, waiting.is_empty())
        };
        if !unused.is_empty() {
            // Failed: it was dropped all the same, with the work.
            let _ = aside(move || drop(unused)).await;
        }
        if none_left {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::thread;

    use tokio::{
        runtime::Handle,
        sync::oneshot::{self, Receiver, Sender},
    };

    use super::*;

    /// Tells by which thread it is dropped.
    struct Replaced(Option<Sender<String>>);

    impl Drop for Replaced {
        fn drop(&mut self) {
            let name = thread::current().name().unwrap_or_default().to_owned();
            self.0.take().unwrap().send(name).unwrap();
        }
    }

    fn replaced() -> (Arc<Replaced>, Receiver<String>) {
        let (sender, dropped) = oneshot::channel();
        (Arc::new(Replaced(Some(sender))), dropped)
    }

    #[tokio::test]
    async fn what_is_in_use_waits_and_nothing_else() {
        let retirer = Retirer::new();
        let (in_use, mut dropped_late) = replaced();
        let (unused, dropped) = replaced();
        retirer.retire(Arc::clone(&in_use));
        retirer.retire(unused);
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 1, "for both of them");
        assert_eq!(dropped.await.unwrap(), "aside");
        assert!(dropped_late.try_recv().is_err(), "it is in use");
        drop(in_use);
        assert_eq!(dropped_late.await.unwrap(), "aside");
        // And again, though the first task may have ended.
        let (unused, dropped) = replaced();
        retirer.retire(unused);
        assert_eq!(dropped.await.unwrap(), "aside");
    }
}
