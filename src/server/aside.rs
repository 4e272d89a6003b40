//! Work that may take its time, behind the threads that serve.

use rustix::process::setpriority_process;
use tokio::sync::oneshot;

/// How much the others come first, where there is not enough for all: about ten times.
const NICENESS: i32 = 10;

/// The work ended without a result: it panicked, or there was no thread for it.
#[derive(Debug)]
pub(super) struct Failed;

/// Does the work on a thread of its own, which has a lower priority than those that
/// serve: tokio's blocking threads have the same priority, and a runtime's thread would stop
/// serving. The thread ends with the work, since a priority can only be lowered.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failed> {
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("aside".to_owned());
    let started = thread.spawn(move || {
        // On Linux this is the thread's own. Refused: it is only less polite.
        let _ = setpriority_process(Some(rustix::thread::gettid()), NICENESS);
        // The task that asked may have gone away.
        let _ = done.send(work());
    });
    match started {
        Ok(_) => result.await.map_err(|_| Failed),
        Err(_) => Err(Failed),
    }
}
