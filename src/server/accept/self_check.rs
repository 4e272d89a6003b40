//! Does this process answer on its listeners? Asked the way a client asks: a
//! connection to each, and a request over it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpSocket,
    time::{Instant, sleep, timeout_at},
};

use tokio_rustls::TlsConnector;

use super::{gate::Gate, listener::FULL_PAUSE};
use crate::{proxy::SelfCheck, tls::trusting};

/// Between two tries, where another process has answered.
const PAUSE: Duration = Duration::from_millis(2);

/// The answer's head fits.
const ANSWER_BYTES_MAX: u64 = 4 * 1024;

/// Where this process accepts, and by way of which gate.
pub(in crate::server) type Entrance = (SocketAddr, Arc<Gate>);

/// Asks on every address until this process answers; another one may accept from
/// the same socket, in an upgrade.
///
/// A listener that has as many connections as it may have accepts none, as it was told
/// to: that is an answer, too.
///
/// # Errors
/// The first address on which there was no answer until `deadline`, and why.
pub(in crate::server) async fn answers_on(
    accepting: &[Entrance],
    check: &SelfCheck,
    deadline: Instant,
) -> Result<(), String> {
    for (address, gate) in accepting {
        let reachable = reachable(*address);
        loop {
            let answer = tokio::select! {
                biased;
                () = is_full(gate) => break,
                answer = timeout_at(deadline, ask(reachable, gate, check)) => answer,
            };
            let failed = match answer {
                Ok(Ok(true)) => break,
                Ok(Ok(false)) => "another process answers".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(format!("{address}: {failed}"));
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Waits until there are as many connections as there may be.
async fn is_full(gate: &Gate) {
    while !gate.is_full() {
        sleep(FULL_PAUSE).await;
    }
}

/// Whether it was this process that answered.
async fn ask(address: SocketAddr, gate: &Gate, check: &SelfCheck) -> io::Result<bool> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Where it listens it can also ask from. If no port is left to bind, it asks as any
    // client does, which needs none of its own for each address.
    let mut from = address;
    from.set_port(0);
    let from = socket.bind(from).and_then(|()| socket.local_addr());
    let _asking = from.ok().map(|from| check.asks_from(from));
    let stream = socket.connect(address).await?;
    let terms = gate.terms().ok_or_else(|| io::Error::other("its TLS cannot be made"))?;
    if terms.tls.is_none() {
        return answers_over(stream, check).await;
    }
    // Whoever knows the secret is this process, whatever its certificate says.
    let tls = trusting().map_err(io::Error::other)?;
    let name = address.ip().into();
    answers_over(Box::pin(TlsConnector::from(Arc::new(tls)).connect(name, stream)).await?, check)
        .await
}

async fn answers_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    check: &SelfCheck,
) -> io::Result<bool> {
    stream.write_all(check.request().as_bytes()).await?;
    stream.flush().await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    Ok(check.is_own(&answer))
}

/// A listener on all addresses is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
