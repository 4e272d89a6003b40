//! The new process, seen from the old one.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    pin::pin,
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep_until, timeout},
};

use super::{
    channel::{Channel, DESCRIPTORS_MAX, Draining, Message, PROTOCOL, TICKETS, write_file},
    elders::Elders,
    pause::pause_at,
    secrets::{Secrets, keys_file},
    step::HandOverStep,
    steps::old::{Act, Event, State},
};
use crate::{
    carried::Carried,
    server::{accept::sockets::Shared, systemd::Notifier},
};

/// How long the new process may take to tell the service manager, which is a datagram.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// How long the new process may take to end, if it is not to serve: what it has accepted
/// has [`DRAIN_SHORT`], then its access log has as long for the last lines.
///
/// [`DRAIN_SHORT`]: crate::server::drain::DRAIN_SHORT
const WITHDRAWAL: Duration = Duration::from_secs(5);

/// How long a killed process may take to be gone.
const DEATH: Duration = Duration::from_secs(5);

/// How long it may take to read the last word of this process.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What the environment says of this process alone.
const OWN_ENVIRONMENT: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// What the new process is given.
pub(super) struct Offer<'o> {
    pub(super) sockets: &'o [Shared],
    pub(super) secrets: &'o Secrets,
    pub(super) carried: Carried,
    pub(super) elders: &'o Elders,
}

/// Something that happens, and what is to be said of it if it ends the upgrade.
type Happened = (Event, String);

/// The new process. It is killed if this is dropped before it has taken over. That is for
/// what was not foreseen: otherwise [`Self::hand_over`] ends it.
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
        // The only other copy of the new process's end: its death must show here.
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

    /// Hands the service over, or waits until the new process is gone: drives
    /// [`State`]. It has `limit` to serve, and `stop` gives it up.
    ///
    /// # Errors
    /// Why this process serves on.
    pub(super) async fn hand_over(
        mut self,
        offer: Offer<'_>,
        limit: Duration,
        notifier: &Notifier,
        stop: impl Future<Output = ()>,
    ) -> Result<Self, String> {
        let elders = offer.elders;
        let (mut offer, mut words) = (Some(offer), VecDeque::new());
        let (mut stop, mut is_told) = (pin!(stop), false);
        let mut state = State::Offering;
        let mut deadline = Instant::now() + limit;
        // The first reason is the one that matters.
        let mut why = None;
        while !state.is_final() {
            let (event, reason) = tokio::select! {
                biased;
                happened = self.next(state, &mut offer, &mut words) => happened,
                () = &mut stop, if !is_told => {
                    is_told = true;
                    (Event::Stop, "corsac stops".to_owned())
                }
                () = sleep_until(deadline) => (Event::TimeIsUp, overdue(state, limit)),
            };
            let (next, acts) = state.on(event);
            if next == state {
                continue;
            }
            if !matches!(next, State::Committing | State::HandedOver) {
                why.get_or_insert(reason);
            }
            state = next;
            for act in acts {
                match act {
                    Act::SayGo => {
                        pause_at(HandOverStep::Proved).await;
                        words.push_back(Message::Go);
                    }
                    Act::SayWithdrawn => words.push_back(Message::Withdrawn),
                    Act::Kill => self.kill(),
                    Act::ReclaimMain => notifier.reclaim(),
                }
            }
            deadline = Instant::now() + self.patience(state);
        }
        if state == State::ServingOn {
            return Err(why.unwrap_or_default());
        }
        notifier.replaced();
        elders.leave();
        self.has_taken_over = true;
        pause_at(HandOverStep::Replaced).await;
        Ok(self)
    }

    /// How long a state may last, except the first one.
    fn patience(&self, state: State) -> Duration {
        match state {
            State::Committing => TAKE_OVER,
            // What has not come has accepted nothing.
            State::Withdrawing { .. } if self.process.is_none() => Duration::ZERO,
            State::Withdrawing { .. } => WITHDRAWAL,
            _ => DEATH,
        }
    }

    /// Says what is to be said, and waits for what the new process says, or for its end.
    async fn next(
        &mut self,
        state: State,
        offer: &mut Option<Offer<'_>>,
        words: &mut VecDeque<Message>,
    ) -> Happened {
        while let Some(word) = words.front() {
            // It may have ended, which is heard below.
            let _ = self.channel.send(word, &[]).await;
            if matches!(words.pop_front(), Some(Message::Go)) {
                pause_at(HandOverStep::Went).await;
            }
        }
        loop {
            return match self.channel.receive().await {
                Ok(Some((Message::Attached { pid, takes }, _))) => {
                    self.process = Pid::from_raw(pid)
                        .and_then(|process| pidfd_open(process, PidfdFlags::empty()).ok())
                        .map(|handle| (pid, handle));
                    // It is told nothing before: this says what it understands.
                    if let Some(offer) = offer.take_if(|_| state == State::Offering) {
                        if let Err(reason) = self.offer(offer, &takes).await {
                            return (Event::Failed, reason);
                        }
                        pause_at(HandOverStep::Offered).await;
                    }
                    continue;
                }
                Ok(Some((Message::Serving { version }, _))) => {
                    self.version = version;
                    (Event::Serving, String::new())
                }
                Ok(Some((Message::TookOver, _))) => (Event::TookOver, out_of_turn("TookOver")),
                Ok(Some((Message::Failed(reason), _))) => (Event::Failed, reason),
                Ok(Some((other, _))) => (Event::Failed, out_of_turn(&format!("{other:?}"))),
                Ok(None) => (Event::Ended, self.how_it_ended().await),
                Err(error) if matches!(state, State::Offering | State::Committing) => {
                    (Event::Failed, format!("the new process is not understood: {error}"))
                }
                // A broken channel may stay so: the deadline ends the wait.
                Err(_) => std::future::pending().await,
            };
        }
    }

    /// Hands it all sockets that are listened on, and what else it takes.
    async fn offer(&mut self, offer: Offer<'_>, takes: &[String]) -> Result<(), String> {
        let Offer { sockets, secrets, carried, elders } = offer;
        let hello = Message::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            self_check: secrets.self_check.secret().to_owned(),
        };
        self.send(&hello, &[]).await;
        let open: Vec<_> = sockets
            .iter()
            .filter_map(|socket| Some((&socket.description, socket.descriptor()?)))
            .collect();
        for batch in open.chunks(DESCRIPTORS_MAX) {
            let descriptions = batch.iter().map(|&(description, _)| description.clone()).collect();
            let descriptors: Vec<BorrowedFd<'_>> =
                batch.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
            self.send(&Message::Sockets(descriptions), &descriptors).await;
        }
        if let Some(keys) = &secrets.tickets
            && takes.iter().any(|what| what == TICKETS)
            // Without them, TLS sessions begin anew, and that is all.
            && let Ok(file) = keys_file(keys)
        {
            self.send(&Message::Tickets, &[file.as_fd()]).await;
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
        self.send(&Message::Complete, &with).await;
        Ok(())
    }

    async fn send(&self, message: &Message, with: &[BorrowedFd<'_>]) {
        // It may have ended, which is heard.
        let _ = self.channel.send(message, with).await;
    }

    /// Tells the new process what this one still has to do. If the channel is full, the
    /// report is lost.
    pub(in crate::server) fn report(&self, draining: Draining) {
        // The next one follows soon.
        let _ = self.channel.try_send(&Message::Draining(draining));
    }

    /// The last word: what this process has counted since it was replaced.
    pub(in crate::server) async fn bequeath(&self, carried: &Carried) {
        let since = carried.since(&self.carried);
        if let Ok(file) = write_file(&since) {
            // The process may have ended, or hang: then these counts are lost.
            let (counted, with) = (Message::Counted, [file.as_fd()]);
            let _ = timeout(LAST_WORD, self.channel.send(&counted, &with)).await;
        }
    }

    /// Waits until no process serves instead any more: not the new one, and none that has
    /// replaced that one in its turn, to which the channel is handed on.
    ///
    /// # Errors
    /// The process was not told to stop.
    pub(in crate::server) async fn ended(&mut self) -> Result<(), ()> {
        while let Ok(Some((message, _))) = self.channel.receive().await {
            if matches!(message, Message::Stopping) {
                return Ok(());
            }
        }
        Err(())
    }

    /// Why it has closed its end: a process that could not even start says so by its status.
    async fn how_it_ended(&mut self) -> String {
        match timeout(TAKE_OVER, self.launcher.wait()).await {
            Ok(Ok(status)) if !status.success() => {
                format!("the new process ended ({status}); its log says why")
            }
            _ => "the new process ended; its log says why".to_owned(),
        }
    }
}

impl Successor {
    /// Any of them may have ended already.
    fn kill(&mut self) {
        if let Some((_, process)) = &self.process {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        let _ = self.launcher.start_kill();
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
        if !self.has_taken_over {
            self.kill();
        }
    }
}

/// Why a state that has lasted for too long ends the upgrade.
fn overdue(state: State, limit: Duration) -> String {
    match state {
        State::Offering => {
            format!("the new process did not serve within {} s", limit.as_secs_f32())
        }
        _ => "the new process did not take over".to_owned(),
    }
}

fn out_of_turn(word: &str) -> String {
    format!("the new process said {word} out of turn")
}
