//! Which certificate is for a server name.

use std::{collections::HashMap, fmt};

/// A name that a certificate is for (RFC 6125, 6.4; RFC 9525): lower case, without a dot
/// at its end.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ServerName {
    /// One host.
    Exact(Box<str>),
    /// `*.example.com`, of which this has `example.com`: one label more, whichever it is.
    Wildcard(Box<str>),
}

/// It is no name that a client can ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NameError;

impl ServerName {
    /// Reads a name as certificates have it. A `*` is the whole leftmost label, or the name
    /// is none.
    ///
    /// # Errors
    /// It is no name of a host.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        let is_host = |name: &str| {
            let is_label = |label: &str| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                !label.is_empty() && label.len() <= 63 && label.bytes().all(plain)
            };
            name.len() <= 253 && name.split('.').all(is_label)
        };
        match name.strip_prefix("*.") {
            Some(parent) if is_host(parent) => Ok(Self::Wildcard(parent.into())),
            None if is_host(name) => Ok(Self::Exact(name.into())),
            _ => Err(NameError),
        }
    }

    /// Whether it covers every host that the other one is.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wildcard(parent), Self::Exact(host)) => parent_of(host) == Some(&**parent),
            (same, other) => same == other,
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// What a listener has for each server name.
#[derive(Clone, Debug)]
pub struct Names<T> {
    exact: HashMap<Box<str>, T>,
    wildcard: HashMap<Box<str>, T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

impl<T: Default> Names<T> {
    /// What is there for this name, to be changed.
    pub fn entry(&mut self, name: &ServerName) -> &mut T {
        let (map, name) = match name {
            ServerName::Exact(name) => (&mut self.exact, name),
            ServerName::Wildcard(parent) => (&mut self.wildcard, parent),
        };
        map.entry(name.clone()).or_default()
    }
}

impl<T> Names<T> {
    /// What is there for a host, in lower case: its own, or else that of the wildcard over
    /// it. The name decides, whatever is there.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<&T> {
        self.exact.get(host).or_else(|| self.wildcard.get(parent_of(host)?))
    }
}

fn parent_of(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, parent)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_certificates_have_them() {
        let exact = |name: &str| Ok(ServerName::Exact(name.into()));
        let wildcard = |name: &str| Ok(ServerName::Wildcard(name.into()));
        #[rustfmt::skip]
        let cases = [
            ("example.com",    exact("example.com")),
            ("Example.COM.",   exact("example.com")),
            ("localhost",      exact("localhost")),
            ("a_b.example",    exact("a_b.example")),
            ("*.example.com",  wildcard("example.com")),
            ("*.com",          wildcard("com")),
            ("*",              Err(NameError)),
            ("*.",             Err(NameError)),
            ("a.*.example",    Err(NameError)),
            ("*.*.example",    Err(NameError)),
            ("a*.example",     Err(NameError)),
            ("",               Err(NameError)),
            (".",              Err(NameError)),
            ("a..b",           Err(NameError)),
            ("a b",            Err(NameError)),
            ("caf\u{e9}.test", Err(NameError)),
        ];
        for (text, due) in cases {
            assert_eq!(ServerName::parse(text), due, "{text:?}");
        }
        assert_eq!(ServerName::parse(&"a".repeat(64)), Err(NameError));
        assert_eq!(ServerName::parse(&"a.".repeat(127)).map(drop), Ok(()));
        assert_eq!(ServerName::parse(&"a.".repeat(128)).map(drop), Err(NameError));
    }

    #[test]
    fn the_most_specific_name_decides() {
        let mut names = Names::<Vec<u8>>::default();
        for (name, value) in [("a.example", 1), ("*.example", 2), ("*.b.example", 3)] {
            let name = ServerName::parse(name).expect("it is one");
            names.entry(&name).push(value);
        }
        #[rustfmt::skip]
        let cases = [
            ("a.example",   Some(1)),
            ("b.example",   Some(2)),
            ("c.b.example", Some(3)),
            ("c.a.example", None),
            ("example",     None),
            ("",            None),
        ];
        for (host, due) in cases {
            let found = names.find(host).and_then(|values| values.first()).copied();
            assert_eq!(found, due, "{host}");
        }
    }

    #[test]
    fn what_a_name_covers() {
        let covers = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|name| ServerName::parse(name).expect("it is one"));
            one.covers(&other)
        };
        assert!(covers("a.example", "a.example") && covers("*.example", "a.example"));
        assert!(covers("*.example", "*.example"));
        assert!(!covers("*.example", "a.b.example") && !covers("*.example", "example"));
        assert!(!covers("a.example", "*.example") && !covers("*.example", "*.a.example"));
    }
}
