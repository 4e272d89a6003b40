//! The bytes of a connection of HTTP/2, counted as they pass.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::{
    config::ClientLimits,
    http2::{
        PREFACE,
        flood::{FloodLimits, Traffic},
    },
    metrics::{Limit, Metrics},
    proxy::Ended,
    server::accept::{
        connections::Open, linger, socket::acknowledged, transport::Transport, waits::Waits,
    },
};

/// What `h2` reads from and writes to.
#[derive(Debug)]
pub(super) struct Channel {
    /// `None` only while it is dropped.
    pub(super) transport: Option<Transport>,
    /// What was read already.
    pub(super) ahead: BytesMut,
    /// How much of the preface has passed.
    pub(super) preface: usize,
    pub(super) watched: Arc<Watched>,
    pub(super) waits: Waits,
    pub(super) limits: Arc<ClientLimits>,
    pub(super) metrics: Metrics,
    pub(super) listener: Arc<str>,
    /// Notes that the connection is open.
    pub(super) open: Option<Open>,
    /// The client has closed, or is gone.
    pub(super) is_over: bool,
}

/// What was seen of a connection's frames. Its two holders are polled by one task, so the lock
/// is always free; it is there since Rust cannot know that.
#[derive(Debug)]
pub(super) struct Watched {
    started: Instant,
    seen: Mutex<Seen>,
}

/// As above.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) traffic: Traffic,
    /// Streams that the client has reset, and nobody has looked at yet.
    pub(super) reset: Vec<u32>,
}

impl Watched {
    pub(super) fn new(limits: FloodLimits) -> Self {
        let seen = Seen { traffic: Traffic::new(limits), reset: Vec::new() };
        Self { started: Instant::now(), seen: Mutex::new(seen) }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    /// Notes what has come.
    fn received(&mut self, bytes: &[u8]) {
        let preface = (PREFACE.len() - self.preface).min(bytes.len());
        self.preface += preface;
        let Watched { started, .. } = &*self.watched;
        let Seen { traffic, reset } = &mut *self.watched.seen();
        let frames = bytes.get(preface..).unwrap_or_default();
        traffic.received(frames, || started.elapsed(), |stream| reset.push(stream));
    }

    /// Notes whether the client has taken what was written.
    fn sent<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Self { transport, waits, limits, .. } = self;
        if written.is_ready() {
            waits.found_room();
            return written;
        }
        let taken = || acknowledged(transport.as_ref()?.socket());
        let ended = ready!(waits.poll_sending(cx, limits, taken));
        self.is_over = true;
        self.metrics.limit_reached(&self.listener, Limit::Send);
        Poll::Ready(Err(Ended::into_error(ended)))
    }
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Channel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Its task looks at this after each turn, and reads no more.
        if this.watched.seen().traffic.ended().is_some() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.ahead.is_empty() {
            let Some(transport) = &mut this.transport else { return gone() };
            let read = ready!(Pin::new(transport).poll_read(cx, buf));
            this.is_over |= read.is_err() || buf.filled().len() == before;
            read?;
        } else {
            let bytes = this.ahead.len().min(buf.remaining());
            buf.put_slice(this.ahead.get(..bytes).unwrap_or_default());
            this.ahead.advance(bytes);
        }
        this.received(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(transport) = &mut this.transport else { return gone() };
        let written = Pin::new(transport).poll_write_vectored(cx, pieces);
        if let Poll::Ready(Ok(mut left)) = written {
            let mut seen = this.watched.seen();
            for piece in pieces {
                let bytes = left.min(piece.len());
                seen.traffic.sent(piece.get(..bytes).unwrap_or_default());
                left -= bytes;
            }
        }
        this.sent(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(transport) = &mut this.transport else { return gone() };
        let flushed = Pin::new(transport).poll_flush(cx);
        this.sent(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Some(transport) => Pin::new(transport).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Channel {
    /// A client that is still sending gets to read why no more is taken.
    fn drop(&mut self) {
        let (Some(transport), Some(open)) = (self.transport.take(), self.open.take()) else {
            return;
        };
        let socket = transport.into_socket();
        if !self.is_over {
            linger::apart(socket, open, &self.limits, &self.metrics, &self.listener);
        }
    }
}
