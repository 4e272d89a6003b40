//! When connections of clients end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::Version;
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
    /// framing is suspicious, and that must stay. Clients of HTTP/1.0 get one answer
    /// (RFC 9112, 9.3), whose body may end with its connection.
    pub(super) fn limit_idle(&self, session: &mut Session) {
        let downstream = session.as_downstream_mut();
        if downstream.get_keepalive().is_some() {
            let goes_on = downstream.req_header().version >= Version::HTTP_11
                && !self.0.load(Ordering::Relaxed);
            downstream.set_keepalive(goes_on.then_some(IDLE_SECONDS));
        }
    }
}
