//! What of a certificate is said in words.

use std::net::IpAddr;

use rustls_pki_types::pem::Error as PemError;

/// An address as certificates have it (RFC 5280, 4.2.1.6).
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// In lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// What the crate says is for programmers.
pub(super) fn words(error: &PemError) -> String {
    match error {
        PemError::MissingSectionEnd { end_marker } => {
            format!("{} is missing", String::from_utf8_lossy(end_marker))
        }
        PemError::IllegalSectionStart { line } => {
            format!("not the start of a section: {}", String::from_utf8_lossy(line))
        }
        PemError::Base64Decode(what) => format!("not base64: {what}"),
        PemError::NoItemsFound => "nothing was found".to_owned(),
        error => error.to_string(),
    }
}
