//! What a route asks of a request's host, and the host's canonical form.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::PatternError;

/// What a route asks of a request's host.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum HostPattern {
    /// This host, in its [canonical form](canonical_host).
    Exact(Box<str>),
    /// Any host that ends in `.` and this suffix, with any number of labels
    /// before it: `*.example.com`. Never the bare suffix.
    Suffix(Box<str>),
    /// Nothing.
    Any,
}

/// Longest host name in bytes (RFC 1035, 2.3.4, in its text form).
const MAX_HOST_BYTES: usize = 253;
/// Longest label of a host name in bytes (RFC 1035, 2.3.4).
const MAX_LABEL_BYTES: usize = 63;

impl HostPattern {
    /// Parses a host of a service: `api.example.com`, `*.example.com`, an IPv4
    /// address, or an IPv6 address in brackets.
    ///
    /// # Errors
    ///
    /// A text that no canonical host could equal; the help says what to write.
    /// `*` alone is one too: a service without `hosts` takes any host.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_spelling(text)?;
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
            && address.parse::<Ipv6Addr>().is_ok()
        {
            return Ok(Self::Exact(text.into()));
        }
        let (name, is_suffix) = match text.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (text, false),
        };
        check_name(text, name)?;
        if !ends_in_a_number(name) {
            return Ok(if is_suffix {
                Self::Suffix(name.into())
            } else {
                Self::Exact(name.into())
            });
        }
        if is_suffix {
            return Err(PatternError::new(
                format!("an IP address has no subdomains: \"{text}\""),
                None,
            ));
        }
        match name.parse::<Ipv4Addr>() {
            Ok(_) => Ok(Self::Exact(name.into())),
            Err(_) => Err(PatternError::new(
                format!("not a host: \"{text}\" ends in a number, but is no IPv4 address"),
                None,
            )),
        }
    }

    /// Whether a request with this canonical host is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host == &**name,
            Self::Suffix(suffix) => {
                host.strip_suffix(&**suffix).is_some_and(|rest| rest.ends_with('.'))
            }
            Self::Any => true,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Refuses what is no bare, canonical host, and says what that would be.
fn check_spelling(text: &str) -> Result<(), PatternError> {
    let refuse = |what: &str, host: &str| {
        Err(PatternError::new(format!("{what}: \"{text}\""), Some(format!("write \"{host}\""))))
    };
    if text == "*" {
        return Err(PatternError::new(
            "\"*\" is no host".to_owned(),
            Some("leave `hosts` out: a service without hosts takes any host".to_owned()),
        ));
    }
    if let Some((_, host)) = text.split_once("://") {
        return refuse("a host has no scheme", host.split(['/', '?', '#']).next().unwrap_or(host));
    }
    if let Some((host, _)) = text.split_once('/') {
        return refuse("a host has no path", host);
    }
    if !text.is_ascii() {
        let (star, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
        return match idna::domain_to_ascii(name) {
            Ok(ascii) => refuse("a host is written in Punycode", &format!("{star}{ascii}")),
            Err(_) => Err(PatternError::new(format!("not a host name: \"{text}\""), None)),
        };
    }
    if is_ipv6_without_brackets(text) {
        return refuse("an IPv6 address stands in brackets", &canonical_host(&format!("[{text}]")));
    }
    match canonical_host(text) {
        canonical if canonical == text || canonical == "*" => Ok(()),
        canonical if canonical.len() == text.len() => refuse("a host is lower-case", &canonical),
        canonical => {
            refuse("a host has no port and no trailing dot, and one way to be written", &canonical)
        }
    }
}

fn is_ipv6_without_brackets(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// Refuses what is no host name of letters, digits, hyphens and underscores.
///
/// RFC 1123, 2.1, has no underscore, but internal names have.
fn check_name(text: &str, name: &str) -> Result<(), PatternError> {
    let refuse = |why: String, help: Option<String>| {
        Err(PatternError::new(format!("not a host: \"{text}\" {why}"), help))
    };
    if name.len() > MAX_HOST_BYTES {
        return refuse(format!("is longer than {MAX_HOST_BYTES} bytes"), None);
    }
    for label in name.split('.') {
        if label.contains('*') {
            return refuse(
                "has a `*` that is not its whole first label".to_owned(),
                Some(
                    "a host is a name, or `*.` and a name: any number of labels before it"
                        .to_owned(),
                ),
            );
        }
        if label.is_empty() {
            return refuse("has an empty label".to_owned(), None);
        }
        if label.len() > MAX_LABEL_BYTES {
            return refuse(format!("has a label longer than {MAX_LABEL_BYTES} bytes"), None);
        }
        if let Some(odd) =
            label.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'))
        {
            return refuse(format!("contains {odd:?}"), None);
        }
    }
    Ok(())
}

/// Whether clients read the name as an IPv4 address (URL standard, "ends in a number").
fn ends_in_a_number(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The canonical form of a request's host: lower-case, without port and without
/// the root's trailing dot, an IPv6 address as RFC 5952 writes it.
///
/// Borrowed when the host is canonical up to its port and dot, as what browsers
/// send is. What is no host comes back as it is, and matches no pattern but "any".
#[must_use]
pub fn canonical_host(raw: &str) -> Cow<'_, str> {
    if raw.starts_with('[') {
        return canonical_ipv6(raw);
    }
    // Byte by byte: on a text as short as a host, `str::find` takes three times as long.
    let colon = raw.bytes().position(|byte| byte == b':');
    let name = match colon.and_then(|colon| raw.split_at_checked(colon)) {
        Some((name, port)) if port.strip_prefix(':').is_some_and(is_port) => name,
        _ => raw,
    };
    let name = match name.strip_suffix('.') {
        Some(name) if !name.is_empty() && !name.ends_with('.') && !name.contains(':') => name,
        _ => name,
    };
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn canonical_ipv6(raw: &str) -> Cow<'_, str> {
    let Some((address, after)) = raw.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return Cow::Borrowed(raw);
    };
    let is_bare = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
    let Some(parsed) = address.parse::<Ipv6Addr>().ok().filter(|_| is_bare) else {
        return Cow::Borrowed(raw);
    };
    let canonical = format!("[{parsed}]");
    match raw.strip_suffix(after) {
        Some(bracketed) if bracketed == canonical => Cow::Borrowed(bracketed),
        _ => Cow::Owned(canonical),
    }
}

/// `port` of RFC 3986, 3.2.3, which may be empty.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test may panic"
    )]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for text in [
            "example.com",
            "*.example.com",
            "localhost",
            "a_b.test",
            "xn--bcher-kva.example",
            "127.0.0.1",
            "[::1]",
            "*.com",
        ] {
            assert_eq!(HostPattern::parse(text).map(|host| host.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(HostPattern::parse("*.a.test"), Ok(HostPattern::Suffix("a.test".into())));
    }

    #[test]
    fn refused() {
        #[rustfmt::skip]
        let cases = [
            // text                      help
            ("Example.com",              Some("write \"example.com\"")),
            ("example.com:443",          Some("write \"example.com\"")),
            ("example.com.",             Some("write \"example.com\"")),
            ("https://example.com/x",    Some("write \"example.com\"")),
            ("example.com/x",            Some("write \"example.com\"")),
            ("b\u{fc}cher.example",      Some("write \"xn--bcher-kva.example\"")),
            ("*.b\u{fc}cher.example",    Some("write \"*.xn--bcher-kva.example\"")),
            ("::1",                      Some("write \"[::1]\"")),
            ("[0:0::1]",                 Some("write \"[::1]\"")),
            ("[::1]:80",                 Some("write \"[::1]\"")),
            ("*",                        Some("leave `hosts` out: a service without hosts takes any host")),
            ("a.*.test",                 Some("a host is a name, or `*.` and a name: any number of labels before it")),
            ("*a.test",                  Some("a host is a name, or `*.` and a name: any number of labels before it")),
            ("",                         None),
            ("a..b",                     None),
            (".a",                       None),
            ("*.",                       None),
            ("a b",                      None),
            ("a:b",                      None),
            ("[::1",                     None),
            ("[x]",                      None),
            ("*.0.0.1",                  None),
            ("1.2.3",                    None),
            ("300.1.1.1",                None),
        ];
        for (text, help) in cases {
            let error = HostPattern::parse(text).expect_err(text);
            assert_eq!(error.help.as_deref(), help, "{text}: {error}");
        }
        assert!(HostPattern::parse(&"a".repeat(64)).is_err());
        assert!(HostPattern::parse(&vec!["a"; 130].join(".")).is_err());
    }

    #[test]
    fn canonical_hosts() {
        #[rustfmt::skip]
        let cases = [
            // raw                 canonical
            ("example.com",        "example.com"),
            ("Example.COM:8080",   "example.com"),
            ("example.com.",       "example.com"),
            ("example.com.:80",    "example.com"),
            ("example.com:",       "example.com"),
            ("[::1]",              "[::1]"),
            ("[::1]:80",           "[::1]"),
            ("[0:0::A]:80",        "[::a]"),
            ("127.0.0.1:80",       "127.0.0.1"),
            ("a:b",                "a:b"),
            ("a:80:80",            "a:80:80"),
            ("A:.",                "a:."),
            ("[::1]x",             "[::1]x"),
            ("[::1",               "[::1"),
            (".",                  "."),
            ("..",                 ".."),
            ("",                   ""),
        ];
        for (raw, canonical) in cases {
            assert_eq!(canonical_host(raw), canonical, "{raw:?}");
        }
        for raw in ["example.com", "example.com.:80", "[::1]:80"] {
            assert!(matches!(canonical_host(raw), Cow::Borrowed(_)), "{raw}");
        }
    }

    #[test]
    fn a_suffix_never_matches_itself() {
        let suffix = HostPattern::parse("*.example.com").unwrap();
        assert!(suffix.matches("a.example.com") && suffix.matches("b.a.example.com"));
        assert!(!suffix.matches("example.com") && !suffix.matches("badexample.com"));
    }

    proptest! {
        #[test]
        fn canonical_host_is_idempotent(raw in prop_oneof!["[a-cA-C.:0-9\\[\\]]{0,12}", any::<String>()]) {
            let once = canonical_host(&raw);
            prop_assert_eq!(canonical_host(&once), once.clone());
        }

        #[test]
        fn what_parses_prints_as_it_was_written(text in prop_oneof!["(\\*\\.)?[a-z0-9_.-]{0,20}", "\\[[0-9a-f:]{0,8}\\]", any::<String>()]) {
            if let Ok(host) = HostPattern::parse(&text) {
                prop_assert_eq!(host.to_string(), text);
            }
        }
    }
}
