//! The new process, seen from the old one.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{
    Channel, Draining, Elders,
    channel::{DESCRIPTORS_MAX, Message, PROTOCOL, write_file},
    pause_at,
};
use crate::{carried::Carried, proxy::SelfCheck, server::sockets::Shared};

/// How long the new process may take to tell the service manager, which is a datagram.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// What the environment says of this process alone.
const OWN_ENVIRONMENT: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// The new process. Until it has taken over it is killed when this is dropped.
#[derive(Debug)]
pub(in super::super) struct Successor {
    child: Child,
    pid: u32,
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
        command.args(["run", "--takeover", "--config"]).arg(config).stdin(Stdio::from(other));
        for variable in OWN_ENVIRONMENT {
            command.env_remove(variable);
        }
        let child = command.spawn().map_err(fail)?;
        // The last copy of the child's end but its own: its death must show here.
        drop(command);
        let pid = child.id().unwrap_or_default();
        Ok(Self {
            child,
            pid,
            version: String::new(),
            channel,
            has_taken_over: false,
            carried: Carried::default(),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
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
        let elders = elders.iter().map(|elder| elder.as_fd());
        let with: Vec<BorrowedFd<'_>> = std::iter::once(file.as_fd()).chain(elders).collect();
        self.send(&Message::Complete, &with).await
    }

    /// Waits until it says that it answers on every listener.
    pub(super) async fn await_serving(&mut self) -> Result<(), String> {
        match self.receive().await? {
            Message::Serving { version } => self.version = version,
            Message::Failed(reason) => return Err(reason),
            other => return Err(format!("the new process said {other:?} out of turn")),
        }
        Ok(())
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
    pub(in super::super) fn report(&self, draining: Draining) {
        // It reads the next one.
        let _ = self.channel.try_send(&Message::Draining(draining));
    }

    /// The last word: what this process has counted since it was replaced.
    pub(in super::super) async fn bequeath(&self, carried: &Carried) {
        let since = carried.since(&self.carried);
        if let Ok(file) = write_file(&since) {
            // It may have ended; then nobody counts.
            let _ = self.channel.send(&Message::Counted, &[file.as_fd()]).await;
        }
    }

    /// Waits for its end.
    pub(in super::super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
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

    /// It has closed its end, so it is about to end, or has.
    async fn how_it_ended(&mut self) -> String {
        match timeout(TAKE_OVER, self.ended()).await {
            Ok(status) => format!("the new process ended ({status}); its log says why"),
            Err(_) => "the new process does not answer".to_owned(),
        }
    }
}

impl fmt::Display for Successor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, version, .. } = self;
        write!(f, "process {pid} ({version}) serves; process {} drains", std::process::id())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.has_taken_over {
            // It may have ended already.
            let _ = self.child.start_kill();
        }
    }
}
