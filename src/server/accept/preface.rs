//! What a proxy in front says before a client's first byte.

use std::{io, net::SocketAddr, time::Duration};

use rustix::net::{RecvFlags, recv};
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::{metrics::NoProxyHeader, proxy_protocol};

/// The longest header, and no byte more (see [`proxy_protocol::read`]).
const HEADER_BYTES: usize = 16 + 4096;

/// Reads the header of the PROXY protocol, and nothing behind it: whom the connection comes
/// from, where that is not the other end of its socket. Its first byte has time until `first`,
/// since some proxies send it only with the client's; the others have `rest` from then on.
///
/// # Errors
/// There is none.
pub(super) async fn read_header(
    socket: &TcpStream,
    first: Instant,
    rest: Duration,
) -> Result<Option<SocketAddr>, NoProxyHeader> {
    let mut held = Vec::new();
    let mut deadline = first;
    loop {
        let readable = timeout_at(deadline, socket.readable()).await;
        readable.map_err(|_| NoProxyHeader::Timeout)?.map_err(|_| NoProxyHeader::Empty)?;
        match socket.try_io(Interest::READABLE, || step(socket, &mut held)) {
            Ok(Some(header)) => return Ok(header.source),
            Ok(None) if deadline == first => deadline = Instant::now() + rest,
            Ok(None) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {}
                io::ErrorKind::InvalidData => return Err(NoProxyHeader::Malformed),
                // A health check opens a connection and closes it.
                _ if held.is_empty() => return Err(NoProxyHeader::Empty),
                _ => return Err(NoProxyHeader::Malformed),
            },
        }
    }
}

/// Looks at what is there, and takes what is of the header.
fn step(socket: &TcpStream, held: &mut Vec<u8>) -> io::Result<Option<proxy_protocol::Header>> {
    let mut room = [0; HEADER_BYTES];
    let (peeked, _) = recv(socket, &mut room, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    if peeked == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let before = held.len();
    held.extend_from_slice(room.get(..peeked).unwrap_or_default());
    let header = proxy_protocol::read(held).map_err(|_| io::ErrorKind::InvalidData)?;
    let end = header.map_or(held.len(), |header| header.length);
    // What was looked at is there: taking it cannot come short.
    let taken = room.get_mut(..end.saturating_sub(before)).unwrap_or_default();
    recv(socket, taken, RecvFlags::DONTWAIT)?;
    Ok(header)
}
