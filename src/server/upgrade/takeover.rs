//! The old process, seen from the new one.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::socket_peercred,
    process::{PidfdFlags, geteuid, pidfd_open},
    stdio::dup2_stdin,
};
use tokio::time::{sleep, timeout};

use super::{
    channel::{Channel, Message, PROTOCOL, TICKETS, read_file, send},
    elders::Elders,
    pause::pause_at,
    secrets::Secrets,
    step::HandOverStep,
    steps::new::Event,
};
use crate::{
    carried::Carried,
    proxy::SelfCheck,
    server::accept::sockets::{Given, Socket},
};

/// How long a process may take to die, once its end of the channel is closed.
const END: Duration = Duration::from_secs(5);

/// Between two looks whether it has.
const END_PAUSE: Duration = Duration::from_millis(2);

/// The channel that a process finds on its stdin when it is to replace another.
#[derive(Debug)]
pub struct Takeover {
    end: OwnedFd,
    /// The process at the other end: a handle that can mean no other. `None`: it has
    /// ended already, or this kernel knows no such handles.
    peer: Option<OwnedFd>,
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
        Ok(Self { end, peer: pidfd_open(peer.pid, PidfdFlags::empty()).ok() })
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
    /// As [`Takeover::peer`].
    peer: Option<OwnedFd>,
    has_ended: bool,
}

/// What it hands over.
#[derive(Debug)]
pub(in crate::server) struct Received {
    pub(in crate::server) sockets: Given,
    pub(in crate::server) secrets: Secrets,
    pub(in crate::server) carried: Carried,
    /// Channels to processes that still drain since earlier upgrades.
    pub(in crate::server) elders: Vec<OwnedFd>,
}

impl Received {
    /// Where there is no process to replace.
    pub(in crate::server) fn nothing_but(sockets: Given) -> Self {
        Self { sockets, secrets: Secrets::new(), carried: Carried::default(), elders: Vec::new() }
    }
}

impl Predecessor {
    /// Receives everything; if the old process dies meanwhile, what has come so far, since
    /// no other process serves then.
    ///
    /// # Errors
    /// What it says is not understood, or it serves on.
    pub(in crate::server) async fn receive(takeover: &Takeover) -> io::Result<(Self, Received)> {
        let channel = Channel::new(takeover.end.try_clone()?)?;
        let peer = takeover.peer.as_ref().map(OwnedFd::try_clone).transpose()?;
        let mut predecessor = Self { channel, peer, has_ended: false };
        log::info!("upgrade: process {} starts", std::process::id());
        let pid = std::process::id().cast_signed();
        let attached = Message::Attached { pid, takes: vec![TICKETS.to_owned()] };
        // It may have ended; that shows below.
        let _ = predecessor.channel.send(&attached, &[]).await;
        pause_at(HandOverStep::Attached).await;
        let mut sockets = Vec::new();
        let mut received = Received::nothing_but(Given::default());
        let mut keys = None;
        loop {
            let Some((message, descriptors)) = predecessor.channel.receive().await? else {
                if !predecessor.is_dead(END).await {
                    return Err(serves_on());
                }
                predecessor.has_ended = true;
                break;
            };
            match message {
                Message::Hello { protocol: PROTOCOL, self_check: secret, .. } => {
                    received.secrets.self_check = SelfCheck::sharing(secret);
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
                Message::Tickets => keys = descriptors.into_iter().next(),
                Message::Complete => {
                    let mut descriptors = descriptors.into_iter();
                    let carried = descriptors.next().map(read_file).transpose()?;
                    received.carried = carried.unwrap_or_default();
                    received.elders = descriptors.collect();
                    break;
                }
                Message::Withdrawn => return Err(serves_on()),
                other => return Err(io::Error::other(format!("{other:?} out of turn"))),
            }
        }
        received.sockets = Given::new(sockets);
        received.secrets.take_keys(keys);
        pause_at(HandOverStep::Received).await;
        Ok((predecessor, received))
    }

    /// Whether it was dead when everything it had sent was received.
    pub(in crate::server) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// What it says next of the hand-over.
    pub(in crate::server) async fn hear(&self) -> Event {
        self.hear_within(END).await
    }

    /// `end`: how long it may take to die.
    async fn hear_within(&self, end: Duration) -> Event {
        match self.channel.receive().await {
            Ok(Some((Message::Go, _))) => Event::Go,
            Ok(None) | Err(_) if self.is_dead(end).await => {
                log::warn!("the old process has ended before it handed the service over");
                Event::PeerDied
            }
            // Whatever it says, or if it has closed its end and lives: it serves on.
            Ok(_) | Err(_) => Event::Withdrawn,
        }
    }

    /// Says that this process answers on every listener.
    pub(in crate::server) async fn say_serving(&self) {
        self.say(Message::Serving { version: env!("CARGO_PKG_VERSION").to_owned() }).await;
        pause_at(HandOverStep::Serving).await;
    }

    /// Says that the service manager knows this process.
    pub(in crate::server) async fn say_took_over(&self) {
        self.say(Message::TookOver).await;
    }

    /// Says why this process will not serve.
    pub(in crate::server) async fn say_failed(&self, why: &impl ToString) {
        self.say(Message::Failed(why.to_string())).await;
    }

    async fn say(&self, message: Message) {
        // It may have ended, which is heard.
        let _ = self.channel.send(&message, &[]).await;
    }

    /// Shows the old process, which drains now, and `others` from earlier upgrades.
    pub(in crate::server) fn watched_by(self, elders: &Arc<Elders>, others: Vec<OwnedFd>) {
        // A process that cannot be watched is not shown, and that is all.
        for channel in others.into_iter().filter_map(|end| Channel::new(end).ok()) {
            elders.watch(channel);
        }
        elders.watch(self.channel);
    }

    /// Whether the process, whose end of the channel is closed, is dead. That it has
    /// closed it is no proof: it may serve on. Its sockets are free once it is dead, a
    /// moment after its end of the channel is closed.
    async fn is_dead(&self, end: Duration) -> bool {
        let Some(peer) = &self.peer else { return true };
        let dead = async {
            while !poll(&mut [PollFd::new(peer, PollFlags::IN)], Some(&Timespec::default()))
                .is_ok_and(|ready| ready > 0)
            {
                sleep(END_PAUSE).await;
            }
        };
        timeout(end, dead).await.is_ok()
    }
}

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

fn serves_on() -> io::Error {
    io::Error::other("the process that was to be replaced serves on")
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use rustix::process::Pid;

    use super::*;

    /// What is heard when `process` has closed its end.
    async fn heard_at_the_end_of(process: Pid, end: Duration) -> Event {
        let (channel, other) = Channel::pair().unwrap();
        let peer = Some(pidfd_open(process, PidfdFlags::empty()).unwrap());
        drop(other);
        let predecessor = Predecessor { channel, peer, has_ended: false };
        predecessor.hear_within(end).await
    }

    /// A process that has closed its end may serve: only its death makes room.
    #[tokio::test]
    async fn a_closed_channel_is_no_death() {
        let this = rustix::process::getpid();
        assert_eq!(heard_at_the_end_of(this, Duration::from_millis(20)).await, Event::Withdrawn);
        let mut other = Command::new("true").spawn().unwrap();
        let process = Pid::from_child(&other);
        // Its handle shows that it has ended, though it was not waited for.
        assert_eq!(heard_at_the_end_of(process, Duration::from_secs(30)).await, Event::PeerDied);
        other.wait().unwrap();
    }
}
