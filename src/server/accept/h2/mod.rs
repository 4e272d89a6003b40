//! The requests of one connection of HTTP/2, side by side.
//!
//! The crate `h2` has the protocol; a request is a [`stream`] that Pingora sees as a session of
//! a protocol of its own, so that every clock and every answer is as over HTTP/1.1. The
//! connection's task moves bytes for all of its requests, and waits for none of them: each has
//! a task, which ends with the connection's.

mod channel;
mod connection;
mod stream;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection as Http2Connection};
use pingora_core::apps::HttpServerApp;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use self::{
    channel::{Channel, Watched},
    connection::Connection,
};
use super::{connections::Open, load::Load, transport::Transport, waits::Waits};
use crate::{
    config::{ClientLimits, Http2},
    http2::head::list_size,
    metrics::{Limit, Metrics},
    proxy::{Refuser, Wire},
};

/// How much of an answer a stream holds beyond what its client has room for: a piece, as
/// Pingora reads them.
const SEND_BUFFER: usize = 64 * 1024;

/// A connection that turned out to be one of HTTP/2.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) transport: Transport,
    /// What was read of it already.
    pub(super) ahead: BytesMut,
    pub(super) wire: Wire,
    pub(super) limits: Arc<ClientLimits>,
    pub(super) http2: Http2,
    pub(super) metrics: Metrics,
    pub(super) open: Open,
}

/// Serves a connection to its end.
pub(super) async fn serve<A>(
    app: Arc<A>,
    begun: Begun,
    desk: &Refuser,
    stop: &watch::Receiver<bool>,
    load: &Load,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let Begun { transport, ahead, wire, limits, http2, metrics, open } = begun;
    let deadline = Instant::now() + limits.handshake;
    let watched = Arc::new(Watched::new(http2.floods));
    let channel = Channel {
        transport: Some(transport),
        ahead,
        watched: Arc::clone(&watched),
        limits: Arc::clone(&limits),
        metrics: metrics.clone(),
        listener: Arc::clone(&wire.arrival().listener),
        open: Some(open),
        preface: 0,
        waits: Waits::default(),
        is_over: false,
    };
    let begins = settings(&limits, http2).handshake(channel);
    let io: Http2Connection<Channel, Bytes> = match timeout_at(deadline, begins).await {
        Ok(Ok(io)) => io,
        // Who does not even send a preface is told nothing.
        Ok(Err(_)) => return,
        Err(_) => return metrics.limit_reached(&wire.arrival().listener, Limit::Handshake),
    };
    let connection = Connection {
        io,
        watched,
        wire,
        limits,
        http2,
        metrics,
        desk,
        app,
        load,
        stop: stop.clone(),
    };
    connection.run(deadline).await;
}

/// What the client is told, and what `h2` bounds.
fn settings(limits: &ClientLimits, http2: Http2) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(http2.streams)
        .max_header_list_size(list_size(&limits.heads))
        .initial_window_size(http2.window)
        .initial_connection_window_size(http2.connection_window)
        // Told by name, before `h2` ends the connection without a word of why.
        .max_pending_accept_reset_streams(http2.floods.resets_at_once())
        .max_send_buffer_size(SEND_BUFFER)
        // Data that was on its way to a stream that was answered early comes for a while.
        .reset_stream_duration(limits.linger.saturating_mul(2));
    builder
}
