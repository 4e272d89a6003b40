//! Which clients may ask a listener for which host.
//!
//! A client shows its certificate when it connects, and names a host then. With each request it
//! names one anew, and may name another, which is for other clients: a browser does so where a
//! certificate covers both (RFC 9113, 9.1.1), and so does who wants to get round a certificate
//! that is asked for. So each request is judged by its own host.

use std::collections::HashMap;

use super::{
    clients::{ClientAuth, Trust},
    names::Names,
};

/// Whom a listener asks for a certificate, by the host that they name.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// What stands in certificates.
    pub names: Names<Trust>,
    /// For other hosts, and for none. `None`: nobody is let in.
    pub default: Option<Trust>,
}

impl Door {
    /// Who is let in for this host, in lower case; `None`: nobody.
    #[must_use]
    pub fn trust(&self, host: Option<&str>) -> Option<Trust> {
        host.and_then(|host| self.names.find(host)).copied().or(self.default)
    }
}

/// The doors of all listeners that have TLS, by their names.
#[derive(Clone, Debug, Default)]
pub struct Guard(pub HashMap<Box<str>, Door>);

/// What a client has shown when it connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shown<'s> {
    /// The server that it has named.
    pub server_name: Option<&'s str>,
    /// What it was asked by.
    pub trust: Trust,
    /// A certificate that was verified.
    pub has_certificate: bool,
}

/// What a request may expect for the host that it names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Standing {
    /// All that there is.
    #[default]
    Admitted,
    /// The answers of policies to preflights: its client has shown no certificate.
    PreflightsAlone,
    /// Nothing on this connection: the host is for clients of another trust.
    Misdirected {
        /// Nor does any other request: what it was made for has changed.
        closes: bool,
    },
}

impl Guard {
    /// What a request for `host`, in lower case, may expect that came to this listener; over
    /// TLS with what its client has `shown`.
    #[must_use]
    pub fn judge(&self, listener: &str, shown: Option<Shown<'_>>, host: &str) -> Standing {
        let trust = shown.map_or(Trust::Anybody, |shown| shown.trust);
        if let Some(shown) = shown {
            let asks = |host| self.0.get(listener).and_then(|door| door.trust(host));
            if asks(Some(host)) != Some(trust) {
                let closes = asks(shown.server_name) != Some(trust);
                return Standing::Misdirected { closes };
            }
        }
        // A host that asks for certificates has no other door.
        let mut required = self.required(host).peekable();
        if required.peek().is_some() && !required.any(|asked| asked == trust) {
            return Standing::Misdirected { closes: false };
        }
        let is_asked = trust.auth() == Some(ClientAuth::RequireExceptPreflights);
        match shown {
            Some(shown) if is_asked && !shown.has_certificate => Standing::PreflightsAlone,
            _ => Standing::Admitted,
        }
    }

    /// What any listener requires of those who ask for this host.
    pub fn required(&self, host: &str) -> impl Iterator<Item = Trust> {
        let asked = self.0.values().filter_map(move |door| door.names.find(host)).copied();
        asked.filter(|trust| trust.auth().is_some_and(ClientAuth::is_required))
    }
}

impl Standing {
    /// Where there is no guard, since no listener asks for a certificate; a client may have
    /// been asked when one did.
    #[must_use]
    pub fn without_guard(shown: Option<Shown<'_>>) -> Self {
        match shown.map_or(Trust::Anybody, |shown| shown.trust) {
            Trust::Anybody => Self::Admitted,
            Trust::Vouched { .. } => Self::Misdirected { closes: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::{Authority, Clients, ServerName};

    fn trust(authority: &'static [u8], auth: ClientAuth) -> Trust {
        let authority = Authority { certificate: authority.into(), title: String::new() };
        Clients::new(vec![authority], auth).trust
    }

    fn door(names: &[(&str, Trust)], default: Option<Trust>) -> Door {
        let mut door = Door { names: Names::default(), default };
        for (name, trust) in names {
            *door.names.entry(&ServerName::parse(name).expect("it is one")) = *trust;
        }
        door
    }

    #[test]
    fn what_tells_trusts_apart() {
        let authority =
            |bytes: &'static [u8]| Authority { certificate: bytes.into(), title: String::new() };
        let (one, two) = (authority(b"1"), authority(b"2"));
        let of = |authorities: Vec<Authority>, auth| Clients::new(authorities, auth).trust;
        let both = of(vec![one.clone(), two.clone()], ClientAuth::Require);
        assert_eq!(both, of(vec![two.clone(), one.clone(), two], ClientAuth::Require));
        assert_ne!(both, of(vec![one.clone()], ClientAuth::Require));
        let modes = ClientAuth::WORDS.map(|(_, auth)| of(vec![one.clone()], auth));
        let mut bindings: Vec<_> = modes.iter().map(|trust| trust.binding()).collect();
        bindings.extend([both.binding(), Trust::Anybody.binding()]);
        bindings.sort_unstable();
        bindings.dedup();
        assert_eq!(bindings.len(), 5);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn who_may_ask_for_what() {
        let staff = trust(b"staff", ClientAuth::Require);
        let other = trust(b"other", ClientAuth::Require);
        let asked = trust(b"staff", ClientAuth::Request);
        let pages = trust(b"staff", ClientAuth::RequireExceptPreflights);
        let https = door(
            &[
                ("a.test", staff),
                ("*.a.test", staff),
                ("open.a.test", Trust::Anybody),
                ("asked.test", asked),
                ("pages.test", pages),
                ("www.test", Trust::Anybody),
            ],
            Some(Trust::Anybody),
        );
        let more = door(&[("both.test", other), ("www.test", Trust::Anybody)], None);
        let third = door(&[("both.test", staff), ("x.open.test", staff)], Some(staff));
        let guard = Guard(HashMap::from([
            ("https".into(), https),
            ("more".into(), more),
            ("third".into(), third),
        ]));
        let shown = |server_name, trust| Shown { server_name, trust, has_certificate: true };
        let came = |name: &'static str, trust| Some(shown(Some(name), trust));
        let bare = |name: &'static str, trust| {
            Some(Shown { has_certificate: false, ..shown(Some(name), trust) })
        };
        let (admitted, preflights) = (Standing::Admitted, Standing::PreflightsAlone);
        let [misdirected, closes] = [false, true].map(|closes| Standing::Misdirected { closes });
        #[rustfmt::skip]
        let cases = [
            // listener  handshake                     host            standing
            ("https",    came("a.test", staff),        "a.test",       admitted),
            ("https",    came("a.test", staff),        "b.a.test",     admitted),
            ("https",    came("b.a.test", staff),      "a.test",       admitted),
            // Another name of the same listener, either way round.
            ("https",    came("a.test", staff),        "www.test",     misdirected),
            ("https",    came("a.test", staff),        "open.a.test",  misdirected),
            ("https",    came("a.test", staff),        "asked.test",   misdirected),
            ("https",    came("www.test", Trust::Anybody),       "a.test",       misdirected),
            ("https",    came("www.test", Trust::Anybody),       "b.a.test",     misdirected),
            ("https",    came("www.test", Trust::Anybody),       "asked.test",   misdirected),
            ("https",    came("www.test", Trust::Anybody),       "www.test",     admitted),
            ("https",    came("www.test", Trust::Anybody),       "open.a.test",  admitted),
            ("https",    came("www.test", Trust::Anybody),       "",             admitted),
            ("https",    came("other.test", Trust::Anybody),     "other.test",   admitted),
            // Another listener's.
            ("https",    came("both.test", Trust::Anybody),      "both.test",    misdirected),
            ("https",    came("both.test", Trust::Anybody),      "x.open.test",  misdirected),
            ("third",    came("both.test", staff),     "both.test",    admitted),
            ("more",     came("both.test", other),     "both.test",    admitted),
            ("third",    came("www.test", staff),      "www.test",     admitted),
            ("third",    came("a.test", staff),        "pages.test",   misdirected),
            // A listener that lets in nobody else.
            ("more",     came("www.test", Trust::Anybody),       "www.test",     admitted),
            ("more",     came("www.test", Trust::Anybody),       "other.test",   misdirected),
            // In the clear.
            ("http",     None,                         "a.test",       misdirected),
            ("http",     None,                         "b.a.test",     misdirected),
            ("http",     None,                         "pages.test",   misdirected),
            ("http",     None,                         "both.test",    misdirected),
            ("http",     None,                         "asked.test",   admitted),
            ("http",     None,                         "open.a.test",  admitted),
            ("http",     None,                         "www.test",     admitted),
            ("http",     None,                         "",             admitted),
            // Who comes without a certificate.
            ("https",    bare("pages.test", pages),    "pages.test",   preflights),
            ("https",    came("pages.test", pages),    "pages.test",   admitted),
            ("https",    bare("asked.test", asked),    "asked.test",   admitted),
            ("https",    bare("pages.test", pages),    "www.test",     misdirected),
            // What they came by is another now.
            ("https",    came("a.test", other),        "a.test",       closes),
            ("https",    came("a.test", Trust::Anybody),         "a.test",       closes),
            ("https",    came("www.test", staff),      "a.test",       admitted),
            ("https",    came("www.test", other),      "a.test",       closes),
            ("gone",     came("a.test", staff),        "a.test",       closes),
        ];
        for (index, (listener, shown, host, due)) in cases.into_iter().enumerate() {
            assert_eq!(guard.judge(listener, shown, host), due, "{index}: {listener} {host}");
        }
        assert_eq!(Standing::without_guard(None), admitted);
        assert_eq!(Standing::without_guard(came("a.test", Trust::Anybody)), admitted);
        assert_eq!(Standing::without_guard(came("a.test", staff)), closes);
    }
}
