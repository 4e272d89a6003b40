//! The names on disk that decide what a configuration is: its files, every link and
//! folder on the way to them, and what the patterns of `include` may match.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf, absolute},
    time::SystemTime,
};

use glob::Pattern;

use crate::diagnose::LookedFor;

/// Links that are followed on the way to one file: as many as Linux follows
/// (`path_resolution(7)`).
const LINKS_MAX: usize = 40;

/// Where the files of a configuration were found, or looked for, at one moment.
///
/// Two are equal if nothing on the way has changed. All paths are real: no link leads
/// to the folder that they name.
#[derive(Debug, Default, Eq, PartialEq)]
pub(in crate::server) struct Trail {
    folders: BTreeMap<PathBuf, Option<Identity>>,
    names: BTreeSet<PathBuf>,
    patterns: BTreeSet<(PathBuf, Pattern)>,
}

/// What tells a folder from another one of the same path. An inode alone may be used
/// again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::server) struct Identity {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

impl Trail {
    /// Follows the way to everything that was looked for, on disk.
    pub(in crate::server) fn of(looked_for: &LookedFor) -> Self {
        let mut trail = Self::default();
        for file in &looked_for.files {
            trail.follow(file);
        }
        for pattern in &looked_for.patterns {
            trail.follow_pattern(pattern);
        }
        trail
    }

    /// The folders to be watched, and which ones they are; `None`: gone meanwhile.
    pub(in crate::server) fn folders(&self) -> &BTreeMap<PathBuf, Option<Identity>> {
        &self.folders
    }

    /// Whether a change of this name may change what is read.
    pub(in crate::server) fn has(&self, path: &Path) -> bool {
        let is_in = |folder: &Path| path.parent() == Some(folder);
        let matches = |pattern: &Pattern| {
            path.file_name().is_some_and(|name| pattern.matches(&name.to_string_lossy()))
        };
        self.names.contains(path)
            || self.folders.contains_key(path)
            || self.patterns.iter().any(|(folder, pattern)| is_in(folder) && matches(pattern))
    }

    /// Notes every name on the way to `path`. Returns where that ends; `None`: nowhere.
    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let mut here = PathBuf::from("/");
        let mut ahead = components(&absolute(path).ok()?);
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            match Path::new(&name).components().next()? {
                Component::RootDir => here = PathBuf::from("/"),
                // No link leads here, so this is where `..` leads.
                Component::ParentDir => drop(here.pop()),
                _ => {
                    let next = here.join(&name);
                    self.names.insert(next.clone());
                    if let Ok(target) = fs::read_link(&next) {
                        self.watch(&here);
                        links += 1;
                        if links > LINKS_MAX {
                            return None;
                        }
                        ahead.extend(components(&target));
                        continue;
                    }
                    if ahead.is_empty() || !next.is_dir() {
                        self.watch(&here);
                        return (ahead.is_empty() && next.exists()).then_some(next);
                    }
                    here = next;
                }
            }
        }
        Some(here)
    }

    fn follow_pattern(&mut self, pattern: &Path) {
        let is_plain = |path: &&Path| !path.to_string_lossy().contains(['*', '?', '[']);
        let Some(folder) = pattern.ancestors().find(is_plain) else { return };
        // The folder of a bare pattern.
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let Some(real) = self.follow(here) else { return };
        let below = pattern.strip_prefix(folder).unwrap_or(pattern).to_string_lossy();
        let below: Vec<&str> = below.split('/').filter(|name| !name.is_empty()).collect();
        self.follow_below(&real, &below);
    }

    /// Notes what may match a pattern, name by name, in a real folder and below it.
    fn follow_below(&mut self, folder: &Path, names: &[&str]) {
        let Some((&name, deeper)) = names.split_first() else { return };
        // Any name, in any folder below.
        let is_recursive = name == "**";
        // What is no pattern by itself, since it has a `/` in brackets, may match anything.
        let any = || Pattern::new("*").unwrap_or_default();
        let pattern = Pattern::new(if is_recursive { "*" } else { name }).unwrap_or_else(|_| any());
        self.watch(folder);
        self.patterns.insert((folder.to_owned(), pattern.clone()));
        if deeper.is_empty() && !is_recursive {
            return;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !pattern.matches(&entry.file_name().to_string_lossy()) {
                continue;
            }
            if is_recursive {
                // As `glob` does: `**` goes through no link.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    self.follow_below(&entry.path(), names);
                }
            } else if let Some(found) = self.follow(&entry.path()).filter(|found| found.is_dir()) {
                self.follow_below(&found, deeper);
            }
        }
    }

    fn watch(&mut self, folder: &Path) {
        if !self.folders.contains_key(folder) {
            self.folders.insert(folder.to_owned(), Identity::of(folder).ok());
        }
    }
}

impl Identity {
    fn of(folder: &Path) -> io::Result<Self> {
        let there = fs::metadata(folder)?;
        Ok(Self { device: there.dev(), inode: there.ino(), born: there.created().ok() })
    }
}

/// The names of a path, the last one first.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter(|name| *name != Component::CurDir);
    names.rev().map(|name| name.as_os_str().to_owned()).collect()
}
