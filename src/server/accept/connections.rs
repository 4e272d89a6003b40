//! The open connections: to be waited for, to be named, and to be ended when idle.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use slab::Slab;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::timeout,
};

use crate::metrics::{Gauge, Held};

/// How often to look for connections that have waited too long, at the least.
const SWEEP: Duration = Duration::from_secs(5);

/// How many looks there are in the time that a connection may wait.
const LOOKS: u32 = 8;

/// A connection serves a request. Otherwise its state is the number of its wait.
const BUSY: u64 = 0;

/// A connection has waited too long, and no request will be read from it.
const ENDED: u64 = u64::MAX;

/// The open connections of a process.
///
/// One lock is taken when a connection begins and when it ends, and by the sweep; no
/// request takes it. There is one lock for the process and not one for each worker, since a
/// client is counted wherever it comes in, and a drain waits for all connections. A timer
/// for each connection and request would do what the sweep does, and cost more than a
/// look-up of the route.
#[derive(Debug)]
pub(in crate::server) struct Connections {
    open: Mutex<Noted>,
    none_left: Notify,
    /// How fast the sweep goes.
    pace: watch::Sender<Pace>,
}

/// How fast the sweep goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Pace {
    /// The shortest time that a connection may wait, of those that are open.
    shortest: Duration,
    /// The process drains: no connection may wait for longer than this, from then on.
    draining: Option<(Duration, Instant)>,
}

#[derive(Debug, Default)]
struct Noted {
    connections: Slab<Entry>,
    /// How many connections each client has, if that is limited.
    clients: HashMap<Client, u32>,
}

/// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits, of which a
/// machine gets one and may use every address.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Client(IpAddr);

impl Client {
    fn of(peer: SocketAddr) -> Self {
        match peer.ip().to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                Self(Ipv6Addr::from(network).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

#[derive(Debug)]
struct Entry {
    peer: SocketAddr,
    listener: Arc<str>,
    since: Instant,
    /// How long it may wait for a request.
    idle: Duration,
    state: Arc<AtomicU64>,
    /// The wait in which the sweep saw it last, and since when it has seen that one.
    seen: (u64, Instant),
    /// `None` for the moment until it has been started.
    task: Option<AbortHandle>,
}

impl Default for Connections {
    fn default() -> Self {
        let pace = Pace { shortest: SWEEP * LOOKS, draining: None };
        Self { open: Mutex::default(), none_left: Notify::new(), pace: watch::Sender::new(pace) }
    }
}

/// One open connection, as it is shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::server) struct Connected {
    address: SocketAddr,
    listener: String,
    /// How long ago it was accepted.
    seconds: u64,
}

impl Connections {
    /// Notes a connection that may wait for `idle`, and counts it in `gauge`, until what is
    /// returned is dropped.
    pub(in crate::server) fn open(
        self: &Arc<Self>,
        peer: SocketAddr,
        listener: &Arc<str>,
        gauge: &Gauge,
        idle: Duration,
    ) -> Open {
        let state = Arc::new(AtomicU64::new(BUSY));
        let now = Instant::now();
        let entry = Entry {
            peer,
            listener: Arc::clone(listener),
            since: now,
            idle,
            state: Arc::clone(&state),
            seen: (BUSY, now),
            task: None,
        };
        let slot = Slot { index: self.lock().connections.insert(entry), state };
        if idle < self.pace.borrow().shortest {
            self.pace.send_modify(|pace| pace.shortest = pace.shortest.min(idle));
        }
        let connections = Arc::clone(self);
        Open { connections, slot, client: None, waits: BUSY, _counted: gauge.hold() }
    }

    /// Notes which task serves a connection.
    pub(in crate::server) fn serves(&self, Slot { index, state }: &Slot, task: AbortHandle) {
        // It may have ended already, and another one may have its slot.
        if let Some(entry) = self.lock().connections.get_mut(*index)
            && Arc::ptr_eq(&entry.state, state)
        {
            entry.task = Some(task);
        }
    }

    /// From now on no connection may wait for longer than this.
    pub(in crate::server) fn drain(&self, idle: Duration) {
        let draining = Some((idle, Instant::now()));
        self.pace.send_modify(|pace| *pace = Pace { draining, ..*pace });
    }

    /// Ends connections that have waited for too long, for ever. A connection is ended
    /// between its time and a few looks more.
    pub(in crate::server) async fn sweep(self: Arc<Self>) {
        let mut pace = self.pace.subscribe();
        loop {
            let Pace { shortest, draining } = *pace.borrow_and_update();
            let shortest = draining.map_or(shortest, |(idle, _)| idle.min(shortest));
            let every = SWEEP.min(shortest / LOOKS).max(Duration::from_millis(10));
            // Told to go faster, it looks at once.
            let _ = timeout(every, pace.changed()).await;
            let draining = pace.borrow().draining;
            self.end_idle(Instant::now(), draining);
        }
    }

    /// Ends those that have waited too long by now.
    fn end_idle(&self, now: Instant, draining: Option<(Duration, Instant)>) {
        let mut ended = Vec::new();
        for (_, entry) in &mut self.lock().connections {
            let state = entry.state.load(Ordering::Relaxed);
            if state != entry.seen.0 {
                entry.seen = (state, now);
                continue;
            }
            let (idle, since) = match draining {
                Some((idle, began)) => (entry.idle.min(idle), entry.seen.1.max(began)),
                None => (entry.idle, entry.seen.1),
            };
            if matches!(state, BUSY | ENDED) || now.saturating_duration_since(since) < idle {
                continue;
            }
            // A connection without a task yet is looked at again.
            let Some(task) = &entry.task else { continue };
            // A request that comes at this moment finds the state changed, or changes it.
            let exchange = (Ordering::AcqRel, Ordering::Relaxed);
            if entry.state.compare_exchange(state, ENDED, exchange.0, exchange.1).is_ok() {
                ended.push(task.clone());
            }
        }
        // Not under the lock: the end of a task takes it.
        for task in ended {
            task.abort();
        }
    }

    /// How many there are.
    pub(in crate::server) fn count(&self) -> usize {
        self.lock().connections.len()
    }

    /// The oldest ones, `limit` at most.
    pub(in crate::server) fn oldest(&self, limit: usize) -> Vec<Connected> {
        let mut open: Vec<(Instant, SocketAddr, Arc<str>)> = self
            .lock()
            .connections
            .iter()
            .map(|(_, entry)| (entry.since, entry.peer, Arc::clone(&entry.listener)))
            .collect();
        open.sort_unstable_by_key(|&(since, ..)| since);
        open.truncate(limit);
        open.into_iter()
            .map(|(since, address, listener)| Connected {
                address,
                listener: listener.to_string(),
                seconds: since.elapsed().as_secs(),
            })
            .collect()
    }

    /// Waits until no connection is open. None may be added meanwhile, or the wait may
    /// miss the moment.
    pub(in crate::server) async fn none_left(&self) {
        while self.count() > 0 {
            self.none_left.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is open for as long as this lives.
#[derive(Debug)]
pub(in crate::server) struct Open {
    connections: Arc<Connections>,
    slot: Slot,
    /// The client, if its connections are counted.
    client: Option<Client>,
    /// How often it has waited.
    waits: u64,
    _counted: Held,
}

/// Where a connection is noted.
#[derive(Clone, Debug)]
pub(in crate::server) struct Slot {
    index: usize,
    state: Arc<AtomicU64>,
}

impl Open {
    /// Where it is noted.
    pub(in crate::server) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Notes whom it comes from. `false`: that client already has as many as it may have.
    pub(in crate::server) fn comes_from(
        &mut self,
        peer: SocketAddr,
        limit: Option<NonZeroU32>,
    ) -> bool {
        let mut open = self.connections.lock();
        if let Some(entry) = open.connections.get_mut(self.slot.index) {
            entry.peer = peer;
        }
        let Some(limit) = limit else { return true };
        let client = Client::of(peer);
        let count = open.clients.entry(client).or_default();
        if *count >= limit.get() {
            return false;
        }
        *count += 1;
        self.client = Some(client);
        true
    }

    /// Another request is due: to wait for it is another wait.
    pub(in crate::server) fn expects_another(&mut self) {
        self.waits += 1;
    }

    /// From now on it waits for the request that is due. Once more, where what came was
    /// none: then no longer than it would have otherwise.
    pub(in crate::server) fn waits(&self) {
        self.slot.state.store(self.waits, Ordering::Release);
    }

    /// Whether the request that comes may be served: it has not waited too long.
    pub(in crate::server) fn is_served(&self) -> bool {
        self.slot.state.swap(BUSY, Ordering::AcqRel) != ENDED
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.connections.try_remove(self.slot.index);
        if let Some(client) = self.client
            && let Some(count) = open.clients.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                open.clients.remove(&client);
            }
        }
        if open.connections.is_empty() {
            // The permit is kept for a later waiter, which looks once more then.
            self.connections.none_left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::future::pending;

    use super::*;
    use crate::metrics::Metrics;

    const IDLE: Duration = Duration::from_secs(75);

    fn noted(connections: &Arc<Connections>, peer: &str, limit: u32) -> Option<Open> {
        let (peer, gauge) = (peer.parse().unwrap(), Metrics::new().connections("http"));
        let mut open = connections.open(peer, &Arc::from("http"), &gauge, IDLE);
        open.comes_from(peer, NonZeroU32::new(limit)).then_some(open)
    }

    /// A connection whose task never ends by itself.
    fn open(connections: &Arc<Connections>) -> (Open, tokio::task::JoinHandle<()>) {
        let mut open = noted(connections, "127.0.0.1:1", 0).unwrap();
        let task = tokio::spawn(pending());
        connections.serves(open.slot(), task.abort_handle());
        open.expects_another();
        (open, task)
    }

    #[tokio::test]
    async fn who_waits_is_sent_away_and_who_is_served_is_not() {
        let connections = Arc::<Connections>::default();
        let (waiting, waiting_task) = open(&connections);
        let (served, served_task) = open(&connections);
        let (mut late, _late_task) = open(&connections);
        let start = Instant::now();
        let look = |seconds| connections.end_idle(start + Duration::from_secs(seconds), None);
        waiting.waits();
        served.waits();
        look(5);
        assert!(served.is_served(), "its request came in time");
        late.waits();
        look(79);
        assert!(!waiting_task.is_finished(), "seen to wait for 74 s");
        look(80);
        assert!(waiting_task.await.unwrap_err().is_cancelled());
        assert!(!waiting.is_served(), "a request that comes now is too late");
        assert!(late.is_served(), "it has waited for less");
        look(10_000);
        assert!(!served_task.is_finished());
        // One more wait is another one.
        late.expects_another();
        late.waits();
        look(10_001);
        assert!(late.is_served());
        // The same one goes on.
        late.waits();
        look(10_076);
        assert!(!late.is_served());
    }

    /// A drain gives each of them as long, however long it has waited, and no longer than
    /// it would have had.
    #[tokio::test]
    async fn who_waits_when_a_drain_begins() {
        let connections = Arc::<Connections>::default();
        let (waiting, task) = open(&connections);
        let start = Instant::now();
        let (pause, began) = (Duration::from_secs(1), start + Duration::from_mins(1));
        let look = |after| connections.end_idle(began + after, Some((pause, began)));
        waiting.waits();
        connections.end_idle(start, None);
        look(Duration::ZERO);
        look(pause / 2);
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        look(pause);
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// A connection that the sweep sees before its task is known is ended later.
    #[tokio::test]
    async fn a_task_that_is_not_known_yet() {
        let connections = Arc::<Connections>::default();
        let mut early = noted(&connections, "127.0.0.1:1", 0).unwrap();
        early.expects_another();
        early.waits();
        let now = Instant::now();
        connections.end_idle(now, None);
        connections.end_idle(now + IDLE, None);
        let task = tokio::spawn(pending::<()>());
        connections.serves(early.slot(), task.abort_handle());
        connections.end_idle(now + IDLE, None);
        assert!(task.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn connections_of_a_client() {
        let connections = Arc::<Connections>::default();
        let first = noted(&connections, "192.0.2.1:1", 2);
        let second = noted(&connections, "[::ffff:192.0.2.1]:2", 2);
        assert!(first.is_some() && second.is_some());
        assert!(noted(&connections, "192.0.2.1:3", 2).is_none());
        assert!(noted(&connections, "192.0.2.2:3", 2).is_some());
        drop(first);
        assert!(noted(&connections, "192.0.2.1:3", 2).is_some());
        let network = [noted(&connections, "[2001:db8::1]:1", 1)];
        assert!(noted(&connections, "[2001:db8::2:1]:1", 1).is_none());
        assert!(noted(&connections, "[2001:db8:0:1::1]:1", 1).is_some());
        drop((network, second));
        assert!(connections.lock().clients.is_empty());
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
