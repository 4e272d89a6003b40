//! Counts instructions by valgrind's callgrind.
//!
//! The program runs itself once more under callgrind, which counts only inside of
//! [`measured`], and writes a file whenever that returns: one for each case.
//!
//! `gungraun` does this and much more. It wants a program of just its own version
//! installed beside, and compares with what an earlier run has left in the target
//! folder; here it is a text that is committed.

use std::{
    any::type_name_of_val,
    env, fs, io,
    path::Path,
    process::{Command, ExitCode},
};

use crate::baseline::{self, Figure, output_of};

/// How often a case is measured; the figure is the mean.
const RUNS: u64 = 100;

/// Runs differ by less than half of this: hash tables have random keys.
const TOLERANCE_PERCENT: u64 = 2;

/// The first argument of the program that callgrind runs.
const CHILD: &str = "measured";

/// Something to measure.
pub(crate) struct Case {
    name: String,
    operations: usize,
    run: Box<dyn FnMut()>,
}

impl Case {
    /// `run` makes so many operations; the figure is for one of them.
    pub(crate) fn new(
        name: impl Into<String>,
        operations: usize,
        run: impl FnMut() + 'static,
    ) -> Self {
        Self { name: name.into(), operations, run: Box::new(run) }
    }
}

/// Measures these and compares them with the baseline of `suite`.
pub(crate) fn guard(suite: &str, cases: impl FnOnce() -> Vec<Case>) -> ExitCode {
    if env::args().nth(1).as_deref() == Some(CHILD) {
        for mut case in cases() {
            // What is made at the first call is not of each call.
            (case.run)();
            measured(&mut *case.run);
            println!("{}\t{}", case.operations, case.name);
        }
        return ExitCode::SUCCESS;
    }
    let version = |command, arguments: &[&str]| output_of(command, arguments).unwrap_or_default();
    let valgrind = version("valgrind", &["--version"]);
    let libc = version("getconf", &["GNU_LIBC_VERSION"]);
    baseline::guard(suite, &format!("{valgrind}, {libc}"), || measure(suite))
}

/// What callgrind looks for, by its name.
#[inline(never)]
fn measured(run: &mut dyn FnMut()) {
    for _ in 0..RUNS {
        run();
    }
}

fn measure(suite: &str) -> io::Result<Vec<Figure>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind-{suite}"));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(&folder)?,
    }
    let counts = folder.join("counts");
    let measured = type_name_of_val(&measured);
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect={measured}"))
        .arg(format!("--dump-after={measured}"))
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(env::current_exe()?)
        .arg(CHILD)
        .output()
        .map_err(|error| {
            io::Error::other(format!("valgrind: {error}; scripts/install-deps valgrind"))
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("valgrind ended with {}:\n{said}", output.status)));
    }
    let cases = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures = cases.lines().zip(1..).map(|(case, number)| {
        let (operations, name) = case.split_once('\t').ok_or_else(|| unreadable(case))?;
        let operations: u64 = operations.parse().map_err(|_| unreadable(case))?;
        let total = total(&counts.with_extension(number.to_string()))?;
        let calls = RUNS * operations;
        let value = (total + calls / 2) / calls;
        Ok(Figure { name: name.to_owned(), value, tolerance_percent: TOLERANCE_PERCENT })
    });
    figures.collect()
}

/// The instructions of one file of callgrind's.
fn total(file: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total
        .and_then(|total| total.parse().ok())
        .ok_or_else(|| unreadable(&file.display().to_string()))
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: not as callgrind writes it"))
}
