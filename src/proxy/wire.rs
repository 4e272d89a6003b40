//! What the proxy and the connection that a request came on tell each other.
//!
//! Only the connection sees each byte and each wait, and only the hooks know what the
//! request is waiting for. So the connection keeps the clocks, and the hooks say which of
//! them runs.

use std::{
    any::Any,
    error::Error as StdError,
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use pingora_core::Error;
use pingora_proxy::Session;

use super::{claims::Claims, written::Written};
use crate::{
    certificate::{Shown, Trust},
    edge::Scheme,
    http1::chunked::MalformedChunks,
    metrics::Limit,
};

/// No answer is waited for, or it may take as long as it will.
const UNLIMITED: u64 = u64::MAX;

/// Finds the wire in the connection below a session, whose type only the process knows.
pub type FindWire = fn(&dyn Any) -> Option<&Wire>;

/// The connection's end and the hooks' end are one: requests of a connection come one
/// after the other, and on one thread.
#[derive(Debug)]
pub struct Wire {
    arrival: Arc<Arrival>,
    /// How long the answer to what was forwarded may take, in milliseconds.
    answer: AtomicU64,
    /// Grows with each thing that the connection has to take note of.
    stage: AtomicU32,
    /// The answer that is being written can still be taken back.
    held: AtomicBool,
    /// What is to be written in its place.
    instead: Mutex<Option<Written>>,
    /// The client wants no answer any more.
    is_left: AtomicBool,
    /// The client is to ask for nothing more on this connection.
    is_last: AtomicBool,
}

/// What is known of a connection before its first request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// The name of the listener that it was accepted on.
    pub listener: Arc<str>,
    /// Whom it comes from: the other end of its socket, or whom a header of the PROXY
    /// protocol names.
    pub peer: SocketAddr,
    /// What TLS says of it; `None`: it is in the clear.
    pub secured: Option<Secured>,
}

impl Arrival {
    /// How the peer came.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.secured.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// What the client has shown; `None`: it is in the clear.
    pub(super) fn shown(&self) -> Option<Shown<'_>> {
        let Secured { server_name, trust, identity, .. } = self.secured.as_ref()?;
        let (server_name, has_certificate) = (server_name.as_deref(), identity.is_some());
        Some(Shown { server_name, trust: *trust, has_certificate })
    }

    /// Who the client is, by a certificate that was verified.
    pub(super) fn claims(&self) -> Option<&Claims> {
        self.secured.as_ref()?.identity.as_ref()
    }
}

/// What TLS says of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Secured {
    /// Its version: `1.3`.
    pub version: &'static str,
    /// Its cipher suite, as IANA calls it.
    pub cipher: &'static str,
    /// The protocol that was agreed on (ALPN); `None`: the client named none.
    pub alpn: Option<&'static str>,
    /// The server that the client has named.
    pub server_name: Option<Box<str>>,
    /// It goes on with a session of before.
    pub is_resumed: bool,
    /// Which clients it is for.
    pub trust: Trust,
    /// Who the client is, by a certificate that was verified.
    pub identity: Option<Claims>,
}

/// What the connection waits for, apart from the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Awaited {
    /// Another number: another wait, which begins anew.
    pub stage: u32,
    /// How long it may take.
    pub limit: Duration,
}

/// Bits of a stage.
const ANSWERED: u32 = 1;
const TUNNEL: u32 = 2;
const STEP: u32 = 4;

impl Wire {
    /// Of a connection that has arrived so.
    #[must_use]
    pub fn new(arrival: Arc<Arrival>) -> Self {
        Self {
            arrival,
            answer: AtomicU64::new(UNLIMITED),
            stage: AtomicU32::new(0),
            held: AtomicBool::new(false),
            instead: Mutex::default(),
            is_left: AtomicBool::new(false),
            is_last: AtomicBool::new(false),
        }
    }

    /// Of another request on the same connection, beside this one.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.arrival))
    }

    /// How the connection has arrived.
    #[must_use]
    pub fn arrival(&self) -> &Arc<Arrival> {
        &self.arrival
    }

    /// This request is to be the last one of its connection.
    pub(super) fn end(&self) {
        self.is_last.store(true, Ordering::Relaxed);
    }

    /// Whether it is. Over HTTP/1.1 the answer says so.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.is_last.load(Ordering::Relaxed)
    }

    /// A request begins: nothing is awaited yet.
    pub fn begin(&self) {
        self.answer.store(UNLIMITED, Ordering::Relaxed);
        self.release();
        let stage = self.stage.load(Ordering::Relaxed);
        self.stage.store((stage & !(ANSWERED | TUNNEL)).wrapping_add(STEP), Ordering::Relaxed);
    }

    /// An upstream is asked, for the first time or once more: the head of its answer may
    /// take this long once the request is sent whole, and each piece after it, too.
    pub(super) fn forwards(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(UNLIMITED);
        self.answer.store(limit, Ordering::Relaxed);
        self.stage.fetch_add(STEP, Ordering::Relaxed);
    }

    /// The head of an answer is there: the final one, unless it is interim. After a switch
    /// of protocols bytes are only passed on.
    pub(super) fn passes(&self, status: StatusCode) {
        let stage = match status {
            StatusCode::SWITCHING_PROTOCOLS => ANSWERED | TUNNEL,
            status if status.is_informational() => return,
            _ => ANSWERED,
        };
        self.stage.fetch_or(stage, Ordering::Relaxed);
    }

    /// The head of an answer waits for the first bytes of its body: what is written does
    /// not leave before [`Self::release`], so that an upstream which dies in between has
    /// given no answer.
    pub(super) fn hold(&self) {
        self.held.store(true, Ordering::Relaxed);
    }

    /// What is written may leave, or has to.
    pub fn release(&self) {
        self.held.store(false, Ordering::Relaxed);
    }

    /// Whether all that was written of an answer is to be kept.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Takes an answer back that is held, and leaves this one to be written in its place
    /// when the connection is shut down.
    pub(super) fn replace(&self, answer: Written) {
        *self.instead.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// What is to be written in place of what is held.
    #[must_use]
    pub fn replaced(&self) -> Option<Written> {
        self.instead.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The client has reset its request, which is to be dropped.
    pub fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    /// Whether the client has reset its request.
    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Relaxed)
    }

    /// What is awaited of an upstream, once the request was sent whole.
    #[must_use]
    pub fn awaited(&self) -> Option<Awaited> {
        let limit = self.answer.load(Ordering::Relaxed);
        let stage = self.stage.load(Ordering::Relaxed);
        (limit != UNLIMITED).then_some(Awaited { stage, limit: Duration::from_millis(limit) })
    }

    /// Whether what is written now is the final answer, and no interim one.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.stage.load(Ordering::Relaxed) & ANSWERED != 0
    }

    /// Whether this is a tunnel now.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        self.stage.load(Ordering::Relaxed) & TUNNEL != 0
    }
}

/// The wire of the connection that a request came on; over HTTP/2 each request has its own.
pub(super) fn of(session: &Session, find: FindWire) -> Option<&Wire> {
    let downstream = session.as_downstream();
    match downstream.stream() {
        Some(stream) => find(stream.as_any()),
        None => of_stream(session).map(AsRef::as_ref),
    }
}

/// The wire of a request over HTTP/2. It comes as what Pingora keeps for whoever made the
/// session.
pub(super) fn of_stream(session: &Session) -> Option<&Arc<Wire>> {
    let proxy = session.as_downstream().digest()?.proxy_digest.as_ref()?;
    proxy.user_data.as_ref()?.downcast_ref()
}

/// Why a connection ends a request: in its errors, where `Ended::of` finds it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The client has taken longer than a limit allows.
    Limit(Limit),
    /// The upstream has taken longer to answer than its timeout allows.
    Answer,
    /// The body is not what its framing says.
    Body(MalformedChunks),
}

impl Ended {
    /// What Pingora passes on.
    #[must_use]
    pub fn into_error(self) -> io::Error {
        let kind = match self {
            Self::Limit(_) | Self::Answer => io::ErrorKind::TimedOut,
            Self::Body(_) => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }

    /// What it was that ended a request so.
    pub(super) fn of(error: &Error) -> Option<Self> {
        let mut cause: Option<&(dyn StdError + 'static)> = error.cause.as_deref().map(|it| it as _);
        while let Some(error) = cause {
            if let Some(ended) =
                error.downcast_ref::<io::Error>().and_then(|error| error.get_ref()?.downcast_ref())
            {
                return Some(*ended);
            }
            cause = error.source();
        }
        None
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => write!(f, "limit reached: {}", limit.as_str()),
            Self::Answer => f.write_str("the upstream did not answer in time"),
            Self::Body(malformed) => malformed.fmt(f),
        }
    }
}

impl StdError for Ended {}
