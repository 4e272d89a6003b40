//! Listening sockets: bound before anything runs, accepted from until a stop.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::{Duration, Instant},
};

use pingora_core::apps::ServerApp;
use prometheus::IntGauge;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use super::{COMPLAINT_PAUSE, connection::Connection};
use crate::metrics::Held;

/// Connections that the kernel holds before they are accepted; it clamps this to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// How long accepting pauses when the process has no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket, not accepted from yet.
#[derive(Debug)]
pub(super) struct Bound {
    /// The key of the configuration that names it, such as `listeners.http`.
    pub(super) name: String,
    /// The address that it got; its port is never 0.
    pub(super) address: SocketAddr,
    socket: StdListener,
}

/// Why a listener cannot listen.
#[derive(Debug)]
pub(super) struct BindError {
    name: String,
    /// As it is written.
    address: String,
    cause: io::Error,
}

impl BindError {
    pub(super) fn new(name: &str, address: &str, cause: io::Error) -> Self {
        Self { name: name.to_owned(), address: address.to_owned(), cause }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, cause } = self;
        write!(f, "{name} cannot listen on {address}: ")?;
        match cause.kind() {
            io::ErrorKind::AddrInUse => {
                let port = address.rsplit(':').next().unwrap_or_default();
                write!(
                    f,
                    "the address is in use; stop what listens there (`ss -lnp | grep {port}` names \
                     it), or write another address"
                )
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE or a systemd socket"
            ),
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "no interface of this machine has this address")
            }
            _ => write!(f, "{cause}"),
        }
    }
}

impl Bound {
    /// Binds `address`; `name` is the key of the configuration that names it.
    pub(super) fn new(name: &str, address: SocketAddr) -> Result<Self, BindError> {
        listen(address)
            .map(|(socket, bound)| Self { name: name.to_owned(), address: bound, socket })
            .map_err(|cause| BindError::new(name, &address.to_string(), cause))
    }

    /// Accepts connections for `app` until `stop` turns true. Every connection
    /// holds a clone of `open`, and counts in `connections`.
    pub(super) async fn serve<A>(
        self,
        app: Arc<A>,
        mut stop: watch::Receiver<bool>,
        open: mpsc::Sender<()>,
        connections: IntGauge,
    ) -> io::Result<()>
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let listener = TcpListener::from_std(self.socket)?;
        let mut complained: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stopped| *stopped) => return Ok(()),
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection::new(stream, peer, open.clone());
                    let counted = Held::new(&connections);
                    let (app, stop) = (Arc::clone(&app), stop.clone());
                    tokio::spawn(async move {
                        let _counted = counted;
                        app.process_new(Box::new(connection), &stop).await;
                    });
                }
                // Everything but a lack of descriptors or memory concerns the one
                // connection that is gone before it was accepted.
                Err(error) if is_exhaustion(&error) => {
                    if complained.is_none_or(|last| last.elapsed() >= COMPLAINT_PAUSE) {
                        log::error!("{} cannot accept: {error}", self.name);
                        complained = Some(Instant::now());
                    }
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                Err(_) => {}
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<(StdListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restart bind while connections of the last process linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` means IPv6, so that `0.0.0.0` can stand beside it.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = StdListener::from(socket);
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// EMFILE, ENFILE, ENOBUFS and ENOMEM: accepting again at once would only spin.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105))
}
