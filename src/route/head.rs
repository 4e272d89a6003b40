//! The part of a request that routes it, and what a route's predicates say to it.

use http::header::ACCESS_CONTROL_REQUEST_HEADERS;
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode;

use super::{Expect, Predicates};
use crate::cors::REQUESTED_LEN_MAX;

/// The part of a request that routes it, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Head<'r> {
    /// The [canonical host](super::canonical_host); empty if there is none.
    pub host: &'r str,
    /// The [canonical path](super::canonical_path), without the query.
    pub path: &'r str,
    /// What follows the `?`, as it was sent.
    pub query: Option<&'r str>,
    /// The method; of a preflight, the one that it announces.
    pub method: &'r Method,
    /// The headers that were sent.
    pub headers: &'r HeaderMap,
    /// Whether this is a preflight, routed as the request that it announces. That
    /// request's header values are not known yet, so a header predicate then
    /// holds if `Access-Control-Request-Headers` names its header.
    pub announced: bool,
}

/// What became of a route whose host and path match.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fit<'t> {
    /// It takes the request.
    Taken,
    /// It refuses the method, and nothing else.
    Method,
    /// This header is absent or has another value.
    Header(&'t HeaderName),
    /// This query parameter is absent or has another value.
    Query(&'t str),
}

impl Predicates {
    /// What these predicates say to a request: [`Fit::Taken`], or the first that refuses.
    #[must_use]
    pub fn check(&self, head: &Head<'_>) -> Fit<'_> {
        match self.check_all_but_method(head) {
            Fit::Taken if !self.methods.is_empty() && !self.methods.contains(head.method) => {
                Fit::Method
            }
            fit => fit,
        }
    }

    /// As [`Self::check`], whatever the method is.
    pub(super) fn check_all_but_method(&self, head: &Head<'_>) -> Fit<'_> {
        for (name, expect) in &self.headers {
            let holds = if head.announced {
                announces(head.headers, name)
            } else {
                has_header(head.headers, name, expect)
            };
            if !holds {
                return Fit::Header(name);
            }
        }
        for (name, expect) in &self.query {
            if !has_parameter(head.query.unwrap_or_default(), name, expect) {
                return Fit::Query(name);
            }
        }
        Fit::Taken
    }
}

/// Whether `Access-Control-Request-Headers` has this name among its elements, as far as a
/// policy reads them before it refuses.
fn announces(headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut left = REQUESTED_LEN_MAX;
    for line in headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        let line = line.as_bytes();
        let Some(after) = left.checked_sub(line.len()) else {
            // A name that the limit cuts in two does not count, so the line does not.
            return false;
        };
        left = after;
        let mut elements = line.split(|&byte| byte == b',');
        if elements
            .any(|element| element.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
        {
            return true;
        }
    }
    false
}

/// Whether the lines of this name, joined with `, `, are as expected.
fn has_header(headers: &HeaderMap, name: &HeaderName, expect: &Expect) -> bool {
    let Expect::Equals(value) = expect else {
        return headers.contains_key(name);
    };
    let mut lines = headers.get_all(name).iter();
    let Some(mut rest) =
        lines.next().and_then(|first| value.as_bytes().strip_prefix(first.as_bytes()))
    else {
        return false;
    };
    for line in lines {
        match rest.strip_prefix(b", ").and_then(|rest| rest.strip_prefix(line.as_bytes())) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

/// Whether the first parameter of this name is as expected.
fn has_parameter(query: &str, name: &str, expect: &Expect) -> bool {
    let mut parameters = query.as_bytes().split(|&byte| byte == b'&').map(|parameter| {
        let mut halves = parameter.splitn(2, |&byte| byte == b'=');
        (halves.next().unwrap_or_default(), halves.next().unwrap_or_default(), parameter.is_empty())
    });
    parameters
        .find(|(found, _, is_empty)| !is_empty && decoded(found).eq(name.bytes()))
        .is_some_and(|(_, found, _)| match expect {
            Expect::Present => true,
            Expect::Equals(value) => decoded(found).eq(value.bytes()),
        })
}

/// Decodes as forms are (URL standard, "application/x-www-form-urlencoded parsing").
fn decoded(raw: &[u8]) -> impl Iterator<Item = u8> {
    raw.split(|&byte| byte == b'+').enumerate().flat_map(|(i, word)| {
        let space = (i > 0).then_some(b' ');
        space.into_iter().chain(percent_decode(word))
    })
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
    use http::HeaderValue;

    fn equals(value: &str) -> Expect {
        Expect::Equals(value.into())
    }

    fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(name, HeaderValue::from_str(line).unwrap());
        }
        map
    }

    #[test]
    fn header_values() {
        #[rustfmt::skip]
        let cases: [(&[&str], &str, bool); 9] = [
            // lines           expected    holds
            (&["1"],           "1",        true),
            (&["1", "2"],      "1, 2",     true),
            (&["1", "2"],      "1",        false),
            (&["1, 2"],        "1, 2",     true),
            (&["1"],           "1, ",      false),
            (&["1", ""],       "1, ",      true),
            (&[],              "",         false),
            (&[""],            "",         true),
            (&["A"],           "a",        false),
        ];
        let name = HeaderName::from_static("x-a");
        for (lines, expected, holds) in cases {
            let map = headers("x-a", lines);
            assert_eq!(has_header(&map, &name, &equals(expected)), holds, "{lines:?} {expected:?}");
            assert_eq!(has_header(&map, &name, &Expect::Present), !lines.is_empty(), "{lines:?}");
        }
    }

    #[test]
    fn announced_names() {
        let long = "a,".repeat(2044); // 4,088 bytes
        let (fits, exceeds) = (format!("{long}x-token"), format!("{long}xx,x-token"));
        #[rustfmt::skip]
        let cases: [(&[&str], bool); 9] = [
            // lines                         names x-token
            (&["x-token"],                   true),
            (&["X-Token"],                   true),
            (&["a, x-token ,b"],             true),
            (&["a", "x-token"],              true),
            (&["x-tokens", "my-x-token"],    false),
            (&["x token"],                   false),
            (&[],                            false),
            (&[&fits],                       true),
            (&[&exceeds],                    false),
        ];
        let name = HeaderName::from_static("x-token");
        for (lines, holds) in cases {
            assert_eq!(
                announces(&headers("access-control-request-headers", lines), &name),
                holds,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn query_parameters() {
        #[rustfmt::skip]
        let cases = [
            // query         name     expected               holds
            ("a=1&b=2",      "b",     equals("2"),           true),
            ("a=1&b=2",      "c",     Expect::Present,       false),
            ("b",            "b",     Expect::Present,       true),
            ("b",            "b",     equals(""),            true),
            ("b=1&b=2",      "b",     equals("1"),           true),
            ("b=1&b=2",      "b",     equals("2"),           false),
            ("%62=%31",      "b",     equals("1"),           true),
            ("b=a+b%2B",     "b",     equals("a b+"),        true),
            ("b=a=b",        "b",     equals("a=b"),         true),
            ("b=%zz",        "b",     equals("%zz"),         true),
            ("",             "",      Expect::Present,       false),
            ("&&",           "",      Expect::Present,       false),
            ("=1",           "",      equals("1"),           true),
            ("bb=1",         "b",     Expect::Present,       false),
        ];
        for (query, name, expect, holds) in cases {
            assert_eq!(has_parameter(query, name, &expect), holds, "{query:?} {name:?} {expect:?}");
        }
    }
}
