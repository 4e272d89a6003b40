//! When connections of clients end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::Version;
use pingora_proxy::Session;

/// Whether each answer is to be the last one of its connection.
#[derive(Clone, Debug, Default)]
pub struct Closing(Arc<AtomicBool>);

impl Closing {
    /// From now on answers say `Connection: close`, and connections end with them.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Makes this answer the connection's last one, if it is to be: while the process
    /// drains, and for clients of HTTP/1.0, which get one answer (RFC 9112, 9.3), whose
    /// body may end with its connection.
    ///
    /// Nothing is switched on: Pingora keeps a connection that the client wants to keep,
    /// unless the framing of a request is suspicious, and sets no timer for the next one.
    /// How long a connection may be idle is `server`'s to know, which ends it.
    pub(super) fn apply(&self, session: &mut Session) {
        let downstream = session.as_downstream_mut();
        let is_old = downstream.req_header().version < Version::HTTP_11;
        if is_old || self.0.load(Ordering::Relaxed) {
            downstream.set_keepalive(None);
        }
    }
}
