//! Does this process answer on its listeners? Asked the way a client asks: a
//! connection to each, and a request over it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};

use crate::proxy::SelfCheck;

/// Between two tries, where another process has answered.
const PAUSE: Duration = Duration::from_millis(2);

/// The answer's head fits.
const ANSWER_BYTES_MAX: u64 = 4 * 1024;

/// Asks on every address until this process answers; another one may accept from
/// the same socket, in an upgrade.
///
/// # Errors
/// The first address on which there was no answer until `deadline`, and why.
pub(in crate::server) async fn answers_on(
    addresses: &[SocketAddr],
    check: &SelfCheck,
    deadline: Instant,
) -> Result<(), String> {
    for &address in addresses {
        let reachable = reachable(address);
        loop {
            let failed = match timeout_at(deadline, ask(reachable, check)).await {
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

/// Whether it was this process that answered.
async fn ask(address: SocketAddr, check: &SelfCheck) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(check.request().as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    Ok(check.is_own(&answer))
}

/// Who listens everywhere listens on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
