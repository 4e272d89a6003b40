//! What a listener does with a connection before and while it is served.

use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpStream, task::AbortHandle, time::Instant};

use super::{
    connection::Connection,
    connections::{Connections, Open, Slot},
    handshake::shake_hands,
    handshakes::Handshakes,
    preface::read_header,
    transport::Transport,
};
use crate::{
    config::{ClientLimits, Http2, Networks},
    metrics::{Gauge, HandshakeFailure, Limit, Metrics, NoProxyHeader},
    proxy::{Arrival, Refuser, Secured, SelfCheck, Wire},
    snapshot::ListenerTls,
};

/// What a connection is accepted under.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Terms {
    pub(in crate::server) limits: Arc<ClientLimits>,
    /// Who must say whom a connection comes from; `None`: nobody says it.
    pub(in crate::server) proxies: Option<Networks>,
    /// The peers that send for others.
    pub(in crate::server) hops: Networks,
    /// `None`: in the clear.
    pub(in crate::server) tls: Option<Arc<ListenerTls>>,
    /// `None`: HTTP/1.1 alone.
    pub(in crate::server) h2: Option<Http2>,
}

/// The terms of a listener, as they are now: a reload changes them for the connections to
/// come. `None`: there is no way to serve as the configuration says, so nobody is served.
pub(in crate::server) type TermsNow = Box<dyn Fn() -> Option<Terms> + Send + Sync>;

/// How long nothing is said of handshakes that fail for the same reason.
const SILENCE: Duration = Duration::from_mins(1);

/// Counts, notes and bounds the connections of one listener.
pub(in crate::server) struct Gate {
    listener: Arc<str>,
    terms: TermsNow,
    connections: Arc<Connections>,
    gauge: Gauge,
    metrics: Metrics,
    refuser: Refuser,
    /// A descriptor from this one on is not for clients.
    reserved_from: RawFd,
    /// What this process asks its listeners is not a client's.
    self_check: SelfCheck,
    /// By reason: from when on a handshake that fails is worth a line again, in seconds of
    /// `started`.
    silent_until: [AtomicU64; HandshakeFailure::COUNT],
    started: Instant,
}

impl Gate {
    /// Of a listener for clients: descriptors from `reserved_from` on are kept from them.
    pub(in crate::server) fn new(
        listener: &str,
        terms: TermsNow,
        connections: &Arc<Connections>,
        metrics: &Metrics,
        refuser: Refuser,
        reserved_from: RawFd,
        self_check: SelfCheck,
    ) -> Arc<Self> {
        Arc::new(Self {
            listener: listener.into(),
            terms,
            connections: Arc::clone(connections),
            gauge: metrics.connections(listener),
            metrics: metrics.clone(),
            refuser,
            reserved_from,
            self_check,
            silent_until: Default::default(),
            started: Instant::now(),
        })
    }

    /// Of a listener that is not for clients: it has the limits that are there by default,
    /// and may use every descriptor.
    pub(in crate::server) fn plain(
        listener: &str,
        connections: &Arc<Connections>,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let refuser = Refuser::plain(metrics.clone(), listener.into());
        let terms = Box::new(|| Some(Terms::default()));
        let self_check = SelfCheck::new();
        Self::new(listener, terms, connections, metrics, refuser, RawFd::MAX, self_check)
    }

    /// What a connection that begins now is accepted under; `None`: it is closed.
    pub(super) fn terms(&self) -> Option<Terms> {
        (self.terms)()
    }

    /// Whether as many connections are open as may be.
    pub(super) fn is_full(&self) -> bool {
        let limit = self.terms().and_then(|terms| terms.limits.connections);
        limit.is_some_and(|limit| self.gauge.get() >= i64::from(limit.get()))
    }

    /// Counts that a connection has to wait, or was refused, for this reason.
    pub(super) fn reached(&self, limit: Limit) {
        self.metrics.limit_reached(&self.listener, limit);
    }

    /// Whether the connection has taken one of the descriptors that are kept for the
    /// process: its log, its files, the admin listener, an upgrade. The lowest free number
    /// is given out first, so all below are in use (POSIX, "File Descriptor Allocation").
    pub(super) fn is_reserved(&self, stream: &TcpStream, peer: SocketAddr) -> bool {
        stream.as_raw_fd() >= self.reserved_from && !self.self_check.is_asking_from(peer)
    }

    /// Notes a connection.
    pub(super) fn admit(&self, peer: SocketAddr, limits: &ClientLimits) -> Open {
        self.connections.open(peer, &self.listener, &self.gauge, limits.idle)
    }

    /// Notes which task serves a connection.
    pub(super) fn started(&self, slot: &Slot, task: AbortHandle) {
        self.connections.serves(slot, task);
    }

    /// The connection, as Pingora wants to see it; `None`: no TLS comes of it.
    pub(super) async fn connection(
        &self,
        socket: TcpStream,
        other_end: SocketAddr,
        Terms { limits, proxies, hops, tls, h2 }: Terms,
        mut open: Open,
        handshakes: &Handshakes,
    ) -> Option<Connection> {
        let is_own = self.self_check.is_asking_from(other_end);
        let (peer, is_client) = match proxies.filter(|_| !is_own) {
            None => (other_end, !is_own),
            Some(proxies) => {
                let source = self.source(&socket, other_end, &proxies, &limits).await;
                let source =
                    source.inspect_err(|why| self.metrics.no_proxy_header(&self.listener, *why));
                let source = source.ok()?;
                (source.unwrap_or(other_end), source.is_some())
            }
        };
        // Proxies in front have the connections of many clients, and the process is none: what
        // it asks itself takes no client's place.
        let is_client = is_client && !hops.contain(peer.ip());
        let limit = limits.connections_per_client.filter(|_| is_client);
        if (limit.is_some() || peer != other_end) && !open.comes_from(peer, limit) {
            self.reached(Limit::ConnectionsPerClient);
            return None;
        }
        let (transport, secured) = match tls {
            None => (Transport::Plain(socket), None),
            Some(tls) => {
                let deadline = Instant::now() + limits.handshake;
                // What the process asks itself sends nobody away.
                let place = handshakes.begin(limits.handshakes.filter(|_| !is_own));
                match Box::pin(shake_hands(socket, &tls, is_own, &place, deadline)).await {
                    Ok((stream, secured)) => {
                        if !is_own {
                            let Secured { version, cipher, alpn, is_resumed, .. } = secured;
                            let listener = &self.listener;
                            self.metrics.handshake(listener, version, cipher, alpn, is_resumed);
                        }
                        (Transport::Tls(stream), Some(secured))
                    }
                    Err(why) => {
                        self.handshake_failed(peer, why);
                        return None;
                    }
                }
            }
        };
        let arrival = Arrival { listener: Arc::clone(&self.listener), peer, secured };
        let wire = Wire::new(Arc::new(arrival));
        Some(Connection::new(transport, wire, limits, h2, self.metrics.clone(), open))
    }

    /// Whom a connection comes from, as a proxy in front says; `None`: from the proxy itself.
    async fn source(
        &self,
        socket: &TcpStream,
        proxy: SocketAddr,
        proxies: &Networks,
        limits: &ClientLimits,
    ) -> Result<Option<SocketAddr>, NoProxyHeader> {
        if !proxies.contain(proxy.ip()) {
            return Err(NoProxyHeader::NotAllowed);
        }
        read_header(socket, Instant::now() + limits.handshake, limits.proxy_header).await
    }

    fn handshake_failed(&self, peer: SocketAddr, why: HandshakeFailure) {
        self.metrics.handshake_failed(&self.listener, why);
        let Some(silent_until) = self.silent_until.get(why as usize) else { return };
        let now = self.started.elapsed().as_secs();
        let (is_due, next) = (|until| now >= until, now + SILENCE.as_secs());
        let (set, order) = (|until| is_due(until).then_some(next), Ordering::Relaxed);
        if silent_until.fetch_update(order, order, set).is_ok() {
            let (listener, why) = (&self.listener, why.as_str());
            log::info!(
                "listeners.{listener}: no TLS with {peer}: {why}; more of these are counted"
            );
        }
    }

    /// Answers what is no request.
    pub(super) fn refuser(&self) -> &Refuser {
        &self.refuser
    }
}
