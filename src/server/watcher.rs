//! Changes of the configuration's files.
//!
//! Directories are watched, not files: an editor renames a new file over the old
//! one, and Kubernetes swaps a link beside it, and either leaves a watch of the
//! file itself on what nobody reads any more.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::reload::{Reloader, Trigger};
use crate::config::Config;

/// How long it must be quiet after a change: the last write of a burst counts.
const QUIET: Duration = Duration::from_millis(200);

/// How long a burst may put a reload off.
const BURST_MAX: Duration = Duration::from_secs(5);

/// Watches the files of the configuration that is served. From here on no change is
/// missed. `None`: nothing can be watched, which is said.
pub(super) fn start(reloader: &Reloader) -> Option<Watcher> {
    let (sender, changes) = mpsc::channel(1);
    match Watched::new(sender) {
        Ok(mut watched) => {
            watched.follow(reloader.serving().config());
            Some(Watcher { watched, changes })
        }
        Err(error) => {
            log::warn!("files are not watched: {error}; SIGHUP and `corsac reload` still work");
            None
        }
    }
}

/// Files that are watched.
pub(super) struct Watcher {
    watched: Watched,
    changes: mpsc::Receiver<()>,
}

impl Watcher {
    /// Reloads when a file of the configuration changes, for ever.
    pub(super) async fn run(mut self, reloader: Arc<Reloader>) {
        loop {
            // Also at the start: a file may have changed after it was read, and before
            // it was watched. What is wrong is logged where it is found.
            let _ = reloader.reload(Trigger::File).await;
            self.watched.follow(reloader.serving().config());
            if self.changes.recv().await.is_none() {
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

/// The directories that are watched.
struct Watched {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
}

impl Watched {
    fn new(changed: mpsc::Sender<()>) -> notify::Result<Self> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let is_change = event.as_ref().map_or(true, |event| !event.kind.is_access());
            if is_change {
                // Full: a change is waiting to be seen already.
                let _ = changed.try_send(());
            }
        })?;
        Ok(Self { watcher, directories: BTreeSet::new() })
    }

    /// Watches the directories of every file that was read, and no others.
    fn follow(&mut self, config: &Config) {
        let wanted: BTreeSet<PathBuf> = config.directories.iter().cloned().collect();
        for gone in self.directories.difference(&wanted) {
            // A directory that was removed is watched no more anyway.
            let _ = self.watcher.unwatch(gone);
        }
        let mut directories = BTreeSet::new();
        for directory in wanted {
            if self.directories.contains(&directory) || self.start(&directory) {
                directories.insert(directory);
            }
        }
        self.directories = directories;
    }

    fn start(&mut self, directory: &Path) -> bool {
        // The folder of a bare file name.
        let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let started = self.watcher.watch(here, RecursiveMode::NonRecursive);
        if let Err(error) = &started {
            log::warn!("{} is not watched: {error}", directory.display());
        }
        started.is_ok()
    }
}
