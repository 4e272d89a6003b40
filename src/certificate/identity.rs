//! Who a client is, as its certificate says, for those behind corsac.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::FromDer as _,
    x509::{AttributeTypeAndValue, X509Name},
};

use super::text::{address, hex};

/// The longest subject that is passed on, in bytes.
const SUBJECT_BYTES_MAX: usize = 1024;

/// All that is passed on of one certificate, at the most, in bytes: heads of 8 KiB are what
/// many upstreams take.
const IDENTITY_BYTES_MAX: usize = 4 * 1024;

/// Who a client is: printable ASCII.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientIdentity {
    /// Its name, the most specific part first, as in `CN=billing,O=Example` (RFC 4514). What
    /// separates parts is in no value: there it is percent-encoded.
    pub subject: String,
    /// Its other names: `dns:`, `uri:`, `email:` and `ip:`, with commas between them. Empty:
    /// it has none.
    pub names: String,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub fingerprint: String,
}

/// Whether a header of this name, in lower case, says who a client is by its certificate: to
/// upstreams only corsac does. Those that other proxies set count, too (`client-cert`: RFC
/// 9440), and names with `_` in place of `-`: to applications behind CGI, WSGI and the like,
/// both are one.
#[must_use]
pub fn is_claim(name: &str) -> bool {
    const ANY: &[u8] = b"x-client-cert-";
    const OTHERS: [&[u8]; 3] = [b"client-cert", b"client-cert-chain", b"x-forwarded-client-cert"];
    let name = name.as_bytes();
    let is = |name: &[u8], claim: &[u8]| {
        let same = |(byte, due): (&u8, &u8)| byte == due || (*byte == b'_' && *due == b'-');
        name.len() == claim.len() && name.iter().zip(claim).all(same)
    };
    name.get(..ANY.len()).is_some_and(|start| is(start, ANY))
        || OTHERS.iter().any(|claim| is(name, claim))
}

/// Why a client has no identity that can be passed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IdentityError {
    /// Its certificate cannot be read.
    NotX509,
    /// It is longer than what is passed on. A part of it could be somebody else's.
    TooLong,
}

impl ClientIdentity {
    /// Of a client's certificate, in DER.
    ///
    /// # Errors
    /// What it says cannot be passed on.
    pub fn of(certificate: &[u8]) -> Result<Self, IdentityError> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| IdentityError::NotX509)?;
        let alternatives = parsed.subject_alternative_name().map_err(|_| IdentityError::NotX509)?;
        let alternatives = alternatives.map(|extension| &*extension.value.general_names);
        let identity = Self {
            subject: subject(parsed.subject()),
            names: names(alternatives.unwrap_or_default()),
            fingerprint: hex(&Sha256::digest(certificate)),
        };
        let Self { subject, names, fingerprint } = &identity;
        let bytes = subject.len() + names.len() + fingerprint.len();
        if subject.len() > SUBJECT_BYTES_MAX || bytes > IDENTITY_BYTES_MAX {
            return Err(IdentityError::TooLong);
        }
        Ok(identity)
    }
}

fn names(alternatives: &[GeneralName<'_>]) -> String {
    let mut text = String::new();
    for name in alternatives {
        let (kind, value) = match name {
            GeneralName::DNSName(name) => ("dns", (*name).to_owned()),
            GeneralName::URI(uri) => ("uri", (*uri).to_owned()),
            GeneralName::RFC822Name(name) => ("email", (*name).to_owned()),
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(address) => ("ip", address.to_string()),
                None => continue,
            },
            _ => continue,
        };
        let separator = if text.is_empty() { "" } else { "," };
        text.push_str(separator);
        text.push_str(kind);
        text.push(':');
        push_value(&mut text, &value, "");
    }
    text
}

/// A name as RFC 4514 writes it: the last part first. In place of its backslashes there are
/// percent signs, so that nobody has to look for separators that are none.
pub(super) fn subject(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, part) in parts.into_iter().rev().enumerate() {
        for (inner, attribute) in part.iter().enumerate() {
            text.push_str(match (index, inner) {
                (0, 0) => "",
                (_, 0) => ",",
                _ => "+",
            });
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    // RFC 4514, 3.
    let short = match oid.as_str() {
        "2.5.4.3" => Some("CN"),
        "2.5.4.6" => Some("C"),
        "2.5.4.7" => Some("L"),
        "2.5.4.8" => Some("ST"),
        "2.5.4.9" => Some("STREET"),
        "2.5.4.10" => Some("O"),
        "2.5.4.11" => Some("OU"),
        "0.9.2342.19200300.100.1.1" => Some("UID"),
        "0.9.2342.19200300.100.1.25" => Some("DC"),
        _ => None,
    };
    text.push_str(short.unwrap_or(&oid));
    text.push('=');
    if let (Some(_), Ok(value)) = (short, attribute.as_str()) {
        return push_value(text, value, "+;<>");
    }
    // RFC 4514, 2.4: of what has no short name, the bytes as the certificate has them.
    let value = attribute.attr_value();
    let header = &value.header;
    let tag = (header.class() as u8) << 6
        | u8::from(header.is_constructed()) << 5
        | u8::try_from(header.tag().0).unwrap_or(0x1f).min(0x1f);
    text.push('#');
    for bytes in [&[tag], &*der_length(value.data.len()), value.data] {
        text.push_str(&hex(bytes));
    }
}

/// X.690, 8.1.3.
fn der_length(length: usize) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    let significant: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    match (length, u8::try_from(significant.len())) {
        (0..0x80, _) => vec![significant.first().copied().unwrap_or(0)],
        (_, Ok(count)) => [vec![0x80 | count], significant].concat(),
        // No length has so many bytes.
        (_, Err(_)) => Vec::new(),
    }
}

/// A value, without what could be taken for more than a value: the separators, those of
/// `more`, what is not printable ASCII, and what a reader cuts off.
fn push_value(text: &mut String, value: &str, more: &str) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let is_plain = match byte {
            b',' | b'%' | b'"' | b'\\' => false,
            b' ' => at != 0 && at != last,
            b'#' => at != 0,
            b'!'..=b'~' => !more.as_bytes().contains(&byte),
            _ => false,
        };
        if is_plain {
            text.push(char::from(byte));
        } else {
            // Writing to memory cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_say_who_a_client_is() {
        #[rustfmt::skip]
        let cases = [
            ("x-client-cert-subject",    true),
            ("x-client-cert-",           true),
            ("x_client_cert_san",        true),
            ("x-client_cert-anything",   true),
            ("client-cert",              true),
            ("client_cert",              true),
            ("client-cert-chain",        true),
            ("client_cert_chain",        true),
            ("x-forwarded-client-cert",  true),
            ("x_forwarded_client_cert",  true),
            ("x-client-cert",            false),
            ("client-certs",             false),
            ("client-certificate",       false),
            ("x-client-certificate",     false),
            ("x-forwarded-for",          false),
            ("",                         false),
        ];
        for (name, due) in cases {
            assert_eq!(is_claim(name), due, "{name}");
        }
    }

    #[test]
    fn lengths_as_der_has_them() {
        let cases: [(usize, &[u8]); 6] = [
            (0, &[0]),
            (0x7f, &[0x7f]),
            (0x80, &[0x81, 0x80]),
            (0xff, &[0x81, 0xff]),
            (0x100, &[0x82, 1, 0]),
            (0x1_0000, &[0x83, 1, 0, 0]),
        ];
        for (length, due) in cases {
            assert_eq!(der_length(length), due, "{length}");
        }
    }

    #[test]
    fn a_value_is_one() {
        #[rustfmt::skip]
        let cases = [
            ("billing",        "",      "billing"),
            ("a,b",            "",      "a%2Cb"),
            ("50% \"x\" \\",   "",      "50%25 %22x%22 %5C"),
            (" a b ",          "",      "%20a b%20"),
            (" ",              "",      "%20"),
            ("#1#",            "",      "%231#"),
            ("a+O=b;<c>",      "+;<>",  "a%2BO=b%3B%3Cc%3E"),
            ("a+b@c",          "",      "a+b@c"),
            ("caf\u{e9}\r\n",  "",      "caf%C3%A9%0D%0A"),
            ("",               "",      ""),
        ];
        for (value, more, due) in cases {
            let mut text = String::new();
            push_value(&mut text, value, more);
            assert_eq!(text, due, "{value:?}");
        }
    }
}
