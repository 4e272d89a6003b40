//! Listening sockets: bound before anything runs, accepted from until a stop.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener as StdListener},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use pingora_core::apps::HttpServerApp;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{
    gate::Gate,
    sockets::{Address, Description, Given, Shared, Socket as GivenSocket},
    workers::Seat,
};
use crate::{metrics::Limit, server::process_log::COMPLAINT_PAUSE};

/// Connections that the kernel holds before they are accepted; it clamps this to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// How long accepting pauses when the process has no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How often to try once more at a stop when no descriptor is left.
const EXHAUSTED_TRIES: u32 = 20;

/// How many connections are refused in a row before accepting pauses for want of
/// descriptors: what the process asks itself waits behind them.
const REFUSED_IN_A_ROW: usize = 64;

/// How often to look whether a full listener has room again.
pub(super) const FULL_PAUSE: Duration = Duration::from_millis(20);

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
    /// accepted by then, and gives them to the workers of `seat`, by way of `gate`.
    pub(in crate::server) async fn serve<A>(
        self,
        seat: Seat<A>,
        mut stop: watch::Receiver<bool>,
        gate: Arc<Gate>,
    ) -> io::Result<()>
    where
        A: HttpServerApp + Send + Sync + 'static,
    {
        let _held = self.held;
        let listener = TcpListener::from_std(self.socket)?;
        let mut complaints = Complaints::new(&self.name);
        let mut refused = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stopped| *stopped) => break,
                accepted = accept(&listener, &gate, &mut complaints) => accepted,
            };
            match accepted {
                Ok((stream, peer)) if !gate.is_reserved(&stream, peer) => {
                    refused = 0;
                    seat.serve(stream, peer, &gate, stop.clone());
                }
                Ok((stream, _)) => {
                    gate.reached(Limit::Descriptors);
                    drop(stream);
                    complaints
                        .make("closes connections: clients have all descriptors but a reserve");
                    refused += 1;
                    if refused == REFUSED_IN_A_ROW {
                        refused = 0;
                        tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    }
                }
                // Every error except a lack of descriptors or memory concerns one
                // connection alone, which is gone before it was accepted.
                Err(error) if is_exhaustion(&error) => {
                    complaints.make(&format!("cannot accept: {error}"));
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                Err(_) => {}
            }
        }
        // Connections that wait in the kernel's queue would be reset. They are accepted
        // without the runtime, which gives a task no more than 128 turns.
        let listener = listener.into_std()?;
        let mut tries = EXHAUSTED_TRIES;
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true)?;
                    seat.serve(TcpStream::from_std(stream)?, peer, &gate, stop.clone());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Connections that are served end soon, and give theirs back.
                Err(error) if is_exhaustion(&error) && tries > 0 => {
                    tries -= 1;
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                Err(error) if is_exhaustion(&error) => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// The next connection, once there may be one more.
async fn accept(
    listener: &TcpListener,
    gate: &Gate,
    complaints: &mut Complaints<'_>,
) -> io::Result<(TcpStream, SocketAddr)> {
    let mut is_counted = false;
    while gate.is_full() {
        if !is_counted {
            gate.reached(Limit::Connections);
            complaints.make("accepts no more: as many connections are open as may be");
        }
        is_counted = true;
        // A client that waits is in the kernel's queue, and notices nothing of this.
        tokio::time::sleep(FULL_PAUSE).await;
    }
    listener.accept().await
}

/// Logs trouble with a listener once in a while.
struct Complaints<'n> {
    listener: &'n str,
    last: Option<Instant>,
}

impl<'n> Complaints<'n> {
    fn new(listener: &'n str) -> Self {
        Self { listener, last: None }
    }

    fn make(&mut self, what: &str) {
        if self.last.is_none_or(|last| last.elapsed() >= COMPLAINT_PAUSE) {
            log::error!("{} {what}", self.listener);
            self.last = Some(Instant::now());
        }
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
