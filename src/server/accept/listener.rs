//! Listening sockets: bound before anything runs, accepted from until a stop.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener as StdListener},
    os::fd::OwnedFd,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use pingora_core::apps::HttpServerApp;
use prometheus::IntGauge;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, sync::watch};

use super::{
    connections::Connections,
    sockets::{Address, Description, Given, Shared, Socket as GivenSocket},
    workers::{AcceptedBy, Seat},
};
use crate::server::COMPLAINT_PAUSE;

/// Connections that the kernel holds before they are accepted; it clamps this to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// How long accepting pauses when the process has no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket, not accepted from yet.
#[derive(Debug)]
pub(in crate::server) struct Bound {
    /// The key of the configuration that names it, such as `listeners.http`.
    pub(in crate::server) name: String,
    /// The address that it got; its port is never 0.
    pub(in crate::server) address: SocketAddr,
    pinned: bool,
    socket: StdListener,
    /// Another descriptor of the socket, to be handed on while this one accepts.
    held: Arc<OwnedFd>,
}

/// Why a listener cannot listen.
#[derive(Debug)]
pub(in crate::server) struct BindError {
    name: String,
    /// As it is written.
    address: String,
    cause: io::Error,
}

impl BindError {
    pub(in crate::server) fn new(name: &str, address: &str, cause: io::Error) -> Self {
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
    pub(in crate::server) fn new(name: &str, address: SocketAddr) -> Result<Self, BindError> {
        listen(address)
            .and_then(|socket| Self::of(name, false, socket))
            .map_err(|cause| BindError::new(name, &address.to_string(), cause))
    }

    /// Takes over a socket that was given.
    fn given(name: &str, given: GivenSocket) -> Result<Self, BindError> {
        let GivenSocket { description, descriptor } = given;
        let socket = StdListener::from(descriptor);
        socket
            .set_nonblocking(true)
            .and_then(|()| Self::of(name, description.pinned, socket))
            .map_err(|cause| BindError::new(name, &description.address.to_string(), cause))
    }

    fn of(name: &str, pinned: bool, socket: StdListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let held = Arc::new(socket.try_clone()?.into());
        Ok(Self { name: name.to_owned(), address, pinned, socket, held })
    }

    /// The sockets of a listener: those that are given, and new ones for the other
    /// addresses.
    pub(in crate::server) fn all(
        name: &str,
        addresses: &[SocketAddr],
        given: &mut Given,
    ) -> Result<Vec<Self>, BindError> {
        let (claimed, missing) = given.claim(name, addresses);
        let claimed = claimed.into_iter().map(|socket| Self::given(name, socket));
        let new = missing.into_iter().map(|address| Self::new(name, address));
        claimed.chain(new).collect()
    }

    /// The name of its listener, as it is counted and shown.
    pub(in crate::server) fn short_name(&self) -> &str {
        short_name(&self.name)
    }

    /// What it takes to hand it on.
    pub(in crate::server) fn shared(&self) -> Shared {
        let description = Description {
            name: self.name.clone(),
            address: Address::Tcp(self.address),
            pinned: self.pinned,
        };
        Shared::new(description, &self.held)
    }

    /// The same socket once more, so that another thread accepts from it, too.
    pub(in crate::server) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            name: self.name.clone(),
            address: self.address,
            pinned: self.pinned,
            socket: self.socket.try_clone()?,
            held: Arc::clone(&self.held),
        })
    }

    /// Accepts connections until `stop` turns true, those included that the kernel has
    /// accepted by then, and gives them to the workers of `seat`. Each is noted in
    /// `open`, and counted in `gauge`.
    pub(in crate::server) async fn serve<A>(
        self,
        seat: Seat<A>,
        mut stop: watch::Receiver<bool>,
        open: Arc<Connections>,
        gauge: IntGauge,
    ) -> io::Result<()>
    where
        A: HttpServerApp + Send + Sync + 'static,
    {
        let _held = self.held;
        let listener = TcpListener::from_std(self.socket)?;
        let accepted_by = AcceptedBy { listener: short_name(&self.name).into(), open, gauge };
        let serve = |stream, peer, stop| seat.serve(stream, peer, &accepted_by, stop);
        let mut complained: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stopped| *stopped) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => serve(stream, peer, stop.clone()),
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
        // Whoever waits in the kernel's queue would be reset.
        for _ in 0..BACKLOG {
            match listener.poll_accept(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok((stream, peer))) => serve(stream, peer, stop.clone()),
                Poll::Ready(Err(error)) if is_exhaustion(&error) => break,
                Poll::Ready(Err(_)) => {}
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

fn short_name(name: &str) -> &str {
    name.strip_prefix("listeners.").unwrap_or(name)
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
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
    Ok(StdListener::from(socket))
}

/// EMFILE, ENFILE, ENOBUFS and ENOMEM: accepting again at once would only spin.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105))
}
