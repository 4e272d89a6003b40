//! Where access log lines go: a thread of its own, behind a bounded queue.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use tokio::signal::unix::Signal;

use super::COMPLAINT_PAUSE;
use crate::{
    config::{self, LogOutput},
    proxy::{AccessLog, Lines},
};

/// How often a busy log is written: no longer than anyone who follows it notices.
const BATCH_PAUSE: Duration = Duration::from_millis(5);

/// How long the last lines may take to be written when the process ends.
const FINISH: Duration = Duration::from_secs(2);

/// The thread that writes. It ends, with everything written, when the last
/// [`AccessLog`] is dropped.
pub(super) struct Writer {
    /// Disconnects when the thread ends.
    running: Receiver<()>,
}

/// Starts the writer; lines that it loses are counted in `dropped`. `None`: there
/// is no access log.
pub(super) fn start(
    log: &config::AccessLog,
    dropped: IntCounter,
) -> io::Result<Option<(AccessLog, Writer)>> {
    let (path, file) = match &log.output {
        LogOutput::Off => return Ok(None),
        // Not `io::stdout()`, which looks for the end of each line once more.
        LogOutput::Stdout => (None, File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        LogOutput::File(path) => (Some(path.clone()), append(path)?),
    };
    let (access_log, lines) = AccessLog::queue(log.format, dropped);
    let (ends, running) = channel();
    let sink = Sink { path, file: BufWriter::with_capacity(64 * 1024, file) };
    std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || write_all(&lines, sink, &ends))?;
    Ok(Some((access_log, Writer { running })))
}

/// Opens the file anew at each signal: what rotates logs has renamed the old one.
pub(super) async fn reopen_when(mut signal: Signal, log: Option<AccessLog>) {
    while signal.recv().await.is_some() {
        if let Some(log) = &log {
            log.reopen();
        }
    }
}

impl Writer {
    /// Awaits the last lines, but not for ever: a pipe that nobody reads, or a
    /// disk that hangs, must not keep the process.
    pub(super) fn finish(self) {
        if self.running.recv_timeout(FINISH) == Err(RecvTimeoutError::Timeout) {
            log::warn!("access log: the last lines are lost; nobody takes them");
        }
    }
}

/// Writes lines in batches. The first one after a silence wakes the thread; from
/// then on it looks every [`BATCH_PAUSE`], since being woken for each line costs
/// more than all the rest of a line, and who serves pays half of it.
///
/// `_ends` lives as long as the thread.
fn write_all(lines: &Lines, mut sink: Sink, _ends: &Sender<()>) {
    let mut complaints = Complaints::default();
    while let Ok(line) = lines.recv() {
        let mut next = Ok(line);
        while next.is_ok() {
            while let Ok(line) = next {
                write(&line, lines, &mut sink, &mut complaints);
                next = lines.try_recv();
            }
            // What could not be flushed is kept, and tried again with the next lines.
            if let Err(error) = sink.file.flush() {
                complaints.cause = Some(error);
            }
            if matches!(next, Err(TryRecvError::Empty)) {
                std::thread::sleep(BATCH_PAUSE);
                next = lines.try_recv();
            }
        }
    }
    complaints.last = None;
    complaints.make(lines.dropped());
}

fn write(line: &[u8], lines: &Lines, sink: &mut Sink, complaints: &mut Complaints) {
    if lines.take_reopen() {
        sink.reopen();
    }
    // A full disk or a closed pipe must not stop the proxy.
    if let Err(error) = sink.file.write_all(line) {
        lines.drop_line();
        complaints.cause = Some(error);
    }
    complaints.make(lines.dropped());
}

struct Sink {
    /// `None`: stdout, which cannot be opened anew.
    path: Option<PathBuf>,
    file: BufWriter<File>,
}

impl Sink {
    /// Opens the file anew, or goes on with the old one and says so.
    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        // What cannot be flushed stays in the buffer, and goes to the new file.
        let _ = self.file.flush();
        match append(path) {
            Ok(file) => {
                *self.file.get_mut() = file;
                log::info!("access log: opened {} anew", path.display());
            }
            Err(error) => log::error!(
                "access log: {} cannot be opened anew, so the old file is written on: {error}",
                path.display()
            ),
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Says that lines were dropped: at once, then every [`COMPLAINT_PAUSE`] at the most.
#[derive(Default)]
struct Complaints {
    told: u64,
    last: Option<Instant>,
    /// Why writing failed last, if it did.
    cause: Option<io::Error>,
}

impl Complaints {
    fn make(&mut self, dropped: u64) {
        let is_early = || self.last.is_some_and(|last| last.elapsed() < COMPLAINT_PAUSE);
        if dropped == self.told || is_early() {
            return;
        }
        let lines = dropped - self.told;
        match self.cause.take() {
            Some(error) => log::warn!("access log: {lines} lines dropped: {error}"),
            None => log::warn!("access log: {lines} lines dropped: they come faster than they go"),
        }
        self.told = dropped;
        self.last = Some(Instant::now());
    }
}
