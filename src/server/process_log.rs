//! Where corsac's own log lines go: to stderr, by a thread of their own behind a bounded
//! queue.
//!
//! Threads that serve log, too. A terminal that is halted, a pipe that nobody reads or a
//! journal that hangs must stop neither them nor the end of the process: lines that are
//! not taken are dropped and counted, and the log says so as soon as it takes lines again.
//!
//! The crate `tracing-appender` has such a queue, but bounds it by lines, of which a whole
//! report may be one, brings a second logging facade, and does not log what is missing.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::metrics::Counter;

/// How long the same trouble is not logged again: an attack must not fill the log.
pub(super) const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// The most bytes that wait, apart from the end of the last line: some reports of the
/// largest configurations.
const BYTES_MAX: usize = 1024 * 1024;

/// How long the last lines may take when the process ends.
const FINISH: Duration = Duration::from_secs(1);

/// Until a write is tried again on a stderr that another process has made non-blocking.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// The near end, to be written into a whole line at a time. Clones share it. Before a
/// server starts its thread, and once that has ended, lines go straight to stderr.
#[derive(Clone, Debug, Default)]
pub struct ProcessLog(Arc<Guarded>);

#[derive(Debug, Default)]
struct Guarded {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    stage: Stage,
    waiting: Vec<u8>,
    /// How many lines they are.
    lines: u64,
    /// Lines that were lost, which the log does not say yet.
    lost: u64,
    /// All that were lost.
    dropped: Option<Counter>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    /// There is no thread, and no code that must not wait.
    #[default]
    Straight,
    /// The thread writes.
    Queued,
    /// The thread is to write what waits, and to end.
    Ending,
    /// stderr takes nothing, and the process does not wait for it.
    Stuck,
}

impl Queue {
    fn push(&mut self, line: &[u8]) {
        if self.stage == Stage::Stuck || self.waiting.len() >= BYTES_MAX {
            self.lose(1);
        } else {
            self.waiting.extend_from_slice(line);
            self.lines += 1;
        }
    }

    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        if let Some(dropped) = &self.dropped {
            dropped.add(lines);
        }
    }
}

impl ProcessLog {
    /// Starts the thread. Lines that are lost from now on are counted in `dropped`.
    pub(super) fn start(&self, dropped: Counter) -> io::Result<()> {
        let mut queue = self.0.lock();
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || shared.write_all(&mut io::stderr()))?;
        queue.stage = Stage::Queued;
        queue.dropped = Some(dropped);
        Ok(())
    }

    /// Awaits the last lines, but not for ever.
    pub(super) fn finish(&self) {
        let mut queue = self.0.lock();
        if queue.stage != Stage::Queued {
            return;
        }
        queue.stage = Stage::Ending;
        self.0.changed.notify_all();
        let is_ending = |queue: &mut Queue| queue.stage == Stage::Ending;
        let waited = self.0.changed.wait_timeout_while(queue, FINISH, is_ending);
        let (mut queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            queue.stage = Stage::Stuck;
        }
    }
}

impl Write for ProcessLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = self.0.lock();
        if queue.stage == Stage::Straight {
            drop(queue);
            return io::stderr().write(line);
        }
        queue.push(line);
        self.0.changed.notify_all();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Guarded {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes, until the end. The lock is not held while anything is written.
    fn write_all(&self, out: &mut impl Write) {
        let mut batch = Vec::new();
        while let Some((lines, lost)) = self.next(&mut batch) {
            if lost > 0 {
                // The lost lines came after this batch. Writing to a Vec cannot fail.
                let _ = writeln!(batch, "WARN  {lost} log lines are lost: stderr was not read");
            }
            if write_patiently(out, &batch).is_err() {
                // Nobody reads any more, or the disk is full.
                self.lock().lose(lines);
            }
            batch.clear();
        }
    }

    /// Awaits lines, and puts them into `batch`, which is empty. How many they are, and
    /// how many more were lost; `None`: there will be no more.
    fn next(&self, batch: &mut Vec<u8>) -> Option<(u64, u64)> {
        let is_idle = |queue: &mut Queue| queue.waiting.is_empty() && queue.stage == Stage::Queued;
        let queue = self.changed.wait_while(self.lock(), is_idle);
        let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
        if queue.waiting.is_empty() {
            // Unless the process waits no more.
            if queue.stage == Stage::Ending {
                queue.stage = Stage::Straight;
                self.changed.notify_all();
            }
            return None;
        }
        mem::swap(&mut queue.waiting, batch);
        Some((mem::take(&mut queue.lines), mem::take(&mut queue.lost)))
    }
}

/// Writes all of it, as `write_all`, also where stderr does not block.
fn write_patiently(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(RETRY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::metrics::Metrics;

    /// A log whose lines wait, as if the thread were busy.
    fn queued() -> (ProcessLog, Counter) {
        let (log, dropped) = (ProcessLog::default(), Metrics::new().log_dropped());
        let mut queue = log.0.lock();
        queue.stage = Stage::Queued;
        queue.dropped = Some(dropped.clone());
        drop(queue);
        (log, dropped)
    }

    #[test]
    fn what_is_lost_is_said_where_it_is_missing() {
        let (mut log, dropped) = queued();
        let line = [b"x".repeat(1_023), b"\n".to_vec()].concat();
        for _ in 0..1_030 {
            log.write_all(&line).unwrap();
        }
        let written = |log: &ProcessLog| {
            log.0.lock().stage = Stage::Ending;
            let mut out = Vec::new();
            log.0.write_all(&mut out);
            log.0.lock().stage = Stage::Queued;
            String::from_utf8(out).unwrap()
        };
        let text = written(&log);
        assert_eq!(text.lines().count(), 1_025);
        assert!(text.ends_with("WARN  6 log lines are lost: stderr was not read\n"));
        assert_eq!(dropped.get(), 6);
        log.write_all(b"next\n").unwrap();
        assert_eq!(written(&log), "next\n", "they are said to be lost once");
    }

    #[test]
    fn a_reader_that_is_gone_stops_nothing() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut log, dropped) = queued();
        log.write_all(b"one\n").unwrap();
        log.write_all(b"two\n").unwrap();
        log.0.lock().stage = Stage::Ending;
        log.0.write_all(&mut Gone);
        assert_eq!(dropped.get(), 2);
        assert_eq!(log.0.lock().stage, Stage::Straight);
    }
}
