//! The TLS of each listener: which certificate a client gets, and by which rules.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use crate::{
    certificate::{Names, Trust},
    config::{Config, Listener, Tls, TlsVersion},
    tls::{TicketKeys, certified, provider, verifier},
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
    /// Of each trust that a certificate has, one.
    rules: Vec<Rules>,
    /// For what the process asks itself: it names no server, and shows no certificate.
    own: Rules,
    certificates: Arc<Certificates>,
    strict_sni: bool,
}

/// By which rules clients of one trust shake hands.
pub struct Rules {
    /// Whom they are.
    pub trust: Trust,
    /// What verifies their certificates, if they have to show any.
    pub verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// For connections that begin now.
    pub config: Arc<ServerConfig>,
}

/// What a client is shown.
#[derive(Debug)]
struct Certificates {
    names: Names<Choice>,
    default: Option<Choice>,
    any: Option<Arc<CertifiedKey>>,
}

/// What there is for one name.
#[derive(Clone, Debug, Default)]
struct Choice {
    /// Of each kind of key one: the cheapest first.
    keys: Vec<Arc<CertifiedKey>>,
    /// What clients have to show, whichever key they get.
    trust: Trust,
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
        let certificates = Arc::new(Certificates::of(config, tls));
        let resolver = || Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>;
        let mut rules = Vec::<Rules>::new();
        for &index in &tls.certificates {
            let certificate = config.certificates.get(index)?;
            let (clients, trust) = (certificate.clients.as_deref(), certificate.trust());
            if rules.iter().all(|it| it.trust != trust) {
                let verifier = clients.map(verifier).transpose().ok()?;
                rules.push(Rules::new(tls, has_h2, resolver(), trust, verifier, tickets)?);
            }
        }
        let any = SingleCertAndKey::from(CertifiedKey::clone(certificates.any.as_ref()?));
        let own = Rules::new(tls, false, Arc::new(any), Trust::Anybody, None, None)?;
        Some(Self { rules, own, certificates, strict_sni: tls.strict_sni })
    }

    /// Whether a client that names this server is refused.
    #[must_use]
    pub fn refuses(&self, server_name: Option<&str>) -> bool {
        self.strict_sni
            && server_name.is_none_or(|name| self.certificates.names.find(name).is_none())
    }

    /// By which rules a client shakes hands that names this server. `None`: no certificate is
    /// for it.
    #[must_use]
    pub fn rules(&self, server_name: Option<&str>) -> Option<&Rules> {
        let trust = self.certificates.choice(server_name)?.trust;
        self.rules.iter().find(|it| it.trust == trust)
    }

    /// By which rules the process asks itself.
    #[must_use]
    pub fn own_rules(&self) -> &Rules {
        &self.own
    }
}

impl Rules {
    /// Tickets are for clients of the same trust alone.
    fn new(
        tls: &Tls,
        has_h2: bool,
        resolver: Arc<dyn ResolvesServerCert>,
        trust: Trust,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
        tickets: Option<&Arc<TicketKeys>>,
    ) -> Option<Self> {
        const ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        let versions = match tls.min_version {
            TlsVersion::V1_2 => &ALL[..],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(versions)
            .ok()?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder.with_cert_resolver(resolver);
        let h2 = has_h2.then_some(ALPN_H2);
        server.alpn_protocols = h2.into_iter().chain([ALPN_HTTP_1]).map(<[u8]>::to_vec).collect();
        server.session_storage = Arc::new(NoServerSessionStorage {});
        match tickets {
            Some(tickets) => {
                server.ticketer = tickets.under(trust.binding());
                server.send_tls13_tickets = TICKETS;
            }
            None => server.send_tls13_tickets = 0,
        }
        Some(Self { trust, verifier, config: Arc::new(server) })
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
        let mut names = Names::<Choice>::default();
        let (mut default, mut any) = (None, None);
        let mut used: Vec<_> = tls
            .certificates
            .iter()
            .filter_map(|&index| Some((index, config.certificates.get(index)?)))
            .collect();
        used.sort_by_key(|(_, certificate)| certificate.pair.leaf.kind);
        for (index, certificate) in used {
            let Ok(key) = certified(&certificate.pair).map(Arc::new) else { continue };
            let trust = certificate.trust();
            any = any.or_else(|| Some(Arc::clone(&key)));
            for name in &certificate.pair.leaf.names {
                let choice = names.entry(name);
                choice.keys.push(Arc::clone(&key));
                choice.trust = trust;
            }
            if tls.default == Some(index) {
                default = Some(Choice { keys: vec![key], trust });
            }
        }
        Self { names, default, any }
    }

    /// The name decides.
    fn choice(&self, server_name: Option<&str>) -> Option<&Choice> {
        server_name.and_then(|name| self.names.find(name)).or(self.default.as_ref())
    }
}

impl ResolvesServerCert for Certificates {
    /// The name decides, then the kind of key: a client that takes none of those that a name
    /// has is not shown another name's.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = &self.choice(hello.server_name())?.keys;
        let takes =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        // Without one that it takes, rustls has the right alert to say so.
        keys.iter().find(takes).or(keys.first()).cloned()
    }
}
