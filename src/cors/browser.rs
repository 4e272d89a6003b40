//! A browser's half of CORS: would this page get to read that answer?
//!
//! A small model of the Fetch standard that looks at requests and responses alone and
//! knows nothing of policies: `corsac explain` prints its verdicts, and tests hold
//! [`Policy`](super::Policy) against it. <https://fetch.spec.whatwg.org/#http-fetch>
//!
//! Chromium differs in one point: without credentials, its `*` in
//! Access-Control-Allow-Headers still covers Authorization.

use std::fmt;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
};
use http::{HeaderMap, HeaderName, StatusCode};

use super::methods::SAFELISTED;
use super::token::{elements, is_token};

/// A request that a script makes.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The page's origin, as its Origin header states it.
    pub origin: &'a str,
    /// As the script writes it.
    pub method: &'a str,
    /// The headers that the script sets.
    pub headers: &'a [(&'a str, &'a str)],
    /// Whether cookies and the like go along: `credentials: "include"`.
    pub credentials: bool,
}

/// What a browser asks before it sends a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Preflight {
    pub method: String,
    /// Access-Control-Request-Headers, sorted and in lower case; empty: not sent.
    pub headers: Vec<String>,
}

/// Why a browser keeps an answer from a page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Blocked {
    /// Before anything was sent but a preflight.
    ByPreflight(Fault),
    /// After the request was served.
    ByResponse(Fault),
}

/// What is wrong with an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// No Access-Control-Allow-Origin.
    NoOrigin,
    /// More than one of them, or a list.
    ManyOrigins(String),
    /// Another one.
    OtherOrigin(String),
    /// `*`, but the request carries credentials.
    WildcardWithCredentials,
    /// Access-Control-Allow-Credentials is not `true`, but the request carries them.
    NoCredentials(String),
    /// A preflight's status is not 200 to 299.
    Status(StatusCode),
    /// A list of methods or headers is malformed.
    MalformedList(HeaderName),
    /// The method is not in Access-Control-Allow-Methods.
    Method(String),
    /// A header is not in Access-Control-Allow-Headers.
    Header(String),
}

impl Page<'_> {
    /// The method as it is sent: Fetch, "normalize a method".
    #[must_use]
    pub fn normalized_method(&self) -> String {
        let upper = self.method.to_ascii_uppercase();
        let normalized = matches!(&*upper, "DELETE" | "GET" | "HEAD" | "OPTIONS" | "POST" | "PUT");
        if normalized { upper } else { self.method.to_owned() }
    }

    /// What is asked first; `None`: the request is sent at once.
    #[must_use]
    pub fn preflight(&self) -> Option<Preflight> {
        let method = self.normalized_method();
        let headers = self.unsafe_headers();
        let simple = SAFELISTED.contains(&&*method) && headers.is_empty();
        (!simple).then_some(Preflight { method, headers })
    }

    /// Fetch, "CORS-unsafe request-header names".
    fn unsafe_headers(&self) -> Vec<String> {
        let (safe, mut names): (Vec<_>, Vec<_>) =
            self.headers.iter().partition(|(name, value)| is_safelisted(name, value));
        // Many small safelisted values may smuggle what one may not.
        if safe.iter().map(|(_, value)| value.len()).sum::<usize>() > 1024 {
            names.extend(safe);
        }
        let mut names: Vec<String> =
            names.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Judges the answer to a preflight: Fetch, "CORS-preflight fetch".
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn check_preflight(&self, status: StatusCode, answer: &HeaderMap) -> Result<(), Blocked> {
        self.check_origin(answer).map_err(Blocked::ByPreflight)?;
        if !status.is_success() {
            return Err(Blocked::ByPreflight(Fault::Status(status)));
        }
        self.check_lists(answer).map_err(Blocked::ByPreflight)
    }

    /// Judges the response itself: Fetch, "CORS check".
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn check_response(&self, response: &HeaderMap) -> Result<(), Blocked> {
        self.check_origin(response).map_err(Blocked::ByResponse)
    }

    fn check_origin(&self, answer: &HeaderMap) -> Result<(), Fault> {
        let origin = combined(answer, &ACCESS_CONTROL_ALLOW_ORIGIN).ok_or(Fault::NoOrigin)?;
        if origin == "*" {
            return if self.credentials { Err(Fault::WildcardWithCredentials) } else { Ok(()) };
        }
        if origin != self.origin {
            let many = origin.contains([',', ' ']);
            return Err(if many { Fault::ManyOrigins(origin) } else { Fault::OtherOrigin(origin) });
        }
        if !self.credentials {
            return Ok(());
        }
        match combined(answer, &ACCESS_CONTROL_ALLOW_CREDENTIALS) {
            Some(value) if value == "true" => Ok(()),
            other => Err(Fault::NoCredentials(other.unwrap_or_default())),
        }
    }

    fn check_lists(&self, answer: &HeaderMap) -> Result<(), Fault> {
        let Some(asked) = self.preflight() else { return Ok(()) };
        let methods = tokens(answer, &ACCESS_CONTROL_ALLOW_METHODS)?;
        let headers = tokens(answer, &ACCESS_CONTROL_ALLOW_HEADERS)?;
        let wildcard = |list: &[String]| !self.credentials && list.iter().any(|item| item == "*");
        let method_listed = SAFELISTED.contains(&&*asked.method) || methods.contains(&asked.method);
        if !method_listed && !wildcard(&methods) {
            return Err(Fault::Method(asked.method));
        }
        let refused = asked.headers.into_iter().find(|name| {
            let listed = headers.iter().any(|item| item.eq_ignore_ascii_case(name));
            !listed && (name == "authorization" || !wildcard(&headers))
        });
        refused.map_or(Ok(()), |name| Err(Fault::Header(name)))
    }
}

/// All lines of a header as one value: Fetch, "get a header".
fn combined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    lines.reduce(|all, line| format!("{all}, {line}").into()).map(Into::into)
}

fn tokens(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<String>, Fault> {
    let lines = headers.get_all(name).iter();
    let items = lines.flat_map(|line| elements(line.as_bytes())).filter(|item| !item.is_empty());
    let read = items.map(|item| match std::str::from_utf8(item) {
        Ok(text) if is_token(item) => Ok(text.to_owned()),
        _ => Err(Fault::MalformedList(name.clone())),
    });
    read.collect()
}

/// Fetch, "CORS-safelisted request-header"; without the Range of a media element.
fn is_safelisted(name: &str, value: &str) -> bool {
    let unsafe_byte =
        |b: u8| b < 0x20 && b != b'\t' || br#""():<>?@[\]{}"#.contains(&b) || b == 0x7f;
    value.len() <= 128
        && match &*name.to_ascii_lowercase() {
            "accept" => !value.bytes().any(unsafe_byte),
            "accept-language" | "content-language" => {
                value.bytes().all(|b| b.is_ascii_alphanumeric() || b" *,-.;=".contains(&b))
            }
            "content-type" => {
                let essence =
                    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                let simple =
                    ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
                !value.bytes().any(unsafe_byte) && simple.contains(&&*essence)
            }
            "range" => is_simple_range(value),
            _ => false,
        }
}

/// `bytes=0-` or `bytes=0-9` (Fetch, "simple range header value").
fn is_simple_range(value: &str) -> bool {
    let Some((first, last)) = value.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return false;
    };
    let first: Option<u64> = first.parse().ok();
    first.is_some_and(|first| last.is_empty() || last.parse().is_ok_and(|last| first <= last))
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (of, fault) = match self {
            Self::ByPreflight(fault) => ("the answer to the preflight", fault),
            Self::ByResponse(fault) => ("the response", fault),
        };
        write!(f, "blocked by CORS policy: {of}: {fault}")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOrigin => f.write_str("no 'Access-Control-Allow-Origin' header is present"),
            Self::ManyOrigins(value) => {
                write!(f, "the 'Access-Control-Allow-Origin' header has several values, '{value}', but only one is allowed")
            }
            Self::OtherOrigin(value) => {
                write!(f, "the 'Access-Control-Allow-Origin' header has the value '{value}', which is not the page's origin")
            }
            Self::WildcardWithCredentials => f.write_str(
                "the 'Access-Control-Allow-Origin' header must not be '*' when the request's credentials mode is 'include'",
            ),
            Self::NoCredentials(value) => write!(
                f,
                "the 'Access-Control-Allow-Credentials' header is '{value}', but must be 'true' when the request's credentials mode is 'include'"
            ),
            Self::Status(status) => write!(f, "it does not have HTTP ok status, but {}", status.as_u16()),
            Self::MalformedList(name) => write!(f, "its {name} cannot be parsed"),
            Self::Method(method) => write!(f, "method {method} is not allowed by Access-Control-Allow-Methods"),
            Self::Header(name) => {
                write!(f, "request header field {name} is not allowed by Access-Control-Allow-Headers")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    #![allow(clippy::type_complexity, reason = "a table of cases is read row by row")]

    use super::*;

    const PAGE: Page<'_> =
        Page { origin: "https://a.example", method: "PUT", headers: &[], credentials: false };

    fn answer(lines: &[(&str, &str)]) -> HeaderMap {
        let named =
            |suffix: &str| format!("access-control-allow-{suffix}").parse::<HeaderName>().unwrap();
        lines.iter().map(|(suffix, value)| (named(suffix), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_needs_a_preflight() {
        #[rustfmt::skip]
        let cases: [(&str, &[(&str, &str)], Option<(&str, &[&str])>); 12] = [
            ("GET",   &[],                                         None),
            ("get",   &[("Accept", "*/*")],                        None),
            ("POST",  &[("Content-Type", "text/plain; charset=x")], None),
            ("GET",   &[("Range", "bytes=0-9")],                   None),
            ("POST",  &[("Content-Type", "application/json")],     Some(("POST", &["content-type"]))),
            ("GET",   &[("X-B", "1"), ("x-a", ""), ("x-b", "")],   Some(("GET", &["x-a", "x-b"]))),
            ("GET",   &[("Accept", "{")],                          Some(("GET", &["accept"]))),
            ("GET",   &[("Range", "bytes=9-0")],                   Some(("GET", &["range"]))),
            ("put",   &[],                                         Some(("PUT", &[]))),
            ("patch", &[],                                         Some(("patch", &[]))),
            ("GET",   &[("Accept-Language", "de(")],               Some(("GET", &["accept-language"]))),
            ("GET",   &[("Authorization", "x")],                   Some(("GET", &["authorization"]))),
        ];
        for (method, headers, expected) in cases {
            let asked = Page { method, headers, ..PAGE }.preflight();
            let expected = expected.map(|(method, headers)| Preflight {
                method: method.to_owned(),
                headers: headers.iter().map(|&name| name.to_owned()).collect(),
            });
            assert_eq!(asked, expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn verdicts() {
        let page = |method, headers, credentials| Page { method, headers, credentials, ..PAGE };
        let token: &[(&str, &str)] = &[("Authorization", "x")];
        #[rustfmt::skip]
        let cases: [(Page<'_>, u16, &[(&str, &str)], &str); 13] = [
            (page("PUT", &[], false), 200, &[("origin", "*"), ("methods", "*")], ""),
            (page("PUT", &[], false), 204, &[("origin", PAGE.origin), ("methods", "GET, PUT")], ""),
            (page("GET", token, false), 200, &[("origin", "*"), ("headers", "*,AUTHORIZATION")], ""),
            (page("PUT", &[], true), 200, &[("origin", PAGE.origin), ("credentials", "true"), ("methods", "PUT")], ""),
            (page("PUT", &[], false), 200, &[], "no 'Access-Control-Allow-Origin'"),
            (page("PUT", &[], false), 200, &[("origin", "*"), ("origin", "*")], "several values, '*, *'"),
            (page("PUT", &[], false), 200, &[("origin", "https://b.example")], "'https://b.example'"),
            (page("PUT", &[], true), 200, &[("origin", "*")], "must not be '*'"),
            (page("PUT", &[], true), 200, &[("origin", PAGE.origin), ("credentials", "TRUE")], "is 'TRUE'"),
            (page("PUT", &[], false), 403, &[("origin", "*")], "ok status, but 403"),
            (page("patch", &[], false), 200, &[("origin", "*"), ("methods", "PATCH")], "method patch"),
            (page("PUT", &[], true), 200, &[("origin", PAGE.origin), ("credentials", "true"), ("methods", "*")], "method PUT"),
            (page("GET", token, false), 200, &[("origin", "*"), ("headers", "*")], "field authorization"),
        ];
        for (page, status, lines, expected) in cases {
            let verdict =
                page.check_preflight(StatusCode::from_u16(status).unwrap(), &answer(lines));
            let said = verdict.err().map(|blocked| blocked.to_string()).unwrap_or_default();
            assert_eq!(said.is_empty(), expected.is_empty(), "{said}");
            assert!(said.contains(expected), "{said}");
        }
    }
}
