//! Changing what is served while it is served: all of it, or nothing.
//!
//! Every change of the snapshot comes through here, one at a time: a new
//! configuration, and new addresses of the names in it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    aside::aside,
    process,
    retire::Retirer,
    systemd::Notifier,
    upstreams::resolve::{REFRESH, Resolver},
};
use crate::{
    config::Config,
    cors::Severity,
    diagnose::{Files, LookedFor, Report},
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
pub struct Supply {
    /// The main file.
    pub path: PathBuf,
    /// How files come in.
    pub files: Arc<dyn Files + Send + Sync>,
}

/// How a reading ended: what has changed, in one line; or the whole report, and what was
/// served before is still served.
pub(super) type ReloadResult = Result<String, Arc<Report>>;

/// A reading that somebody wants, and that has not begun.
struct Wanted {
    trigger: Trigger,
    outcome: watch::Sender<Option<ReloadResult>>,
}

/// Swaps what is served.
pub(super) struct Reloader {
    supply: Supply,
    snapshots: Arc<SnapshotCell>,
    /// Snapshots that served.
    replaced: Retirer<Snapshot>,
    metrics: Metrics,
    notifier: Arc<Notifier>,
    resolver: Resolver,
    /// The next reading. There is one, however many ask: it reads what is there after each
    /// of them has asked.
    wanted: Mutex<Option<Wanted>>,
    /// Held while a change is made ready, so that none is lost to another.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Attempt>,
    looked_for: Mutex<Arc<LookedFor>>,
}

impl Reloader {
    /// For the configuration of `supply`, which `snapshots` serves already.
    pub(super) fn new(
        supply: Supply,
        snapshots: Arc<SnapshotCell>,
        metrics: Metrics,
        notifier: Arc<Notifier>,
        resolver: Resolver,
    ) -> Self {
        let serving = snapshots.load();
        let hash = serving.config().hash();
        metrics.config_applied(&hash, unix_seconds());
        let last = Mutex::new(Attempt { at: SystemTime::now(), hash, refused: None });
        let looked_for = Mutex::new(Arc::clone(&serving.config().looked_for));
        Self {
            supply,
            snapshots,
            replaced: Retirer::new(),
            metrics,
            notifier,
            resolver,
            wanted: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            last,
            looked_for,
        }
    }

    /// Keeps every change away while what is returned lives.
    pub(super) async fn wait_for_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Where the configuration is.
    pub(super) fn path(&self) -> &Path {
        &self.supply.path
    }

    /// How the last attempt ended.
    pub(super) fn last(&self) -> Attempt {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the last reading looked for, whether it serves or was refused.
    pub(super) fn looked_for(&self) -> Arc<LookedFor> {
        Arc::clone(&self.looked_for.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the configuration again and serves it, if nothing is wrong with it. The
    /// reload goes on if what is returned is not awaited.
    pub(super) fn reload(
        self: &Arc<Self>,
        trigger: Trigger,
    ) -> impl Future<Output = ReloadResult> + use<> {
        let mut outcome = self.want(trigger);
        async move {
            let ended = outcome.wait_for(Option::is_some).await;
            let outcome = ended.ok().and_then(|outcome| outcome.clone());
            outcome.unwrap_or_else(|| Err(Arc::new(Read::bug_report())))
        }
    }

    /// Joins the reading that is wanted already, or wants one.
    fn want(self: &Arc<Self>, trigger: Trigger) -> watch::Receiver<Option<ReloadResult>> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wanted) = &mut *wanted {
            // A command or a signal wants to be answered, also if nothing has changed.
            if trigger != Trigger::File {
                wanted.trigger = trigger;
            }
            return wanted.outcome.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        *wanted = Some(Wanted { trigger, outcome: sender });
        let reloader = Arc::clone(self);
        tokio::spawn(async move { reloader.read_what_is_wanted().await });
        receiver
    }

    async fn read_what_is_wanted(&self) {
        let _turn = self.turn.lock().await;
        // What is asked for from now on is another reading.
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Wanted { trigger, outcome }) = wanted {
            let ended = self.read(trigger).await;
            outcome.send_replace(Some(ended));
        }
    }

    async fn read(&self, trigger: Trigger) -> ReloadResult {
        // A file event may turn out to be no change; a command or a signal is answered at once.
        let mut reloading = (trigger != Trigger::File).then(|| self.notifier.reloading());
        let known = (trigger == Trigger::File).then(|| self.last());
        let (supply, current) = (self.supply.clone(), self.snapshots.load());
        let read = aside(move || Read::new(&supply, current.config(), known.as_ref())).await;
        // A panic is a bug, and no reason to stop serving.
        let read = read.unwrap_or_else(|_| Read::bug(self.looked_for()));
        let Read { hash, looked_for, outcome } = read;
        *self.looked_for.lock().unwrap_or_else(PoisonError::into_inner) = looked_for;
        let Some(outcome) = outcome else {
            log::debug!("the configuration was read ({}): nothing has changed", trigger.as_str());
            return Ok("nothing has changed".to_owned());
        };
        reloading.get_or_insert_with(|| self.notifier.reloading());
        match outcome {
            Ok((config, change)) => self.apply(config, hash, change, trigger).await,
            Err(report) => Err(self.refuse(report, hash, trigger)),
        }
    }

    async fn apply(
        &self,
        config: Arc<Config>,
        hash: String,
        change: Change,
        trigger: Trigger,
    ) -> ReloadResult {
        let current = self.snapshots.load();
        let addresses = self.resolver.resolve(&config, current.addresses()).await;
        let previous = Arc::clone(&current);
        let compiled = aside(move || Snapshot::compile(config, addresses, Some(&previous))).await;
        let Ok(snapshot) = compiled else {
            return Err(self.refuse(Read::bug_report(), hash, trigger));
        };
        self.snapshots.store(snapshot);
        self.replaced.retire(current);
        let Change { summary, lines } = change;
        self.metrics.config_applied(&hash, unix_seconds());
        self.note(Attempt { at: SystemTime::now(), hash: hash.clone(), refused: None });
        // Not before: a reader of the line finds the same in the metrics.
        log::info!("configuration {hash} serves ({}): {summary}", trigger.as_str());
        for line in lines {
            log::info!("  {line}");
        }
        Ok(summary)
    }

    fn refuse(&self, report: Report, hash: String, trigger: Trigger) -> Arc<Report> {
        let report = Arc::new(report);
        self.metrics.config_refused(codes(&report));
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

    /// Looks the names of upstream nodes up again, and serves what has changed. A resolver
    /// that does not answer holds no reload up.
    async fn refresh_addresses(&self) {
        let current = self.snapshots.load();
        let Some(addresses) = self.resolver.refresh(&current).await else { return };
        let _turn = self.turn.lock().await;
        if !Arc::ptr_eq(&current, &self.snapshots.load()) {
            // A reload came first, and has looked up the names of its own.
            return;
        }
        let previous = Arc::clone(&current);
        // Failed: the old snapshot serves on, and the names are looked up again soon.
        if let Ok(snapshot) = aside(move || previous.with_addresses(addresses)).await {
            self.snapshots.store(snapshot);
            self.replaced.retire(current);
            log::info!("the addresses of upstream nodes have changed");
        }
    }
}

/// Looks the names of upstream nodes up again from time to time, for ever.
pub(super) async fn refresh_addresses(reloader: Arc<Reloader>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        reloader.refresh_addresses().await;
    }
}

/// A clock before 1970 is wrong in a way that does not matter here.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn codes(report: &Report) -> impl Iterator<Item = &str> {
    let errors = report.diagnostics().iter().filter(|found| found.severity == Severity::Error);
    errors.map(|found| found.code)
}

/// What is on disk, and what it would change.
struct Read {
    hash: String,
    looked_for: Arc<LookedFor>,
    /// `None`: it is what was known.
    outcome: Option<Result<(Arc<Config>, Change), Report>>,
}

/// A renewal changes no text.
fn has_same_certificates(before: &Config, after: &Config) -> bool {
    let digests = |config: &Config| -> Vec<_> {
        config.certificates.iter().map(|it| (it.pair.digest, it.trust())).collect()
    };
    digests(before) == digests(after)
}

/// What a configuration changes, in words.
struct Change {
    summary: String,
    lines: Vec<String>,
}

impl Read {
    /// Reads the configuration, and compares it unless it ends as the attempt that is
    /// `known`.
    fn new(supply: &Supply, running: &Config, known: Option<&Attempt>) -> Self {
        let loaded = load(&supply.path, &*supply.files, Timestamp::now().as_second());
        let (Ok((_, report)) | Err(report)) = &loaded;
        let (hash, looked_for) = (report.hash(), Arc::clone(report.looked_for()));
        let known = known.filter(|known| known.hash == hash);
        let is_known = match (&loaded, known.map(|known| &known.refused)) {
            (_, None) => false,
            (Ok((config, _)), Some(refused)) => {
                refused.is_none() && has_same_certificates(running, config)
            }
            // The texts may be as before, and what is wrong another thing: a certificate.
            (Err(report), Some(refused)) => {
                refused.as_ref().is_some_and(|known| known.to_text(false) == report.to_text(false))
            }
        };
        if is_known {
            return Self { hash, looked_for, outcome: None };
        }
        let outcome = loaded
            .and_then(|(config, warnings)| process::unchanged(running, config, warnings))
            .map(|config| {
                let change = diff(running, &config);
                let lines = change.log_lines(LOGGED_CHANGES_MAX).collect();
                (Arc::new(config), Change { summary: change.summary(), lines })
            });
        Self { hash, looked_for, outcome: Some(outcome) }
    }

    fn bug(looked_for: Arc<LookedFor>) -> Self {
        Self { hash: String::new(), looked_for, outcome: Some(Err(Self::bug_report())) }
    }

    fn bug_report() -> Report {
        Report::bug("the thread that makes a configuration ready has failed")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::Notify;

    use super::*;
    use crate::{server::Memory, snapshot::Addresses};

    /// A name that is looked up, and never found: a reload does not wait for it.
    #[tokio::test]
    async fn a_resolver_that_does_not_answer_holds_no_reload_up() {
        let text = "version = 1\nlisteners.http.address = \"127.0.0.1:0\"\n\
                    upstreams.app.nodes = \"app.internal:80\"\nservices.s.upstream = \"app\"\n\
                    services.s.routes.r.paths = \"/\"\n";
        let files = Memory::new("corsac.toml", text);
        let config = Arc::new(load(Path::new("corsac.toml"), &files, 0).unwrap().0);
        let metrics = Metrics::new();
        let snapshot = Snapshot::compile(config, Addresses::new(), None);
        let snapshots = Arc::new(SnapshotCell::new(snapshot, metrics.clone()));
        let (asked, lookups) = (Arc::<Notify>::default(), AtomicUsize::new(0));
        let resolver = Resolver::by({
            let asked = Arc::clone(&asked);
            move |_| {
                asked.notify_one();
                // The first one hangs.
                match lookups.fetch_add(1, Ordering::Relaxed) {
                    0 => Box::pin(pending()),
                    _ => Box::pin(async { Ok(Vec::new()) }),
                }
            }
        });
        let supply = Supply { path: "corsac.toml".into(), files: Arc::new(files) };
        let notifier = Arc::new(Notifier::new());
        let reloader = Arc::new(Reloader::new(supply, snapshots, metrics, notifier, resolver));
        let refreshing = tokio::spawn({
            let reloader = Arc::clone(&reloader);
            async move { reloader.refresh_addresses().await }
        });
        asked.notified().await;
        reloader.reload(Trigger::Admin).await.unwrap();
        assert!(!refreshing.is_finished());
        refreshing.abort();
    }
}
