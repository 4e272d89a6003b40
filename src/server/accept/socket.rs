//! What is asked of a client's socket, apart from its bytes in their order.

use std::{io, mem::MaybeUninit, os::fd::AsRawFd};

use bytes::BytesMut;
use pingora_core::protocols::l4::ext::get_tcp_info;
use rustix::net::{RecvFlags, recv};
use tokio::{io::ReadBuf, net::TcpStream};

/// What a head is read into. Nearly every one fits, and Pingora parses it in place.
const HEAD_BYTES: usize = 4 * 1024;

/// Reads the first bytes of a head. By way of the stack: a socket may be said to be readable
/// and not be so, and a buffer that was made in vain would stay while the connection is idle.
pub(super) fn read_first(stream: &TcpStream, head: &mut BytesMut) -> io::Result<usize> {
    let mut room = [MaybeUninit::<u8>::uninit(); HEAD_BYTES];
    let mut read = ReadBuf::uninit(&mut room);
    let bytes = stream.try_read_buf(&mut read)?;
    if bytes > 0 {
        head.reserve(HEAD_BYTES);
        head.extend_from_slice(read.filled());
    }
    Ok(bytes)
}

/// How many bytes of answers the other end has acknowledged, if the system says so.
pub(super) fn acknowledged(stream: &TcpStream) -> Option<u64> {
    get_tcp_info(stream.as_raw_fd()).ok().map(|info| info.tcpi_bytes_acked)
}

/// Whether the kernel holds bytes of the client's. The runtime knows only of those that it
/// was told of in its last turn.
pub(super) fn has_unread(stream: &TcpStream) -> bool {
    let peeked = recv(stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    peeked.is_ok_and(|(bytes, _)| bytes > 0)
}
