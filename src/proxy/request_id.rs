//! The id of a request: brought by a trusted peer, or made.

use std::time::SystemTime;

use http::HeaderValue;
use pingora_proxy::Session;
use uuid::{NoContext, Timestamp, Uuid};

use crate::{config::Config, edge::Caller};

/// The longest id that a peer may bring, in bytes: it goes into every log line.
const BYTES_MAX: usize = 128;

/// The id of this request.
pub(super) fn of(session: &Session, caller: Caller, config: &Config) -> HeaderValue {
    let settings = &config.request_id;
    if settings.trusted.contain(caller.peer().ip()) {
        let mut brought = session.req_header().headers.get_all(&settings.header).iter();
        // If there are two, neither is the request's id.
        if let (Some(id), None) = (brought.next(), brought.next())
            && is_valid(id.as_bytes())
        {
            return id.clone();
        }
    }
    new()
}

/// A UUID of version 7 (RFC 9562, 5.7): sorts by time, and the rest is random.
///
/// Without uuid's shared counter, which orders ids within a millisecond behind a
/// lock that every thread would take.
pub(super) fn new() -> HeaderValue {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let time = Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos());
    let mut buffer = Uuid::encode_buffer();
    let text = Uuid::new_v7(time).hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).expect("hexadecimal digits and hyphens are a header value")
}

/// What is safe in any log, shell and URL; no quotes, spaces or control characters.
fn is_valid(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(byte);
    (1..=BYTES_MAX).contains(&id.len()) && id.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn ids_that_a_peer_may_bring() {
        let longest = "a".repeat(BYTES_MAX);
        let too_long = "a".repeat(BYTES_MAX + 1);
        #[rustfmt::skip]
        let cases = [
            ("7f3a",                                 true),
            ("01930f3e-7b2a-7c3d-8e4f-0123456789ab", true),
            ("Root=1-67891233-abcdef012345678912",   true),
            ("a+b/c==._~-",                          true),
            (&longest,                               true),
            (&too_long,                              false),
            ("",                                     false),
            ("a b",                                  false),
            ("a\"b",                                 false),
            ("a\tb",                                 false),
            ("a,b",                                  false),
            ("é",                                    false),
        ];
        for (id, valid) in cases {
            assert_eq!(is_valid(id.as_bytes()), valid, "{id:?}");
        }
    }

    #[test]
    fn new_ids_are_of_version_7_and_differ() {
        let (one, other) = (new(), new());
        assert_ne!(one, other);
        assert!(is_valid(one.as_bytes()));
        assert_eq!(one.to_str().unwrap().parse::<Uuid>().unwrap().get_version_num(), 7);
    }
}
