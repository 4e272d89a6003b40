//! When connections of clients end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pingora_proxy::Session;

/// How long a connection may be idle between two requests. Pingora would wait for ever.
const IDLE_SECONDS: u64 = 75;

/// Whether each answer is to be the last one of its connection.
#[derive(Clone, Debug, Default)]
pub struct Closing(Arc<AtomicBool>);

impl Closing {
    /// From now on answers say `Connection: close`, and connections end with them.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Bounds how long the connection waits for its next request, if there is to be one.
    ///
    /// Only where keep-alive is still on: Pingora switches it off for requests whose
    /// framing is suspicious, and that must stay.
    pub(super) fn limit_idle(&self, session: &mut Session) {
        let downstream = session.as_downstream_mut();
        if downstream.get_keepalive().is_some() {
            let closing = self.0.load(Ordering::Relaxed);
            downstream.set_keepalive((!closing).then_some(IDLE_SECONDS));
        }
    }
}
