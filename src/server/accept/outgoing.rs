//! Bytes on their way to a client, a few of them held back so that a head and a small
//! body leave in one segment.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use super::transport::Transport;

/// Bytes that wait for a flush: an answer's head and a small body fit. What is more than
/// fills two segments of Ethernet anyway; and this much stays with an idle connection.
const HELD_BYTES: usize = 3 * 1024;

/// What waits to be written. Unlike tokio's `BufWriter` it takes no memory before there is
/// an answer: most connections of an attack never get one.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    held: Vec<u8>,
    /// Of these, how many are written.
    written: usize,
}

impl Outgoing {
    /// Takes bytes, or writes them where they are many.
    pub(super) fn poll_write(
        &mut self,
        mut stream: Pin<&mut Transport>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() + bytes.len() > HELD_BYTES {
            ready!(self.poll_flush(stream.as_mut(), cx))?;
        }
        if bytes.len() >= HELD_BYTES {
            return stream.poll_write(cx, bytes);
        }
        self.hold(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// The same of several pieces.
    pub(super) fn poll_write_vectored(
        &mut self,
        mut stream: Pin<&mut Transport>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = pieces.iter().map(|piece| piece.len()).fold(0, usize::saturating_add);
        if self.held.len().saturating_add(total) > HELD_BYTES {
            ready!(self.poll_flush(stream.as_mut(), cx))?;
        }
        if total >= HELD_BYTES {
            return stream.poll_write_vectored(cx, pieces);
        }
        for piece in pieces {
            self.hold(piece);
        }
        Poll::Ready(Ok(total))
    }

    /// Whether so many bytes more can be held.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.held.len().saturating_add(bytes) <= HELD_BYTES
    }

    /// Forgets what is held, and holds this.
    pub(super) fn replace(&mut self, bytes: Vec<u8>) {
        self.held = bytes;
        self.written = 0;
    }

    /// Writes what is held.
    pub(super) fn poll_flush(
        &mut self,
        mut stream: Pin<&mut Transport>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.held.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(stream.as_mut().poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.written += bytes,
            }
        }
        self.held.clear();
        self.written = 0;
        // Below TLS there may be bytes that it has taken, and the socket has not.
        stream.poll_flush(cx)
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.held.capacity() == 0 {
            self.held.reserve_exact(HELD_BYTES);
        }
        self.held.extend_from_slice(bytes);
    }
}
