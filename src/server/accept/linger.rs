//! Closing a connection whose client still sends.
//!
//! A socket that is closed with bytes unread is reset, and a reset overtakes the answer:
//! the client sees "connection reset" in place of the answer that says why. So what it
//! still sends is read and thrown away, for a while (RFC 9112, 9.6).

use std::{io, mem::MaybeUninit, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncWriteExt, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    time::{Instant, timeout_at},
};

use super::connections::Open;
use crate::{
    config::ClientLimits,
    metrics::{Limit, Metrics},
};

/// How long a client may go on sending in all.
const LONGEST: Duration = Duration::from_secs(30);

/// How much it may send: what a fast network carries in that time need not be read.
const BYTES_MAX: usize = 1 << 30;

/// On the stack, so that many connections that linger cost nothing.
const PIECE_BYTES: usize = 16 * 1024;

/// Lingers in a task of its own, so that the connection's can end. `open` is held until then.
pub(super) fn apart(
    stream: TcpStream,
    open: Open,
    limits: &ClientLimits,
    metrics: &Metrics,
    listener: &Arc<str>,
) {
    // Fails where the thread ends, and what it serves with it.
    let Ok(runtime) = Handle::try_current() else { return };
    let (pause, metrics, listener) = (limits.linger, metrics.clone(), Arc::clone(listener));
    runtime.spawn(async move {
        if linger(stream, pause).await {
            metrics.limit_reached(&listener, Limit::Linger);
        }
        drop(open);
    });
}

/// Says that no more answers come, then reads until the client closes, has been silent for
/// `pause`, or has sent for too long. Returns whether the client was cut off.
async fn linger(mut stream: TcpStream, pause: Duration) -> bool {
    if stream.shutdown().await.is_err() {
        return false;
    }
    let latest = Instant::now() + LONGEST;
    let mut read = 0;
    while read < BYTES_MAX {
        let now = Instant::now();
        if now >= latest {
            return true;
        }
        match timeout_at(latest.min(now + pause), stream.readable()).await {
            Err(_) => return true,
            Ok(Err(_)) => return false,
            Ok(Ok(())) => {}
        }
        match discard(&stream) {
            Ok(0) => return false,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
    true
}

/// Not across a wait: a task would be as large as what it reads into.
fn discard(stream: &TcpStream) -> io::Result<usize> {
    let mut room = [MaybeUninit::<u8>::uninit(); PIECE_BYTES];
    stream.try_read_buf(&mut ReadBuf::uninit(&mut room))
}
