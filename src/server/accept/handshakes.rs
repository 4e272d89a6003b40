//! Handshakes of TLS that have begun and not ended, on one worker.
//!
//! If those that wait held their places, as many silent sockets would shut the door. So the one
//! that is newest has a place always, and the oldest gives way: an honest client takes a few
//! round trips.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

/// Handshakes of one worker. What it shares with others is locked twice for each of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Handshakes(Arc<Mutex<Begun>>);

#[derive(Debug, Default)]
struct Begun {
    /// By when they began.
    all: BTreeMap<u64, Arc<State>>,
    next: u64,
}

#[derive(Debug, Default)]
struct State {
    has_hello: AtomicBool,
    gives_way: Notify,
}

/// A handshake that goes on for as long as this lives.
#[derive(Debug)]
pub(super) struct Handshake {
    of: Handshakes,
    number: u64,
    state: Arc<State>,
}

impl Handshakes {
    /// One more, where `limit` may go on at a time. If there are as many, one gives way: the
    /// oldest that has not sent its `ClientHello`, or else the oldest.
    pub(super) fn begin(&self, limit: Option<NonZeroU32>) -> Handshake {
        let state = Arc::<State>::default();
        let mut begun = self.lock();
        if limit.is_some_and(|limit| begun.all.len() >= limit.get() as usize) {
            let silent =
                begun.all.iter().find(|(_, state)| !state.has_hello.load(Ordering::Relaxed));
            let oldest = silent.or(begun.all.first_key_value()).map(|(&number, _)| number);
            if let Some(state) = oldest.and_then(|number| begun.all.remove(&number)) {
                state.gives_way.notify_one();
            }
        }
        let number = begun.next;
        begun.next += 1;
        begun.all.insert(number, Arc::clone(&state));
        Handshake { of: self.clone(), number, state }
    }

    fn lock(&self) -> MutexGuard<'_, Begun> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handshake {
    /// The client has sent its `ClientHello`.
    pub(super) fn has_hello(&self) {
        self.state.has_hello.store(true, Ordering::Relaxed);
    }

    /// Waits until it has to give way to another one.
    pub(super) async fn gives_way(&self) {
        self.state.gives_way.notified().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.of.lock().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future as _,
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    fn has_to_go(handshake: &Handshake) -> bool {
        pin!(handshake.gives_way()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_newest_has_a_place() {
        let all = Handshakes::default();
        let limit = NonZeroU32::new(3);
        let [first, second, third] = [(); 3].map(|()| all.begin(limit));
        first.has_hello();
        assert!(![&first, &second, &third].into_iter().any(has_to_go));
        let fourth = all.begin(limit);
        assert!(has_to_go(&second), "the oldest that was silent");
        third.has_hello();
        fourth.has_hello();
        let fifth = all.begin(limit);
        assert!(has_to_go(&first), "of those that were not, the oldest");
        assert!(![&third, &fourth, &fifth].into_iter().any(has_to_go));
        // One that has ended is none that gives way.
        drop(third);
        let sixth = all.begin(limit);
        assert!(![&fourth, &fifth, &sixth].into_iter().any(has_to_go));
        drop((first, second, fourth, fifth, sixth));
        assert!(all.lock().all.is_empty());
    }

    #[test]
    fn without_a_limit_nobody_goes() {
        let all = Handshakes::default();
        let begun: Vec<_> = (0..100).map(|_| all.begin(None)).collect();
        assert!(!begun.iter().any(has_to_go));
    }
}
