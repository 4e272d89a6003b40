//! Headers that say who a client is by its certificate: corsac's to set, and nobody else's.

use http::{HeaderMap, HeaderName, HeaderValue, header::InvalidHeaderValue};
use pingora_proxy::Session;

use crate::certificate::{ClientIdentity, is_claim};

const SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");
const NAMES: HeaderName = HeaderName::from_static("x-client-cert-san");
const FINGERPRINT: HeaderName = HeaderName::from_static("x-client-cert-fingerprint");

/// Who a client is, as upstreams are told: made once for a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claims {
    subject: HeaderValue,
    /// `None`: it has no other names.
    names: Option<HeaderValue>,
    fingerprint: HeaderValue,
}

impl TryFrom<ClientIdentity> for Claims {
    type Error = InvalidHeaderValue;

    fn try_from(identity: ClientIdentity) -> Result<Self, InvalidHeaderValue> {
        let ClientIdentity { subject, names, fingerprint } = identity;
        let names = if names.is_empty() { None } else { Some(names.try_into()?) };
        Ok(Self { subject: subject.try_into()?, names, fingerprint: fingerprint.try_into()? })
    }
}

impl Claims {
    /// Tells an upstream.
    pub(super) fn set(&self, headers: &mut HeaderMap) {
        headers.insert(SUBJECT, self.subject.clone());
        headers.insert(FINGERPRINT, self.fingerprint.clone());
        if let Some(names) = &self.names {
            headers.insert(NAMES, names.clone());
        }
    }
}

/// Drops what a client says of itself: before anything looks at it.
pub(super) fn drop_forged(session: &mut Session) {
    let forged = |name: &&HeaderName| is_claim(name.as_str());
    // Hardly any request has one.
    if session.req_header().headers.keys().any(|name| forged(&name)) {
        let headers = session.req_header_mut();
        let names: Vec<HeaderName> = headers.headers.keys().filter(forged).cloned().collect();
        for name in names {
            headers.remove_header(&name);
        }
    }
}
