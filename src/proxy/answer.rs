//! An upstream's answer: whether it can be passed on, and in which form the client gets it.
//!
//! Its framing concerned the hop from the upstream, and Pingora frames it anew. An answer
//! whose framing is not understood is not passed on: a reader behind corsac must not find
//! another end of the body than corsac did (RFC 9112, 11).

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    response::Parts,
};
use pingora_http::ResponseHeader;

use crate::edge::HOP_BY_HOP;

/// The most interim answers (1xx) to one request. Real ones are one 100 and a few 103; an
/// upstream that sends more holds the client, and passes every limit on silence.
const INTERIM_MAX: u8 = 16;

/// Why an answer that has come cannot be passed on. `is_upgrade`: the request asked for
/// another protocol; `interim`: how many interim answers there were, this one included.
pub(super) fn flaw(answer: &ResponseHeader, is_upgrade: bool, interim: u8) -> Option<&'static str> {
    if interim > INTERIM_MAX {
        return Some("more interim answers than anyone needs");
    }
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        let may_switch = is_upgrade && answer.version == Version::HTTP_11;
        return (!may_switch).then_some("101 where no other protocol was asked for");
    }
    // Where there is no body there is no framing to misunderstand.
    let framed = may_have_body(answer.status) && !is_chunked_or_plain(&answer.headers);
    framed.then_some("a Transfer-Encoding other than `chunked`")
}

/// Whether the body has no transfer coding but, perhaps, `chunked` (RFC 9112, 7). Others
/// could be passed on only if they were decoded.
fn is_chunked_or_plain(answer: &HeaderMap) -> bool {
    let mut codings = answer.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// 1xx, except 101, after which nothing follows.
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Whether a response with this status can have a body (RFC 9110, 6.4.1).
pub(super) fn may_have_body(status: StatusCode) -> bool {
    !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED
}

/// Whether a body comes after the head, and it is not empty.
pub(super) fn has_body(answer: &ResponseHeader, method: &Method) -> bool {
    may_have_body(answer.status) && *method != Method::HEAD && length(answer) != Some(0)
}

/// Whether the length of the body is known, so that its head need not leave before it.
pub(super) fn has_length(answer: &ResponseHeader) -> bool {
    length(answer).is_some()
}

fn length(answer: &ResponseHeader) -> Option<u64> {
    answer.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the answer may be on its way for long, whatever the limits are: a tunnel, or a
/// body without an end that is known or near. Others are gone soon after they have come.
pub(super) fn may_take_long(answer: &ResponseHeader) -> bool {
    /// What the socket of nearly any client takes at once.
    const SHORT: u64 = 64 * 1024;
    !is_interim(answer.status)
        && (answer.status == StatusCode::SWITCHING_PROTOCOLS
            || may_have_body(answer.status) && length(answer).is_none_or(|length| length > SHORT))
}

/// Makes an interim answer one for the client.
pub(super) fn pass_interim(answer: &mut ResponseHeader) {
    answer.set_version(Version::HTTP_11);
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        answer.remove_header(&name);
    }
}

/// Makes an answer one for a client that speaks this version.
///
/// The version of a message is its sender's, so here it is corsac's (RFC 9110, 2.5). A client
/// of HTTP/1.0 gets nothing that this version does not know (RFC 9112, 6.1): without chunks
/// the body ends with its connection.
pub(super) fn pass(answer: &mut Parts, client: Version) {
    answer.version = Version::HTTP_11;
    let headers = &mut answer.headers;
    strip_hop_by_hop(headers);
    if !may_have_body(answer.status) {
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        return;
    }
    if client < Version::HTTP_11 {
        headers.remove(TRANSFER_ENCODING);
    }
    merge_lengths(headers);
}

/// Says the length once. Pingora has refused those that differ (RFC 9110, 8.6).
fn merge_lengths(answer: &mut HeaderMap) {
    let mut lines = answer.get_all(CONTENT_LENGTH).iter();
    let (Some(first), second) = (lines.next(), lines.next()) else { return };
    let length = first.as_bytes().split(|&byte| byte == b',').next().unwrap_or_default();
    if second.is_none() && length.len() == first.len() {
        return;
    }
    if let Ok(length) = HeaderValue::from_bytes(length.trim_ascii()) {
        answer.insert(CONTENT_LENGTH, length);
    }
}

/// What `Connection` says of the connection itself, and what it cannot say: framing is
/// Pingora's.
const NOT_NOMINATED: [&str; 5] = ["keep-alive", "close", "content-length", "transfer-encoding", ""];

/// Removes what concerned the hop from the upstream alone: RFC 9110, 7.6.1.
/// `Connection` itself is Pingora's to write.
fn strip_hop_by_hop(answer: &mut HeaderMap) {
    let lines = answer.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    let tokens = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let is_option = |token: &[u8]| {
        NOT_NOMINATED.iter().any(|option| token.eq_ignore_ascii_case(option.as_bytes()))
    };
    let nominated: Vec<HeaderName> = tokens
        .filter(|token| !is_option(token))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect();
    for name in &nominated {
        answer.remove(name);
    }
    // Hardly any answer has one, and looking at each name costs less than looking each
    // of these up.
    if answer.keys().any(|name| HOP_BY_HOP.contains(name)) {
        for name in &HOP_BY_HOP {
            answer.remove(name);
        }
    }
}
