//! What a listener does with a connection before and while it is served.

use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
};

use tokio::{net::TcpStream, task::AbortHandle};

use super::{
    connection::Connection,
    connections::{Connections, Open, Slot},
};
use crate::{
    config::ClientLimits,
    metrics::{Gauge, Limit, Metrics},
    proxy::{Refuser, SelfCheck, Wire},
};

/// The limits of a listener, as they are now: a reload changes them for the connections to
/// come.
pub(in crate::server) type LimitsNow = Box<dyn Fn() -> Arc<ClientLimits> + Send + Sync>;

/// Counts, notes and bounds the connections of one listener.
pub(in crate::server) struct Gate {
    listener: Arc<str>,
    limits: LimitsNow,
    connections: Arc<Connections>,
    gauge: Gauge,
    metrics: Metrics,
    refuser: Refuser,
    /// A descriptor from this one on is not for clients.
    reserved_from: RawFd,
    /// What this process asks its listeners is not a client's.
    self_check: SelfCheck,
}

impl Gate {
    /// Of a listener for clients: descriptors from `reserved_from` on are kept from them.
    pub(in crate::server) fn new(
        listener: &str,
        limits: LimitsNow,
        connections: &Arc<Connections>,
        metrics: &Metrics,
        refuser: Refuser,
        reserved_from: RawFd,
        self_check: SelfCheck,
    ) -> Arc<Self> {
        Arc::new(Self {
            listener: listener.into(),
            limits,
            connections: Arc::clone(connections),
            gauge: metrics.connections(listener),
            metrics: metrics.clone(),
            refuser,
            reserved_from,
            self_check,
        })
    }

    /// Of a listener that is not for clients: it has the limits that are there by default,
    /// and may use every descriptor.
    pub(in crate::server) fn plain(
        listener: &str,
        connections: &Arc<Connections>,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let limits = Arc::<ClientLimits>::default();
        let refuser = Refuser::plain(metrics.clone(), listener.into());
        let limits = Box::new(move || Arc::clone(&limits));
        let self_check = SelfCheck::new();
        Self::new(listener, limits, connections, metrics, refuser, RawFd::MAX, self_check)
    }

    /// The limits of a connection that begins now.
    pub(super) fn limits(&self) -> Arc<ClientLimits> {
        (self.limits)()
    }

    /// Whether as many connections are open as may be.
    pub(super) fn is_full(&self) -> bool {
        let limit = self.limits().connections;
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

    /// Notes a connection; `None`: its client has too many.
    pub(super) fn admit(&self, peer: SocketAddr, limits: &ClientLimits) -> Option<Open> {
        let mut limits = *limits;
        // The process is none of its clients: what it asks itself takes no client's place.
        if limits.connections_per_client.is_some() && self.self_check.is_asking_from(peer) {
            limits.connections_per_client = None;
        }
        let open = self.connections.open(peer, &self.listener, &self.gauge, limits);
        if open.is_none() {
            self.reached(Limit::ConnectionsPerClient);
        }
        open
    }

    /// Notes which task serves a connection.
    pub(super) fn started(&self, slot: &Slot, task: AbortHandle) {
        self.connections.serves(slot, task);
    }

    /// The connection, as Pingora wants to see it.
    pub(super) fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        limits: Arc<ClientLimits>,
        open: Open,
    ) -> Connection {
        let wire = Wire::new(Arc::clone(&self.listener));
        Connection::new(stream, peer, wire, limits, self.metrics.clone(), open)
    }

    /// Answers what is no request.
    pub(super) fn refuser(&self) -> &Refuser {
        &self.refuser
    }
}
