//! The limits that a client can reach, by the words of their keys.

/// A limit of `[limits]`; `docs/config.md` says what each means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// `head`
    Head,
    /// `handshake`
    Handshake,
    /// `head_size`, or `headers`
    HeadSize,
    /// `target`
    Target,
    /// `body_idle`
    BodyIdle,
    /// `body_rate`
    BodyRate,
    /// `send`
    Send,
    /// `tunnel_idle`
    TunnelIdle,
    /// `linger`
    Linger,
    /// `requests`
    Requests,
    /// `h2.streams`
    Streams,
    /// `connections`
    Connections,
    /// `connections_per_client`
    ConnectionsPerClient,
    /// No key: the descriptors that are kept for the process itself.
    Descriptors,
}

impl Limit {
    /// The key.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Handshake => "handshake",
            Self::HeadSize => "head_size",
            Self::Target => "target",
            Self::BodyIdle => "body_idle",
            Self::BodyRate => "body_rate",
            Self::Send => "send",
            Self::TunnelIdle => "tunnel_idle",
            Self::Linger => "linger",
            Self::Requests => "requests",
            Self::Streams => "streams",
            Self::Connections => "connections",
            Self::ConnectionsPerClient => "connections_per_client",
            Self::Descriptors => "descriptors",
        }
    }
}
