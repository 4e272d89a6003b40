//! Who sent a request, and how.

use std::{
    iter,
    net::{IpAddr, SocketAddr},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::{
    config::Networks,
    forwarded::{Walk, addresses, walk},
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who sent a request, and how.
///
/// Two addresses are told apart. The *peer* is whom the connection comes from: the other end of
/// its socket, or whom a header of the PROXY protocol names. The *client* is who the request
/// comes from: the peer, or whom a peer names that is trusted with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    peer: SocketAddr,
    scheme: Scheme,
    said: Said,
}

/// How a client reaches corsac, or the proxy in front.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As URLs have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL need not name.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What the peer says of the client, in `X-Forwarded-For`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Said {
    /// Nothing, or nothing that counts.
    Nothing,
    /// Who it is.
    Walked(Walk),
    /// What cannot be read.
    Nonsense,
}

impl Caller {
    /// A peer that says nothing which counts. IPv4 mapped to IPv6 becomes IPv4.
    #[must_use]
    pub fn direct(mut peer: SocketAddr, scheme: Scheme) -> Self {
        // Otherwise the peer stays as it is: with its zone, if it has one.
        if let address @ IpAddr::V4(_) = peer.ip().to_canonical() {
            peer.set_ip(address);
        }
        Self { peer, scheme, said: Said::Nothing }
    }

    /// The same where peers of these networks are trusted: with what this one says, if it is
    /// of them. Who came over TLS, did; else one `X-Forwarded-Proto` of `http` or `https` counts.
    #[must_use]
    pub fn trusting(mut self, hops: &Networks, headers: &HeaderMap) -> Self {
        if !hops.contain(self.peer.ip()) {
            return self;
        }
        let mut schemes = headers.get_all(FORWARDED_PROTO).iter();
        if let (Some(scheme), None) = (schemes.next(), schemes.next())
            && scheme == Scheme::Https.as_str()
        {
            self.scheme = Scheme::Https;
        }
        self.said = match walk(lines(headers), |hop| hops.contain(hop)) {
            Ok(None) => Said::Nothing,
            Ok(Some(walk)) => Said::Walked(walk),
            Err(_) => Said::Nonsense,
        };
        self
    }

    /// Whom the connection comes from.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Who sent the request.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        self.named().unwrap_or(self.peer.ip())
    }

    /// The client, where a trusted peer has named it.
    #[must_use]
    pub fn named(&self) -> Option<IpAddr> {
        match self.said {
            Said::Walked(walk) => Some(walk.client),
            Said::Nothing | Said::Nonsense => None,
        }
    }

    /// How the client reached corsac, or the trusted peer.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether the client is one of these. Nobody is where a trusted peer says what cannot be
    /// read: it is not the client, and who is cannot be known.
    #[must_use]
    pub fn is_client_of(&self, networks: &Networks) -> bool {
        self.said != Said::Nonsense && networks.contain(self.client())
    }

    /// What an upstream is to know: the client and the trusted hops behind it, the peer last.
    /// `headers` are those of [`Self::trusting`].
    #[must_use]
    pub fn chain(&self, headers: &HeaderMap) -> SmallVec<[IpAddr; 4]> {
        let walked = match self.said {
            Said::Walked(walk) => walk.addresses,
            Said::Nothing | Said::Nonsense => 0,
        };
        let named = addresses(lines(headers)).take(walked.into()).filter_map(Result::ok);
        let mut chain: SmallVec<_> = iter::once(self.peer.ip()).chain(named).collect();
        chain.reverse();
        chain
    }
}

fn lines(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = &[u8]> {
    headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn hops() -> Networks {
        ["10.0.0.0/8", "2001:db8:a::/48"].iter().map(|text| text.parse().unwrap()).collect()
    }

    fn called(peer: &str, scheme: Scheme, headers: &[(&'static str, &str)]) -> (Caller, HeaderMap) {
        let lines = headers.iter().map(|(name, value)| (*name, value.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name, value);
        }
        (Caller::direct(peer.parse().unwrap(), scheme).trusting(&hops(), &map), map)
    }

    #[test]
    fn who_names_the_client() {
        #[rustfmt::skip]
        let cases = [
            // peer                  says                      client          what upstreams are told
            ("10.0.0.1:1",          "192.0.2.7",              "192.0.2.7",    "192.0.2.7 10.0.0.1"),
            ("10.0.0.1:1",          "192.0.2.7, 10.0.0.2",    "192.0.2.7",    "192.0.2.7 10.0.0.2 10.0.0.1"),
            ("10.0.0.1:1",          "6.6.6.6, 192.0.2.7",     "192.0.2.7",    "192.0.2.7 10.0.0.1"),
            ("[::ffff:10.0.0.1]:1", "::ffff:192.0.2.7",       "192.0.2.7",    "192.0.2.7 10.0.0.1"),
            ("[2001:db8:a::1]:1",   "[2001:db8::7]:99",       "2001:db8::7",  "2001:db8::7 2001:db8:a::1"),
            ("10.0.0.1:1",          "",                       "10.0.0.1",     "10.0.0.1"),
            ("10.0.0.1:1",          "192.0.2.7, unknown",     "10.0.0.1",     "10.0.0.1"),
            ("192.0.2.9:1",         "192.0.2.7",              "192.0.2.9",    "192.0.2.9"),
            ("[::ffff:192.0.2.9]:1", "192.0.2.7",             "192.0.2.9",    "192.0.2.9"),
        ];
        for (peer, says, client, told) in cases {
            let (caller, headers) = called(peer, Scheme::Http, &[("x-forwarded-for", says)]);
            assert_eq!(caller.client().to_string(), client, "{peer} {says}");
            let chain = caller.chain(&headers);
            let chain: Vec<_> = chain.iter().map(ToString::to_string).collect();
            assert_eq!(chain.join(" "), told, "{peer} {says}");
        }
    }

    #[test]
    fn nobody_is_a_client_of_anything_where_that_cannot_be_read() {
        let everyone = ["0.0.0.0/0", "::/0"].iter().map(|text| text.parse().unwrap()).collect();
        for (peer, is_known) in [("10.0.0.1:1", false), ("192.0.2.9:1", true)] {
            let (caller, _) = called(peer, Scheme::Http, &[("x-forwarded-for", "unknown")]);
            assert_eq!(caller.is_client_of(&everyone), is_known, "{peer}");
            assert!(!caller.is_client_of(&Networks::default()));
        }
    }

    #[test]
    fn how_they_came() {
        use Scheme::{Http, Https};
        #[rustfmt::skip]
        let cases: [(&str, Scheme, &[&str], Scheme); 8] = [
            ("10.0.0.1:1",  Http,  &["https"],         Https),
            ("10.0.0.1:1",  Http,  &["http"],          Http),
            ("10.0.0.1:1",  Http,  &[],                Http),
            ("10.0.0.1:1",  Http,  &["https", "http"], Http),
            ("10.0.0.1:1",  Http,  &["Https"],         Http),
            ("10.0.0.1:1",  Https, &["http"],          Https),
            ("192.0.2.9:1", Http,  &["https"],         Http),
            ("192.0.2.9:1", Https, &["http"],          Https),
        ];
        for (peer, scheme, says, due) in cases {
            let says: Vec<_> = says.iter().map(|it| ("x-forwarded-proto", *it)).collect();
            let (caller, _) = called(peer, scheme, &says);
            assert_eq!(caller.scheme(), due, "{peer} {scheme:?} {says:?}");
        }
    }
}
