//! Who is connected: to be waited for, to be named, and to be sent away when idle.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use slab::Slab;
use tokio::{sync::Notify, task::AbortHandle, time::sleep};

/// How long a connection may wait for its next request, or for its first.
pub(in crate::server) const IDLE: Duration = Duration::from_secs(75);

/// How often it is looked who has waited too long.
pub(in crate::server) const SWEEP: Duration = Duration::from_secs(5);

/// A connection serves a request. Otherwise its state is the sweep at which it
/// began to wait.
const BUSY: u64 = 0;

/// A connection has waited too long, and no request will be read from it.
const ENDED: u64 = u64::MAX;

/// The open connections of a process.
///
/// Its lock is taken when a connection begins and when it ends, and by the sweep; no
/// request takes it. A timer for each connection and request would do what the sweep
/// does, and cost more than a look-up of the route.
#[derive(Debug)]
pub(in crate::server) struct Connections {
    open: Mutex<Slab<Entry>>,
    none_left: Notify,
    /// Counts sweeps, from 1.
    sweep: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    peer: SocketAddr,
    listener: Arc<str>,
    since: Instant,
    state: Arc<AtomicU64>,
    /// `None` for the moment until it has been started.
    task: Option<AbortHandle>,
}

impl Default for Connections {
    fn default() -> Self {
        Self { open: Mutex::default(), none_left: Notify::new(), sweep: AtomicU64::new(1) }
    }
}

/// One open connection, as it is shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::server) struct Client {
    address: SocketAddr,
    listener: String,
    /// How long ago it was accepted.
    seconds: u64,
}

impl Connections {
    /// Notes a connection, until what is returned is dropped.
    pub(in crate::server) fn open(self: &Arc<Self>, peer: SocketAddr, listener: &Arc<str>) -> Open {
        let state = Arc::new(AtomicU64::new(BUSY));
        let entry = Entry {
            peer,
            listener: Arc::clone(listener),
            since: Instant::now(),
            state: Arc::clone(&state),
            task: None,
        };
        let place = Place { slot: self.lock().insert(entry), state };
        Open { connections: Arc::clone(self), place }
    }

    /// Notes which task serves a connection.
    pub(in crate::server) fn serves(&self, Place { slot, state }: &Place, task: AbortHandle) {
        // It may have ended already, and another one may have its slot.
        if let Some(entry) = self.lock().get_mut(*slot)
            && Arc::ptr_eq(&entry.state, state)
        {
            entry.task = Some(task);
        }
    }

    /// Looks every so often, for ever, and ends connections that have waited for a
    /// request since this many looks.
    pub(in crate::server) async fn sweep(self: Arc<Self>, every: Duration, looks: u64) {
        loop {
            sleep(every).await;
            let now = self.sweep.fetch_add(1, Ordering::Relaxed) + 1;
            self.end_idle(now.saturating_sub(looks));
        }
    }

    /// Ends those that have waited since this sweep, or longer.
    fn end_idle(&self, since: u64) {
        for (_, entry) in self.lock().iter() {
            let state = entry.state.load(Ordering::Relaxed);
            let waits = (BUSY + 1..=since).contains(&state);
            // A request that comes at this moment finds the state changed, or changes it.
            let is_ended = || {
                let exchange = (Ordering::AcqRel, Ordering::Relaxed);
                entry.state.compare_exchange(state, ENDED, exchange.0, exchange.1).is_ok()
            };
            if waits
                && is_ended()
                && let Some(task) = &entry.task
            {
                task.abort();
            }
        }
    }

    /// How many there are.
    pub(in crate::server) fn count(&self) -> usize {
        self.lock().len()
    }

    /// The oldest ones, `limit` at most.
    pub(in crate::server) fn oldest(&self, limit: usize) -> Vec<Client> {
        let mut open: Vec<(Instant, SocketAddr, Arc<str>)> = self
            .lock()
            .iter()
            .map(|(_, entry)| (entry.since, entry.peer, Arc::clone(&entry.listener)))
            .collect();
        open.sort_unstable_by_key(|&(since, ..)| since);
        open.truncate(limit);
        open.into_iter()
            .map(|(since, address, listener)| Client {
                address,
                listener: listener.to_string(),
                seconds: since.elapsed().as_secs(),
            })
            .collect()
    }

    /// Waits until there is none. New ones must not come any more, or it may miss
    /// the moment.
    pub(in crate::server) async fn none_left(&self) {
        while self.count() > 0 {
            self.none_left.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is open for as long as this lives.
#[derive(Debug)]
pub(in crate::server) struct Open {
    connections: Arc<Connections>,
    place: Place,
}

/// Where a connection is noted.
#[derive(Clone, Debug)]
pub(in crate::server) struct Place {
    slot: usize,
    state: Arc<AtomicU64>,
}

impl Open {
    /// Where it is noted.
    pub(in crate::server) fn place(&self) -> &Place {
        &self.place
    }

    /// From now on it waits for a request.
    pub(in crate::server) fn waits(&self) {
        let sweep = self.connections.sweep.load(Ordering::Relaxed);
        self.place.state.store(sweep, Ordering::Release);
    }

    /// Whether the request that comes may be served: it has not waited too long.
    pub(in crate::server) fn is_served(&self) -> bool {
        self.place.state.swap(BUSY, Ordering::AcqRel) != ENDED
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.try_remove(self.place.slot);
        if open.is_empty() {
            // Kept for who comes to wait later; it looks once more then.
            self.connections.none_left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::future::pending;

    use super::*;

    /// A connection whose task never ends by itself.
    fn open(connections: &Arc<Connections>) -> (Open, tokio::task::JoinHandle<()>) {
        let open = connections.open(SocketAddr::from(([127, 0, 0, 1], 1)), &Arc::from("http"));
        let task = tokio::spawn(pending());
        connections.serves(open.place(), task.abort_handle());
        (open, task)
    }

    #[tokio::test]
    async fn who_waits_is_sent_away_and_who_is_served_is_not() {
        let connections = Arc::<Connections>::default();
        let (waiting, waiting_task) = open(&connections);
        let (served, served_task) = open(&connections);
        let (late, _late_task) = open(&connections);
        for open in [&waiting, &served] {
            open.waits();
        }
        assert!(served.is_served(), "its request came in time");
        connections.sweep.fetch_add(1, Ordering::Relaxed);
        late.waits();
        connections.end_idle(1);
        assert!(waiting_task.await.unwrap_err().is_cancelled());
        assert!(!waiting.is_served(), "a request that comes now is too late");
        assert!(late.is_served(), "it has waited for less");
        connections.end_idle(ENDED - 1);
        assert!(!served_task.is_finished());
        served_task.abort();
    }

    #[tokio::test]
    async fn the_last_one_is_waited_for() {
        let connections = Arc::<Connections>::default();
        connections.none_left().await;
        let (one, other) = (open(&connections).0, open(&connections).0);
        assert_eq!((connections.count(), connections.oldest(1).len()), (2, 1));
        let none_left = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.none_left().await }
        });
        drop(one);
        assert!(!none_left.is_finished());
        drop(other);
        none_left.await.unwrap();
    }
}
