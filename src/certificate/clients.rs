//! Whom a server takes for its clients, by their certificates.

use std::{collections::BTreeMap, fmt};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{
    identity::subject,
    text::{hex, words},
};

/// What a client has to show.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ClientAuth {
    /// A certificate, or there is no connection.
    Require,
    /// A certificate, except for the preflights that a policy answers: browsers send those
    /// without any credentials (Fetch, CORS-preflight fetch).
    RequireExceptPreflights,
    /// A certificate, if it has one.
    Request,
}

impl ClientAuth {
    /// As the configuration has it.
    pub const WORDS: [(&str, Self); 3] = [
        ("require", Self::Require),
        ("require-except-preflights", Self::RequireExceptPreflights),
        ("request", Self::Request),
    ];

    /// As the configuration has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::RequireExceptPreflights => "require-except-preflights",
            Self::Request => "request",
        }
    }

    /// Whether nothing of a host is for clients without a certificate.
    #[must_use]
    pub fn is_required(self) -> bool {
        matches!(self, Self::Require | Self::RequireExceptPreflights)
    }
}

/// Whom a server takes for its clients, as far as that tells them from others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Trust {
    /// Nobody is asked for a certificate.
    #[default]
    Anybody,
    /// Those for whom certain authorities vouch.
    Vouched {
        /// What they have to show.
        auth: ClientAuth,
        /// SHA-256 of that, and of the authorities' certificates.
        digest: [u8; 32],
    },
}

impl Trust {
    /// What binds a session to it: a SHA-256.
    #[must_use]
    pub fn binding(self) -> [u8; 32] {
        match self {
            Self::Anybody => Sha256::digest([]).into(),
            Self::Vouched { digest, .. } => digest,
        }
    }

    /// What clients have to show; `None`: nothing.
    #[must_use]
    pub fn auth(self) -> Option<ClientAuth> {
        match self {
            Self::Anybody => None,
            Self::Vouched { auth, .. } => Some(auth),
        }
    }
}

/// An authority that vouches for clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    pub certificate: CertificateDer<'static>,
    /// What tells it from others: its name, and the SHA-256 of its certificate.
    pub title: String,
}

/// `client_ca` and `client` of a certificate.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Who vouches for them: each once, and at least one.
    pub authorities: Box<[Authority]>,
    /// What they have to show.
    pub auth: ClientAuth,
    /// What tells them from others.
    pub trust: Trust,
}

impl Clients {
    /// Those for whom these authorities vouch.
    #[must_use]
    pub fn new(authorities: Vec<Authority>, auth: ClientAuth) -> Self {
        let by_digest: BTreeMap<[u8; 32], Authority> = authorities
            .into_iter()
            .map(|authority| (Sha256::digest(&authority.certificate).into(), authority))
            .collect();
        let mut hash = Sha256::new();
        hash.update([auth as u8]);
        for digest in by_digest.keys() {
            hash.update(digest);
        }
        let trust = Trust::Vouched { auth, digest: hash.finalize().into() };
        Self { authorities: by_digest.into_values().collect(), auth, trust }
    }
}

/// What is wrong with a file of authorities.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuthorityError {
    /// There is no certificate in it.
    None,
    /// Something in it is no PEM.
    Malformed(String),
    /// A section of it holds something else.
    NotX509,
    /// This certificate is no authority's (RFC 5280, 4.2.1.9).
    NotAuthority(String),
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("there is no certificate in it"),
            Self::Malformed(what) => write!(f, "it is no certificate in PEM: {what}"),
            Self::NotX509 => f.write_str("a certificate in it is damaged: it is no X.509"),
            Self::NotAuthority(title) => {
                write!(f, "{title} is no authority: it may not issue certificates")
            }
        }
    }
}

/// Reads the certificates of authorities from a PEM file; what else is in it is passed over.
///
/// # Errors
/// There is none, or one of them is no authority's.
pub fn read_authorities(pem: &[u8]) -> Result<Vec<Authority>, AuthorityError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| AuthorityError::Malformed(words(&error)))?;
    if certificates.is_empty() {
        return Err(AuthorityError::None);
    }
    certificates.into_iter().map(authority).collect()
}

fn authority(certificate: CertificateDer<'static>) -> Result<Authority, AuthorityError> {
    let (_, parsed) =
        X509Certificate::from_der(&certificate).map_err(|_| AuthorityError::NotX509)?;
    let digest = hex(&Sha256::digest(&certificate));
    let short = digest.get(..16).unwrap_or_default();
    let title = format!("{} (sha256 {short}...)", subject(parsed.subject()));
    if !parsed.is_ca() {
        return Err(AuthorityError::NotAuthority(title));
    }
    Ok(Authority { certificate, title })
}
