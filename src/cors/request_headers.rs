//! Which request headers a policy allows, and the list in which a preflight asks.

use std::cmp::Ordering;
use std::collections::HashSet;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::findings::Findings;
use super::spec::Part;
use super::token::{elements, is_token, joined, shared};

/// All Access-Control-Request-Headers lines together, in bytes. Browsers send one
/// line of the names that a page's script sets; the largest seen have some hundred.
pub const REQUESTED_LEN_MAX: usize = 4096;
/// Empty list elements that are passed over. RFC 9110, section 5.6.1.2, asks for
/// "a reasonable number"; browsers send none, but intermediaries that join lines may.
const EMPTY_ELEMENTS_MAX: usize = 16;

/// Fetch, "forbidden request-header"; `proxy-` and `sec-` are prefixes of more.
const FORBIDDEN: [&str; 22] = [
    "accept-charset",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "connection",
    "content-length",
    "cookie",
    "cookie2",
    "date",
    "dnt",
    "expect",
    "host",
    "keep-alive",
    "origin",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// The CORS headers of responses.
const RESPONSE: [HeaderName; 8] = [
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
    HeaderName::from_static("access-control-allow-private-network"),
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("timing-allow-origin"),
];

/// `allow_headers`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowHeaders {
    every: Every,
    /// In lower case, sorted, without repeats.
    sorted: Box<[Box<str>]>,
    /// As written, in order.
    written: Box<[Box<str>]>,
}

/// What stands for names that are not listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Every {
    /// Nothing.
    None,
    /// `*`: each but `authorization` (Fetch, "CORS non-wildcard request-header name").
    Wildcard,
    /// `**`: each.
    Echo,
}

impl AllowHeaders {
    pub(super) fn check(
        written: Option<&[String]>,
        credentials: bool,
        findings: &mut Findings,
    ) -> Self {
        let default = ["*".to_owned()];
        let entries = written.unwrap_or(&default);
        let has =
            |wanted: &str| entries.iter().position(|entry| entry.eq_ignore_ascii_case(wanted));
        let (every, wildcard) = match (has("**"), has("*")) {
            (Some(_), _) => (Every::Echo, "**"),
            (None, Some(_)) => (Every::Wildcard, "*"),
            (None, None) => (Every::None, ""),
        };
        let literal = every == Every::Wildcard && credentials;
        if literal {
            let (place, origin) = match (written, has("*")) {
                (Some(_), Some(index)) => (Part::Header(index), "`*` in `allow_headers`"),
                _ => (Part::Headers, "`*`, the default of `allow_headers`,"),
            };
            findings.error(
                "E143",
                place,
                format!("browsers read {origin} literally once credentials are sent"),
            );
            findings.help("list the headers, or write \"**\" to allow every one that is asked for");
        } else if let (Some(index), Every::Wildcard, Some(_), None) =
            (has("*"), every, written, has("authorization"))
        {
            findings.warning("W144", Part::Header(index), "`*` does not cover Authorization");
            findings.help(r#"if pages send it, write ["*", "authorization"]"#);
        }
        let mut helped = false;
        for (index, entry) in entries.iter().enumerate() {
            let place = Part::Header(index);
            if is_forbidden(entry) {
                refuse_forbidden(entry, place, entries, &mut helped, findings);
                continue;
            }
            if !check_entry(entry, place, findings) || literal {
                continue;
            }
            let needed = every == Every::Wildcard && entry.eq_ignore_ascii_case("authorization");
            if every != Every::None && entry != wildcard && !needed {
                findings.warning(
                    "W145",
                    Part::Header(index),
                    format!("{entry:?} is redundant beside {wildcard:?}"),
                );
            }
        }
        let written = entries.iter().map(|entry| entry.as_str().into()).collect();
        let mut sorted: Vec<Box<str>> = entries
            .iter()
            .filter(|entry| *entry != "*")
            .map(|entry| entry.to_ascii_lowercase().into())
            .collect();
        sorted.sort();
        sorted.dedup();
        Self { every, sorted: sorted.into(), written }
    }

    /// The entries as written.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.written.iter().map(|entry| &**entry)
    }

    pub(super) fn is_echo(&self) -> bool {
        self.every == Every::Echo
    }

    /// Whether a preflight for this header succeeds; names have no case.
    #[must_use]
    pub fn allows(&self, name: &[u8]) -> bool {
        match self.every {
            Every::Echo => true,
            Every::Wildcard if !name.eq_ignore_ascii_case(b"authorization") => true,
            _ => self.sorted.binary_search_by(|listed| compare(listed.as_bytes(), name)).is_ok(),
        }
    }

    /// What Access-Control-Allow-Headers says whoever asks; `None`: nothing, or it
    /// depends on the request.
    pub(super) fn answer(&self) -> Option<HeaderValue> {
        if self.is_echo() { None } else { joined(self.entries()) }
    }
}

/// Orders a lower-case name before or after one in any case.
fn compare(lower: &[u8], name: &[u8]) -> Ordering {
    lower.iter().copied().cmp(name.iter().map(u8::to_ascii_lowercase))
}

/// Reports an entry that cannot stand in `allow_headers`; whether it can.
fn check_entry(entry: &str, place: Part, findings: &mut Findings) -> bool {
    if entry == "*" || entry == "**" {
        return true;
    }
    if !is_token(entry.as_bytes()) {
        findings.error("E140", place, format!("not a header name: {entry:?}"));
        if entry.contains([',', ' ']) {
            let each = entry.split([',', ' ']).filter(|part| !part.is_empty());
            let (forbidden, kept): (Vec<&str>, Vec<&str>) =
                each.partition(|part| is_forbidden(part));
            let without = if forbidden.is_empty() {
                String::new()
            } else {
                format!(", without {}: pages cannot set them", forbidden.join(", "))
            };
            findings.help(format!("write a list: {kept:?}{without}"));
        }
        return false;
    }
    if RESPONSE.iter().any(|name| name.as_str().eq_ignore_ascii_case(entry)) {
        findings.error("E142", place, format!("{entry} is a response header"));
        findings.help("leave it out; corsac sends it where it is due");
        return false;
    }
    true
}

/// Fetch, "forbidden request-header".
fn is_forbidden(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    FORBIDDEN.contains(&lower.as_str())
        || ((lower.starts_with("sec-") || lower.starts_with("proxy-"))
            && is_token(lower.as_bytes()))
}

/// Reports an entry that no page can send. Lists that are handed down from proxy to proxy
/// have several, so the first is `helped` with what is left of the whole list.
fn refuse_forbidden(
    entry: &str,
    place: Part,
    entries: &[String],
    helped: &mut bool,
    findings: &mut Findings,
) {
    let message = format!("browsers never let a page set {entry}, so no preflight asks for it");
    findings.error("E141", place, message);
    let kept: Vec<&String> = entries.iter().filter(|entry| !is_forbidden(entry)).collect();
    findings.help(if entry.eq_ignore_ascii_case("cookie") {
        "leave it out; cookies are `allow_credentials`".to_owned()
    } else if *helped || kept.is_empty() {
        "leave it out".to_owned()
    } else {
        *helped = true;
        format!("write allow_headers = {kept:?}")
    });
}

/// Why the list of requested headers cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ListError {
    /// Over [`REQUESTED_LEN_MAX`] bytes.
    TooLong,
    /// An element is no token, or too many are empty.
    Malformed,
}

/// The names that a preflight asks for: all Access-Control-Request-Headers lines.
pub(super) struct Requested<'r> {
    headers: &'r HeaderMap,
}

impl<'r> Requested<'r> {
    /// Checks length, then form. Takes time linear in at most [`REQUESTED_LEN_MAX`]
    /// bytes: a longer list is not read at all. Allocates nothing.
    pub(super) fn of(headers: &'r HeaderMap) -> Result<Self, ListError> {
        let requested = Self { headers };
        if requested.lines().map(HeaderValue::len).sum::<usize>() > REQUESTED_LEN_MAX {
            return Err(ListError::TooLong);
        }
        let (mut empty, mut sound) = (0, true);
        for element in requested.lines().flat_map(|line| elements(line.as_bytes())) {
            empty += usize::from(element.is_empty());
            sound &= element.is_empty() || is_token(element);
        }
        if sound && empty <= EMPTY_ELEMENTS_MAX { Ok(requested) } else { Err(ListError::Malformed) }
    }

    fn lines(&self) -> impl Iterator<Item = &'r HeaderValue> + use<'r> {
        self.headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter()
    }

    /// The names, repeats included.
    pub(super) fn names(&self) -> impl Iterator<Item = &'r str> + use<'r> {
        let elements = self.lines().flat_map(|line| elements(line.as_bytes()));
        elements.filter_map(|name| std::str::from_utf8(name).ok()).filter(|name| !name.is_empty())
    }

    /// The names in lower case and without repeats, for `**`; `None` if there are none.
    ///
    /// Browsers send exactly this, sorted, in one line, which is then not copied.
    pub(super) fn echo(&self) -> Option<HeaderValue> {
        let mut lines = self.lines();
        if let (Some(only), None) = (lines.next(), lines.next())
            && is_canonical(only.as_bytes())
        {
            return Some(only.clone());
        }
        let lower: Vec<String> = self.names().map(str::to_ascii_lowercase).collect();
        let mut seen = HashSet::new();
        let unique: Vec<&str> =
            lower.iter().map(String::as_str).filter(|name| seen.insert(*name)).collect();
        if unique.is_empty() { None } else { Some(shared(unique.join(","))) }
    }
}

/// Whether a list is in lower case, unpadded, and ascending, so that none repeats.
fn is_canonical(line: &[u8]) -> bool {
    let plain = !line.iter().any(|byte| byte.is_ascii_uppercase() || matches!(byte, b' ' | b'\t'));
    plain
        && !line.is_empty()
        && line.split(|byte| *byte == b',').is_sorted_by(|a, b| !a.is_empty() && a < b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    #![allow(clippy::type_complexity, reason = "a table of cases is read row by row")]

    use proptest::prelude::*;

    use super::*;

    fn asking(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (ACCESS_CONTROL_REQUEST_HEADERS, line.parse().unwrap())).collect()
    }

    #[test]
    fn lists_are_read_in_bounds() {
        let longest = "a".repeat(REQUESTED_LEN_MAX);
        let too_long = format!("{longest}a");
        let (commas, too_many_commas) = (",".repeat(15), ",".repeat(16));
        #[rustfmt::skip]
        let cases: [(&[&str], Result<&[&str], ListError>); 12] = [
            (&[],                   Ok(&[])),
            (&[""],                 Ok(&[])),
            (&["x-a"],              Ok(&["x-a"])),
            (&["X-B , x-a,\tx-B"],  Ok(&["X-B", "x-a", "x-B"])),
            (&["x-a", "x-b,x-c"],   Ok(&["x-a", "x-b", "x-c"])),
            (&["x-a,,x-b"],         Ok(&["x-a", "x-b"])),
            (&[&commas],            Ok(&[])),
            (&[&too_many_commas],   Err(ListError::Malformed)),
            (&["x a"],              Err(ListError::Malformed)),
            (&["x-a,x:b"],          Err(ListError::Malformed)),
            (&[&longest],           Ok(&[&longest])),
            (&[&too_long],          Err(ListError::TooLong)),
        ];
        for (lines, expected) in cases {
            let headers = asking(lines);
            let read = Requested::of(&headers).map(|list| list.names().collect::<Vec<_>>());
            assert_eq!(read, expected.map(<[_]>::to_vec), "{lines:?}");
        }
    }

    proptest! {
        /// The echo is what a set of lower-cased names in their first order gives.
        #[test]
        fn echo_agrees_with_the_obvious_loop(lines in prop::collection::vec("[a-cA-C ,]{0,12}", 0..4)) {
            let headers = asking(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            let Ok(list) = Requested::of(&headers) else { return Ok(()) };
            let mut expected: Vec<String> = Vec::new();
            for name in list.names().map(str::to_ascii_lowercase) {
                if !expected.contains(&name) {
                    expected.push(name);
                }
            }
            let echoed = list.echo().map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
            prop_assert_eq!(echoed, expected.join(","));
        }
    }
}
