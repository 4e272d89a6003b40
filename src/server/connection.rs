//! One accepted connection, as Pingora wants to see it.
//!
//! Pingora's own stream buffers 64 KiB of reads for each connection, idle or
//! not, and its buffers cannot be set from outside its listener. This one reads
//! straight into the 4 KiB that Pingora holds for a request head anyway, and
//! buffers writes, so that a head and a small body leave in one segment.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf},
    net::TcpStream,
};

use super::connections::Open;

/// Bytes that wait for a flush: an answer's head and a small body fit.
const WRITE_BUFFER_BYTES: usize = 4 * 1024;

/// One accepted connection.
#[derive(Debug)]
pub(super) struct Connection {
    io: BufWriter<TcpStream>,
    digest: Arc<SocketDigest>,
    /// Says that the connection is there, until it is dropped.
    _open: Open,
}

impl Connection {
    /// A connection from `peer`. `open` is held for as long as it lives.
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, open: Open) -> Self {
        // Answers leave when Pingora flushes; waiting for an ACK only delays them.
        // A socket that refuses is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        // A fresh cell is empty, so this saves a system call and cannot fail.
        let _ = digest.peer_addr.set(Some(peer.into()));
        Self {
            io: BufWriter::with_capacity(WRITE_BUFFER_BYTES, stream),
            digest: Arc::new(digest),
            _open: open,
        }
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
