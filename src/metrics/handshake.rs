//! Why handshakes of TLS fail.

/// A reason of `corsac_tls_handshake_failures_total`; `docs/metrics.md` says what each means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HandshakeFailure {
    /// It took longer than `limits.handshake`.
    Timeout,
    /// It gave way to another one: `limits.handshakes` went on.
    Crowded,
    /// The client has closed.
    Closed,
    /// What came is no TLS, such as HTTP in the clear.
    NotTls,
    /// What came is against the rules of TLS.
    Malformed,
    /// No version that both sides speak.
    Version,
    /// No cipher suite, group, signature or kind of key that both sides take.
    Cipher,
    /// No certificate for the server that the client has named.
    UnknownName,
    /// No protocol that both sides speak over TLS.
    Alpn,
    /// The client has shown no certificate where one is required, or one that does not verify.
    ClientCertificate,
    /// The client has refused, as one does that does not trust the certificate.
    Alert,
}

impl HandshakeFailure {
    /// How many reasons there are.
    pub const COUNT: usize = 11;

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Crowded => "crowded",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Cipher => "cipher",
            Self::UnknownName => "unknown_name",
            Self::Alpn => "alpn",
            Self::ClientCertificate => "client_certificate",
            Self::Alert => "alert",
        }
    }
}
