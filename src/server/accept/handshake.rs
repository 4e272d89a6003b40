//! The handshake of TLS.

use std::{io, sync::Arc};

use rustls::{
    CipherSuite, Error as TlsError, HandshakeKind, InvalidMessage, PeerIncompatible,
    ProtocolVersion, ServerConnection, SupportedCipherSuite, pki_types::UnixTime, server::Acceptor,
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::handshakes::Handshake;
use crate::{
    certificate::{ClientIdentity, Trust},
    metrics::HandshakeFailure,
    proxy::{Claims, Secured},
    snapshot::{ListenerTls, Rules},
};

/// An alert of its own record (RFC 8446, 5.1 and 6): fatal, and why.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
const MISSING_EXTENSION: [u8; 7] = [21, 3, 3, 0, 2, 2, 109];

/// Makes TLS of a connection, by `deadline` at the latest.
///
/// # Errors
/// Why there is none. The client was told, where TLS has a word for it.
pub(super) async fn shake_hands(
    socket: TcpStream,
    tls: &ListenerTls,
    is_own: bool,
    place: &Handshake,
    deadline: Instant,
) -> Result<(Box<TlsStream<TcpStream>>, Secured), HandshakeFailure> {
    tokio::select! {
        biased;
        () = place.gives_way() => Err(HandshakeFailure::Crowded),
        shaken = timeout_at(deadline, accept(socket, tls, is_own, place)) => match shaken {
            Ok(shaken) => shaken,
            Err(_) => Err(HandshakeFailure::Timeout),
        },
    }
}

async fn accept(
    socket: TcpStream,
    tls: &ListenerTls,
    is_own: bool,
    place: &Handshake,
) -> Result<(Box<TlsStream<TcpStream>>, Secured), HandshakeFailure> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await.map_err(why)?;
    place.has_hello();
    let name = start.client_hello().server_name().map(str::to_owned);
    // What the process asks itself names no server.
    if !is_own && tls.refuses(name.as_deref()) {
        let alert = if name.is_some() { UNRECOGNIZED_NAME } else { MISSING_EXTENSION };
        let mut socket = start.io;
        // The client may be gone, and is refused anyway.
        let _ = socket.write_all(&alert).await;
        return Err(HandshakeFailure::UnknownName);
    }
    let rules = if is_own { Some(tls.own_rules()) } else { tls.rules(name.as_deref()) };
    let rules = rules.ok_or(HandshakeFailure::UnknownName)?;
    // Boxed: its future is larger than all else that a connection's task holds.
    let stream = Box::pin(start.into_stream(Arc::clone(&rules.config))).await.map_err(why)?;
    let session = stream.get_ref().1;
    let identity = identity(session, rules)?;
    let secured = Secured { trust: rules.trust, identity, ..secured(session) };
    Ok((Box::new(stream), secured))
}

/// Who the client is, if it has shown a certificate that is good now: of a session that is
/// resumed, rustls keeps the certificate, and asks no more whether it is.
fn identity(session: &ServerConnection, rules: &Rules) -> Result<Option<Claims>, HandshakeFailure> {
    const REFUSED: HandshakeFailure = HandshakeFailure::ClientCertificate;
    let Some(verifier) = &rules.verifier else { return Ok(None) };
    let Some((leaf, others)) = session.peer_certificates().and_then(<[_]>::split_first) else {
        return if verifier.client_auth_mandatory() { Err(REFUSED) } else { Ok(None) };
    };
    if session.handshake_kind() == Some(HandshakeKind::Resumed) {
        verifier.verify_client_cert(leaf, others, UnixTime::now()).map_err(|_| REFUSED)?;
    }
    let identity = ClientIdentity::of(leaf).map_err(|_| REFUSED)?;
    identity.try_into().map(Some).map_err(|_| REFUSED)
}

/// Why a handshake failed, by what rustls says.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn why(error: io::Error) -> HandshakeFailure {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
        return HandshakeFailure::Closed;
    };
    match tls {
        TlsError::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => HandshakeFailure::NotTls,
        TlsError::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => HandshakeFailure::Version,
        TlsError::PeerIncompatible(_) => HandshakeFailure::Cipher,
        TlsError::InvalidCertificate(_) | TlsError::NoCertificatesPresented => {
            HandshakeFailure::ClientCertificate
        }
        TlsError::NoApplicationProtocol => HandshakeFailure::Alpn,
        // The client has refused: it does not trust the certificate, or is content to have
        // looked at it.
        TlsError::AlertReceived(_) => HandshakeFailure::Alert,
        // No certificate is for this name.
        TlsError::General(_) => HandshakeFailure::UnknownName,
        _ => HandshakeFailure::Malformed,
    }
}

/// As IANA calls it; rustls has names of its own for those of TLS 1.3.
fn cipher(suite: SupportedCipherSuite) -> &'static str {
    match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        suite => suite.as_str().unwrap_or("unknown"),
    }
}

fn secured(session: &ServerConnection) -> Secured {
    Secured {
        version: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            _ => "1.2",
        },
        cipher: session.negotiated_cipher_suite().map_or("unknown", cipher),
        alpn: match session.alpn_protocol() {
            Some(b"h2") => Some("h2"),
            Some(b"http/1.1") => Some("http/1.1"),
            // No other is offered.
            _ => None,
        },
        server_name: session.server_name().map(Into::into),
        is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        trust: Trust::Anybody,
        identity: None,
    }
}
