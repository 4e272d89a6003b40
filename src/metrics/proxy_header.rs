//! Why a connection has no header of the PROXY protocol.

/// A reason of `corsac_proxy_headers_refused_total`; `docs/metrics.md` says what each means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoProxyHeader {
    /// The connection is from none of the networks that may send one.
    NotAllowed,
    /// It did not come in time.
    Timeout,
    /// What came is none.
    Malformed,
    /// The connection was closed before its first byte, as by a health check.
    Empty,
}

impl NoProxyHeader {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Empty => "empty",
        }
    }
}
