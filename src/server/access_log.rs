//! Where access log lines go: a thread of its own, behind a bounded queue.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    path::Path,
    sync::mpsc::{Receiver, TryRecvError},
    thread::JoinHandle,
};

use prometheus::IntCounter;

use crate::{config::LogOutput, proxy::AccessLog};

/// Starts the writer; lines that it loses are counted in `dropped`. `None`: there is no access log.
///
/// The thread ends, with everything written, when the last [`AccessLog`] is dropped.
pub(super) fn start(
    output: &LogOutput,
    dropped: IntCounter,
) -> io::Result<Option<(AccessLog, JoinHandle<()>)>> {
    let sink: Box<dyn Write + Send> = match output {
        LogOutput::Off => return Ok(None),
        LogOutput::Stdout => Box::new(io::stdout()),
        LogOutput::File(path) => Box::new(append(path)?),
    };
    let (log, lines) = AccessLog::queue(dropped);
    let thread = std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || write_all(&lines, BufWriter::with_capacity(64 * 1024, sink)))?;
    Ok(Some((log, thread)))
}

fn append(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes lines in batches: flushes when the queue is empty, so that a quiet log
/// is up to date and a busy one costs few system calls.
fn write_all(lines: &Receiver<Vec<u8>>, mut sink: BufWriter<Box<dyn Write + Send>>) {
    while let Ok(line) = lines.recv() {
        let mut next = Ok(line);
        while let Ok(line) = next {
            // A full disk or a closed pipe must not stop the proxy, and saying so
            // for every line would flood the other log.
            let _ = sink.write_all(&line);
            next = lines.try_recv();
        }
        let _ = sink.flush();
        if matches!(next, Err(TryRecvError::Disconnected)) {
            return;
        }
    }
}
