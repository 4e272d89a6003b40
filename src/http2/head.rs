//! What a request's head over HTTP/2 has to be, before anyone acts on it.
//!
//! The crate `h2` has decoded it, and refused what RFC 9113, 8.2 and 8.3 forbid of names and
//! pseudo-headers. It is judged here as strictly as one of HTTP/1.1, and brought into the form
//! that those have: a path, and one `Host`. So everything behind looks in one place.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{CONTENT_LENGTH, COOKIE, HOST},
    request::Parts,
};

use crate::http1::{
    HeadLimits, Malformed,
    head::{digits, is_host, is_token},
};

/// Bytes that a field counts for beside its name and value (RFC 9113, 6.5.2).
const FIELD_BYTES: usize = 32;

/// The most bytes that a list of fields may have, as `SETTINGS_MAX_HEADER_LIST_SIZE` counts.
#[must_use]
pub fn list_size(limits: &HeadLimits) -> u32 {
    u32::try_from(limits.size + FIELD_BYTES * limits.headers).unwrap_or(u32::MAX)
}

/// Judges a head, and gives it the form of HTTP/1.1.
///
/// # Errors
/// What is wrong with it. Its stream ends; the connection goes on.
pub fn settle(head: &mut Parts, limits: &HeadLimits) -> Result<(), Malformed> {
    if head.method == Method::CONNECT {
        return Err(Malformed::Connect);
    }
    // Over HTTP/1.1 `Host` is one of them.
    let authority = usize::from(!head.headers.contains_key(HOST));
    if head.headers.len() + authority > limits.headers {
        return Err(Malformed::TooLarge);
    }
    if !head.uri.scheme_str().is_none_or(|scheme| matches!(scheme, "http" | "https")) {
        return Err(Malformed::Target);
    }
    let target = head.uri.path_and_query().ok_or(Malformed::Target)?;
    if target.as_str().len() > limits.target {
        return Err(Malformed::TargetTooLong);
    }
    let is_asterisk = target.as_str() == "*" && head.method == Method::OPTIONS;
    if !is_asterisk && !target.as_str().starts_with('/') {
        return Err(Malformed::Target);
    }
    fields(&head.headers)?;
    let host = host(head)?;
    let target = match target.as_str() {
        // What is left of nothing but a fragment says so, and is written as nothing.
        "/" => Uri::from_static("/"),
        _ => Uri::from(target.clone()),
    };
    if let Some(host) = host {
        head.headers.insert(HOST, host);
    }
    head.uri = target;
    join_cookies(&mut head.headers);
    Ok(())
}

fn fields(headers: &HeaderMap) -> Result<(), Malformed> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let has_blanks = |value: &HeaderValue| {
        let value = value.as_bytes();
        is_blank(value.first()) || is_blank(value.last())
    };
    // `h2` takes quotation marks for names.
    let is_name = |name: &HeaderName| name.as_str().bytes().all(is_token);
    // RFC 9113, 8.2.1.
    if headers.values().any(has_blanks) || !headers.keys().all(is_name) {
        return Err(Malformed::Syntax);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(()),
        (Some(length), None) if digits(length.as_bytes()).is_some() => Ok(()),
        _ => Err(Malformed::Framing),
    }
}

/// The `Host` that is missing beside `:authority` (RFC 9113, 8.3.1). Both are the same, byte
/// for byte.
fn host(head: &Parts) -> Result<Option<HeaderValue>, Malformed> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    match (authority, host) {
        _ if another.is_some() => Err(Malformed::Host),
        (None, None) => Err(Malformed::HostMissing),
        (None, Some(host)) if is_host(host.as_bytes()) => Ok(None),
        (Some(authority), Some(host)) if authority.as_bytes() != host.as_bytes() => {
            Err(Malformed::Host)
        }
        (Some(authority), host) if is_host(authority.as_bytes()) => match host {
            Some(_) => Ok(None),
            None => HeaderValue::from_str(authority).map(Some).map_err(|_| Malformed::Host),
        },
        _ => Err(Malformed::Host),
    }
}

/// HTTP/2 may send a cookie's pairs in fields of their own, and they are one field to
/// everyone else (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    // Behind the last pair there is nothing, not even a blank.
    let crumbs: Vec<&[u8]> = crumbs.filter(|crumb| !crumb.is_empty()).collect();
    // Values joined by what a value may have are a value.
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::http1::head;

    const LIMITS: HeadLimits = HeadLimits { size: 4_096, headers: 20, target: 100 };

    type Fields<'f> = &'f [(&'f str, &'f str)];

    fn parts(method: &str, uri: &str, fields: Fields<'_>) -> Option<Parts> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            // As `h2` makes them.
            let name = HeaderName::from_lowercase(name.as_bytes());
            let value = HeaderValue::from_str(value);
            request = request.header(name.ok()?, value.ok()?);
        }
        Some(request.body(()).ok()?.into_parts().0)
    }

    fn settled(method: &str, uri: &str, fields: Fields<'_>) -> Result<Parts, Malformed> {
        let mut parts = parts(method, uri, fields).unwrap();
        settle(&mut parts, &LIMITS).map(|()| parts)
    }

    #[test]
    fn what_is_refused() {
        const A: &str = "https://a.example/";
        let long = format!("https://a.example/{}", "a".repeat(100));
        let many: Vec<_> = (0..20).map(|_| ("a", "b")).collect();
        #[rustfmt::skip]
        let cases: &[(&str, &str, Fields<'_>, Malformed)] = &[
            ("CONNECT", "a.example:443",         &[],                                Malformed::Connect),
            ("GET",     "ftp://a.example/",      &[],                                Malformed::Target),
            ("GET",     &long,                   &[],                                Malformed::TargetTooLong),
            ("GET",     "*",                     &[("host", "a.example")],           Malformed::Target),
            ("GET",     "https://b@a.example/",  &[],                                Malformed::Host),
            ("GET",     "https://a,b/",          &[],                                Malformed::Host),
            ("GET",     "/",                     &[],                                Malformed::HostMissing),
            ("GET",     "/",                     &[("host", "")],                    Malformed::Host),
            ("GET",     "/",                     &[("host", "a b")],                 Malformed::Host),
            ("GET",     A,                       &[("host", "b.example")],           Malformed::Host),
            ("GET",     A,                       &[("host", "A.example")],           Malformed::Host),
            ("GET",     A,                       &[("host", "a.example:443")],       Malformed::Host),
            ("GET",     A, &[("host", "a.example"), ("host", "a.example")],          Malformed::Host),
            ("GET",     A, &[("content-length", "1"), ("content-length", "1")],      Malformed::Framing),
            ("GET",     A,                       &[("content-length", "+1")],        Malformed::Framing),
            ("GET",     A,                       &[("content-length", "1, 1")],      Malformed::Framing),
            ("GET",     A,                       &[("x\"", "a")],                    Malformed::Syntax),
            ("GET",     A,                       &[("x", " a")],                     Malformed::Syntax),
            ("GET",     A,                       &[("x", "a\t")],                    Malformed::Syntax),
            ("GET",     A,                       &many,                              Malformed::TooLarge),
        ];
        for (method, uri, fields, why) in cases {
            let found = settled(method, uri, fields).map(drop);
            assert_eq!(found, Err(*why), "{method} {uri} {fields:?}");
        }
    }

    #[test]
    fn the_form_of_http_1() {
        let fields = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
        let head = settled("GET", "https://a.example:8443/b?c", &fields).unwrap();
        assert_eq!(head.uri, "/b?c");
        assert_eq!(head.headers[HOST], "a.example:8443");
        let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
        let empty = settled("GET", "http://a/", &[("cookie", "a=1"), ("cookie", "")]).unwrap();
        assert_eq!(empty.headers[COOKIE], "a=1");
        let host = settled("GET", "/", &[("host", "a.example")]).unwrap();
        assert_eq!(host.headers[HOST], "a.example");
        assert_eq!(settled("GET", "http://a.example#b", &[]).unwrap().uri, "/");
        assert!(settled("OPTIONS", "*", &[("host", "a.example")]).is_ok());
    }

    proptest! {
        /// What is taken is taken over HTTP/1.1, too: nobody can read it in another way.
        #[test]
        fn it_is_a_head_of_http_1(
            method in "(GET|POST|OPTIONS|PURGE)",
            authority in "(a\\.example|[a-z0-9.:\\[\\],@-]{0,8})",
            path in "(/|/[ -~]{0,8}|[ -~]{0,8}|\\*)",
            host in prop::option::of("(a\\.example|[ -~]{0,8})"),
            names in prop::collection::vec("(x|cookie|content-length|expect|te|[a-z_\"!#-]{1,5})", 0..4),
            values in prop::collection::vec("([0-9]{1,3}|[ -~]{0,8})", 4),
        ) {
            let uri = if authority.is_empty() { path } else { format!("http://{authority}{path}") };
            let mut fields: Vec<_> =
                names.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
            fields.extend(host.as_deref().map(|host| ("host", host)));
            let Some(mut head) = parts(&method, &uri, &fields) else { return Ok(()) };
            if settle(&mut head, &LIMITS).is_ok() {
                let mut text = format!("{} {} HTTP/1.1\r\n", head.method, head.uri).into_bytes();
                for (name, value) in &head.headers {
                    if name == http::header::TRANSFER_ENCODING { return Ok(()) }
                    text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
                }
                text.extend(b"\r\n");
                let read = head::read(&text, &LIMITS);
                prop_assert!(matches!(read, Ok(Some(_))), "{:?}: {read:?}", text.escape_ascii().to_string());
            }
        }
    }
}
