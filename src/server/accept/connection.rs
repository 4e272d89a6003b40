//! One accepted connection, as Pingora wants to see it.
//!
//! Pingora's own stream buffers 64 KiB of reads for each connection, idle or not, and it
//! parses whatever comes. This one reads a head itself, hands on exactly the bytes of one
//! request, and keeps every clock that a client can try. By [`Wire`] the hooks say what a
//! request waits for.

use std::{
    any::Any,
    future::poll_fn,
    io::{self, IoSlice, Write as _},
    mem::{self, MaybeUninit},
    os::fd::AsRawFd,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, BufMut, BytesMut};
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    connections::Open, h2::Begun, linger, outgoing::Outgoing, socket::acknowledged,
    transport::Transport, waits::Waits,
};
use crate::{
    config::{ClientLimits, Http2},
    http1::{
        self, Body, HeadLimits, Malformed,
        chunked::{Decoder, LAST, OVERHEAD},
    },
    http2::PREFACE,
    metrics::Metrics,
    proxy::{Arrival, Ended, Wire},
};

/// How much of the next request is read while one is served: enough to see that the client
/// is still there, and to go on at once.
const AHEAD_BYTES_MAX: usize = 4 * 1024;

/// How much of a chunked body is decoded at a time, on the stack.
const CHUNKED_BYTES: usize = 8 * 1024;

/// How long a client may take to send the rest of a head while the process drains.
const HEAD_AT_STOP: Duration = Duration::from_secs(1);

/// One accepted connection.
#[derive(Debug)]
pub(in crate::server) struct Connection {
    /// `None` once it is left to linger.
    stream: Option<Transport>,
    wire: Wire,
    limits: Arc<ClientLimits>,
    /// Its first bytes may be the preface of HTTP/2.
    http2: Option<Http2>,
    metrics: Metrics,
    /// Notes that the connection is open. `None` once it is left to linger.
    open: Option<Open>,
    inbound: Inbound,
    /// What was read and belongs to no request yet, or to a tunnel.
    ahead: BytesMut,
    outgoing: Outgoing,
    waits: Waits,
}

/// How far the request that is served was read.
#[derive(Debug)]
enum Inbound {
    /// There is none.
    Between,
    /// So many bytes of its body are to come.
    Length(u64),
    /// Chunks of its body are to come.
    Chunked(Decoder),
    /// It was read whole.
    Whole,
    /// Where it ends cannot be known any more.
    Lost,
}

/// What became of waiting for a request.
#[derive(Debug)]
pub(super) enum Next {
    /// Its head, and with it as much of its body as is there.
    Request(BytesMut),
    /// The preface of HTTP/2, and what came with it.
    Preface(BytesMut),
    /// None comes.
    End,
    /// What came is no request, or took too long.
    Refused(Refused),
}

/// A request that is refused before anyone sees it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: Why,
    /// As much of it as is there.
    pub(super) head: BytesMut,
    pub(super) since: Instant,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Why {
    Malformed(Malformed),
    Slow,
}

impl Connection {
    /// A connection of this wire. `open` is held for as long as it lives.
    pub(super) fn new(
        stream: Transport,
        wire: Wire,
        limits: Arc<ClientLimits>,
        http2: Option<Http2>,
        metrics: Metrics,
        open: Open,
    ) -> Self {
        // Over TLS nothing else than ALPN chooses it (RFC 9113, 3.2).
        let http2 = http2.filter(|_| stream.may_be_http2());
        // Answers leave when Pingora flushes; waiting for an ACK only delays them.
        // A socket that refuses is about to fail anyway.
        let _ = stream.socket().set_nodelay(true);
        Self {
            stream: Some(stream),
            wire,
            limits,
            http2,
            metrics,
            open: Some(open),
            inbound: Inbound::Between,
            ahead: BytesMut::new(),
            outgoing: Outgoing::default(),
            waits: Waits::default(),
        }
    }

    /// The wire below a session of Pingora's: what [`FindWire`](crate::proxy::FindWire) is.
    pub(in crate::server) fn wire_of(stream: &dyn Any) -> Option<&Wire> {
        stream.downcast_ref::<Self>().map(|connection| &connection.wire)
    }

    /// How it has arrived.
    pub(super) fn arrival(&self) -> &Arc<Arrival> {
        self.wire.arrival()
    }

    /// The limits that it was accepted under.
    pub(super) fn limits(&self) -> &ClientLimits {
        &self.limits
    }

    /// Waits for a request, and reads its head.
    ///
    /// Before its first byte, nothing is held for it except the connection itself, and no
    /// timer runs: see [`Connections`](super::connections::Connections).
    pub(super) async fn next(&mut self, stopped: &mut watch::Receiver<bool>) -> Next {
        self.inbound = Inbound::Between;
        self.waits.expects_another();
        let mut head = mem::take(&mut self.ahead);
        let Self { stream: Some(stream), open: Some(open), limits, http2, .. } = self else {
            return Next::End;
        };
        open.expects_another();
        let is_stopping = *stopped.borrow();
        let mut stopped = pin!(told_to_stop(stopped));
        let mut seen = 0;
        let mut begun: Option<Instant> = None;
        loop {
            skip_empty_lines(&mut head);
            if head.is_empty() {
                // While it waits, it has no memory for a head.
                head = BytesMut::new();
                // At a stop, who waits is soon sent away: not a client that has sent a request
                // already, which this thread has not come round to.
                if !(is_stopping && stream.has_unread()) {
                    open.waits();
                }
                // The read finds what is wrong with it.
                let _ = poll_fn(|cx| stream.poll_readable(cx)).await;
                if !open.is_served() {
                    return Next::End;
                }
            } else if let Some(is_whole) = http2.and_then(|_| is_preface(&head)) {
                if is_whole {
                    return Next::Preface(head);
                }
            } else {
                match judge(&head, seen, &limits.heads) {
                    Ok(None) => {}
                    Ok(Some(found)) => return self.begin(found, head),
                    Err(malformed) => {
                        self.inbound = Inbound::Lost;
                        let since = begun.unwrap_or_else(Instant::now);
                        let why = Why::Malformed(malformed);
                        return Next::Refused(Refused { why, head, since });
                    }
                }
                seen = head.len();
            }
            let read = if head.is_empty() {
                stream.read_first(&mut head)
            } else {
                stream.try_read(&mut head)
            };
            match read {
                Ok(0) => return Next::End,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if head.is_empty() {
                        continue;
                    }
                    let since = *begun.get_or_insert_with(Instant::now);
                    tokio::select! {
                        biased;
                        readable = poll_fn(|cx| stream.poll_readable(cx)) => if readable.is_err() { return Next::End },
                        () = sleep_until(since + limits.head) => {
                            self.inbound = Inbound::Lost;
                            return Next::Refused(Refused { why: Why::Slow, head, since });
                        }
                        () = &mut stopped => {
                            // It gets no answer, so there is none to be read: to linger would
                            // only hold the drain up, for as long as the head drips.
                            self.open = None;
                            return Next::End;
                        }
                    }
                }
                Err(_) => return Next::End,
            }
        }
    }

    /// Whether client and server have agreed on HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.http2.is_some() && self.stream.as_ref().is_some_and(Transport::is_http2)
    }

    /// The connection as one of HTTP/2, of which this much was read. `None`: never, of one
    /// that has served no request.
    pub(super) fn into_http2(mut self: Box<Self>, ahead: BytesMut) -> Option<Begun> {
        self.ahead.clear();
        Some(Begun {
            transport: self.stream.take()?,
            ahead,
            wire: self.wire.another(),
            limits: Arc::clone(&self.limits),
            http2: self.http2?,
            metrics: self.metrics.clone(),
            open: self.open.take()?,
        })
    }

    /// Keeps what is no part of the request that begins, and gives what is.
    fn begin(&mut self, found: http1::RequestHead, mut head: BytesMut) -> Next {
        let rest = head.len() - found.length;
        self.inbound = match found.body {
            Body::Length(length) => {
                let there = usize::try_from(length).map_or(rest, |length| length.min(rest));
                if there < rest {
                    self.ahead = head.split_off(found.length + there);
                }
                match length - there as u64 {
                    0 => Inbound::Whole,
                    left => Inbound::Length(left),
                }
            }
            Body::Chunked => {
                if rest > 0 {
                    self.ahead = head.split_off(found.length);
                }
                Inbound::Chunked(Decoder::default())
            }
        };
        self.wire.begin();
        self.http2 = None;
        self.waits.begin(found.expects_continue);
        Next::Request(head)
    }

    /// Whether the client may still send, so that closing now would reset it.
    fn may_be_sent_more(&mut self) -> bool {
        match self.inbound {
            Inbound::Between | Inbound::Whole => {
                !self.ahead.is_empty() || self.stream.as_mut().is_some_and(Transport::has_unread)
            }
            Inbound::Length(_) | Inbound::Chunked(_) | Inbound::Lost => true,
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_read(cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Reads more of the body, of which `left` bytes are to come. Pingora asks for no more.
    fn poll_length(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        left: u64,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match self.poll_stream(cx, buf) {
            Poll::Pending => self.poll_receiving(cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                let read = (buf.filled().len() - before) as u64;
                self.inbound = match left.checked_sub(read) {
                    Some(0) => Inbound::Whole,
                    Some(left) => Inbound::Length(left),
                    None => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                };
                Poll::Ready(self.received(read))
            }
        }
    }

    /// Reads more of a chunked body, and hands on what is in it as one chunk.
    fn poll_chunked(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut room = [MaybeUninit::<u8>::uninit(); CHUNKED_BYTES];
        let room_for = buf.remaining().saturating_sub(OVERHEAD + LAST.len()).min(CHUNKED_BYTES);
        let Some(room) = room.get_mut(..room_for).filter(|room| !room.is_empty()) else {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        };
        loop {
            let mut raw = ReadBuf::uninit(room);
            if self.ahead.is_empty() {
                match self.poll_stream(cx, &mut raw) {
                    Poll::Pending => return self.poll_receiving(cx),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    // The client has closed: the end that is due does not come.
                    Poll::Ready(Ok(())) if raw.filled().is_empty() => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) => {}
                }
            } else {
                let bytes = self.ahead.len().min(raw.remaining());
                raw.put_slice(self.ahead.get(..bytes).unwrap_or_default());
                self.ahead.advance(bytes);
            }
            let Inbound::Chunked(decoder) = &mut self.inbound else {
                return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
            };
            let raw = raw.filled_mut();
            let (bytes, used) = match decoder.decode(raw) {
                Ok(found) => found,
                Err(malformed) => {
                    self.inbound = Inbound::Lost;
                    return Poll::Ready(Err(Ended::Body(malformed).into_error()));
                }
            };
            let is_done = decoder.is_done();
            let piece = raw.get(..bytes).unwrap_or_default();
            if !piece.is_empty() {
                // There is room, so this cannot fail.
                let _ = write!(BufMut::writer(&mut *buf), "{:x}\r\n", piece.len());
                buf.put_slice(piece);
                buf.put_slice(b"\r\n");
            }
            if is_done {
                buf.put_slice(LAST);
                // These bytes came before what is still unread of the last piece.
                let behind = raw.get(used..).unwrap_or_default();
                if !behind.is_empty() {
                    let later = mem::take(&mut self.ahead);
                    self.ahead.extend_from_slice(behind);
                    self.ahead.extend_from_slice(&later);
                }
                self.inbound = Inbound::Whole;
            }
            let received = self.received(raw.len() as u64);
            if is_done || bytes > 0 || received.is_err() {
                return Poll::Ready(received);
            }
        }
    }

    /// The client sends nothing just now, though it should.
    fn poll_receiving(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = ready!(self.waits.poll_receiving(cx, &self.wire, &self.limits));
        Poll::Ready(Err(self.ended(ended)))
    }

    /// Bytes of a body have come.
    fn received(&mut self, bytes: u64) -> io::Result<()> {
        self.waits.received(bytes, &self.limits).map_err(|ended| self.ended(ended))
    }

    /// The request is whole, so the upstream is waited for. Looks whether the client is
    /// still there: what it sends meanwhile is its next request.
    fn poll_whole(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < AHEAD_BYTES_MAX {
            let mut room = [MaybeUninit::<u8>::uninit(); 1024];
            let mut read = ReadBuf::uninit(&mut room);
            match self.poll_stream(cx, &mut read) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // It has closed.
                Poll::Ready(Ok(())) if read.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => self.ahead.extend_from_slice(read.filled()),
            }
        }
        self.poll_answer(cx)
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = ready!(self.waits.poll_answer(cx, &self.wire));
        Poll::Ready(Err(self.ended(ended)))
    }

    /// Passes on what a client sends after its connection was upgraded.
    fn poll_tunnel(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let bytes = self.ahead.len().min(buf.remaining());
            buf.put_slice(self.ahead.get(..bytes).unwrap_or_default());
            self.ahead.advance(bytes);
            return Poll::Ready(Ok(()));
        }
        match self.poll_stream(cx, buf) {
            Poll::Pending => {
                let ended = ready!(self.waits.poll_tunnel(cx, &self.limits));
                Poll::Ready(Err(self.ended(ended)))
            }
            Poll::Ready(read) => {
                self.waits.passed();
                Poll::Ready(read)
            }
        }
    }

    /// Lets an answer go that cannot be held with so many bytes more.
    fn holds(&self, bytes: usize) {
        if self.wire.is_held() && !self.outgoing.has_room_for(bytes) {
            self.wire.release();
        }
    }

    /// Notes whether the client has taken what was written.
    fn sent<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(written) = written {
            self.waits.sent(&self.wire);
            return Poll::Ready(written);
        }
        let taken = || self.stream.as_ref().and_then(|stream| acknowledged(stream.socket()));
        let ended = ready!(self.waits.poll_sending(cx, &self.limits, taken));
        // A client that takes nothing is told nothing.
        self.inbound = Inbound::Between;
        self.ahead.clear();
        Poll::Ready(Err(self.ended(ended)))
    }

    /// Counts why a request ends, and says so to Pingora.
    fn ended(&self, ended: Ended) -> io::Error {
        if let Ended::Limit(limit) = ended {
            self.metrics.limit_reached(&self.arrival().listener, limit);
        }
        ended.into_error()
    }
}

/// Reads a head of which the first `seen` bytes were read before: anew where a line has
/// ended since.
fn judge(
    head: &[u8],
    seen: usize,
    limits: &HeadLimits,
) -> Result<Option<http1::RequestHead>, Malformed> {
    if head.get(seen..).is_some_and(|new| new.contains(&b'\n')) {
        http1::head::read(head, limits)
    } else {
        http1::head::begin(head, limits).map(|()| None)
    }
}

/// Whether this is the preface of HTTP/2; `None`: it cannot become one.
fn is_preface(head: &[u8]) -> Option<bool> {
    let whole = head.starts_with(PREFACE);
    (whole || PREFACE.starts_with(head)).then_some(whole)
}

/// RFC 9112, 2.2: some clients end a body by an empty line that does not belong to it.
fn skip_empty_lines(head: &mut BytesMut) {
    let empty = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    head.advance(empty);
}

/// Waits until the process drains, and a moment longer.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // Closed: the process ends.
    let _ = stopped.wait_for(|stopped| *stopped).await;
    sleep(HEAD_AT_STOP).await;
}

impl Drop for Connection {
    /// A client that is still sending gets to read the answer first.
    fn drop(&mut self) {
        let lingers = self.may_be_sent_more();
        let Some(stream) = self.stream.take().map(Transport::into_socket) else { return };
        if !lingers {
            return;
        }
        if let Some(open) = self.open.take() {
            linger::apart(stream, open, &self.limits, &self.metrics, &self.arrival().listener);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.wire.is_tunnel() {
            return this.poll_tunnel(cx, buf);
        }
        match this.inbound {
            Inbound::Length(left) => this.poll_length(cx, buf, left),
            Inbound::Chunked(_) => this.poll_chunked(cx, buf),
            Inbound::Whole => this.poll_whole(cx),
            // Nothing is read where nothing belongs to a request.
            Inbound::Between | Inbound::Lost => {
                Poll::Ready(Err(io::ErrorKind::InvalidInput.into()))
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.holds(bytes.len());
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let written = this.outgoing.poll_write(Pin::new(stream), cx, bytes);
        this.sent(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.holds(pieces.iter().map(|piece| piece.len()).fold(0, usize::saturating_add));
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let written = this.outgoing.poll_write_vectored(Pin::new(stream), cx, pieces);
        this.sent(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.wire.is_held() {
            return Poll::Ready(Ok(()));
        }
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let flushed = this.outgoing.poll_flush(Pin::new(stream), cx);
        this.sent(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(instead) = self.wire.replaced() {
            self.outgoing.replace(instead.into_bytes());
        }
        self.wire.release();
        ready!(self.as_mut().poll_flush(cx))?;
        match &mut self.get_mut().stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
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
        self.stream.as_ref().map_or(-1, |stream| stream.socket().as_raw_fd())
    }
}

/// What corsac knows of it is in the wire.
impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
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
