//! The cryptography of TLS: the one place that says by which provider.

mod ticket_keys;
mod tickets;

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

pub use self::{
    ticket_keys::KeysError,
    tickets::{TicketKeys, UnixClock},
};
use crate::certificate::{Authority, ClientAuth, Clients, Pair};

/// By which cryptography.
#[must_use]
pub fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// A pair that can serve.
///
/// # Errors
/// The key is of another certificate, or of a kind that is not known.
pub fn certified(pair: &Pair) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(pair.chain.clone(), pair.key.clone_key(), &provider())
}

/// What verifies the certificates of these clients. Nothing is looked up: whatever was revoked
/// is taken until it expires.
///
/// # Errors
/// A certificate of an authority cannot be used.
pub fn verifier(clients: &Clients) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for Authority { certificate, title: _ } in &clients.authorities {
        roots.add(certificate.clone())?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()));
    let builder = match clients.auth {
        ClientAuth::Require => builder,
        // What does not verify is refused all the same.
        ClientAuth::RequireExceptPreflights | ClientAuth::Request => {
            builder.allow_unauthenticated()
        }
    };
    builder.build().map_err(|error| rustls::Error::General(error.to_string()))
}

/// A client's TLS that takes any certificate, for who has another way to know its server.
///
/// # Errors
/// The provider has no versions, which it has.
pub fn trusting() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(TrustsAll(Arc::clone(&provider)));
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        builder?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.enable_sni = false;
    Ok(config)
}

#[derive(Debug)]
struct TrustsAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
