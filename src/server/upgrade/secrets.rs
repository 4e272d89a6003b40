//! What only a process knows, and the one that takes its place.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::fs::{MemfdFlags, memfd_create};
use zeroize::Zeroizing;

use crate::{
    proxy::SelfCheck,
    server::reload::unix_seconds,
    tls::{KeysError, TicketKeys},
};

/// Bytes of keys that are read at the most: 255 of them, and what stands before them.
const KEYS_BYTES_MAX: usize = 2 + 255 * 56;

/// What only a process knows, and the one that takes its place.
#[derive(Clone, Debug)]
pub(in crate::server) struct Secrets {
    pub(in crate::server) self_check: SelfCheck,
    /// What seals the tickets of TLS sessions. `None`: the system had no randomness for keys.
    pub(in crate::server) tickets: Option<Arc<TicketKeys>>,
}

impl Secrets {
    /// New ones.
    pub(super) fn new() -> Self {
        let tickets = TicketKeys::new(Box::new(unix_seconds))
            .inspect_err(|_| log::error!("no TLS session is resumed: there is no randomness"));
        Self { self_check: SelfCheck::new(), tickets: tickets.ok().map(Arc::new) }
    }

    /// Goes on with the keys of the process that is replaced. Without them nothing fails: its
    /// clients shake hands in full.
    pub(super) fn take_keys(&mut self, file: Option<OwnedFd>) {
        let taken = match file {
            None => Err("were not handed over".to_owned()),
            Some(file) => {
                read(file).map_err(|why| format!("cannot be read: {why}")).and_then(|bytes| {
                    TicketKeys::handed_over(&bytes, Box::new(unix_seconds))
                        .map_err(|why: KeysError| why.to_string())
                })
            }
        };
        match taken {
            Ok(keys) => self.tickets = Some(Arc::new(keys)),
            Err(why) => log::warn!(
                "TLS sessions from before this upgrade are not resumed: the keys of their tickets \
                 {why}"
            ),
        }
    }
}

/// A file in memory with the keys of tickets, for the process that takes over. Nothing else
/// carries them: what is JSON may be shown.
pub(super) fn keys_file(keys: &TicketKeys) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("tickets", MemfdFlags::CLOEXEC)?);
    file.write_all(&keys.to_bytes())?;
    Ok(file.into())
}

fn read(file: OwnedFd) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::from(file);
    // It stands where the other process left it.
    file.rewind()?;
    // It has its room from the start: no copy is left behind by one that grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEYS_BYTES_MAX + 1));
    file.take(KEYS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
