//! What one entry of an origin list means.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::origin::{
    HOST_LEN_MAX, Origin, default_port, is_domain, is_loopback, is_scheme, parse_port, split_port,
    write_ipv6,
};

/// RFC 1035, section 2.3.4.
const LABEL_LEN_MAX: usize = 63;

/// An entry of `allow_origins`, of a set, of a file or of `timing_allow_origins`.
///
/// What [`fmt::Display`] prints, [`OriginPattern::parse`] reads back.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum OriginPattern {
    /// `*`: every request, answered with a static `*`.
    Any,
    /// `**`: every tuple origin, answered with itself.
    Echo,
    /// `null`: what sandboxed frames and local files send.
    Null,
    /// Such as `https://a.example`, `https://*.a.example` or `http://localhost:*`.
    Tuple(TuplePattern),
}

/// A pattern over tuple origins.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TuplePattern {
    pub(super) scheme: Box<str>,
    /// Written `*.`: one label or more before `host`, and never `host` itself.
    pub(super) subdomains: bool,
    pub(super) host: Box<str>,
    pub(super) port: PortPattern,
}

/// The port of a [`TuplePattern`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PortPattern {
    /// The scheme's default, which is not written.
    Default,
    /// This one.
    Number(u16),
    /// Any, the default included: `:*`.
    Any,
}

/// Why a text is no [`OriginPattern`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginError {
    /// The most fundamental of its faults, such as `E102`.
    pub code: &'static str,
    /// What is wrong, with the value.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl OriginPattern {
    /// Reads one entry of an origin list.
    ///
    /// # Errors
    ///
    /// E102 to E108, E110 or E118: one, the most fundamental, for each entry. What
    /// depends on the rest of a policy is not looked at; `*` and `null` parse.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        match text {
            "*" => Ok(Self::Any),
            "**" => Ok(Self::Echo),
            "null" => Ok(Self::Null),
            _ => TuplePattern::read(text).map(Self::Tuple).map_err(|fault| OriginError {
                code: fault.code,
                message: fault.message,
                help: fault.help.or_else(|| repaired(text).map(|fixed| format!("write {fixed:?}"))),
            }),
        }
    }

    /// Whether an origin is one of those meant. This is the definition; a policy
    /// compiles its patterns so that it need not ask one after the other.
    #[must_use]
    pub fn matches(&self, origin: &Origin<'_>) -> bool {
        match self {
            Self::Any | Self::Echo => true,
            Self::Null => false,
            Self::Tuple(pattern) => pattern.matches(origin),
        }
    }

    /// The patterns that match everything that this one matches, itself first: a policy
    /// with any of them allows at least what this one allows.
    #[must_use]
    pub fn covering(&self) -> Vec<Self> {
        let itself = std::iter::once(self.clone());
        match self {
            Self::Any => vec![Self::Any],
            Self::Echo | Self::Null => itself.chain([Self::Any]).collect(),
            Self::Tuple(tuple) => {
                let wider = tuple.covering().map(Self::Tuple);
                itself.chain(wider).chain([Self::Echo, Self::Any]).collect()
            }
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Echo => f.write_str("**"),
            Self::Null => f.write_str("null"),
            Self::Tuple(pattern) => pattern.fmt(f),
        }
    }
}

impl TuplePattern {
    pub(super) fn matches(&self, origin: &Origin<'_>) -> bool {
        let host = if self.subdomains {
            let prefix = origin.host().strip_suffix(&*self.host);
            prefix.is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
        } else {
            origin.host() == &*self.host
        };
        host && origin.scheme() == &*self.scheme && self.port.matches(origin.port())
    }

    /// Whether it covers plain-text origins that can be tampered with on the way.
    pub(super) fn is_insecure(&self) -> bool {
        &*self.scheme == "http" && !is_loopback(&self.host)
    }

    /// The scheme that was probably meant, if no page has this one: it is a slip away
    /// from a page's, or that of a WebSocket, whose page has another. Extensions and apps
    /// have schemes of their own, so others may be meant as they are.
    pub(super) fn meant_scheme(&self) -> Option<&'static str> {
        match &*self.scheme {
            "http" | "https" => None,
            "ws" => Some("http"),
            "wss" => Some("https"),
            scheme => {
                let is_slip = |page: &&str| strsim::damerau_levenshtein(scheme, page) == 1;
                ["https", "http"].into_iter().find(is_slip)
            }
        }
    }

    /// The patterns, other than itself, that match every origin that it matches.
    pub(super) fn covering(&self) -> impl Iterator<Item = Self> {
        let ports = if self.port == PortPattern::Any {
            vec![PortPattern::Any]
        } else {
            vec![self.port, PortPattern::Any]
        };
        let parents = self.host.match_indices('.').filter_map(|(dot, _)| self.host.get(dot + 1..));
        let hosts = std::iter::once((self.subdomains, &*self.host))
            .chain(parents.map(|parent| (true, parent)))
            .filter(|(_, host)| !host.is_empty());
        hosts
            .flat_map(move |(subdomains, host)| {
                ports.clone().into_iter().map(move |port| Self {
                    scheme: self.scheme.clone(),
                    subdomains,
                    host: host.into(),
                    port,
                })
            })
            .skip(1)
    }

    /// Looks for faults from the most fundamental to the least, so that an entry
    /// has one. The order is part of the contract: users see these codes.
    fn read(text: &str) -> Result<Self, Fault> {
        let parts = Parts::split(text)?;
        let scheme = parts.scheme.to_ascii_lowercase();
        if scheme == "file" {
            return Err(Fault::new(
                "E110",
                format!("{text:?}: pages from files have the origin `null`"),
            ));
        }
        if !parts.authority.is_ascii() {
            return parts.unicode_fault();
        }
        parts.check_wildcards()?;
        if parts.userinfo || !parts.tail.is_empty() {
            let message = format!("an origin ends after its host and port: {text:?}");
            return Err(Fault::new("E103", message));
        }
        let literal_ip = parts.host.starts_with('[');
        if scheme != parts.scheme
            || !literal_ip && parts.host.contains(|c: char| c.is_ascii_uppercase())
        {
            let message = format!("browsers send origins in lower case: {text:?}");
            return Err(Fault::new("E104", message));
        }
        if !is_scheme(&scheme) {
            return Err(Fault::not_an_origin(text, "its scheme is none"));
        }
        let port = parts.read_port(&scheme)?;
        parts.check_host()?;
        Ok(Self {
            scheme: scheme.into(),
            subdomains: parts.subdomains,
            host: parts.host.into(),
            port,
        })
    }
}

impl fmt::Display for TuplePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wildcard = if self.subdomains { "*." } else { "" };
        write!(f, "{}://{wildcard}{}{}", self.scheme, self.host, self.port)
    }
}

impl PortPattern {
    fn matches(self, port: Option<u16>) -> bool {
        match self {
            Self::Default => port.is_none(),
            Self::Number(number) => port == Some(number),
            Self::Any => true,
        }
    }
}

impl fmt::Display for PortPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => Ok(()),
            Self::Number(number) => write!(f, ":{number}"),
            Self::Any => f.write_str(":*"),
        }
    }
}

struct Fault {
    code: &'static str,
    message: String,
    help: Option<String>,
}

impl Fault {
    fn new(code: &'static str, message: String) -> Self {
        Self { code, message, help: None }
    }

    fn not_an_origin(text: &str, why: &str) -> Self {
        Self::new("E102", format!("not an origin: {text:?}: {why}"))
    }
}

/// An entry taken apart, before anything is known to be right.
struct Parts<'a> {
    text: &'a str,
    scheme: &'a str,
    /// Userinfo, host and port.
    authority: &'a str,
    userinfo: bool,
    /// Written `*.` before the host.
    subdomains: bool,
    /// Without `*.`.
    host: &'a str,
    port: Option<&'a str>,
    /// Path, query and fragment.
    tail: &'a str,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, Fault> {
        if text.contains(',') {
            let mut fault = Fault::not_an_origin(text, "it has a comma");
            let each: Vec<&str> =
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
            fault.help = Some(format!("write a list: {each:?}"));
            return Err(fault);
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Fault::not_an_origin(text, "it has white space"));
        }
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty())
        else {
            return Err(without_scheme(text));
        };
        let (authority, tail) =
            rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
        let (userinfo, address) = match authority.rsplit_once('@') {
            Some((_, address)) => (true, address),
            None => (false, authority),
        };
        let (host, port) = split_port(address);
        let (subdomains, host) = match host.strip_prefix("*.") {
            Some(suffix) if !suffix.is_empty() => (true, suffix),
            _ => (false, host),
        };
        if host.is_empty() && !scheme.eq_ignore_ascii_case("file") {
            return Err(Fault::not_an_origin(text, "it has no host"));
        }
        Ok(Self { text, scheme, authority, userinfo, subdomains, host, port, tail })
    }

    fn unicode_fault<T>(&self) -> Result<T, Fault> {
        match idna::domain_to_ascii(self.host) {
            Ok(_) => {
                let message = format!("browsers send host names in Punycode: {:?}", self.text);
                Err(Fault::new("E106", message))
            }
            Err(_) => {
                Err(Fault::not_an_origin(self.text, "its host cannot be written in Punycode"))
            }
        }
    }

    /// `*` stands for the leading labels of a domain, or for a port; nowhere else.
    fn check_wildcards(&self) -> Result<(), Fault> {
        let in_port = self.port.is_some_and(|port| port.contains('*') && port != "*");
        let over_address =
            self.subdomains && (self.host.starts_with('[') || ends_in_number(self.host));
        if !(self.scheme.contains('*') || self.host.contains('*') || in_port || over_address) {
            return Ok(());
        }
        let message =
            format!("`*` stands only for leading labels, as `*.`, or for a port: {:?}", self.text);
        let help = if over_address {
            "list each address; they have no subdomains".to_owned()
        } else if self.host.trim_matches(['*', '.']).is_empty() {
            r#"list the origins; every site there is would be "*""#.to_owned()
        } else if let Some(suffix) = self.host.strip_prefix('*').filter(|rest| is_domain(rest)) {
            format!("for the subdomains write {:?}", format!("{}://*.{suffix}", self.scheme))
        } else {
            format!("write an entry of `allow_origin_regex`: '{}'", as_regex(self.text))
        };
        Err(Fault { code: "E108", message, help: Some(help) })
    }

    fn read_port(&self, scheme: &str) -> Result<PortPattern, Fault> {
        match self.port {
            None => Ok(PortPattern::Default),
            Some("*") => Ok(PortPattern::Any),
            Some(digits) => match parse_port(digits) {
                Some(number) if default_port(scheme) == Some(number) => {
                    let message = format!(
                        "browsers leave out {number}, the port of {scheme}: {:?}",
                        self.text
                    );
                    Err(Fault::new("E105", message))
                }
                Some(number) => Ok(PortPattern::Number(number)),
                None => {
                    let message =
                        format!("a port is 1 to 65535, without a leading zero: {:?}", self.text);
                    Err(Fault::new("E118", message))
                }
            },
        }
    }

    fn check_host(&self) -> Result<(), Fault> {
        if self.host.starts_with('[') || ends_in_number(self.host) {
            return self.check_address();
        }
        let length = self.host.len() + if self.subdomains { "*.".len() } else { 0 };
        let fault = |why| Err(Fault::not_an_origin(self.text, why));
        if !is_domain(self.host) {
            return fault("its host is no domain name");
        }
        if length > HOST_LEN_MAX {
            return fault("its host has over 253 bytes");
        }
        if self.host.split('.').any(|label| label.len() > LABEL_LEN_MAX) {
            return fault("a label of its host has over 63 bytes");
        }
        match idna::domain_to_ascii(self.host) {
            Ok(ascii) if ascii == self.host => Ok(()),
            _ => fault("its host is invalid Punycode"),
        }
    }

    fn check_address(&self) -> Result<(), Fault> {
        match canonical_address(self.host) {
            Some(canonical) if canonical == self.host => Ok(()),
            Some(canonical) => {
                let message = format!("browsers write this address {canonical}: {:?}", self.text);
                Err(Fault::new("E107", message))
            }
            None => Err(Fault::not_an_origin(self.text, "its address is none")),
        }
    }
}

fn without_scheme(text: &str) -> Fault {
    let mut fault = Fault::new("E102", format!("not an origin: {text:?}"));
    let with_scheme = format!("https://{}", text.trim_start_matches('/'));
    fault.help = if text.eq_ignore_ascii_case("null") {
        Some(r#"write "null""#.to_owned())
    } else if TuplePattern::read(&with_scheme).is_ok() {
        Some(format!("an origin has a scheme: {with_scheme:?}"))
    } else {
        Some(
            r#"an origin is a scheme, a host and perhaps a port: "https://app.example.com:8443""#
                .to_owned(),
        )
    };
    fault
}

/// The origin that was most likely meant, if it is one.
fn repaired(text: &str) -> Option<String> {
    let parts = Parts::split(text.trim()).ok()?;
    let scheme = parts.scheme.to_ascii_lowercase();
    let host = canonical_address(parts.host).or_else(|| idna::domain_to_ascii(parts.host).ok())?;
    let wildcard = if parts.subdomains { "*." } else { "" };
    let port = match parts.port {
        None | Some("") => String::new(),
        Some(port)
            if default_port(&scheme)
                .is_some_and(|d| d.to_string() == port.trim_start_matches('0')) =>
        {
            String::new()
        }
        Some(port) => format!(":{}", port.trim_start_matches('0')),
    };
    let fixed = format!("{scheme}://{wildcard}{host}{port}");
    TuplePattern::read(&fixed).is_ok().then_some(fixed)
}

/// How a browser writes an IP address, in whatever form it was given. Addresses
/// mapped from IPv4 become IPv4, which is where such a page really comes from.
fn canonical_address(host: &str) -> Option<String> {
    let Some(literal) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return if ends_in_number(host) { parse_ipv4(host).map(|a| a.to_string()) } else { None };
    };
    // A zone names an interface of this machine; URLs have none.
    let literal = literal.split_once('%').map_or(literal, |(address, _zone)| address);
    let address: Ipv6Addr = literal.parse().ok()?;
    if let Some(mapped) = address.to_ipv4_mapped() {
        return Some(mapped.to_string());
    }
    let mut text = String::from("[");
    write_ipv6(&mut text, address).ok()?;
    text.push(']');
    Some(text)
}

/// URL standard, "ends in a number": such a host is an IPv4 address or nothing.
fn ends_in_number(host: &str) -> bool {
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    let decimal = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    decimal || last.starts_with("0x") && parse_ipv4_number(last).is_some()
}

/// URL standard, "IPv4 parser": one to four numbers in base 8, 10 or 16, the last
/// of which fills all bytes that are left.
fn parse_ipv4(host: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u64> = host
        .strip_suffix('.')
        .unwrap_or(host)
        .split('.')
        .map(parse_ipv4_number)
        .collect::<Option<_>>()?;
    let (last, leading) = numbers.split_last()?;
    if leading.len() > 3 || leading.iter().any(|number| *number > 255) {
        return None;
    }
    let bits_left = 32 - 8 * leading.len();
    if *last >= 1 << bits_left {
        return None;
    }
    let leading_bits = leading.iter().fold(0, |bits, number| bits << 8 | number);
    u32::try_from(leading_bits << bits_left | last).ok().map(Ipv4Addr::from)
}

fn parse_ipv4_number(text: &str) -> Option<u64> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(""), _) => return Some(0),
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (text, 10),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain { u64::from_str_radix(digits, radix).ok() } else { None }
}

/// The regex for which a misplaced `*` was most likely meant: one label, or part
/// of one, so that the suggestion allows no more than was written.
fn as_regex(text: &str) -> String {
    regex_syntax::escape(text).replace(r"\*", "[a-z0-9-]+")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_print_as_they_are_written() {
        let cases = [
            "*",
            "**",
            "null",
            "https://app.example.com",
            "https://app.example.com.",
            "https://*.example.com",
            "https://*.example.com:*",
            "http://localhost:*",
            "http://[::1]:8080",
            "http://127.0.0.1:3000",
            "https://xn--rsum-bpad.example.com",
            "chrome-extension://abcdefghijkl",
        ];
        for text in cases {
            assert_eq!(OriginPattern::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn mistakes_and_their_repairs() {
        let long_label = format!("https://{}.com", "a".repeat(64));
        #[rustfmt::skip]
        let cases = [
            ("",                                  "E102", "an origin is a scheme"),
            ("x.com",                             "E102", "\"https://x.com\""),
            ("*a",                                "E102", "an origin is a scheme"),
            ("*.example.com",                     "E102", "\"https://*.example.com\""),
            ("//x.com",                           "E102", "\"https://x.com\""),
            ("NULL",                              "E102", "\"null\""),
            ("https://",                          "E102", ""),
            ("https:///x",                        "E102", ""),
            ("://x.com",                          "E102", ""),
            (" https://x.com",                    "E102", "\"https://x.com\""),
            ("https://a.com,https://b.com",       "E102", "[\"https://a.com\", \"https://b.com\"]"),
            ("https://a..com",                    "E102", ""),
            ("https://xn--f",                     "E102", ""),
            ("https://a%41.com",                  "E102", ""),
            ("1http://a.com",                     "E102", ""),
            (&long_label,                         "E102", ""),
            ("https://256.1.1.1",                 "E102", ""),
            ("http://[::1",                       "E102", ""),
            ("https://a.com/",                    "E103", "\"https://a.com\""),
            ("https://a.com/*",                   "E103", "\"https://a.com\""),
            ("https://a.com?q",                   "E103", "\"https://a.com\""),
            ("https://a.com#a",                   "E103", "\"https://a.com\""),
            ("https://u:p@a.com",                 "E103", "\"https://a.com\""),
            ("https://App.example.com/",          "E103", "\"https://app.example.com\""),
            ("https://App.example.com",           "E104", "\"https://app.example.com\""),
            ("HTTPS://a.com",                     "E104", "\"https://a.com\""),
            ("https://a.com:443",                 "E105", "\"https://a.com\""),
            ("http://*.a.com:80",                 "E105", "\"http://*.a.com\""),
            ("https://r\u{e9}sum\u{e9}.a.com",    "E106", "\"https://xn--rsum-bpad.a.com\""),
            ("http://127.1",                      "E107", "\"http://127.0.0.1\""),
            ("http://0x7f.0.0.01",                "E107", "\"http://127.0.0.1\""),
            ("http://2130706433",                 "E107", "\"http://127.0.0.1\""),
            ("http://127.0.0.1.",                 "E107", "\"http://127.0.0.1\""),
            ("http://[0:0:0:0:0:0:0:1]",          "E107", "\"http://[::1]\""),
            ("http://[2001:DB8::1]",              "E107", "\"http://[2001:db8::1]\""),
            ("http://[::ffff:7f7f:7f7f]:90",      "E107", "\"http://127.127.127.127:90\""),
            ("http://[fe80::1%25eth0]",           "E107", "\"http://[fe80::1]\""),
            ("https://*",                         "E108", "\"*\""),
            ("https://*.",                        "E108", "\"*\""),
            ("https://*:8080",                    "E108", "\"*\""),
            ("https://*.*.a.com",                 "E108", r"'https://[a-z0-9-]+\.[a-z0-9-]+\.a\.com'"),
            ("https://*a.com",                    "E108", "\"https://*.a.com\""),
            ("https://foo.*.a.com",               "E108", r"'https://foo\.[a-z0-9-]+\.a\.com'"),
            ("*://a.com",                         "E108", ""),
            ("https://a.com:8*",                  "E108", ""),
            ("http://*.127.0.0.1",                "E108", "list each address"),
            ("http://*.[::1]",                    "E108", "list each address"),
            ("file:///x",                         "E110", ""),
            ("FILE://x",                          "E110", ""),
            ("https://a.com:",                    "E118", "\"https://a.com\""),
            ("https://a.com:08080",               "E118", "\"https://a.com:8080\""),
            ("https://a.com:0443",                "E118", "\"https://a.com\""),
            ("https://a.com:65536",               "E118", ""),
            ("https://a.com:x",                   "E118", ""),
        ];
        for (text, code, help) in cases {
            let error = OriginPattern::parse(text).unwrap_err();
            assert_eq!(error.code, code, "{text}: {error:?}");
            assert!(error.help.unwrap_or_default().contains(help), "{text}");
        }
    }

    #[test]
    fn wildcards_stop_at_labels() {
        #[rustfmt::skip]
        let cases = [
            ("https://*.b.example",   "https://a.b.example",         true),
            ("https://*.b.example",   "https://c.a.b.example",       true),
            ("https://*.b.example",   "https://b.example",           false),
            ("https://*.b.example",   "https://xb.example",          false),
            ("https://*.b.example",   "https://a.b.example.",        false),
            ("https://*.b.example",   "https://a.b.example:1",       false),
            ("https://*.b.example",   "http://a.b.example",          false),
            ("https://*.b.example",   "https://a.b.example.evil",    false),
            ("https://*.b.example:*", "https://a.b.example:8080",    true),
            ("https://*.b.example:*", "https://a.b.example",         true),
            ("http://localhost:*",    "http://localhost",            true),
            ("http://localhost:3000", "http://localhost:3001",       false),
        ];
        for (pattern, origin, expected) in cases {
            let origin = Origin::parse(origin.as_bytes()).unwrap();
            assert_eq!(
                OriginPattern::parse(pattern).unwrap().matches(&origin),
                expected,
                "{pattern} {origin}"
            );
        }
    }

    proptest! {
        /// No text makes parsing panic, and what parses prints as it was written.
        #[test]
        fn what_parses_prints_the_same(text in r"(https?|app|file)?(://)?[*.a-zA-Z0-9_\[\]:é%-]{0,24}(:[*0-9]{0,6})?[/?#@]?") {
            if let Ok(pattern) = OriginPattern::parse(&text) {
                prop_assert_eq!(pattern.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            let _outcome = OriginPattern::parse(&text);
        }

        /// Every fix that is offered as a text to write can be written.
        #[test]
        fn fixes_parse(text in r"(https?|HTTP)://[*.a-zA-Z0-9_\[\]:é%-]{0,24}(:[*0-9]{0,6})?[/?#]?") {
            if let Some(fixed) = repaired(&text) {
                prop_assert!(OriginPattern::parse(&fixed).is_ok(), "{}", fixed);
            }
        }
    }
}
