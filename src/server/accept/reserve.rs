//! Descriptors that clients cannot take.

use std::os::fd::RawFd;

use rustix::process::{Resource, getrlimit};

/// What the process needs beside its clients: its log, files that it reads, the admin
/// listener's connections, the pipes and sockets of an upgrade.
const RESERVE: u64 = 64;

/// The first descriptor that is not for clients: a reserve below the process's limit
/// (`RLIMIT_NOFILE`), and of a small one a quarter.
pub(in crate::server) fn from() -> RawFd {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return RawFd::MAX };
    let reserve = RESERVE.min(limit / 4);
    RawFd::try_from(limit - reserve).unwrap_or(RawFd::MAX)
}
