//! What corsac says about configurations with mistakes, word for word.
//!
//! Beside each `golden/NAME.toml` stands `golden/NAME.txt`, the report that it
//! must give. `UPDATE_GOLDEN=1 cargo test golden` writes the reports anew; the
//! difference is then read like any other.
//!
//! A line `#: conf.d/more.toml` starts another file of the same configuration.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use corsac::{
    config,
    diagnose::{Files, codes},
};

/// Files that are a text in memory.
pub(crate) struct InMemory(pub(crate) BTreeMap<PathBuf, String>);

impl InMemory {
    /// The main file comes first, and has no name of its own.
    fn split(text: &str) -> Self {
        let mut files: Vec<(&str, String)> = vec![("corsac.toml", String::new())];
        for line in text.split_inclusive('\n') {
            match line.strip_prefix("#: ") {
                Some(name) => files.push((name.trim(), String::new())),
                None => files.last_mut().unwrap().1.push_str(line),
            }
        }
        Self(files.into_iter().map(|(name, text)| (name.into(), text)).collect())
    }
}

impl Files for InMemory {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }

    fn expand(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let Some((before, after)) = pattern.to_str().unwrap().split_once('*') else {
            return Ok(vec![pattern.to_owned()]);
        };
        let matches = |path: &&PathBuf| {
            let path = path.to_str().unwrap();
            path.starts_with(before) && path.ends_with(after)
        };
        Ok(self.0.keys().filter(matches).cloned().collect())
    }
}

#[test]
fn golden() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let mut inputs: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    inputs.sort();
    for input in inputs {
        let files = InMemory::split(&std::fs::read_to_string(&input).unwrap());
        let report = match config::load(Path::new("corsac.toml"), &files) {
            Ok((_, warnings)) => warnings,
            Err(report) => report,
        };
        for found in report.diagnostics() {
            assert!(codes::meaning(found.code).is_some(), "{} has no meaning", found.code);
        }
        let got = report.to_text(false);
        let output = input.with_extension("txt");
        if update {
            std::fs::write(&output, got).unwrap();
        } else if std::fs::read_to_string(&output).unwrap_or_default() != got {
            wrong.push(format!("{}\n{got}", input.display()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 accepts these:\n\n{}", wrong.join("\n"));
}
