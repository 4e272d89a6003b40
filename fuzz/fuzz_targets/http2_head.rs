//! No head over HTTP/2 makes judging it panic; what is taken has one Host, one cookie, and is
//! taken over HTTP/1.1, too, where it means the same.
#![no_main]

use corsac::http1::{Body, HeadLimits, head::read};
use corsac::http2::head::settle;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri, request::Parts};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { size: 1024 * 1024, headers: 30, target: 2_000 };

fuzz_target!(|input: &[u8]| {
    let Some(mut head) = head(input) else { return };
    let before = head.headers.len();
    if settle(&mut head, &LIMITS).is_err() {
        return;
    }
    assert!(head.headers.len() <= before + 1);
    assert_eq!(head.headers.get_all(HOST).iter().count(), 1);
    assert!(head.headers.get_all(COOKIE).iter().count() <= 1);
    let mut text = format!("{} {} HTTP/1.1\r\n", head.method, head.uri).into_bytes();
    for (name, value) in &head.headers {
        text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    text.extend(b"\r\n");
    let found = read(&text, &LIMITS).expect("it is a head of HTTP/1.1").expect("it is whole");
    assert_eq!(found.length, text.len());
    let length = head.headers.get(CONTENT_LENGTH).map_or(0, |it| it.to_str().unwrap().parse().unwrap());
    assert_eq!(found.body, Body::Length(length));
    let settled = head.clone();
    let mut again = settled.clone();
    settle(&mut again, &LIMITS).expect("what is settled is fine");
    assert_eq!((&again.uri, &again.headers), (&settled.uri, &settled.headers));
});

/// A line each: method, scheme, authority, path, and then fields, as `name: value`. As `h2`
/// makes a head of them, if it does.
fn head(input: &[u8]) -> Option<Parts> {
    let mut lines = input.split(|byte| *byte == b'\n');
    let method = Method::from_bytes(lines.next()?).ok()?;
    let mut uri = http::uri::Parts::default();
    let (scheme, authority, path) = (lines.next()?, lines.next()?, lines.next()?);
    if !authority.is_empty() {
        uri.authority = Some(Authority::try_from(authority).ok()?);
        uri.scheme = Some(Scheme::try_from(scheme).ok()?);
    }
    uri.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    let mut request = Request::builder().method(method).uri(Uri::from_parts(uri).ok()?);
    for line in lines {
        let colon = line.iter().skip(1).position(|byte| *byte == b':')? + 1;
        let (name, value) = (HeaderName::from_lowercase(&line[..colon]), &line[colon + 1..]);
        let name = name.ok().filter(|name| *name != TRANSFER_ENCODING)?;
        request = request.header(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(request.body(()).ok()?.into_parts().0)
}
