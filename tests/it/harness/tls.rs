//! Certificates, and clients that speak TLS.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256,
};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};

use super::Connection;

/// A certificate that signs itself, and its key, both in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Certified {
    /// By ECDSA.
    pub(crate) fn of(names: &[&str]) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self::new(&params(names), &key)
    }

    /// By RSA.
    pub(crate) fn rsa(names: &[&str]) -> Self {
        Self::new(&params(names), &KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap())
    }

    /// Valid between these days from now on.
    pub(crate) fn between(names: &[&str], from: i64, to: i64) -> Self {
        let mut params = params(names);
        let now = UnixTime::now().as_secs().cast_signed();
        let day = |days: i64| {
            let date = jiff::Timestamp::from_second(now + days * 24 * 60 * 60).unwrap();
            let date = date.to_zoned(jiff::tz::TimeZone::UTC);
            rcgen::date_time_ymd(
                date.year().into(),
                date.month().cast_unsigned(),
                date.day().cast_unsigned(),
            )
        };
        (params.not_before, params.not_after) = (day(from), day(to));
        Self::new(&params, &KeyPair::generate().unwrap())
    }

    fn new(params: &CertificateParams, key: &KeyPair) -> Self {
        let cert = params.self_signed(key).unwrap();
        Self { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().clone() }
    }
}

/// Who issues certificates to clients.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) cert: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), cert }
    }

    /// A certificate for a client, with this name and what else is asked for.
    pub(crate) fn issue(&self, name: &str, ask: impl FnOnce(&mut CertificateParams)) -> Certified {
        let (mut params, key) = (params(&[]), KeyPair::generate().unwrap());
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        ask(&mut params);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Certified { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().clone() }
    }
}

/// In so many seconds.
pub(crate) fn expires_in(params: &mut CertificateParams, seconds: u64) {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let today = rcgen::date_time_ymd(
        now.year().into(),
        now.month().cast_unsigned(),
        now.day().cast_unsigned(),
    );
    let midnight = now.start_of_day().unwrap().timestamp().as_second();
    let since = (now.timestamp().as_second() - midnight).cast_unsigned();
    params.not_after = today + Duration::from_secs(since + seconds);
}

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// A client's side of TLS. It trusts everybody: what it is shown is the test's to judge.
#[derive(Clone, Debug)]
pub(crate) struct TlsClient(Arc<ClientConfig>);

/// A connection over TLS.
pub(crate) type TlsConnection = Connection<StreamOwned<ClientConnection, TcpStream>>;

impl TlsClient {
    /// Of both versions, and every kind of key.
    pub(crate) fn new() -> Self {
        Self::with(rustls::ALL_VERSIONS, None)
    }

    /// Of this version alone.
    pub(crate) fn of_version(version: &'static SupportedProtocolVersion) -> Self {
        Self::with(&[version], None)
    }

    /// That takes no key except RSA.
    pub(crate) fn of_rsa(version: &'static SupportedProtocolVersion) -> Self {
        let schemes = [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
        Self::with(&[version], Some(schemes.into()))
    }

    fn with(
        versions: &[&'static SupportedProtocolVersion],
        schemes: Option<Vec<SignatureScheme>>,
    ) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(TrustsAll { provider: Arc::clone(&provider), schemes });
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Self(Arc::new(config))
    }

    /// That shows this certificate to servers that ask for one, and has no session yet.
    pub(crate) fn showing(&self, client: &Certified) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
        let chain = vec![client.der.clone()];
        let key = CertifiedKey::from_der(chain, key, config.crypto_provider()).unwrap();
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
        config.resumption = Resumption::default();
        Self(Arc::new(config))
    }

    /// For clients of another make.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }

    /// With these protocols to choose from.
    pub(crate) fn alpn(&self, protocols: &[&str]) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.alpn_protocols =
            protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    /// Connects, and names this server; `None`: none.
    #[track_caller]
    pub(crate) fn connect(&self, to: SocketAddr, name: Option<&str>) -> TlsConnection {
        self.try_connect(to, name).unwrap_or_else(|error| panic!("no TLS with {name:?}: {error}"))
    }

    pub(crate) fn try_connect(
        &self,
        to: SocketAddr,
        name: Option<&str>,
    ) -> io::Result<TlsConnection> {
        let socket = Connection::try_open(to)?.into_stream();
        match name {
            Some(name) => self.over(socket, name),
            // An address is never sent.
            None => self.over(socket, &to.ip().to_string()),
        }
    }

    /// Over a socket that is there, and names this server.
    pub(crate) fn over(&self, mut socket: TcpStream, name: &str) -> io::Result<TlsConnection> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session =
            ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Connection::over(StreamOwned::new(session, socket)))
    }
}

impl TlsConnection {
    /// What the server has shown.
    pub(crate) fn shown(&mut self) -> CertificateDer<'static> {
        self.stream().conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub(crate) fn is_resumed(&mut self) -> bool {
        self.stream().conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

#[derive(Debug)]
struct TrustsAll {
    provider: Arc<CryptoProvider>,
    /// `None`: all.
    schemes: Option<Vec<SignatureScheme>>,
}

impl ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let all = || self.provider.signature_verification_algorithms.supported_schemes();
        self.schemes.clone().unwrap_or_else(all)
    }
}
