//! What was measured, beside what is committed in `baseline/SUITE.TARGET.json`.
//!
//! A file belongs to a target: on one that has none, this is said, and is no failure.
//! It also belongs to a compiler, and another one is a failure. `rust-toolchain.toml`
//! names the compiler, so whoever changes it there writes the baseline anew, and the
//! guard is never off without anyone's having decided so.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use serde::{Deserialize, Serialize};

/// One figure. Less is better.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: u64,
    /// By how much it may differ from the baseline, in either direction.
    pub(crate) tolerance_percent: u64,
}

/// The figures of a suite, as they are committed.
#[derive(Deserialize, Serialize)]
struct Baseline {
    rustc: String,
    /// What else they depend on, for whoever wonders why they differ.
    made_with: String,
    figures: BTreeMap<String, u64>,
}

/// Measures and compares, or writes the baseline anew, as the command line says:
/// `check` or `update`. Without a word, as `cargo bench` calls it, nothing is done.
pub(crate) fn guard(
    suite: &str,
    made_with: &str,
    measure: impl FnOnce() -> io::Result<Vec<Figure>>,
) -> ExitCode {
    let settle = match env::args().nth(1).as_deref() {
        Some("check") => check,
        Some("update") => update,
        _ => {
            println!("{suite}: compared by `make guard`");
            return ExitCode::SUCCESS;
        }
    };
    let settled = measure().and_then(|figures| settle(suite, made_with, &figures));
    settled.unwrap_or_else(|error| {
        eprintln!("{suite}: {error}");
        ExitCode::FAILURE
    })
}

fn update(suite: &str, made_with: &str, figures: &[Figure]) -> io::Result<ExitCode> {
    let (rustc, target) = compiler()?;
    let figures = figures.iter().map(|figure| (figure.name.clone(), figure.value)).collect();
    let baseline = Baseline { rustc, made_with: made_with.to_owned(), figures };
    let path = path(suite, &target);
    fs::write(&path, serde_json::to_string_pretty(&baseline)? + "\n")?;
    println!("{suite}: {} is written", path.display());
    Ok(ExitCode::SUCCESS)
}

fn check(suite: &str, made_with: &str, figures: &[Figure]) -> io::Result<ExitCode> {
    let (rustc, target) = compiler()?;
    let text = match fs::read_to_string(path(suite, &target)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!(
                "{suite}: NOT COMPARED: no baseline for {target}; `make guard-update` writes one"
            );
            return Ok(ExitCode::SUCCESS);
        }
        text => text?,
    };
    let mut baseline: Baseline = serde_json::from_str(&text)?;
    println!("{suite}:");
    let mut different = 0;
    for figure in figures {
        let verdict = figure.compare(baseline.figures.remove(&figure.name));
        different += usize::from(verdict.is_err());
        println!("  {:44} {:>9}  {}", figure.name, figure.value, verdict.unwrap_or_else(|v| v));
    }
    for name in baseline.figures.keys() {
        different += 1;
        println!("  {name:44}            GONE: the baseline has it");
    }
    if rustc != baseline.rustc {
        different += 1;
        println!("  the baseline is of rustc {}, this is {rustc}", baseline.rustc);
    }
    if different == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    if made_with != baseline.made_with {
        println!("  it was also made with {}, and this with {made_with}", baseline.made_with);
    }
    println!("{suite}: FAILED. Where it is meant: `make guard-update`, and why in the commit.");
    Ok(ExitCode::FAILURE)
}

impl Figure {
    /// How it stands to the baseline; an `Err` is a difference that counts.
    fn compare(&self, baseline: Option<u64>) -> Result<String, String> {
        let Some(baseline) = baseline else {
            return Err("NEW: the baseline has not got it".to_owned());
        };
        if self.value == baseline {
            return Ok("as before".to_owned());
        }
        let difference = self.value.cast_signed() - baseline.cast_signed();
        #[expect(clippy::cast_precision_loss, reason = "it is read by people")]
        let percent = difference as f64 * 100.0 / baseline as f64;
        let change = format!("{difference:+} ({percent:+.2} %)");
        let limit = self.tolerance_percent;
        if difference.unsigned_abs() * 100 <= baseline * limit {
            return Ok(change);
        }
        let word = if difference > 0 { "WORSE" } else { "BETTER" };
        Err(format!("{change} {word}: the baseline is {baseline}, the tolerance {limit} %"))
    }
}

fn path(suite: &str, target: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/guard/baseline");
    folder.join(format!("{suite}.{target}.json"))
}

/// Version and target of the compiler.
fn compiler() -> io::Result<(String, String)> {
    let text = output_of("rustc", &["--version", "--verbose"])?;
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.map(str::to_owned).ok_or_else(|| io::Error::other(format!("rustc: no {name:?}")))
    };
    Ok((field("release: ")?, field("host: ")?))
}

/// What a command prints, trimmed.
pub(crate) fn output_of(command: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(command).args(arguments).output();
    let output = output.map_err(|error| io::Error::other(format!("{command}: {error}")))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
