//! The old process, from the request for an upgrade to its end.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    process::Command,
    sync::{Mutex, mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    elders::Elders,
    pause::pause_at,
    secrets::Secrets,
    step::HandOverStep,
    successor::{Offer, Successor},
};
use crate::{
    carried::Carried,
    metrics::Metrics,
    server::{accept::sockets::Shared, intake::Intake, reload::Reloader, systemd::Notifier},
};

/// What `corsac upgrade` asks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct UpgradeRequest {
    /// The new binary. `None`: the path from which the running one was started.
    pub binary: Option<PathBuf>,
    /// How long the new process may take to check the configuration, and again to
    /// serve by it.
    pub timeout: Duration,
}

/// Starts the process that replaces this one.
pub(in crate::server) struct Upgrader {
    own_binary: Option<PathBuf>,
    reloader: Arc<Reloader>,
    metrics: Metrics,
    sockets: Vec<Shared>,
    secrets: Secrets,
    elders: Arc<Elders>,
    /// Whether the service was handed over already.
    turn: Mutex<bool>,
    handed_over: mpsc::Sender<HandedOver>,
    admin_intake: Arc<Intake>,
    notifier: Arc<Notifier>,
    /// True: this process stops, and starts no other.
    withdrawn: watch::Sender<bool>,
}

/// Another process serves.
pub(in crate::server) struct HandedOver {
    pub(in crate::server) to: Successor,
    /// Dropped when this process accepts nothing more.
    pub(in crate::server) accepting: oneshot::Sender<Infallible>,
}

impl Upgrader {
    /// Hands on `sockets`. The process that replaces this one comes out of the receiver.
    pub(in crate::server) fn new(
        reloader: Arc<Reloader>,
        metrics: Metrics,
        sockets: Vec<Shared>,
        secrets: Secrets,
        elders: Arc<Elders>,
        admin_intake: Arc<Intake>,
        notifier: Arc<Notifier>,
    ) -> (Self, mpsc::Receiver<HandedOver>) {
        let (handed_over, receiver) = mpsc::channel(1);
        let upgrader = Self {
            own_binary: std::env::current_exe().ok(),
            reloader,
            metrics,
            sockets,
            secrets,
            elders,
            turn: Mutex::new(false),
            handed_over,
            admin_intake,
            notifier,
            withdrawn: watch::Sender::new(false),
        };
        (upgrader, receiver)
    }

    /// Replaces this process. Returns which process serves now, in one line.
    ///
    /// # Errors
    /// Why not. The new process has ended, if there was one, and this one serves on.
    pub(in crate::server) async fn upgrade(
        &self,
        request: UpgradeRequest,
    ) -> Result<String, String> {
        let Ok(mut handed_over) = self.turn.try_lock() else {
            return Err("another upgrade is under way".to_owned());
        };
        if *handed_over {
            return Err("this process was replaced already".to_owned());
        }
        match self.replace(request).await {
            Ok(successor) => {
                *handed_over = true;
                let summary = successor.to_string();
                log::info!("upgraded: {summary}");
                // A command that has read this summary, and asks for more, asks the new process.
                self.admin_intake.close().await;
                let (accepting, ended) = oneshot::channel();
                // There is room for the one that there is.
                let _ = self.handed_over.try_send(HandedOver { to: successor, accepting });
                tokio::select! {
                    _ = ended => {}
                    () = self.is_withdrawn() => {}
                }
                Ok(summary)
            }
            Err(reason) => {
                log::error!("not upgraded, this process serves on: {reason}");
                Err(reason)
            }
        }
    }

    /// Ends an upgrade that is under way, unless it cannot be stopped any more, and
    /// starts none from now on.
    pub(in crate::server) async fn withdraw(&self) {
        self.withdrawn.send_replace(true);
        drop(self.turn.lock().await);
    }

    /// What this process has counted, and the like.
    pub(in crate::server) fn carried(&self) -> Carried {
        Carried::of(&self.reloader.serving(), &self.metrics)
    }

    async fn is_withdrawn(&self) {
        // The sender is here, so it does not fail.
        let _ = self.withdrawn.subscribe().wait_for(|withdrawn| *withdrawn).await;
    }

    async fn replace(&self, request: UpgradeRequest) -> Result<Successor, String> {
        let binary = request.binary.or_else(|| self.own_binary.clone());
        let binary = binary.ok_or("it is not known which binary runs: name one with --binary")?;
        let config = self.reloader.path();
        let checked = async {
            // No reload meanwhile: the new process reads what is there now.
            let turn = self.reloader.wait_for_turn().await;
            log::info!("upgrade: {} checks {}", binary.display(), config.display());
            check(&binary, config, request.timeout).await?;
            pause_at(HandOverStep::Checked).await;
            Ok::<_, String>(turn)
        };
        let _turn = tokio::select! {
            checked = checked => checked?,
            () = self.is_withdrawn() => return Err("corsac stops".to_owned()),
        };
        let successor = Successor::start(&binary, config)?;
        pause_at(HandOverStep::Started).await;
        let offer = Offer {
            sockets: &self.sockets,
            secrets: &self.secrets,
            carried: self.carried(),
            elders: &self.elders,
        };
        let stop = self.is_withdrawn();
        successor.hand_over(offer, request.timeout, &self.notifier, stop).await
    }
}

/// Lets the new binary look at the configuration first.
async fn check(binary: &Path, config: &Path, limit: Duration) -> Result<(), String> {
    let mut command = Command::new(binary);
    command.arg("check").arg(config).stdin(Stdio::null()).kill_on_drop(true);
    let name = binary.display();
    let output = timeout(limit, command.output())
        .await
        .map_err(|_| format!("`{name} check` did not end within {} s", limit.as_secs_f32()))?
        .map_err(|error| format!("{name} cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{name} check` refuses the configuration ({}):\n{said}", output.status))
}
