//! What is asked of a client's socket, apart from its bytes in their order.

use std::os::fd::AsRawFd;

use pingora_core::protocols::l4::ext::get_tcp_info;
use rustix::net::{RecvFlags, recv};
use tokio::net::TcpStream;

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
