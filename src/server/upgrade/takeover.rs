//! The old process, seen from the new one.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Command,
    sync::Arc,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::socket_peercred,
    process::{Pid, PidfdFlags, geteuid, pidfd_open},
    stdio::dup2_stdin,
};

use super::{
    Channel, Elders,
    channel::{Message, PROTOCOL, read_file, send},
    pause_at,
};
use crate::{
    carried::Carried,
    proxy::SelfCheck,
    server::accept::sockets::{Given, Socket},
};

/// How long a process may take to die.
const END: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The channel that a process finds on its stdin when it is to replace another.
#[derive(Debug)]
pub struct Takeover {
    end: OwnedFd,
    /// The process at the other end.
    peer: Pid,
}

impl Takeover {
    /// Takes the channel from stdin.
    ///
    /// # Errors
    /// stdin is no such channel, or the process at its other end is another user's.
    pub fn on_stdin() -> io::Result<Self> {
        let fail = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let end = io::stdin().as_fd().try_clone_to_owned()?;
        let peer = socket_peercred(&end)
            .map_err(|_| fail("--takeover is for `corsac upgrade` alone: stdin is no channel"))?;
        if peer.uid != geteuid() && !peer.uid.is_root() {
            return Err(fail("--takeover: the process to replace is another user's"));
        }
        dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self { end, peer: peer.pid })
    }

    /// Waits until the old process has let go of its sockets: its end shows on the
    /// channel a moment earlier.
    fn await_end(&self) {
        if let Ok(process) = pidfd_open(self.peer, PidfdFlags::empty()) {
            // Late: a listener that is still taken says so.
            let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&END));
        }
    }

    /// Says why this process does not serve.
    pub fn refuse(&self, reason: &str) {
        // The old process sees the end of this one all the same.
        let _ = send(self.end.as_fd(), &Message::Failed(reason.to_owned()), &[]);
    }
}

/// The process that this one replaces.
#[derive(Debug)]
pub(in crate::server) struct Predecessor {
    channel: Channel,
}

/// What it hands over.
#[derive(Debug)]
pub(in crate::server) struct Received {
    pub(in crate::server) sockets: Given,
    pub(in crate::server) self_check: SelfCheck,
    pub(in crate::server) carried: Carried,
    /// Channels to processes that still drain since earlier upgrades.
    pub(in crate::server) elders: Vec<OwnedFd>,
}

impl Received {
    /// Where there is no process to replace.
    pub(in crate::server) fn nothing_but(sockets: Given) -> Self {
        Self {
            sockets,
            self_check: SelfCheck::new(),
            carried: Carried::default(),
            elders: Vec::new(),
        }
    }
}

impl Predecessor {
    /// Receives everything. If the old process ends meanwhile, what has come so far:
    /// nobody else serves then.
    pub(in crate::server) async fn receive(takeover: &Takeover) -> io::Result<(Self, Received)> {
        let channel = Channel::new(takeover.end.try_clone()?)?;
        log::info!("upgrade: process {} starts", std::process::id());
        let attached = Message::Attached { pid: std::process::id().cast_signed() };
        // It may have ended; that shows below.
        let _ = channel.send(&attached, &[]).await;
        pause_at("new:attached").await;
        let mut sockets = Vec::new();
        let mut self_check = SelfCheck::new();
        let mut carried = Carried::default();
        let mut elders = Vec::new();
        loop {
            let Some((message, descriptors)) = channel.receive().await? else {
                takeover.await_end();
                break;
            };
            match message {
                Message::Hello { protocol: PROTOCOL, self_check: secret, .. } => {
                    self_check = SelfCheck::sharing(secret);
                }
                Message::Hello { version, protocol, .. } => {
                    return Err(unsupported(&version, protocol));
                }
                Message::Sockets(descriptions) => {
                    let pairs = descriptions.into_iter().zip(descriptors);
                    sockets.extend(
                        pairs.map(|(description, descriptor)| Socket { description, descriptor }),
                    );
                }
                Message::Complete => {
                    let mut descriptors = descriptors.into_iter();
                    carried = descriptors.next().map(read_file).transpose()?.unwrap_or_default();
                    elders = descriptors.collect();
                    break;
                }
                other => return Err(io::Error::other(format!("{other:?} out of turn"))),
            }
        }
        pause_at("new:received").await;
        Ok((
            Self { channel },
            Received { sockets: Given::new(sockets), self_check, carried, elders },
        ))
    }

    /// Says that this process answers on every listener, and waits until it is given
    /// the service. The end of the old process is as good: nobody else serves then.
    ///
    /// # Errors
    /// The old process serves on.
    pub(in crate::server) async fn replace(&self) -> Result<(), Withdrawn> {
        pause_at("new:answering").await;
        let serving = Message::Serving { version: env!("CARGO_PKG_VERSION").to_owned() };
        // It may have ended, or said before that it serves on.
        let _ = self.channel.send(&serving, &[]).await;
        pause_at("new:serving").await;
        match self.channel.receive().await {
            Ok(Some((Message::Go, _))) => Ok(()),
            Ok(Some(_)) => Err(Withdrawn),
            Ok(None) | Err(_) => {
                log::warn!("the old process has ended before it handed the service over");
                Ok(())
            }
        }
    }

    /// Says that the service manager knows this process; the old one drains now, and
    /// `elders` shows it.
    pub(in crate::server) async fn took_over(self, elders: &Arc<Elders>, others: Vec<OwnedFd>) {
        pause_at("new:replacing").await;
        // It may have ended.
        let _ = self.channel.send(&Message::TookOver, &[]).await;
        // What cannot be watched is only not shown.
        for channel in others.into_iter().filter_map(|end| Channel::new(end).ok()) {
            elders.watch(channel);
        }
        elders.watch(self.channel);
    }
}

/// The old process serves on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::server) struct Withdrawn;

/// Starts the process that takes over, and leaves it to the service manager: a
/// process whose parent is gone is the child of the first one.
///
/// # Errors
/// It cannot be started.
pub fn launch(config: &Path) -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--takeover=serve", "--config"]).arg(config).spawn()?;
    Ok(())
}

fn unsupported(version: &str, protocol: u32) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "the running corsac {version} hands over by protocol {protocol}, this one by \
             {PROTOCOL}; restart it instead"
        ),
    )
}
