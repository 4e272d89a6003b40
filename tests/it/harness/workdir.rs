//! A folder that lives as long as its test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A new folder below Cargo's own for tests; gone when dropped.
pub(crate) struct Workdir(PathBuf);

impl Workdir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, and the folders on the way to it; returns its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Replaces a file in one step, as editors do.
    pub(crate) fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        let fresh = self.write(&format!("{name}.new"), content);
        fs::rename(fresh, self.0.join(name)).unwrap();
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        // What is left over lies in `target` and harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
