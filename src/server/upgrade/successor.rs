//! The new process, seen from the old one.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{
    Channel, Draining, Elders,
    channel::{DESCRIPTORS_MAX, Message, PROTOCOL, write_file},
    pause_at,
};
use crate::{carried::Carried, proxy::SelfCheck, server::accept::sockets::Shared};

/// How long the new process may take to tell the service manager, which is a datagram.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// How long it may take to read the last word of this process.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What the environment says of this process alone.
const OWN_ENVIRONMENT: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// The new process. Until it has taken over it is killed when this is dropped.
#[derive(Debug)]
pub(in crate::server) struct Successor {
    /// What starts it, and ends: the new process is to be a child of the service
    /// manager, which watches its own children alone.
    launcher: Child,
    /// The process itself, once it has come: a handle that can mean no other.
    process: Option<(i32, OwnedFd)>,
    version: String,
    channel: Channel,
    has_taken_over: bool,
    /// What was carried over to it.
    carried: Carried,
}

impl Successor {
    /// Starts it, in the same control group.
    pub(super) fn start(binary: &Path, config: &Path) -> Result<Self, String> {
        let fail = |error| format!("{} cannot be started: {error}", binary.display());
        let (channel, other) = Channel::pair().map_err(fail)?;
        let mut command = Command::new(binary);
        command.args(["run", "--takeover=launch", "--config"]).arg(config);
        command.stdin(Stdio::from(other)).kill_on_drop(true);
        for variable in OWN_ENVIRONMENT {
            command.env_remove(variable);
        }
        let launcher = command.spawn().map_err(fail)?;
        // The last copy of the new process's end but its own: its death must show here.
        drop(command);
        Ok(Self {
            launcher,
            process: None,
            version: String::new(),
            channel,
            has_taken_over: false,
            carried: Carried::default(),
        })
    }

    /// Hands it all sockets that are listened on.
    pub(super) async fn offer(
        &mut self,
        sockets: &[Shared],
        self_check: &SelfCheck,
        carried: Carried,
        elders: &Elders,
    ) -> Result<(), String> {
        let hello = Message::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            self_check: self_check.secret().to_owned(),
        };
        self.send(&hello, &[]).await?;
        let open: Vec<_> = sockets
            .iter()
            .filter_map(|socket| Some((&socket.description, socket.descriptor()?)))
            .collect();
        for batch in open.chunks(DESCRIPTORS_MAX) {
            let descriptions = batch.iter().map(|&(description, _)| description.clone()).collect();
            let descriptors: Vec<BorrowedFd<'_>> =
                batch.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
            self.send(&Message::Sockets(descriptions), &descriptors).await?;
        }
        let file = write_file(&carried)
            .map_err(|error| format!("what was counted cannot be handed over: {error}"))?;
        self.carried = carried;
        let elders = elders.channels();
        if elders.len() >= DESCRIPTORS_MAX {
            let still = elders.len();
            return Err(format!(
                "{still} replaced processes still drain; wait until some have ended"
            ));
        }
        let elders = elders.iter().map(|elder| elder.as_fd());
        let with: Vec<BorrowedFd<'_>> = std::iter::once(file.as_fd()).chain(elders).collect();
        self.send(&Message::Complete, &with).await
    }

    /// Waits until it says that it answers on every listener.
    pub(super) async fn await_serving(&mut self) -> Result<(), String> {
        loop {
            match self.receive().await? {
                Message::Attached { pid } => {
                    self.process = Pid::from_raw(pid)
                        .and_then(|process| pidfd_open(process, PidfdFlags::empty()).ok())
                        .map(|handle| (pid, handle));
                }
                Message::Serving { version } => {
                    self.version = version;
                    return Ok(());
                }
                Message::Failed(reason) => return Err(reason),
                other => return Err(format!("the new process said {other:?} out of turn")),
            }
        }
    }

    /// Gives it the service, and waits until it has it.
    pub(super) async fn commit(&mut self, elders: &Elders) -> Result<(), String> {
        self.send(&Message::Go, &[]).await?;
        pause_at("old:went").await;
        match timeout(TAKE_OVER, self.receive()).await {
            Ok(Ok(Message::TookOver)) => {}
            Ok(Ok(other)) => return Err(format!("the new process said {other:?} out of turn")),
            Ok(Err(reason)) => return Err(reason),
            Err(_) => return Err("the new process did not take over".to_owned()),
        }
        elders.leave();
        self.has_taken_over = true;
        pause_at("old:replaced").await;
        Ok(())
    }

    /// Tells it who is still here; not in vain if it does not listen just now.
    pub(in crate::server) fn report(&self, draining: Draining) {
        // It reads the next one.
        let _ = self.channel.try_send(&Message::Draining(draining));
    }

    /// The last word: what this process has counted since it was replaced.
    pub(in crate::server) async fn bequeath(&self, carried: &Carried) {
        let since = carried.since(&self.carried);
        if let Ok(file) = write_file(&since) {
            // It may have ended, or hang: then nobody counts.
            let (counted, with) = (Message::Counted, [file.as_fd()]);
            let _ = timeout(LAST_WORD, self.channel.send(&counted, &with)).await;
        }
    }

    /// Waits until nobody serves instead any more: not this process, and none that
    /// has replaced it in its turn, to which the channel is handed on.
    ///
    /// # Errors
    /// Nobody has told it to stop.
    pub(in crate::server) async fn ended(&mut self) -> Result<(), ()> {
        while let Ok(Some((message, _))) = self.channel.receive().await {
            if matches!(message, Message::Stopping) {
                return Ok(());
            }
        }
        Err(())
    }

    async fn send(&mut self, message: &Message, with: &[BorrowedFd<'_>]) -> Result<(), String> {
        match self.channel.send(message, with).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.how_it_ended().await),
        }
    }

    async fn receive(&mut self) -> Result<Message, String> {
        match self.channel.receive().await {
            Ok(Some((message, _))) => Ok(message),
            Ok(None) => Err(self.how_it_ended().await),
            Err(error) => Err(format!("the new process is not understood: {error}")),
        }
    }

    /// It has closed its end. Whoever could not even start has said so by its status.
    async fn how_it_ended(&mut self) -> String {
        match timeout(TAKE_OVER, self.launcher.wait()).await {
            Ok(Ok(status)) if !status.success() => {
                format!("the new process ended ({status}); its log says why")
            }
            _ => "the new process ended; its log says why".to_owned(),
        }
    }
}

impl fmt::Display for Successor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, version, .. } = self;
        let pid = process.as_ref().map_or(0, |&(pid, _)| pid);
        write!(f, "process {pid} ({version}) serves; process {} drains", std::process::id())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if self.has_taken_over {
            return;
        }
        // If it does not come before this process ends, it still learns that it must not
        // serve. Any of these may have ended already.
        let _ = self.channel.try_send(&Message::Withdrawn);
        if let Some((_, process)) = &self.process {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        let _ = self.launcher.start_kill();
    }
}
