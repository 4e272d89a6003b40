//! Who is connected: to be waited for, and to be named.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use slab::Slab;
use tokio::sync::Notify;

/// The open connections of a process.
///
/// Its lock is taken when a connection begins and when it ends, for as long as it
/// takes to fill a slot; no request takes it.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<Slab<Entry>>,
    none_left: Notify,
}

#[derive(Debug)]
struct Entry {
    peer: SocketAddr,
    listener: Arc<str>,
    since: Instant,
}

/// One open connection, as it is shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Client {
    address: SocketAddr,
    listener: String,
    /// How long ago it was accepted.
    seconds: u64,
}

impl Connections {
    /// Notes a connection, until what is returned is dropped.
    pub(super) fn open(self: &Arc<Self>, peer: SocketAddr, listener: &Arc<str>) -> Open {
        let entry = Entry { peer, listener: Arc::clone(listener), since: Instant::now() };
        Open { connections: Arc::clone(self), slot: self.lock().insert(entry) }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// The oldest ones, `limit` at most.
    pub(super) fn oldest(&self, limit: usize) -> Vec<Client> {
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
    pub(super) async fn none_left(&self) {
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
pub(super) struct Open {
    connections: Arc<Connections>,
    slot: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.try_remove(self.slot);
        if open.is_empty() {
            // Kept for who comes to wait later; it looks once more then.
            self.connections.none_left.notify_one();
        }
    }
}
