//! The question by which the process finds out whether it answers on a listener,
//! and the answer. Neither is counted or logged.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use uuid::Uuid;

/// In the question, a secret; in the answer, the process that gives it.
const HEADER: HeaderName = HeaderName::from_static("corsac-self-check");

/// What only the process, and those that it replaces or is replaced by, can ask.
#[derive(Clone, Debug)]
pub struct SelfCheck {
    secret: String,
    process: HeaderValue,
    /// Where questions of this process come from that have no answer yet.
    asking: Arc<Mutex<Vec<SocketAddr>>>,
}

/// A question that comes from a noted address, for as long as this lives.
#[derive(Debug)]
pub struct Asking<'c> {
    check: &'c SelfCheck,
    address: SocketAddr,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.check.noted().retain(|noted| *noted != self.address);
    }
}

impl SelfCheck {
    /// With a secret of 122 random bits.
    #[must_use]
    pub fn new() -> Self {
        Self::sharing(Uuid::new_v4().to_string())
    }

    /// With the secret of the process that this one replaces, so that either
    /// answers the other.
    #[must_use]
    pub fn sharing(secret: String) -> Self {
        Self { secret, process: std::process::id().into(), asking: Arc::default() }
    }

    /// Notes where a question will come from, before it does: its connection is known by
    /// that when it is accepted, and what bounds clients does not bound it. The address is
    /// to be bound for as long, so that nobody else has it.
    #[must_use]
    pub fn asks_from(&self, address: SocketAddr) -> Asking<'_> {
        self.noted().push(address);
        Asking { check: self, address }
    }

    /// Whether this process asks from there.
    #[must_use]
    pub fn is_asking_from(&self, peer: SocketAddr) -> bool {
        let is_it = |noted: &SocketAddr| {
            (noted.ip().to_canonical(), noted.port()) == (peer.ip().to_canonical(), peer.port())
        };
        self.noted().iter().any(is_it)
    }

    fn noted(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret. It is not to be logged.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The question. By a method that hardly anyone uses, so that other requests are
    /// told apart by one comparison.
    #[must_use]
    pub fn request(&self) -> String {
        format!("TRACE / HTTP/1.1\r\nHost: corsac\r\n{HEADER}: {}\r\n\r\n", self.secret)
    }

    /// Whether this process gave this answer.
    #[must_use]
    pub fn is_own(&self, answer: &str) -> bool {
        let line = format!("{HEADER}: {}", std::process::id());
        answer.lines().any(|given| given.eq_ignore_ascii_case(&line))
    }

    /// Whether a request is the question.
    pub(super) fn is_asked(&self, session: &Session) -> bool {
        let head = session.req_header();
        head.method == Method::TRACE
            && head.headers.get(HEADER).is_some_and(|secret| secret == self.secret.as_str())
    }

    /// Gives the answer, and ends the connection.
    pub(super) async fn answer(&self, session: &mut Session) -> Result<()> {
        session.as_downstream_mut().set_keepalive(None);
        let mut head = ResponseHeader::build(StatusCode::NO_CONTENT, Some(1))?;
        head.insert_header(HEADER, self.process.clone())?;
        session.write_response_header(Box::new(head), true).await
    }
}

impl Default for SelfCheck {
    fn default() -> Self {
        Self::new()
    }
}
