//! Changing what is served while it is served: all of it, or nothing.
//!
//! Every change of the snapshot comes through here, one at a time: a new
//! configuration, and new addresses of the names in it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::task::spawn_blocking;

use super::{process, resolve, systemd::Reloading};
use crate::{
    config::{Config, Files, Report},
    cors::Severity,
    diff::diff,
    load::load,
    metrics::Metrics,
    snapshot::{Snapshot, SnapshotCell},
};

/// Lines of the log that one reload may take.
const LOGGED_CHANGES_MAX: usize = 50;

/// What made corsac read its configuration again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trigger {
    /// SIGHUP.
    Signal,
    /// A watched file changed.
    File,
    /// `corsac reload`.
    Admin,
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::File => "a changed file",
            Self::Admin => "corsac reload",
        }
    }
}

/// How the last attempt to read the configuration ended.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// When it ended.
    pub(super) at: SystemTime,
    /// The hash of what was read.
    pub(super) hash: String,
    /// Why it does not serve, if it does not.
    pub(super) refused: Option<Arc<Report>>,
}

/// Where a configuration is read from, again and again.
#[derive(Clone)]
pub struct Source {
    /// The main file.
    pub path: PathBuf,
    /// How files come in.
    pub files: Arc<dyn Files + Send + Sync>,
}

/// Swaps what is served.
pub(super) struct Reloader {
    source: Source,
    snapshots: Arc<SnapshotCell>,
    metrics: Metrics,
    /// Held while a change is made ready, so that none is lost to another.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Attempt>,
}

impl Reloader {
    /// For the configuration of `source`, which `snapshots` serves already.
    pub(super) fn new(source: Source, snapshots: Arc<SnapshotCell>, metrics: Metrics) -> Self {
        let hash = snapshots.load().config().hash();
        metrics.config_applied(&hash, unix_seconds());
        let last = Mutex::new(Attempt { at: SystemTime::now(), hash, refused: None });
        Self { source, snapshots, metrics, turn: tokio::sync::Mutex::default(), last }
    }

    /// Where the configuration is.
    pub(super) fn path(&self) -> &Path {
        &self.source.path
    }

    /// How the last attempt ended.
    pub(super) fn last(&self) -> Attempt {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the configuration again and serves it, if nothing is wrong with it.
    /// Returns what has changed, in one line.
    ///
    /// # Errors
    /// The whole report; what was served is served on.
    pub(super) async fn reload(&self, trigger: Trigger) -> Result<String, Arc<Report>> {
        let _turn = self.turn.lock().await;
        // A file event may turn out to be no change; whoever asks is answered at once.
        let mut reloading = (trigger != Trigger::File).then(Reloading::start);
        let Source { path, files } = self.source.clone();
        let loaded = spawn_blocking(move || load(&path, &*files)).await;
        let current = self.snapshots.load();
        // A panic is a bug, and no reason to stop serving.
        let loaded = loaded.unwrap_or_else(|panic| Err(Report::bug(&panic.to_string())));
        if trigger == Trigger::File && self.last().hash == hash(&loaded) {
            return Ok("nothing has changed".to_owned());
        }
        reloading.get_or_insert_with(Reloading::start);
        let checked = loaded
            .and_then(|(config, warnings)| process::unchanged(current.config(), config, warnings));
        match checked {
            Ok(config) => Ok(self.apply(&current, config, trigger).await),
            Err(report) => Err(self.refuse(report, trigger)),
        }
    }

    async fn apply(&self, current: &Snapshot, config: Config, trigger: Trigger) -> String {
        let hash = config.hash();
        let change = diff(current.config(), &config);
        let summary = change.summary();
        let addresses = resolve::resolve(&config).await;
        let snapshot = Snapshot::compile(Arc::new(config), addresses, Some(current));
        self.snapshots.store(snapshot);
        self.metrics.config_applied(&hash, unix_seconds());
        self.note(Attempt { at: SystemTime::now(), hash: hash.clone(), refused: None });
        // Not before: looking names up takes seconds where a resolver is down.
        log::info!("configuration {hash} serves ({}): {summary}", trigger.as_str());
        for line in change.log_lines(LOGGED_CHANGES_MAX) {
            log::info!("  {line}");
        }
        summary
    }

    fn refuse(&self, report: Report, trigger: Trigger) -> Arc<Report> {
        let report = Arc::new(report);
        self.metrics.config_refused(codes(&report));
        let hash = report.hash();
        self.note(Attempt { at: SystemTime::now(), hash, refused: Some(Arc::clone(&report)) });
        log::error!(
            "the configuration is refused ({}); what was served is served on\n{}",
            trigger.as_str(),
            report.to_text(false)
        );
        report
    }

    fn note(&self, attempt: Attempt) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = attempt;
    }

    /// What is served now.
    pub(super) fn serving(&self) -> Arc<Snapshot> {
        self.snapshots.load()
    }

    /// Looks the names of upstream nodes up again, and serves what has changed.
    async fn refresh_addresses(&self) {
        let _turn = self.turn.lock().await;
        let current = self.snapshots.load();
        if let Some(addresses) = resolve::refresh(&current).await {
            log::info!("the addresses of upstream nodes have changed");
            self.snapshots.store(current.with_addresses(addresses));
        }
    }
}

/// Looks the names of upstream nodes up again from time to time, for ever.
pub(super) async fn refresh_addresses(reloader: Arc<Reloader>) {
    loop {
        tokio::time::sleep(resolve::REFRESH).await;
        reloader.refresh_addresses().await;
    }
}

/// A clock before 1970 is wrong in a way that does not matter here.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn codes(report: &Report) -> impl Iterator<Item = &str> {
    let errors = report.diagnostics().iter().filter(|found| found.severity == Severity::Error);
    errors.map(|found| found.code)
}

/// The hash of what was read, whether it is right or wrong.
fn hash(loaded: &Result<(Config, Report), Report>) -> String {
    match loaded {
        Ok((config, _)) => config.hash(),
        Err(report) => report.hash(),
    }
}
