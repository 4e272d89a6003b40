//! One web origin, exactly as a browser serialises it.

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest origin that is read: a scheme of 64 bytes, `://`, a host of 253,
/// and a colon with a port of five digits.
pub const ORIGIN_LEN_MAX: usize = SCHEME_LEN_MAX + 3 + HOST_LEN_MAX + 6;

const SCHEME_LEN_MAX: usize = 64;
/// RFC 1035, section 2.3.4, in its textual form.
pub(super) const HOST_LEN_MAX: usize = 253;

/// A tuple origin: scheme, host and port, borrowed from its text.
///
/// Only the canonical serialisation parses (HTML, "ASCII serialisation of an
/// origin"), so two origins are the same iff their bytes are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin<'a> {
    text: &'a str,
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    /// Reads the value of an `Origin` header; `None` for anything that no browser
    /// would send, `null` included.
    ///
    /// Takes time linear in at most [`ORIGIN_LEN_MAX`] bytes, and no memory.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > ORIGIN_LEN_MAX {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        // A scheme has no colon, so the first one ends it.
        let (scheme, rest) = text.split_at_checked(colon(bytes)?)?;
        let authority = rest.strip_prefix("://")?;
        let (host, port) = split_port(authority);
        let port = match port {
            None => None,
            Some(digits) => Some(parse_port(digits).filter(|p| default_port(scheme) != Some(*p))?),
        };
        let known = is_scheme(scheme) && scheme != "file" && is_host(host);
        known.then_some(Self { text, scheme, host, port })
    }

    /// The whole, such as `https://a.example:8443`.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// Such as `https`.
    #[must_use]
    pub fn scheme(&self) -> &'a str {
        self.scheme
    }

    /// Such as `a.example`, `127.0.0.1` or `[::1]`.
    #[must_use]
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// The port, if it is not the scheme's default.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Scheme and host, as they stand in the text: what `:*` patterns compare.
    pub(super) fn without_port(&self) -> &'a str {
        self.text.get(..self.scheme.len() + 3 + self.host.len()).unwrap_or(self.text)
    }

    /// Whether this is the origin that a request with this `Host` is served from.
    ///
    /// A proxy behind another does not know the scheme, so an absent port stands
    /// for the default of the *origin's* scheme on both sides.
    pub(super) fn is_served_at(&self, host_header: &str) -> bool {
        let (host, port) = split_port(host_header);
        let default = default_port(self.scheme);
        let port = match port {
            None => default,
            Some(digits) => parse_port(digits),
        };
        port.is_some() && port == self.port.or(default) && host.eq_ignore_ascii_case(self.host)
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Splits `host:port`; the colons inside an IPv6 literal are the host's.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    let host_end = match authority.strip_prefix('[') {
        Some(_) => authority.rfind(']').map_or(authority.len(), |bracket| bracket + 1),
        None => 0,
    };
    let port = authority.as_bytes().get(host_end..).and_then(colon);
    match port.and_then(|at| authority.split_at_checked(host_end + at)) {
        None => (authority, None),
        Some((host, port)) => (host, port.strip_prefix(':')),
    }
}

/// Where the first colon is. On a text this short, `str::find` takes three times as long.
fn colon(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| *byte == b':')
}

/// A port from 1 to 65535 without a leading zero.
pub(super) fn parse_port(digits: &str) -> Option<u16> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    if canonical { digits.parse().ok() } else { None }
}

/// The port that a browser leaves out (URL standard, "special scheme").
pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" | "wss" => Some(443),
        "http" | "ws" => Some(80),
        "ftp" => Some(21),
        _ => None,
    }
}

/// RFC 3986, section 3.1, in lower case, with the underscore that some
/// extension and app schemes have.
pub(super) fn is_scheme(text: &str) -> bool {
    text.len() <= SCHEME_LEN_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'.' | b'-' | b'_'))
}

fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => is_canonical_ipv6(address),
        None => is_domain(text),
    }
}

/// Lower-case letters, digits, `.`, `_` and `-`, without an empty label; one
/// trailing dot is legal, and makes another host.
pub(super) fn is_domain(text: &str) -> bool {
    let relative = text.strip_suffix('.').unwrap_or(text);
    let mut label_is_empty = true;
    for byte in relative.bytes() {
        match byte {
            b'.' if label_is_empty => return false,
            b'.' => label_is_empty = true,
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => label_is_empty = false,
            _ => return false,
        }
    }
    !label_is_empty && text.len() <= HOST_LEN_MAX
}

fn is_canonical_ipv6(text: &str) -> bool {
    let Ok(address) = text.parse::<Ipv6Addr>() else { return false };
    let mut rest = Unmatched(text);
    write_ipv6(&mut rest, address).is_ok() && rest.0.is_empty()
}

/// The URL standard's IPv6 serialiser. It is Rust's, except for addresses mapped
/// from IPv4, which the standard writes like all others.
pub(super) fn write_ipv6(out: &mut impl Write, address: Ipv6Addr) -> fmt::Result {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => write!(out, "::ffff:{high:x}:{low:x}"),
        _ => write!(out, "{address}"),
    }
}

/// A sink that compares what is written with what is expected, without a buffer.
struct Unmatched<'a>(&'a str);

impl Write for Unmatched<'_> {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(written).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// Whether a host never leaves the machine: `localhost` and below (RFC 6761,
/// section 6.3), `127.0.0.0/8` and `[::1]`.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    name == "localhost"
        || name.ends_with(".localhost")
        || host == "[::1]"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_parses() {
        let long_host = format!("https://{}.com", "a".repeat(249));
        let longest_host = format!("https://{}.com", "a".repeat(249).replacen('a', "b", 1));
        let too_long = format!("https://{}.com", "a".repeat(250));
        #[rustfmt::skip]
        let cases = [
            ("https://a.example",               true),
            ("https://a.example:8443",          true),
            ("http://a.example:443",            true),
            ("https://a.example.",              true),
            ("https://a_b-c.example",           true),
            ("http://localhost",                true),
            ("http://127.0.0.1:3000",           true),
            ("http://[::1]:8080",               true),
            ("http://[2001:db8::1]",            true),
            ("http://[::ffff:7f7f:7f7f]",       true),
            ("chrome-extension://abcdef",       true),
            ("app+x.y-z_1://host",              true),
            (&long_host,                        true),
            (&longest_host,                     true),
            (&too_long,                         false),
            ("",                                false),
            ("null",                            false),
            ("a.example",                       false),
            ("//a.example",                     false),
            ("https://",                        false),
            ("https://.",                       false),
            ("https://.a.example",              false),
            ("https://a..example",              false),
            ("https://a.example..",             false),
            ("https://a.example:443",           false),
            ("http://a.example:80",             false),
            ("https://a.example:",              false),
            ("https://a.example:0",             false),
            ("https://a.example:08443",         false),
            ("https://a.example:65536",         false),
            ("https://a.example:+1",            false),
            ("https://a.example/",              false),
            ("https://a.example?",              false),
            ("https://u@a.example",             false),
            ("https://A.example",               false),
            ("HTTPS://a.example",               false),
            ("https://a.example,https://b",     false),
            ("https://a.example https://b",     false),
            ("https://a%0a.example",            false),
            ("https://r\u{e9}sum\u{e9}.example", false),
            ("file://a",                        false),
            ("1x://a",                          false),
            ("http://[::1",                     false),
            ("http://[0:0:0:0:0:0:0:1]",        false),
            ("http://[::FFFF]",                 false),
            ("http://[::ffff:127.0.0.1]",       false),
            ("http://[::1]x",                   false),
            ("http://x[::1]",                   false),
            ("http://[fe80::1%25eth0]",         false),
        ];
        for (text, expected) in cases {
            let parsed = Origin::parse(text.as_bytes());
            assert_eq!(parsed.is_some(), expected, "{text}");
            assert!(parsed.is_none_or(|origin| origin.to_string() == text), "{text}");
        }
        assert!(Origin::parse(&[b'h'; 4096]).is_none());
        assert!(Origin::parse(b"https://\xff").is_none());
    }

    #[test]
    fn same_origin_compares_host_and_port() {
        #[rustfmt::skip]
        let cases = [
            ("https://a.example",      "a.example",       true),
            ("https://a.example",      "A.Example:443",   true),
            ("https://a.example:8443", "a.example:8443",  true),
            ("http://a.example",       "a.example:80",    true),
            ("http://[::1]:3000",      "[::1]:3000",      true),
            ("http://[::1]",           "[::1]",           true),
            ("https://a.example",      "a.example:80",    false),
            ("https://a.example:8443", "a.example",       false),
            ("https://a.example",      "b.a.example",     false),
            ("https://a.example",      "a.example:",      false),
            ("https://a.example",      "",                false),
            ("app://a.example",        "a.example:x",     false),
        ];
        for (origin, host, expected) in cases {
            let parsed = Origin::parse(origin.as_bytes());
            assert_eq!(parsed.map(|o| o.is_served_at(host)), Some(expected), "{origin} {host}");
        }
    }

    #[test]
    fn loopback() {
        for host in ["localhost", "dev.localhost", "localhost.", "127.0.0.1", "127.8.9.1", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "xlocalhost", "128.0.0.1", "[::2]", "127.0.0.1.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
