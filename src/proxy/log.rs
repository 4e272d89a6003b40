//! The access log's queue: between those who serve, who never wait, and the one
//! who writes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel},
};

use prometheus::IntCounter;

use super::Line;
use crate::config::LogFormat;

/// The most lines that wait for the writer, and the most bytes of them. Lines of
/// 500 bytes reach both at once; attackers write longer ones.
const QUEUE_LINES: usize = 8 * 1024;
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// The near end of the access log's queue.
#[derive(Clone, Debug)]
pub struct AccessLog {
    format: LogFormat,
    lines: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

/// The far end, from which lines are to be written as they are.
#[derive(Debug)]
pub struct Lines {
    lines: Receiver<Vec<u8>>,
    shared: Arc<Shared>,
}

/// What both ends know.
#[derive(Debug)]
struct Shared {
    waiting_bytes: AtomicUsize,
    dropped: IntCounter,
    reopen: AtomicBool,
}

impl AccessLog {
    /// A queue for lines of this format. Those that are dropped, since the writer
    /// could not keep up, or not write, are counted in `dropped`.
    #[must_use]
    pub fn queue(format: LogFormat, dropped: IntCounter) -> (Self, Lines) {
        let (sender, receiver) = sync_channel(QUEUE_LINES);
        let shared = Arc::new(Shared {
            waiting_bytes: AtomicUsize::new(0),
            dropped,
            reopen: AtomicBool::new(false),
        });
        let lines = Lines { lines: receiver, shared: Arc::clone(&shared) };
        (Self { format, lines: sender, shared }, lines)
    }

    /// Asks the writer to open its file anew.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // Wakes a writer that waits. One that finds the queue full is awake.
        let _ = self.lines.try_send(Vec::new());
    }

    /// Hands a line to the writer; drops and counts it where the queue is full.
    /// Never waits.
    pub fn write(&self, line: &Line<'_>) {
        let Shared { waiting_bytes, dropped, .. } = &*self.shared;
        if waiting_bytes.load(Ordering::Relaxed) < QUEUE_BYTES {
            let line = line.to_bytes(self.format);
            let bytes = line.capacity();
            // Before it is sent, so that no receiver can subtract it first.
            waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
            if self.lines.try_send(line).is_ok() {
                return;
            }
            waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        dropped.inc();
    }
}

impl Lines {
    /// Awaits a line; it may be empty.
    ///
    /// # Errors
    /// None will come: every near end is gone, and the queue is empty.
    pub fn recv(&self) -> Result<Vec<u8>, RecvError> {
        self.lines.recv().inspect(|line| self.taken(line))
    }

    /// A line, if one waits; it may be empty.
    ///
    /// # Errors
    /// None waits, or none will come.
    pub fn try_recv(&self) -> Result<Vec<u8>, TryRecvError> {
        self.lines.try_recv().inspect(|line| self.taken(line))
    }

    fn taken(&self, line: &Vec<u8>) {
        self.shared.waiting_bytes.fetch_sub(line.capacity(), Ordering::Relaxed);
    }

    /// Whether the file is to be opened anew; says so once for each time it was asked.
    #[must_use]
    pub fn take_reopen(&self) -> bool {
        // A plain load first: this is asked before every line.
        self.shared.reopen.load(Ordering::Relaxed)
            && self.shared.reopen.swap(false, Ordering::Acquire)
    }

    /// Counts a line that could not be written.
    pub fn drop_line(&self) {
        self.shared.dropped.inc();
    }

    /// How many lines were lost so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.get()
    }
}
