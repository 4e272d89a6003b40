//! One accepted connection, as Pingora wants to see it.
//!
//! Pingora's own stream buffers 64 KiB of reads for each connection, idle or
//! not, and its buffers cannot be set from outside its listener. This one reads
//! straight into the 4 KiB that Pingora holds for a request head anyway, and
//! buffers writes, so that a head and a small body leave in one segment.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use pingora_core::{
    apps::{HttpPersistentSettings, HttpServerApp},
    protocols::{
        GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
        Stream, TimingDigest, UniqueID, UniqueIDType, http::ServerSession,
        raw_connect::ProxyDigest,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf},
    net::TcpStream,
    sync::watch,
};

use super::connections::{IDLE, Open};

/// Bytes that wait for a flush: an answer's head and a small body fit.
const WRITE_BUFFER_BYTES: usize = 4 * 1024;

/// One accepted connection.
#[derive(Debug)]
pub(in crate::server) struct Connection {
    io: BufWriter<TcpStream>,
    digest: Arc<SocketDigest>,
    /// Says that the connection is there, until it is dropped.
    open: Open,
}

impl Connection {
    /// A connection from `peer`. `open` is held for as long as it lives.
    pub(in crate::server) fn new(stream: TcpStream, peer: SocketAddr, open: Open) -> Self {
        // Answers leave when Pingora flushes; waiting for an ACK only delays them.
        // A socket that refuses is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        // A fresh cell is empty, so this saves a system call and cannot fail.
        let _ = digest.peer_addr.set(Some(peer.into()));
        Self {
            io: BufWriter::with_capacity(WRITE_BUFFER_BYTES, stream),
            digest: Arc::new(digest),
            open,
        }
    }

    /// Waits for the next request, or for the client to close. False: it has taken
    /// too long.
    ///
    /// Out here nothing is held for the request but the connection itself, and no timer
    /// runs: see [`Connections`](super::connections::Connections).
    async fn request(&self) -> bool {
        self.open.waits();
        let stream = self.io.get_ref();
        // What is wrong with it, reading will find.
        let _ = poll_fn(|cx| stream.poll_read_ready(cx)).await;
        self.open.is_served()
    }
}

/// Serves a connection to its end, request by request. A task of the runtime is to do
/// nothing else, for it is aborted when it waits for too long.
pub(in crate::server) async fn serve<A>(
    app: Arc<A>,
    connection: Connection,
    stop: &watch::Receiver<bool>,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut stream: Stream = Box::new(connection);
    let mut settings: Option<HttpPersistentSettings> = None;
    while waits_for_request(&stream).await {
        let mut session = ServerSession::new_http1(stream);
        match settings {
            Some(settings) => settings.apply_to_session(&mut session),
            None => session.set_keepalive(Some(IDLE.as_secs())),
        }
        let Some(reused) = app.process_new_http(session, stop).await else { return };
        (stream, settings) = reused.consume();
    }
}

async fn waits_for_request(stream: &Stream) -> bool {
    match (**stream).as_any().downcast_ref::<Connection>() {
        Some(connection) => connection.request().await,
        // Pingora gives back what it was given.
        None => true,
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // The peer may be gone already, which is what was wanted.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.io.get_ref().as_raw_fd()
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl Ssl for Connection {}

impl Peek for Connection {}
