//! Changes of the configuration's files.
//!
//! Directories are watched, not files: an editor renames a new file over the old
//! one, and Kubernetes swaps a link beside it, and either leaves a watch of the file
//! itself on one that is not read any more. Other changes in these directories, such as
//! of a log, do not count: [`Trail`] knows the names that do.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use super::trail::Trail;
use crate::server::{
    aside::aside,
    reload::{Reloader, Trigger},
};

/// How long it must be quiet after a change: the last write of a burst counts.
const QUIET: Duration = Duration::from_millis(200);

/// How long a burst may put a reload off.
const BURST_MAX: Duration = Duration::from_secs(5);

/// Watches the files of the configuration that is served. From here on no change is
/// missed. `None`: nothing can be watched, which is logged.
pub(in crate::server) fn start(reloader: &Reloader) -> Option<Watcher> {
    let (sender, changes) = mpsc::channel(1);
    match Watched::new(sender) {
        Ok(mut watched) => {
            watched.follow(Trail::of(&reloader.looked_for()));
            watched.watch();
            Some(Watcher { watched, changes })
        }
        Err(error) => {
            log::warn!("files are not watched: {error}; SIGHUP and `corsac reload` still work");
            None
        }
    }
}

/// Files that are watched.
pub(in crate::server) struct Watcher {
    watched: Watched,
    changes: mpsc::Receiver<()>,
}

impl Watcher {
    /// Reloads when a file of the configuration changes, until `stop` turns true: a
    /// process that drains takes no new requests, and another one may read the files.
    pub(in crate::server) async fn run(
        self,
        reloader: Arc<Reloader>,
        mut stop: watch::Receiver<bool>,
    ) {
        tokio::select! {
            () = self.reload_after_changes(reloader) => {}
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
    }

    async fn reload_after_changes(mut self, reloader: Arc<Reloader>) {
        loop {
            // Watched first, then read, so that no change falls between; also at the
            // start. What is wrong is logged where it is found.
            self.watched.watch();
            let _ = reloader.reload(Trigger::File).await;
            let looked_for = reloader.looked_for();
            let trail = aside(move || Trail::of(&looked_for)).await;
            // What was not watched when it was read is read once more. Without a thread
            // to look, things stay as they are.
            let is_new = trail.is_ok_and(|trail| self.watched.follow(trail));
            if !is_new && self.changes.recv().await.is_none() {
                return;
            }
            settle(&mut self.changes).await;
        }
    }
}

/// Waits until no change has come for [`QUIET`].
async fn settle(changes: &mut mpsc::Receiver<()>) {
    let latest = Instant::now() + BURST_MAX;
    while Instant::now() < latest
        && timeout_at(latest.min(Instant::now() + QUIET), changes.recv()).await.is_ok()
    {}
}

/// What is watched.
struct Watched {
    watcher: RecommendedWatcher,
    trail: Arc<ArcSwap<Trail>>,
    /// Folders that cannot be watched; each is logged once.
    unwatched: BTreeSet<PathBuf>,
}

impl Watched {
    fn new(changed: mpsc::Sender<()>) -> notify::Result<Self> {
        let trail = Arc::<ArcSwap<Trail>>::default();
        let known = Arc::clone(&trail);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| counts(&event, &known.load())) {
                // Full: a change is waiting to be seen already.
                let _ = changed.try_send(());
            }
        })?;
        Ok(Self { watcher, trail, unwatched: BTreeSet::new() })
    }

    /// From now on what is on this trail counts. Returns whether anything on it is new.
    fn follow(&mut self, trail: Trail) -> bool {
        let before = self.trail.load_full();
        if *before == trail {
            return false;
        }
        for (folder, identity) in before.folders() {
            if trail.folders().get(folder) != Some(identity) {
                // A folder that was removed is watched no more anyway.
                let _ = self.watcher.unwatch(folder);
            }
        }
        self.unwatched.retain(|folder| trail.folders().contains_key(folder));
        self.trail.store(Arc::new(trail));
        true
    }

    /// Watches every folder of the trail, also those that are watched already: a folder
    /// that was away for a moment is not watched any more.
    fn watch(&mut self) {
        for folder in self.trail.load().folders().keys() {
            match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.unwatched.remove(folder);
                }
                Err(error) => {
                    if self.unwatched.insert(folder.clone()) {
                        log::warn!("{} is not watched: {error}", folder.display());
                    }
                }
            }
        }
    }
}

/// Whether something has changed that may change what is read.
fn counts(event: &notify::Event, trail: &Trail) -> bool {
    if event.kind.is_access() {
        return false;
    }
    let changed = event.paths.iter().find(|path| trail.has(path));
    if let Some(path) = changed {
        log::debug!("{} has changed", path.display());
    }
    // The kernel has lost some.
    changed.is_some() || event.need_rescan()
}
