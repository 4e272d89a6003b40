//! Listening sockets that are there before the process: systemd's, or those of the
//! process that this one replaces. No client waits in vain on a socket that passes from
//! hand to hand.

use std::{
    fmt,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use listenfd::ListenFd;
use serde::{Deserialize, Serialize};
use socket2::SockRef;

/// Where a socket listens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::server) enum Address {
    /// An address and a port, which is not 0.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening socket, without its descriptor.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::server) struct Description {
    /// The key of the configuration that it belongs to, such as `listeners.http`.
    pub(in crate::server) name: String,
    /// Where it listens.
    pub(in crate::server) address: Address,
    /// It is what this listener listens on, whatever address the configuration
    /// writes: systemd's socket unit has been given the listener's name.
    pub(in crate::server) pinned: bool,
}

/// A socket that this process listens on, to be handed on. It does not keep the
/// socket open.
#[derive(Debug)]
pub(in crate::server) struct Shared {
    pub(in crate::server) description: Description,
    held: Weak<OwnedFd>,
}

impl Shared {
    /// `held` is kept by the task that accepts, for as long as it does.
    pub(in crate::server) fn new(description: Description, held: &Arc<OwnedFd>) -> Self {
        Self { description, held: Arc::downgrade(held) }
    }

    /// `None`: it is not listened on any more.
    pub(in crate::server) fn descriptor(&self) -> Option<Arc<OwnedFd>> {
        self.held.upgrade()
    }
}

/// A socket that was given.
#[derive(Debug)]
pub(in crate::server) struct Socket {
    pub(in crate::server) description: Description,
    pub(in crate::server) descriptor: OwnedFd,
}

/// The sockets that were given, and are not claimed yet.
#[derive(Debug, Default)]
pub(in crate::server) struct Given(Vec<Socket>);

impl Given {
    /// These.
    pub(in crate::server) fn new(sockets: Vec<Socket>) -> Self {
        Self(sockets)
    }

    /// Those that systemd passes (`sd_listen_fds(3)`). To be called before the first
    /// thread: it takes them out of the environment, so that no child sees them.
    pub(in crate::server) fn by_systemd() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let count = passed.len();
        let take = |index| {
            let name = names.split(':').nth(index).unwrap_or_default();
            let socket = passed_socket(&mut passed, index, name);
            if socket.is_none() {
                log::warn!("systemd's socket {name:?} is no TCP or Unix stream socket: not used");
            }
            socket
        };
        Self((0..count).filter_map(take).collect())
    }

    /// Takes the sockets of a listener: all that are pinned to it; else one for each
    /// of its addresses. Also returns the addresses for which there is none.
    pub(in crate::server) fn claim(
        &mut self,
        name: &str,
        addresses: &[SocketAddr],
    ) -> (Vec<Socket>, Vec<SocketAddr>) {
        let pinned = |socket: &mut Socket| {
            socket.description.pinned
                && socket.description.name == name
                && matches!(socket.description.address, Address::Tcp(_))
        };
        let mut claimed: Vec<Socket> = self.0.extract_if(.., pinned).collect();
        if !claimed.is_empty() {
            return (claimed, Vec::new());
        }
        let mut missing = addresses.to_vec();
        claimed.extend(self.0.extract_if(.., |socket| socket.serves(name, &mut missing)));
        (claimed, missing)
    }

    /// Takes the socket at a path.
    pub(in crate::server) fn claim_path(&mut self, path: &Path) -> Option<Socket> {
        let at = |socket: &Socket| matches!(&socket.description.address, Address::Unix(at) if at == path);
        let index = self.0.iter().position(at)?;
        Some(self.0.swap_remove(index))
    }

    /// Closes the sockets that no listener has claimed.
    pub(in crate::server) fn close(self) {
        for Socket { description: Description { name, address, pinned }, .. } in self.0 {
            if pinned {
                log::warn!(
                    "systemd's socket {address} is no listener's, and nobody answers there: name \
                     a listener by its FileDescriptorName=, or write its address"
                );
            } else {
                log::info!("{address} is not listened on any more ({name})");
            }
            if let (Address::Unix(path), false) = (address, pinned) {
                // It may be gone.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

impl Socket {
    /// Whether it is the socket of one of these addresses, which it takes out: a
    /// listener's address as it is; both wildcards, if it listens on both; any port
    /// of the same listener, where the system was to choose one.
    fn serves(&self, name: &str, missing: &mut Vec<SocketAddr>) -> bool {
        let Address::Tcp(bound) = self.description.address else { return false };
        let before = missing.len();
        let dual = self.is_dual_stack(bound);
        missing.retain(|&address| {
            let is_v4_half = dual && address.is_ipv4() && address.ip().is_unspecified();
            !(address == bound || is_v4_half && address.port() == bound.port())
        });
        if missing.len() == before && self.description.name == name {
            let any_port = |address: &SocketAddr| address.port() == 0 && address.ip() == bound.ip();
            if let Some(index) = missing.iter().position(any_port) {
                missing.remove(index);
            }
        }
        missing.len() < before
    }

    /// systemd makes `[::]:80` of `ListenStream=80`, which takes IPv4 too.
    fn is_dual_stack(&self, bound: SocketAddr) -> bool {
        bound.is_ipv6()
            && bound.ip().is_unspecified()
            && matches!(SockRef::from(&self.descriptor).only_v6(), Ok(false))
    }
}

fn passed_socket(passed: &mut ListenFd, index: usize, name: &str) -> Option<Socket> {
    let tcp = passed.take_tcp_listener(index).ok().flatten();
    let descriptor: OwnedFd = match tcp {
        Some(listener) => listener.into(),
        None => passed.take_unix_listener(index).ok().flatten()?.into(),
    };
    let local = SockRef::from(&descriptor).local_addr().ok()?;
    let address = match (local.as_socket(), local.as_pathname()) {
        (Some(address), _) => Address::Tcp(address),
        (None, Some(path)) => Address::Unix(path.to_owned()),
        (None, None) => return None,
    };
    let description = Description { name: format!("listeners.{name}"), address, pinned: true };
    Some(Socket { description, descriptor })
}
