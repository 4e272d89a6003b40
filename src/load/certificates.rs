//! What only cryptography and the clock can tell of certificates.

use jiff::Timestamp;

use crate::{
    certificate::Particulars,
    config::{Certificate, Config},
    diagnose::Diagnostic,
    tls::{certified, verifier},
};

const DAY: i64 = 24 * 60 * 60;

/// A certificate of less than this is soon gone; of one that lives for a few days, the last
/// third.
const SOON: i64 = 14 * DAY;

/// What is wrong with the configuration's certificates; `now` in seconds since 1970.
pub(super) fn flaws(config: &Config, now: i64) -> Vec<Diagnostic> {
    let certificates = config.certificates.iter();
    certificates.flat_map(|it| [mismatch(it), unusable(it), untimely(it, now)]).flatten().collect()
}

/// A key that cannot serve with its certificate.
fn mismatch(certificate: &Certificate) -> Option<Diagnostic> {
    let Certificate { cert, key, key_place, .. } = certificate;
    let (cert, key) = (cert.display(), key.display());
    match certified(&certificate.pair) {
        Ok(_) => None,
        Err(rustls::Error::InconsistentKeys(_)) => {
            let message = format!("the key in {key} is not that of the certificate in {cert}");
            let found = Diagnostic::error("E403", message).at(*key_place);
            Some(found.help("both files come from one request for a certificate".to_owned()))
        }
        Err(error) => {
            let message = format!("the key in {key} cannot be used: {error}");
            Some(Diagnostic::error("E402", message).at(*key_place))
        }
    }
}

/// Authorities whose certificates cannot be used to verify others.
fn unusable(certificate: &Certificate) -> Option<Diagnostic> {
    let error = verifier(certificate.clients.as_deref()?).err()?;
    let message = format!("client_ca of certificates.{} cannot be used: {error}", certificate.name);
    Some(Diagnostic::error("E405", message).at(certificate.place))
}

/// What only the clock changes stops nothing: a warning.
fn untimely(certificate: &Certificate, now: i64) -> Option<Diagnostic> {
    let Particulars { not_before, not_after, .. } = certificate.pair.leaf;
    let cert = certificate.cert.display();
    let date =
        |seconds| Timestamp::from_second(seconds).map_or_else(|_| "?".into(), |at| at.to_string());
    let (code, message) = if now > not_after {
        ("W401", format!("the certificate in {cert} expired on {}", date(not_after)))
    } else if now < not_before {
        ("W401", format!("the certificate in {cert} is valid from {} on", date(not_before)))
    } else if not_after - now < SOON.min((not_after - not_before) / 3) {
        ("W402", format!("the certificate in {cert} expires on {}", date(not_after)))
    } else {
        return None;
    };
    Some(Diagnostic::warning(code, message).at(certificate.place))
}
