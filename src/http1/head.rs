//! The head of a request.
//!
//! Syntax is httparse's, as it is Pingora's. What a head means for the message around it
//! (its target's form, its host, where its body ends) is judged here, and strictly: a head
//! that a client, corsac and an upstream could read in two ways is not served.

use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

/// The most header fields that a limit can allow: Pingora reads no more.
pub const HEADERS_MAX: usize = 256;

/// The longest target that a limit can allow, in bytes: the crate `http` reads no more.
pub const TARGET_MAX: usize = 65_534;

/// How much of a head a client may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeadLimits {
    /// Bytes of the whole head.
    pub size: usize,
    /// Header fields; [`HEADERS_MAX`] at most.
    pub headers: usize,
    /// Bytes of the target; [`TARGET_MAX`] at most.
    pub target: usize,
}

/// A head that is whole, and may be acted on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestHead {
    /// Its bytes, the empty line included.
    pub length: usize,
    /// What follows it.
    pub body: Body,
    /// The client waits for `100 Continue` before it sends its body (RFC 9110, 10.1.1).
    pub expects_continue: bool,
}

/// Where a request's body ends (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// This many bytes follow; 0: there is none.
    Length(u64),
    /// Chunks follow, up to an empty one.
    Chunked,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Malformed {
    /// The request line or a header line is not HTTP/1.
    Syntax,
    /// The target has no form that a proxy serves, or a byte that may not stand there.
    Target,
    /// HTTP/1.1 without `Host` (RFC 9112, 3.2).
    HostMissing,
    /// More than one `Host`, one that is no host, or one that is not the target's.
    Host,
    /// Where the body ends is told twice, or not at all.
    Framing,
    /// A transfer coding besides `chunked` (RFC 9112, 6.1).
    Coding,
    /// `CONNECT`: corsac opens no tunnels to where a client says.
    Connect,
    /// The target is longer than the limit.
    TargetTooLong,
    /// The head is larger than the limit, or has more fields.
    TooLarge,
}

/// What the first line of a head says, as far as it can be read. For the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RequestLine<'h> {
    /// A token.
    pub method: Option<&'h str>,
    /// Any bytes without a space.
    pub target: Option<&'h [u8]>,
}

impl<'h> RequestLine<'h> {
    /// Reads what is there; a line that does not begin with a method says nothing.
    #[must_use]
    pub fn of(head: &'h [u8]) -> Self {
        let line = head.trim_ascii_start().split(|byte| matches!(byte, b'\r' | b'\n')).next();
        let mut words = line.unwrap_or_default().splitn(3, |byte| *byte == b' ');
        let method =
            words.next().filter(|word| !word.is_empty() && word.iter().copied().all(is_token));
        let method = method.and_then(|word| str::from_utf8(word).ok());
        Self { method, target: method.and_then(|_| words.next()) }
    }
}

/// Reads the head at the start of `bytes`; `None`: more of it is to come.
///
/// To be called again when more bytes are there. Empty lines before a head are skipped
/// (RFC 9112, 2.2).
///
/// # Errors
/// What is wrong with it. The connection has no next request.
pub fn read(bytes: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, Malformed> {
    let mut room = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; HEADERS_MAX];
    let room = room.get_mut(..limits.headers).unwrap_or_default();
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, room);
    match parsed {
        Ok(httparse::Status::Complete(length)) if length <= limits.size => {
            meaning(&request, limits, length).map(Some)
        }
        Ok(httparse::Status::Complete(_)) => Err(Malformed::TooLarge),
        Ok(httparse::Status::Partial) => partial(bytes, limits),
        Err(error) => Err(refused(bytes, limits, error)),
    }
}

/// Whether the beginning of a head, with no line whole yet, can still become a head. Cheaper
/// than [`read`], which need not be asked before a line has ended.
///
/// # Errors
/// What is wrong with it.
pub fn begin(bytes: &[u8], limits: &HeadLimits) -> Result<(), Malformed> {
    partial(bytes, limits).map(drop)
}

fn partial(bytes: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, Malformed> {
    let begun = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let begun = begun.and_then(|at| bytes.get(at..)).unwrap_or_default();
    // A client of another protocol, such as TLS, is not left waiting.
    if begun.first().is_some_and(|first| !is_token(*first)) {
        return Err(Malformed::Syntax);
    }
    if bytes.len() < limits.size && !has_long_target(begun, limits) {
        return Ok(None);
    }
    let is_first_line = !begun.contains(&b'\n');
    Err(if is_first_line { Malformed::TargetTooLong } else { Malformed::TooLarge })
}

/// Whether the line that begins here has a target, whole or not, beyond the limit.
fn has_long_target(line: &[u8], limits: &HeadLimits) -> bool {
    line.len() > limits.target
        && RequestLine::of(line).target.is_some_and(|target| target.len() > limits.target)
}

fn refused(bytes: &[u8], limits: &HeadLimits, error: httparse::Error) -> Malformed {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => Malformed::TooLarge,
        Error::Token | Error::Version => {
            let line = RequestLine::of(bytes);
            match line.target {
                Some(target) if target.len() > limits.target => Malformed::TargetTooLong,
                Some(target) if is_bad_target(target, bytes) => Malformed::Target,
                _ => Malformed::Syntax,
            }
        }
        _ => Malformed::Syntax,
    }
}

/// Whether it is the target that makes a line unreadable: a byte in it, or a space.
fn is_bad_target(target: &[u8], bytes: &[u8]) -> bool {
    let line = bytes.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_http = |version: &[u8]| matches!(version, b"HTTP/1.1" | b"HTTP/1.0");
    let ends = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next().is_some_and(is_http);
    ends && !target.is_empty()
}

fn meaning(
    request: &httparse::Request<'_, '_>,
    limits: &HeadLimits,
    length: usize,
) -> Result<RequestHead, Malformed> {
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Malformed::Syntax);
    };
    let is_1_0 = request.version == Some(0);
    if target.len() > limits.target {
        return Err(Malformed::TargetTooLong);
    }
    if method == "CONNECT" {
        return Err(Malformed::Connect);
    }
    let authority = authority(target, method)?;
    let mut host = None;
    let mut content_length = None;
    let mut is_chunked = None;
    let mut expects_continue = false;
    for header in request.headers.iter() {
        let (name, value) = (header.name, header.value.trim_ascii());
        // By length first: nearly every name is another one.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") && host.replace(value).is_some() => {
                return Err(Malformed::Host);
            }
            6 if name.eq_ignore_ascii_case("expect") => {
                expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                let value = digits(value).ok_or(Malformed::Framing)?;
                if content_length.replace(value).is_some() {
                    return Err(Malformed::Framing);
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                let before = is_chunked.replace(coding(value));
                if before.is_some() {
                    is_chunked = Some(Err(Malformed::Coding));
                }
            }
            _ => {}
        }
    }
    match host {
        Some(host) if !host.is_empty() && !is_host(host) => return Err(Malformed::Host),
        Some(host) if authority.is_some_and(|authority| authority != host) => {
            return Err(Malformed::Host);
        }
        None if !is_1_0 => return Err(Malformed::HostMissing),
        _ => {}
    }
    let body = match (is_chunked, content_length) {
        // RFC 9112, 6.1: of HTTP/1.0, or beside a length, the framing is faulty.
        (Some(_), Some(_)) => return Err(Malformed::Framing),
        (Some(_), None) if is_1_0 => return Err(Malformed::Framing),
        (Some(coding), None) => coding.map(|()| Body::Chunked)?,
        (None, length) => Body::Length(length.unwrap_or(0)),
    };
    Ok(RequestHead { length, body, expects_continue: expects_continue && !is_1_0 })
}

/// Checks a target's form and bytes; returns the authority of one in absolute form.
fn authority<'t>(target: &'t str, method: &str) -> Result<Option<&'t [u8]>, Malformed> {
    if target == "*" && method == "OPTIONS" {
        return Ok(None);
    }
    if target.starts_with('/') {
        return is_path_and_query(target).then_some(None).ok_or(Malformed::Target);
    }
    let (scheme, rest) = target.split_once("://").ok_or(Malformed::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Malformed::Target);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(Malformed::Target)?;
    let is_fine = is_host(authority.as_bytes()) && is_path_and_query(path);
    is_fine.then_some(Some(authority.as_bytes())).ok_or(Malformed::Target)
}

/// Whether no byte stands where RFC 3986 has none, with what browsers send all the same.
/// httparse has seen to it that there is no space and no control character.
fn is_path_and_query(text: &str) -> bool {
    let mut in_query = false;
    text.bytes().all(|byte| match byte {
        // A fragment is the client's own business, and no part of a target.
        b'<' | b'>' | b'#' => false,
        b'`' => in_query,
        b'"' => !in_query,
        b'?' => {
            in_query = true;
            true
        }
        _ => true,
    })
}

/// Whether this is `uri-host [ ":" port ]` (RFC 9110, 7.2), and no list of them.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
            let (address, rest) = literal.split_at(end);
            let address = str::from_utf8(address).ok().and_then(|text| text.parse().ok());
            let Some(Ipv6Addr { .. }) = address else { return false };
            match rest {
                [b']'] => return true,
                [b']', b':', port @ ..] => (&b"x"[..], Some(port)),
                _ => return false,
            }
        }
        None => match host.iter().position(|byte| *byte == b':') {
            Some(at) => {
                let (name, port) = host.split_at(at);
                (name, port.get(1..))
            }
            None => (host, None),
        },
    };
    let is_port = |port: &[u8]| {
        port.is_empty() || digits(port).is_some_and(|port| u16::try_from(port).is_ok())
    };
    !name.is_empty() && name.iter().copied().all(is_host_byte) && port.is_none_or(is_port)
}

/// `reg-name` of RFC 3986, without the comma, which would make a list of two, and without
/// escapes, which name no host that DNS has: Pingora does not take them in a target.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte)
}

/// `Content-Length` is digits alone (RFC 9110, 8.6), and not more than can be counted.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // The largest body is not larger than a file: Pingora counts in `i64`.
    str::from_utf8(text).ok()?.parse().ok().filter(|&length| i64::try_from(length).is_ok())
}

/// One `Transfer-Encoding`. A body whose last coding is not `chunked` has no end
/// (RFC 9112, 6.3); one that has others as well, corsac would have to decode.
fn coding(value: &[u8]) -> Result<(), Malformed> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    Err(if last.eq_ignore_ascii_case(b"chunked") { Malformed::Coding } else { Malformed::Framing })
}

/// A byte of a token (RFC 9110, 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { size: 1024, headers: 8, target: 100 };

    fn of(head: &str) -> Result<Option<RequestHead>, Malformed> {
        read(head.as_bytes(), &LIMITS)
    }

    fn body(fields: &str) -> Result<Body, Malformed> {
        of(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).map(|head| head.unwrap().body)
    }

    #[test]
    fn targets() {
        #[rustfmt::skip]
        let cases = [
            ("GET",     "/",                       true),
            ("GET",     "/{\"a\"}?b=`{|}&c[]=^\\", true),
            ("GET",     "/a?b=\"",                 false),
            ("GET",     "/caf\u{e9}",              true),
            ("GET",     "http://a/x",              true),
            ("GET",     "HTTPS://a",               true),
            ("GET",     "http://a?x",              true),
            ("OPTIONS", "*",                       true),
            ("GET",     "*",                       false),
            ("GET",     "x",                       false),
            ("GET",     "h.test:80",               false),
            ("GET",     "@evil.test/x",            false),
            ("GET",     "?a=b",                    false),
            ("GET",     "ftp://a/x",               false),
            ("GET",     "http://",                 false),
            ("GET",     "http://u@a/",             false),
            ("GET",     "http:///x",               false),
            ("GET",     "http://a:x/",             false),
            ("GET",     "http://a%41/",            false),
            ("GET",     "/a#b",                    false),
            ("GET",     "/a<b",                    false),
            ("GET",     "/a>b",                    false),
            ("GET",     "/a`b",                    false),
            ("GET",     "/a b",                    false),
            ("GET",     "/a\tb",                   false),
            ("GET",     "/a\u{b}b",                false),
            ("GET",     "/a\u{7f}b",               false),
            ("GET",     "/a?b\0c",                 false),
        ];
        for (method, target, is_fine) in cases {
            let found = of(&format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let due = if is_fine { Ok(()) } else { Err(Malformed::Target) };
            assert_eq!(found.map(|head| assert!(head.is_some())), due, "{method} {target:?}");
        }
        assert_eq!(of("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), Err(Malformed::Connect));
    }

    #[test]
    fn hosts() {
        let fine =
            ["a", "a.example", "A:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:80", "a_b", ""];
        let wrong = [
            "a, b", "a,b", "a b", "a/b", "a#b", "a?b", "a:b", "a:80:80", "a:65536", "a@b", "a%41",
            "\u{e9}", "[::1", "[x]", "[::1]x", ":80", "a\\b",
        ];
        for (hosts, is_fine) in [(&fine[..], true), (&wrong[..], false)] {
            for host in hosts {
                let found = of(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
                assert_eq!(found.is_ok(), is_fine, "{host:?}: {found:?}");
            }
        }
        let two = of("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n");
        assert_eq!(two, Err(Malformed::Host));
        assert_eq!(of("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), Err(Malformed::Host));
        assert_eq!(of("GET / HTTP/1.1\r\n\r\n"), Err(Malformed::HostMissing));
        assert!(of("GET / HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn where_a_body_ends() {
        #[rustfmt::skip]
        let cases = [
            ("",                                                            Ok(Body::Length(0))),
            ("Content-Length: 0\r\n",                                       Ok(Body::Length(0))),
            ("content-length:  7 \r\n",                                     Ok(Body::Length(7))),
            ("Transfer-Encoding: Chunked\r\n",                              Ok(Body::Chunked)),
            ("Content-Length: 5, 5\r\n",                                    Err(Malformed::Framing)),
            ("Content-Length: 5\r\nContent-Length: 5\r\n",                  Err(Malformed::Framing)),
            ("Content-Length: +5\r\n",                                      Err(Malformed::Framing)),
            ("Content-Length: -5\r\n",                                      Err(Malformed::Framing)),
            ("Content-Length: 0x5\r\n",                                     Err(Malformed::Framing)),
            ("Content-Length:\r\n",                                         Err(Malformed::Framing)),
            ("Content-Length: 9223372036854775808\r\n",                     Err(Malformed::Framing)),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",         Err(Malformed::Framing)),
            ("Transfer-Encoding: gzip, chunked\r\n",                        Err(Malformed::Coding)),
            ("Transfer-Encoding: identity, chunked\r\n",                    Err(Malformed::Coding)),
            ("Transfer-Encoding: chunked, chunked\r\n",                     Err(Malformed::Coding)),
            ("Transfer-Encoding: ,chunked\r\n",                             Err(Malformed::Coding)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(Malformed::Coding)),
            ("Transfer-Encoding: chunked, gzip\r\n",                        Err(Malformed::Framing)),
            ("Transfer-Encoding: xchunked\r\n",                             Err(Malformed::Framing)),
            ("Transfer-Encoding: \r\n",                                     Err(Malformed::Framing)),
        ];
        for (fields, due) in cases {
            assert_eq!(body(fields), due, "{fields:?}");
        }
        let of_1_0 = of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(of_1_0, Err(Malformed::Framing));
    }

    #[test]
    fn syntax() {
        let wrong = [
            "GET\r\nHost: a\r\n\r\n",
            "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX A: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n X-A: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX-A: \u{1}\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\rX-B: 2\r\n\r\n",
            "\u{16}\u{3}\u{1}",
            "\r\n\r\n\u{16}",
        ];
        for head in wrong {
            assert_eq!(of(head), Err(Malformed::Syntax), "{head:?}");
        }
        let after_empty_lines =
            of("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET").unwrap().unwrap();
        assert_eq!(after_empty_lines.length, 31);
    }

    #[test]
    fn sizes() {
        let long = "a".repeat(101);
        for target in [format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), format!("GET /{long}")] {
            assert_eq!(of(&target), Err(Malformed::TargetTooLong));
        }
        assert_eq!(begin("a".repeat(1024).as_bytes(), &LIMITS), Err(Malformed::TargetTooLong));
        let head = |fields: &str| of(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}"));
        assert_eq!(head(&"x: 1\r\n".repeat(8)), Err(Malformed::TooLarge));
        assert!(head(&format!("{}\r\n", "x: 1\r\n".repeat(7))).unwrap().is_some());
        let value = "1".repeat(1024);
        assert_eq!(head(&format!("x: {value}")), Err(Malformed::TooLarge));
        assert_eq!(head(&format!("x: {value}\r\n\r\n")), Err(Malformed::TooLarge));
    }

    #[test]
    fn what_the_log_gets() {
        let line = |bytes: &'static [u8]| RequestLine::of(bytes);
        let due = RequestLine { method: Some("GET"), target: Some(&b"/a"[..]) };
        assert_eq!(line(b"\r\nGET /a HTTP/1.1\r\nx"), due);
        assert_eq!(line(b"\x16\x03 a b"), RequestLine::default());
        assert_eq!(line(b"GET").target, None);
    }

    proptest! {
        /// However it is cut, a head is what it is as a whole; no bytes make it panic.
        #[test]
        fn pieces_make_the_same(text in "(GET|POST) [ -~]{0,20} HTTP/1\\.[01]\r?\n([A-Za-z-]{1,17}:[ -~]{0,9}\r?\n){0,4}\r\n", at in 0_usize..80) {
            let bytes = text.as_bytes();
            let whole = read(bytes, &LIMITS);
            let part = read(&bytes[..at.min(bytes.len())], &LIMITS);
            match part {
                // What is refused early is refused as a whole, though perhaps for more.
                Err(_) => prop_assert!(whole.is_err()),
                Ok(Some(head)) => prop_assert_eq!(Ok(Some(head)), whole),
                Ok(None) => {}
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, &LIMITS);
            let _ = begin(&bytes, &LIMITS);
            let _ = RequestLine::of(&bytes);
        }
    }
}
