//! The access log's queue: between the threads that serve, which never wait for anything to
//! be written, and the one that writes.
//!
//! Each thread that serves appends to a buffer of its own, which the writer swaps for
//! an empty one. So a line costs no allocation and no message. Lines of one thread stay
//! in their order.

use std::{
    io, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use thread_local::ThreadLocal;

use super::line::Line;
use crate::{config::LogFormat, metrics::Counter};

/// The most bytes of a thread that wait for the writer, apart from the end of the last
/// line: 2,000 lines of 500 bytes. Attackers make longer ones.
const THREAD_BYTES: usize = 1024 * 1024;

/// The near end of the access log's queue.
#[derive(Clone, Debug)]
pub struct AccessLogQueue {
    format: LogFormat,
    /// Wakes the writer. Holds one ring, and more would say nothing.
    bell: SyncSender<()>,
    buffers: Arc<Buffers>,
}

/// The far end, from which lines are to be written as they are.
#[derive(Debug)]
pub struct Lines {
    bell: Receiver<()>,
    buffers: Arc<Buffers>,
}

/// What both ends know.
#[derive(Debug)]
struct Buffers {
    threads: ThreadLocal<Waiting>,
    dropped: Counter,
    /// The same, of this process alone: an upgrade adds what the one before has counted.
    dropped_here: AtomicU64,
    reopen: AtomicBool,
}

impl Buffers {
    fn lose(&self, lines: u64) {
        self.dropped.add(lines);
        self.dropped_here.fetch_add(lines, Ordering::Relaxed);
    }
}

/// The lines of one thread that wait for the writer.
///
/// The lock is the thread's own. Only the writer takes it, too, every few milliseconds,
/// for as long as it takes to swap three words; it is not held while anything is written
/// or awaited.
///
/// Aligned so that no two threads share a cache line, of which processors fetch two at
/// once.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Waiting(Mutex<Vec<u8>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessLogQueue {
    /// A queue for lines of this format. Those that are dropped, since the writer
    /// could not keep up, or not write, are counted in `dropped`.
    #[must_use]
    pub fn new(format: LogFormat, dropped: Counter) -> (Self, Lines) {
        let (bell, rings) = sync_channel(1);
        let threads = ThreadLocal::new();
        let buffers = Arc::new(Buffers {
            threads,
            dropped,
            dropped_here: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
        });
        let lines = Lines { bell: rings, buffers: Arc::clone(&buffers) };
        (Self { format, bell, buffers }, lines)
    }

    /// Asks the writer to open its file anew.
    pub fn reopen(&self) {
        self.buffers.reopen.store(true, Ordering::Release);
        self.ring();
    }

    /// Hands a line to the writer; drops and counts it where too many wait already.
    pub fn write(&self, line: &Line<'_>) {
        let mut waiting = self.buffers.threads.get_or_default().lock();
        if waiting.len() >= THREAD_BYTES {
            self.buffers.lose(1);
            return;
        }
        let is_first = waiting.is_empty();
        line.write(self.format, &mut waiting);
        drop(waiting);
        // For those behind the first, the bell has rung.
        if is_first {
            self.ring();
        }
    }

    fn ring(&self) {
        // Fails where it has rung, and was not heard yet.
        let _ = self.bell.try_send(());
    }
}

impl Lines {
    /// Awaits that something is to be done, or that this time has passed. `false`: every
    /// near end is gone, and what waits now is all that will come.
    #[must_use]
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        match limit {
            None => self.bell.recv().is_ok(),
            Some(limit) => self.bell.recv_timeout(limit) != Err(RecvTimeoutError::Disconnected),
        }
    }

    /// Takes what waits, a thread's lines at a time: puts them into `batch`, and calls
    /// `write`, which empties it. First of all it is called for what `batch` still has.
    ///
    /// # Errors
    /// The first of `write`'s; other threads' lines go on waiting.
    pub fn take(
        &self,
        batch: &mut Vec<u8>,
        mut write: impl FnMut(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        write(batch)?;
        for waiting in &self.buffers.threads {
            mem::swap(&mut *waiting.lock(), batch);
            write(batch)?;
        }
        Ok(())
    }

    /// Whether the file is to be opened anew; says so once for each time it was asked.
    #[must_use]
    pub fn take_reopen(&self) -> bool {
        self.buffers.reopen.swap(false, Ordering::Acquire)
    }

    /// Counts lines that could not be written.
    pub fn lose(&self, lines: &[u8]) {
        let count = lines.split_inclusive(|byte| *byte == b'\n').count();
        self.buffers.lose(count as u64);
    }

    /// How many lines this process has lost so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.buffers.dropped_here.load(Ordering::Relaxed)
    }
}
