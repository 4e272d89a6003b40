//! Tokens and comma-separated lists of them.

use http::HeaderValue;

/// RFC 9110, section 5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                )
        })
}

/// The elements of a list without the white space around them (RFC 9110, 5.6.1),
/// empty ones included.
pub(super) fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(trim)
}

/// Without optional white space (RFC 9110, 5.6.3).
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Tokens as one header value; `None` if there are none.
pub(super) fn joined<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Option<HeaderValue> {
    let tokens: Vec<&str> = tokens.into_iter().collect();
    if tokens.is_empty() {
        return None;
    }
    Some(shared(tokens.join(",")))
}

/// A value that is cloned often.
///
/// The buffer of a fresh value becomes a counted one at its first clone; with that
/// done here, clones on the hot path only count.
pub(super) fn shared(text: String) -> HeaderValue {
    let value = HeaderValue::try_from(text).expect("tokens and numbers are visible ASCII");
    let _counted = value.clone();
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        for token in ["GET", "x-a", "*", "!#$%&'*+-.^_`|~", "0"] {
            assert!(is_token(token.as_bytes()), "{token}");
        }
        for other in ["", "a b", "a,b", "a:b", "(", "\"", "\u{e9}", "a/b", "\x7f"] {
            assert!(!is_token(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn lists() {
        let read: Vec<&[u8]> = elements(b" a ,b,\t, c d ").collect();
        assert_eq!(read, [&b"a"[..], b"b", b"", b"c d"]);
    }
}
