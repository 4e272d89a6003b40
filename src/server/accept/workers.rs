//! The threads that serve.
//!
//! Each has a runtime of its own, with a proxy of its own, and a connection stays with
//! the thread that it was given to, as its upstream's connections do. So no request
//! waits for another thread; threads share counters, and the list of connections. This also
//! keeps upgraded connections alive: Pingora 0.9.1 tears a tunnel down if the upstream's 101
//! is read before the end of the request's own body was passed on
//! (cloudflare/pingora#946). Here both halves are polled by one thread in one turn, and
//! what the upstream sends can only be seen in the next one.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use bytes::BytesMut;
use pingora_core::apps::HttpServerApp;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
    sync::{oneshot, watch},
};

use super::{connection::Connection, gate::Gate, h1, h2, handshakes::Handshakes, load::Load};
use crate::proxy::Refuser;

/// By how many connections a worker may be ahead of the least busy one, before it hands
/// new ones over. Handing over costs a few system calls, so short connections, which
/// come and go in equal numbers, had better stay where they were accepted.
const AHEAD: usize = 1;

/// How many workers accept. Each of them wakes up for each connection, and all except one
/// find that it is taken: with this many, waking up in vain does not matter yet. The other
/// workers get theirs handed over.
const ACCEPTING_MAX: usize = 8;

/// How long the threads may take to end, with what they still serve: moments, unless one
/// of them hangs.
const END: Duration = Duration::from_secs(2);

/// A runtime of one thread, and the app that it runs.
struct Worker<A> {
    runtime: Handle,
    app: Arc<A>,
    connections: Load,
    handshakes: Handshakes,
}

/// The workers among which accepted connections are shared out, seen from one of them.
pub(in crate::server) struct Seat<A> {
    workers: Arc<[Worker<A>]>,
    own: usize,
}

impl<A> Seat<A> {
    /// The worker that serves a connection that was accepted here.
    fn choose(&self) -> Option<(usize, &Worker<A>)> {
        let own = self.workers.get(self.own).map(|worker| (self.own, worker));
        let least =
            self.workers.iter().enumerate().min_by_key(|(_, worker)| worker.connections.get());
        let is_ahead = |own: &Worker<A>, least: &Worker<A>| {
            own.connections.get() > least.connections.get() + AHEAD
        };
        match (own, least) {
            (Some((_, own)), Some((index, least))) if is_ahead(own, least) => Some((index, least)),
            _ => own,
        }
    }
}

impl<A> Seat<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    /// The only one: connections are served by the runtime that this is called in.
    pub(in crate::server) fn only(app: Arc<A>) -> Self {
        let worker = Worker {
            runtime: Handle::current(),
            app,
            connections: Load::default(),
            handshakes: Handshakes::default(),
        };
        Self { workers: Arc::new([worker]), own: 0 }
    }

    /// Serves a connection until its end: here, or on a worker that serves fewer.
    pub(in crate::server) fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        gate: &Arc<Gate>,
        stop: watch::Receiver<bool>,
    ) {
        let Some((index, worker)) = self.choose() else { return };
        let Some(terms) = gate.terms() else { return };
        let open = gate.admit(peer, &terms.limits);
        // A stream belongs to the runtime that it was made in.
        let stream = if index == self.own { Ok(stream) } else { Err(stream.into_std()) };
        let slot = open.slot().clone();
        let (load, held) = (worker.connections.clone(), worker.connections.hold());
        let (app, at) = (Arc::clone(&worker.app), Arc::clone(gate));
        let handshakes = worker.handshakes.clone();
        let task = worker.runtime.spawn(async move {
            let _held = held;
            let stream = stream.or_else(|moved| moved.and_then(TcpStream::from_std));
            // Otherwise the system has no memory to watch another one.
            if let Ok(stream) = stream
                && let Some(connection) =
                    at.connection(stream, peer, terms, open, &handshakes).await
            {
                serve(app, Box::new(connection), at.refuser(), &stop, &load).await;
            }
        });
        gate.started(&slot, task.abort_handle());
    }
}

/// Serves a connection to its end, by the protocol that its client speaks.
async fn serve<A>(
    app: Arc<A>,
    connection: Box<Connection>,
    desk: &Refuser,
    stop: &watch::Receiver<bool>,
    load: &Load,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let begun = if connection.is_http2() {
        connection.into_http2(BytesMut::new())
    } else {
        h1::serve(Arc::clone(&app), connection, desk, stop).await
    };
    if let Some(begun) = begun {
        // Boxed: otherwise every connection would carry its size.
        Box::pin(h2::serve(app, begun, desk, stop, load)).await;
    }
}

/// The threads that serve, running.
pub(in crate::server) struct Workers<A> {
    all: Arc<[Worker<A>]>,
    /// Dropped to end them.
    stop: Vec<oneshot::Sender<()>>,
    /// Disconnects when the last one has ended.
    ended: mpsc::Receiver<()>,
}

impl<A> Workers<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    /// Starts a thread for each of the apps.
    pub(in crate::server) fn start(apps: impl Iterator<Item = A>) -> io::Result<Self> {
        let (ending, ended) = mpsc::channel();
        let mut workers = Vec::new();
        let mut stop = Vec::new();
        for (index, app) in apps.enumerate() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (stop_sender, stopped) = oneshot::channel::<()>();
            let ending: mpsc::Sender<()> = ending.clone();
            thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let _ending = ending;
                // Fails when the sender is dropped, which is the sign.
                let _ = runtime.block_on(stopped);
                drop(runtime);
            })?;
            workers.push(Worker {
                runtime: handle,
                app: Arc::new(app),
                connections: Load::default(),
                handshakes: Handshakes::default(),
            });
            stop.push(stop_sender);
        }
        Ok(Self { all: workers.into(), stop, ended })
    }

    /// Those that accept.
    pub(in crate::server) fn seats(&self) -> impl Iterator<Item = (&Handle, Seat<A>)> {
        self.all
            .iter()
            .enumerate()
            .take(ACCEPTING_MAX)
            .map(|(own, worker)| (&worker.runtime, Seat { workers: Arc::clone(&self.all), own }))
    }

    /// Ends the threads, and drops what they still serve.
    pub(in crate::server) fn end(self) {
        let Self { all, stop, ended } = self;
        drop((all, stop));
        // Nothing is sent: they have ended, or have taken too long.
        let _ = ended.recv_timeout(END);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use super::*;

    fn seats(count: usize) -> Vec<Seat<()>> {
        let worker = |_| Worker {
            runtime: Handle::current(),
            app: Arc::new(()),
            connections: Load::default(),
            handshakes: Handshakes::default(),
        };
        let workers: Arc<[_]> = (0..count).map(worker).collect();
        (0..count).map(|own| Seat { workers: Arc::clone(&workers), own }).collect()
    }

    /// However few of them accept, all of them serve, and none has many more than others.
    #[tokio::test]
    async fn connections_are_shared_out() {
        let seats = seats(4);
        let mut held = Vec::new();
        let mut handed_over = 0;
        for number in 0..1_000_usize {
            // The first two accept everything.
            let own = number % 2;
            let (index, worker) = seats[own].choose().unwrap();
            handed_over += usize::from(index != own);
            held.push(worker.connections.hold());
            if number % 3 == 0 {
                held.swap_remove(number * 7 % held.len());
            }
        }
        let loads: Vec<_> = seats[0].workers.iter().map(|it| it.connections.get()).collect();
        assert_eq!(loads.iter().sum::<usize>(), held.len());
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert!(most - least <= 16, "{loads:?}");
        assert!(handed_over > 0);
        drop(held);
        assert!(seats[0].workers.iter().all(|it| it.connections.get() == 0));
    }

    /// What comes and goes stays where it was accepted.
    #[tokio::test]
    async fn short_connections_stay() {
        let seats = seats(2);
        for number in 0..100 {
            let (index, worker) = seats[number % 2].choose().unwrap();
            assert_eq!(index, number % 2);
            let _held = worker.connections.hold();
        }
    }
}
