//! Where access log lines go: a thread of its own, behind a bounded queue.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use tokio::signal::unix::Signal;

use super::process_log::COMPLAINT_PAUSE;
use crate::{
    config::{self, LogOutput},
    metrics::Counter,
    proxy::{AccessLogQueue, Lines},
};

/// How often a busy log is written: too often for a reader who follows it to notice.
const BATCH_PAUSE: Duration = Duration::from_millis(10);

/// How long until a write that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How long the last lines may take to be written when the process ends.
const FINISH: Duration = Duration::from_secs(2);

/// The thread that writes. It ends, with everything written, when the last
/// [`AccessLogQueue`] is dropped.
pub(super) struct Writer {
    /// Disconnects when the thread ends.
    running: Receiver<()>,
}

/// Starts the writer; lines that it loses are counted in `dropped`. `None`: there
/// is no access log.
pub(super) fn start(
    log: &config::AccessLog,
    dropped: Counter,
) -> io::Result<Option<(AccessLogQueue, Writer)>> {
    let (path, file) = match &log.output {
        LogOutput::Off => return Ok(None),
        // Not `io::stdout()`, which looks for the end of each line once more.
        LogOutput::Stdout => (None, File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        LogOutput::File(path) => (Some(path.clone()), append(path)?),
    };
    let (access_log, lines) = AccessLogQueue::new(log.format, dropped);
    let (ends, running) = channel();
    let sink = Sink { path, file, begun: 0 };
    std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || write_all(&lines, sink, &ends))?;
    Ok(Some((access_log, Writer { running })))
}

/// Opens the file anew at each signal: what rotates logs has renamed the old one.
pub(super) async fn reopen_when(mut signal: Signal, log: Option<AccessLogQueue>) {
    while signal.recv().await.is_some() {
        if let Some(log) = &log {
            log.reopen();
        }
    }
}

impl Writer {
    /// Awaits the last lines, but not for ever: a pipe that nobody reads, or a
    /// disk that hangs, must not keep the process from ending.
    pub(super) fn finish(self) {
        if self.running.recv_timeout(FINISH) == Err(RecvTimeoutError::Timeout) {
            log::warn!("access log: the last lines are lost; nobody takes them");
        }
    }
}

/// Writes lines in batches. The first one after a silence wakes the thread; from
/// then on it looks every [`BATCH_PAUSE`], since waking it for each line costs
/// more than all the rest of a line, and the thread that serves pays half of that.
///
/// A full disk or a closed pipe does not stop the proxy: what could not be written is
/// kept, and tried again, while the threads that serve drop what they cannot hand over.
///
/// `_ends` lives as long as the thread.
fn write_all(lines: &Lines, mut sink: Sink, _ends: &Sender<()>) {
    let mut complaints = Complaints::default();
    let mut batch = Vec::new();
    while lines.wait((!batch.is_empty()).then_some(RETRY_PAUSE)) {
        if lines.take_reopen() {
            sink.reopen(&mut batch);
        }
        let written = lines.take(&mut batch, |lines| sink.write(lines));
        complaints.make(lines.dropped(), written.err());
        std::thread::sleep(BATCH_PAUSE);
    }
    // The last lines have one try.
    let mut last = None;
    while let Err(error) = lines.take(&mut batch, |lines| sink.write(lines)) {
        lines.lose(&batch);
        sink.forget(&mut batch);
        last = Some(error);
    }
    complaints.last = None;
    complaints.make(lines.dropped(), last);
}

struct Sink {
    /// `None`: stdout, which cannot be opened anew.
    path: Option<PathBuf>,
    file: File,
    /// How many bytes of the first line that waits the file has already.
    begun: usize,
}

impl Sink {
    /// Writes and empties `lines`. What could not be written stays there, with all of
    /// the line in which it begins.
    fn write(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        let mut written = self.begun;
        let result = loop {
            let rest = lines.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.file.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let ends = lines.iter().take(written).rposition(|byte| *byte == b'\n');
        let whole = ends.map_or(0, |end| end + 1);
        lines.drain(..whole);
        self.begun = written - whole;
        result
    }

    /// Gives lines up.
    fn forget(&mut self, lines: &mut Vec<u8>) {
        lines.clear();
        self.begun = 0;
    }

    /// Opens the file anew, or goes on with the old one and says so.
    fn reopen(&mut self, lines: &mut Vec<u8>) {
        let Some(path) = self.path.clone() else { return };
        match append(&path) {
            Ok(file) => {
                self.end_line(lines);
                self.file = file;
                log::info!("access log: opened {} anew", path.display());
            }
            Err(error) => log::error!(
                "access log: {} cannot be opened anew, so the old file is written on: {error}",
                path.display()
            ),
        }
    }

    /// A line ends in the file in which it has begun; if that file takes no more, all of
    /// the line is for the next one.
    fn end_line(&mut self, lines: &mut Vec<u8>) {
        if self.begun == 0 {
            return;
        }
        let end = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |at| at + 1);
        let others = lines.split_off(end);
        let _ = self.write(lines);
        lines.extend(others);
        self.begun = 0;
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Says that lines were dropped or cannot be written: at once, then every
/// [`COMPLAINT_PAUSE`] at the most.
#[derive(Default)]
struct Complaints {
    told: u64,
    last: Option<Instant>,
}

impl Complaints {
    /// `dropped`: lines so far; `cause`: why writing has failed, if it has.
    fn make(&mut self, dropped: u64, cause: Option<io::Error>) {
        let is_early = || self.last.is_some_and(|last| last.elapsed() < COMPLAINT_PAUSE);
        let lines = dropped - self.told;
        if (lines == 0 && cause.is_none()) || is_early() {
            return;
        }
        match cause {
            Some(error) => {
                log::warn!("access log: cannot be written, {lines} lines dropped: {error}");
            }
            None => log::warn!("access log: {lines} lines dropped: they come faster than they go"),
        }
        self.told = dropped;
        self.last = Some(Instant::now());
    }
}
