//! What carries a connection's bytes: a socket, or TLS over it.

use std::{
    io::{self, IoSlice, Write},
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::{BufMut, BytesMut};
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::socket::has_unread;
use crate::snapshot::ALPN_H2;

/// What a head is read into. Nearly every one fits, and Pingora parses it in place.
const HEAD_BYTES: usize = 4 * 1024;

/// What carries a connection's bytes.
#[derive(Debug)]
pub(super) enum Transport {
    /// In the clear.
    Plain(TcpStream),
    /// Boxed: its state is a hundred times the size of a socket.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// The socket below.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Whether client and server have agreed on HTTP/2 in TLS.
    pub(super) fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(ALPN_H2),
        }
    }

    /// Whether it is HTTP/2, or the client's first bytes may say so.
    pub(super) fn may_be_http2(&self) -> bool {
        matches!(self, Self::Plain(_)) || self.is_http2()
    }

    /// Ready once there is something to read, or nothing will be: reads nothing of it. A socket
    /// below TLS says less: what it has need not be anything of the client's, and what the
    /// client has sent may have left it already.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_fill_buf(cx).map_ok(drop),
        }
    }

    /// Whether the client has sent what was not read.
    pub(super) fn has_unread(&mut self) -> bool {
        if has_unread(self.socket()) {
            return true;
        }
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => {
                let state = tls.get_mut().1.process_new_packets();
                state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
            }
        }
    }

    /// Reads what is there. Where nothing is, [`Self::poll_readable`] is to be asked next: this
    /// wakes nobody.
    ///
    /// # Errors
    /// The transport's, and `WouldBlock`.
    pub(super) fn try_read(&mut self, buf: &mut impl BufMut) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read_buf(buf),
            Self::Tls(tls) => {
                let mut cx = Context::from_waker(Waker::noop());
                match pin!(tls.read_buf(buf)).poll(&mut cx) {
                    Poll::Ready(read) => read,
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }

    /// Reads the first bytes of a head. By way of the stack: a socket may be said to be
    /// readable and not be so, and a buffer that was made in vain would stay while the
    /// connection is idle.
    pub(super) fn read_first(&mut self, head: &mut BytesMut) -> io::Result<usize> {
        let mut room = [MaybeUninit::<u8>::uninit(); HEAD_BYTES];
        let mut read = ReadBuf::uninit(&mut room);
        let bytes = self.try_read(&mut read)?;
        if bytes > 0 {
            head.reserve(HEAD_BYTES);
            head.extend_from_slice(read.filled());
        }
        Ok(bytes)
    }

    /// The socket, once no more is to be written. Over TLS the client is told so, if there is
    /// room for it just now.
    pub(super) fn into_socket(self) -> TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => {
                let (socket, mut session) = tls.into_inner();
                session.send_close_notify();
                // The client may be gone, and is owed nothing more.
                let _ = session.write_tls(&mut Now(&socket));
                socket
            }
        }
    }
}

/// Writes what a socket takes at once.
struct Now<'s>(&'s TcpStream);

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, pieces),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}
