//! The canonical form of a request's path.
//!
//! Two spellings of one path must reach one route, and the upstream must read
//! what was matched; otherwise `/%61dmin` walks around the route of `/admin`.

use std::borrow::Cow;
use std::fmt;

/// Why a request's path has no canonical form; the answer is 400.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadPath {
    /// It does not start with `/`.
    NotAbsolute,
    /// A `%` is not followed by two hexadecimal digits.
    BrokenEscape,
    /// `%00`, which ends a path early for some upstreams.
    Nul,
    /// A control character that is not percent-encoded.
    Control,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the path does not start with `/`",
            Self::BrokenEscape => "a `%` in the path is not followed by two hexadecimal digits",
            Self::Nul => "the path contains `%00`",
            Self::Control => "the path contains a control character",
        })
    }
}

impl std::error::Error for BadPath {}

/// The canonical form of a request's path, which is matched and forwarded.
///
/// - An escape of an unreserved character is decoded, and the digits of every
///   other are upper-case (RFC 3986, 6.2.2.1 and 6.2.2.2). So `%2f` becomes
///   `%2F`: an ordinary character of its segment, never a separator.
/// - Characters that a path may not contain, such as `\`, `"` or those beyond
///   ASCII, are escaped (RFC 3987, 3.1). So a backslash is `%5C`, however it
///   was sent, and no upstream can read it as a separator.
/// - Dot segments are removed, encoded ones too (RFC 3986, 5.2.4); above the
///   root there is only the root.
/// - Empty segments stay: `/a//b` is not `/a/b`, since upstreams differ on it.
/// - The empty path is `/` (RFC 3986, 6.2.3).
///
/// `raw` has no query. Canonical paths, which nearly all are, come back borrowed
/// after one scan. Linear in `raw`; idempotent.
///
/// # Errors
///
/// [`BadPath`], if the path is not absolute or cannot be read.
pub fn canonical_path(raw: &str) -> Result<Cow<'_, str>, BadPath> {
    match raw.as_bytes().first() {
        None => Ok(Cow::Borrowed("/")),
        Some(b'/') if is_canonical(raw.as_bytes()) => Ok(Cow::Borrowed(raw)),
        Some(b'/') => Ok(Cow::Owned(without_dot_segments(&respelled(raw)?))),
        Some(_) => Err(BadPath::NotAbsolute),
    }
}

fn is_canonical(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(odd) = rest.iter().position(|byte| !is_plain(*byte)) {
        let (plain, from) = rest.split_at(odd);
        rest = match from {
            [b'.', ..] if plain.ends_with(b"/") && is_dot_segment(from) => return false,
            [b'.', after @ ..] => after,
            [b'%', high, low, after @ ..] if is_canonical_escape(*high, *low) => after,
            _ => return false,
        };
    }
    true
}

/// Whether the segment that `rest` starts with is `.` or `..`.
fn is_dot_segment(rest: &[u8]) -> bool {
    matches!(rest, [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}

fn is_canonical_escape(high: u8, low: u8) -> bool {
    !high.is_ascii_lowercase()
        && !low.is_ascii_lowercase()
        && hex_pair(high, low).is_some_and(|byte| byte != 0 && !is_unreserved(byte))
}

/// `raw` with every character as it must be written, dot segments still in place.
fn respelled(raw: &str) -> Result<String, BadPath> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                match hex_pair(*high, *low).ok_or(BadPath::BrokenEscape)? {
                    0 => return Err(BadPath::Nul),
                    byte if is_unreserved(byte) => out.push(char::from(byte)),
                    byte => out.push_str(percent_encoding::percent_encode_byte(byte)),
                }
                after
            }
            (b'%', _) => return Err(BadPath::BrokenEscape),
            (byte, _) if byte.is_ascii_control() => return Err(BadPath::Control),
            (byte, after) => {
                if *byte == b'.' || is_plain(*byte) {
                    out.push(char::from(*byte));
                } else {
                    out.push_str(percent_encoding::percent_encode_byte(*byte));
                }
                after
            }
        };
    }
    Ok(out)
}

/// RFC 3986, 5.2.4, for an absolute path. Linear: what `..` searches, it removes.
fn without_dot_segments(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_dot = matches!(segment, "." | "..");
        if segment == ".." {
            out.truncate(out.rfind('/').unwrap_or(0));
        }
        if !is_dot || segments.peek().is_none() {
            out.push('/');
        }
        if !is_dot {
            out.push_str(segment);
        }
    }
    out
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// `unreserved` of RFC 3986, 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `/`, or a `pchar` (RFC 3986, 3.3) that is the same wherever it stands: not `%`, not `.`.
fn is_plain(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'/' | b':' | b'@'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
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
    use proptest::prelude::*;

    #[test]
    fn canonical_forms() {
        #[rustfmt::skip]
        let cases = [
            // raw                     canonical
            ("",                       Ok("/")),
            ("/",                      Ok("/")),
            ("/a/b",                   Ok("/a/b")),
            ("/a/",                    Ok("/a/")),
            ("/a//b",                  Ok("/a//b")),
            ("//",                     Ok("//")),
            ("/%61dmin",               Ok("/admin")),
            ("/%7Euser",               Ok("/~user")),
            ("/a%2fb",                 Ok("/a%2Fb")),
            ("/a%2Fb",                 Ok("/a%2Fb")),
            ("/%252e%252e/a",          Ok("/%252e%252e/a")),
            ("/a/./b",                 Ok("/a/b")),
            ("/a/../b",                Ok("/b")),
            ("/a/%2e%2E/b",            Ok("/b")),
            ("/a/.%2e",                Ok("/")),
            ("/a/b/..",                Ok("/a/")),
            ("/a/b/.",                 Ok("/a/b/")),
            ("/../../a",               Ok("/a")),
            ("/..",                    Ok("/")),
            ("/a//../b",               Ok("/a/b")),
            ("/a/..%2fb",              Ok("/a/..%2Fb")),
            ("/...",                   Ok("/...")),
            ("/.well-known/x",         Ok("/.well-known/x")),
            ("/a.b/..c",               Ok("/a.b/..c")),
            ("/a\\..\\b",              Ok("/a%5C..%5Cb")),
            ("/a%5cb",                 Ok("/a%5Cb")),
            ("/a b\"{}|^`<>[]",        Ok("/a%20b%22%7B%7D%7C%5E%60%3C%3E%5B%5D")),
            ("/caf\u{e9}",             Ok("/caf%C3%A9")),
            ("/caf%c3%a9",             Ok("/caf%C3%A9")),
            ("/a;b=c,d:e@f!$&'()*+",   Ok("/a;b=c,d:e@f!$&'()*+")),
            ("/a/..;/b",               Ok("/a/..;/b")),
            ("/a%0Ab",                 Ok("/a%0Ab")),
            ("/a%00",                  Err(BadPath::Nul)),
            ("/%",                     Err(BadPath::BrokenEscape)),
            ("/%4",                    Err(BadPath::BrokenEscape)),
            ("/%g0",                   Err(BadPath::BrokenEscape)),
            ("/%+1",                   Err(BadPath::BrokenEscape)),
            ("/a\nb",                  Err(BadPath::Control)),
            ("/a\u{7f}",               Err(BadPath::Control)),
            ("*",                      Err(BadPath::NotAbsolute)),
            ("a/b",                    Err(BadPath::NotAbsolute)),
        ];
        for (raw, canonical) in cases {
            assert_eq!(
                canonical_path(raw).as_deref(),
                canonical.as_ref().map(|path| *path),
                "{raw:?}"
            );
        }
    }

    #[test]
    fn canonical_paths_are_borrowed() {
        for path in ["/", "/a/b.c/.d/%2F%C3%A9", "/...", "//a", "/.well-known/a"] {
            assert!(matches!(canonical_path(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    /// A second opinion, rule by rule over whole copies.
    fn oracle(raw: &str) -> Result<String, BadPath> {
        if raw.is_empty() {
            return Ok("/".into());
        }
        if !raw.starts_with('/') {
            return Err(BadPath::NotAbsolute);
        }
        let bytes = raw.as_bytes();
        let mut text = String::new();
        let mut at = 0;
        while at < bytes.len() {
            let byte = if bytes[at] == b'%' {
                let digits =
                    raw.get(at + 1..at + 3).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
                let byte = u8::from_str_radix(digits.ok_or(BadPath::BrokenEscape)?, 16).unwrap();
                at += 2;
                if byte == 0 {
                    return Err(BadPath::Nul);
                }
                if is_unreserved(byte) {
                    text.push(char::from(byte));
                } else {
                    text.extend(format!("%{byte:02X}").chars());
                }
                at += 1;
                continue;
            } else {
                bytes[at]
            };
            if byte < 0x20 || byte == 0x7f {
                return Err(BadPath::Control);
            }
            if is_unreserved(byte) || b"/:@!$&'()*+,;=".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.extend(format!("%{byte:02X}").chars());
            }
            at += 1;
        }
        let segments: Vec<&str> = text[1..].split('/').collect();
        let mut kept: Vec<&str> = Vec::new();
        for (i, segment) in segments.iter().enumerate() {
            match *segment {
                "." => {}
                ".." => drop(kept.pop()),
                other => kept.push(other),
            }
            if i + 1 == segments.len() && matches!(*segment, "." | "..") {
                kept.push("");
            }
        }
        Ok(format!("/{}", kept.join("/")))
    }

    fn raw_path() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/"),
            Just("."),
            Just(".."),
            Just("%2e"),
            Just("%2E"),
            Just("%2f"),
            Just("%2F"),
            Just("%5c"),
            Just("%00"),
            Just("%"),
            Just("%4"),
            Just("%41"),
            Just("%c3%a9"),
            Just("\u{e9}"),
            Just("\\"),
            Just("a"),
            Just("b"),
            Just("*"),
            Just(":"),
            Just(" "),
            Just("\n"),
            Just("%25"),
            Just("2e"),
        ];
        prop_oneof![
            proptest::collection::vec(piece, 0..24)
                .prop_map(|pieces| format!("/{}", pieces.concat())),
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_the_oracle(raw in raw_path()) {
            prop_assert_eq!(canonical_path(&raw).map(Cow::into_owned), oracle(&raw));
        }

        #[test]
        fn idempotent_and_free_of_dot_segments(raw in raw_path()) {
            let Ok(once) = canonical_path(&raw) else { return Ok(()) };
            prop_assert!(matches!(canonical_path(&once), Ok(Cow::Borrowed(twice)) if twice == once));
            prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
            prop_assert!(once.is_ascii());
        }
    }
}
