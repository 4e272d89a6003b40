//! The TLS of each listener: which certificate a client gets, and by which rules.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use sha2::{Digest as _, Sha256};

use crate::{
    certificate::Names,
    config::{Config, Listener, Tls, TlsVersion},
    tls::{TicketKeys, certified, provider},
};

/// Tickets that a TLS 1.3 client gets at the end of a handshake: one for each of two
/// connections that a page opens at once.
const TICKETS: usize = 2;

/// What is spoken over TLS, as clients and servers agree on it (RFC 7301).
pub const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP_1: &[u8] = b"http/1.1";

/// The TLS of all listeners, and what outlives a configuration.
pub(super) struct AllTls {
    listeners: Box<[Option<Arc<ListenerTls>>]>,
    /// Seals what clients show to resume a session. `None`: every handshake is a full one.
    tickets: Option<Arc<TicketKeys>>,
}

/// The TLS of a listener.
pub struct ListenerTls {
    /// For connections that begin now.
    pub config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    strict_sni: bool,
}

/// What a client is shown.
#[derive(Debug)]
struct Certificates {
    /// Of each kind of key one: the cheapest first.
    names: Names<Vec<Arc<CertifiedKey>>>,
    default: Option<Arc<CertifiedKey>>,
}

impl AllTls {
    /// Of a configuration that was checked.
    pub(super) fn of(config: &Config, tickets: Option<Arc<TicketKeys>>) -> Self {
        let of_listener = |listener: &Listener| {
            let tls = listener.tls.as_ref()?;
            let has_h2 = listener.h2.is_some();
            ListenerTls::of(config, tls, has_h2, tickets.as_ref()).map(Arc::new)
        };
        Self { listeners: config.listeners.iter().map(of_listener).collect(), tickets }
    }

    /// For the next configuration: tickets that this one has given out are good then, too.
    pub(super) fn tickets(&self) -> Option<Arc<TicketKeys>> {
        self.tickets.clone()
    }

    /// Of the listener at this index.
    pub(super) fn listener(&self, index: usize) -> Option<&Arc<ListenerTls>> {
        self.listeners.get(index)?.as_ref()
    }
}

impl fmt::Debug for AllTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllTls").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl ListenerTls {
    /// `None`: never, of a configuration that was checked.
    fn of(
        config: &Config,
        tls: &Tls,
        has_h2: bool,
        tickets: Option<&Arc<TicketKeys>>,
    ) -> Option<Self> {
        const ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        let versions = match tls.min_version {
            TlsVersion::V1_2 => &ALL[..],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let certificates = Arc::new(Certificates::of(config, tls));
        let mut server = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(versions)
            .ok()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        let h2 = has_h2.then_some(ALPN_H2);
        server.alpn_protocols = h2.into_iter().chain([ALPN_HTTP_1]).map(<[u8]>::to_vec).collect();
        server.session_storage = Arc::new(NoServerSessionStorage {});
        match tickets {
            Some(tickets) => {
                // No client is asked who it is.
                server.ticketer = tickets.under(Sha256::digest([]).into());
                server.send_tls13_tickets = TICKETS;
            }
            None => server.send_tls13_tickets = 0,
        }
        Some(Self { config: Arc::new(server), certificates, strict_sni: tls.strict_sni })
    }

    /// Whether a client that names this server is refused.
    #[must_use]
    pub fn refuses(&self, server_name: Option<&str>) -> bool {
        self.strict_sni
            && server_name.is_none_or(|name| self.certificates.names.find(name).is_none())
    }
}

impl fmt::Debug for ListenerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerTls")
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    fn of(config: &Config, tls: &Tls) -> Self {
        let mut names = Names::<Vec<_>>::default();
        let mut default = None;
        let mut used: Vec<_> = tls
            .certificates
            .iter()
            .filter_map(|&index| Some((index, &config.certificates.get(index)?.pair)))
            .collect();
        used.sort_by_key(|(_, pair)| pair.leaf.kind);
        for (index, pair) in used {
            let Ok(key) = certified(pair).map(Arc::new) else { continue };
            for name in &pair.leaf.names {
                names.entry(name).push(Arc::clone(&key));
            }
            if tls.default == Some(index) {
                default = Some(key);
            }
        }
        Self { names, default }
    }
}

impl ResolvesServerCert for Certificates {
    /// The name decides, then the kind of key: a client that takes none of those that a name
    /// has is not shown another name's.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.names.find(name));
        let keys = named.map_or_else(|| self.default.as_slice(), Vec::as_slice);
        let takes =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        // Without one that it takes, rustls has the right alert to say so.
        keys.iter().find(takes).or(keys.first()).cloned()
    }
}
