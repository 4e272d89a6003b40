//! Certificates and their keys: what stands in PEM files, and which server names a
//! certificate is for.
//!
//! Whether a key fits its certificate takes cryptography, which is no business of this
//! module.

mod clients;
mod guard;
mod identity;
mod names;
mod text;

use std::{fmt, net::IpAddr};

use self::text::{address, hex, words};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject as _},
};
use sha2::{Digest as _, Sha256};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _,
    public_key::PublicKey,
};

pub use self::{
    clients::{Authority, AuthorityError, ClientAuth, Clients, Trust, read_authorities},
    guard::{Door, Guard, Shown, Standing},
    identity::{ClientIdentity, IdentityError, is_claim},
    names::{NameError, Names, ServerName},
};

/// The shortest RSA key that is taken: what browsers and certificate authorities ask for
/// (CA/Browser Forum, Baseline Requirements, 6.1.5).
const RSA_BITS_MIN: usize = 2048;

/// A certificate, those that lead from it to its authority, and its key.
pub struct Pair {
    /// As they are sent: the certificate itself is the first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// What the certificate says.
    pub leaf: Particulars,
    /// What tells it, its chain and its key from others: a SHA-256.
    pub digest: [u8; 32],
}

/// What a certificate says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Particulars {
    /// Servers that it is for, by name.
    pub names: Vec<ServerName>,
    /// Servers that it is for, by address.
    pub addresses: Vec<IpAddr>,
    /// From when it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
    /// In hexadecimal digits and colons.
    pub serial: String,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub fingerprint: String,
    pub kind: KeyKind,
    /// Each certificate of the chain is issued by the next one.
    pub chain_in_order: bool,
}

/// What a key signs by.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum KeyKind {
    /// ECDSA: the cheapest, so it is the first to be offered.
    Ecdsa,
    /// `EdDSA`, which no browser takes.
    Ed25519,
    Rsa,
}

impl KeyKind {
    /// As people call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ecdsa => "ECDSA",
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
        }
    }
}

/// What is wrong with the file of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CertificateError {
    /// There is none in it.
    None,
    /// Something in it is no PEM.
    Malformed(String),
    /// A section of it holds something else.
    NotX509,
    /// A key shorter than 2,048 bits.
    ShortRsa(usize),
    /// A kind of key that servers do not use.
    UnknownKind,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("there is no certificate in it"),
            Self::Malformed(what) => write!(f, "it is no certificate in PEM: {what}"),
            Self::NotX509 => f.write_str("a certificate in it is damaged: it is no X.509"),
            Self::ShortRsa(bits) => {
                write!(f, "its RSA key has {bits} bits, and clients ask for {RSA_BITS_MIN}")
            }
            Self::UnknownKind => f.write_str("its key is neither ECDSA, nor RSA, nor Ed25519"),
        }
    }
}

/// What is wrong with the file of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyError {
    /// There is none in it.
    None,
    /// It takes a passphrase to read it.
    Encrypted,
    /// Something in it is no PEM.
    Malformed(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("there is no private key in it"),
            Self::Encrypted => f.write_str("its key is encrypted"),
            Self::Malformed(what) => write!(f, "it is no key in PEM: {what}"),
        }
    }
}

/// Reads the certificates of a PEM file; what else is in it, such as a key, is passed over.
///
/// # Errors
/// There is none, or the first cannot be used by a server.
pub fn read_chain(
    pem: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, Particulars), CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| CertificateError::Malformed(words(&error)))?;
    let leaf = leaf(&chain)?;
    Ok((chain, leaf))
}

/// Reads the private key of a PEM file: PKCS#8, PKCS#1 or SEC1.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn read_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, KeyError> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) if !is_encrypted(pem) => Ok(key),
        Ok(_) => Err(KeyError::Encrypted),
        Err(PemError::NoItemsFound) if is_encrypted(pem) => Err(KeyError::Encrypted),
        Err(PemError::NoItemsFound) => Err(KeyError::None),
        Err(error) => Err(KeyError::Malformed(words(&error))),
    }
}

/// PKCS#8 says so in its label, older forms in a header.
fn is_encrypted(pem: &[u8]) -> bool {
    [&b"ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| pem.windows(mark.len()).any(|window| window == *mark))
}

impl Pair {
    /// What belongs together.
    #[must_use]
    pub fn new(
        (chain, leaf): (Vec<CertificateDer<'static>>, Particulars),
        key: PrivateKeyDer<'static>,
    ) -> Self {
        let mut hash = Sha256::new();
        for part in chain.iter().map(AsRef::as_ref).chain([key.secret_der()]) {
            // With its length before it, no part can be taken for the end of another.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self { chain, key, leaf, digest: hash.finalize().into() }
    }
}

/// Without the key, and without what could tell it.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

fn leaf(chain: &[CertificateDer<'_>]) -> Result<Particulars, CertificateError> {
    let parsed: Vec<_> = chain
        .iter()
        .map(|der| X509Certificate::from_der(der).map(|(_, certificate)| certificate))
        .collect::<Result<_, _>>()
        .map_err(|_| CertificateError::NotX509)?;
    let (Some(der), Some(certificate)) = (chain.first(), parsed.first()) else {
        return Err(CertificateError::None);
    };
    let alternatives = certificate
        .subject_alternative_name()
        .map_err(|_| CertificateError::NotX509)?
        .map(|extension| &*extension.value.general_names);
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    for name in alternatives.unwrap_or_default() {
        match name {
            // A name that no server can have is one that no client asks for.
            GeneralName::DNSName(name) => names.extend(ServerName::parse(name)),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    let validity = certificate.validity();
    Ok(Particulars {
        names,
        addresses,
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        serial: certificate.raw_serial_as_string(),
        fingerprint: hex(&Sha256::digest(der)),
        kind: kind(certificate)?,
        chain_in_order: parsed.windows(2).all(|pair| match pair {
            [one, next] => one.issuer() == next.subject(),
            _ => true,
        }),
    })
}

fn kind(certificate: &X509Certificate<'_>) -> Result<KeyKind, CertificateError> {
    const ED25519: &str = "1.3.101.112";
    let key = certificate.public_key();
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => match rsa.key_size() {
            bits if bits < RSA_BITS_MIN => Err(CertificateError::ShortRsa(bits)),
            _ => Ok(KeyKind::Rsa),
        },
        Ok(PublicKey::EC(_)) => Ok(KeyKind::Ecdsa),
        _ if key.algorithm.algorithm.to_id_string() == ED25519 => Ok(KeyKind::Ed25519),
        _ => Err(CertificateError::UnknownKind),
    }
}
