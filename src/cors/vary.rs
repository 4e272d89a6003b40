//! Merging what an answer depends on into Vary.

use std::collections::HashSet;

use http::header::{ORIGIN, VARY};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use super::token::elements;

/// Lines with more elements than this are merged with a hash set, so that an
/// upstream cannot buy quadratic time with a long one.
const FEW: usize = 16;

/// What Vary must become so that it names Origin; `None` if it may stay.
///
/// All lines become one, order and case kept, repeats dropped; `*` swallows the
/// rest. Allocates only if there is something to merge.
pub(super) fn with_origin(response: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = response.get_all(VARY).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Some(HeaderValue::from_static("Origin")),
        (Some(only), None) if is_settled(only.as_bytes()) => None,
        _ => Some(merged(response)),
    }
}

/// Whether a line is `*`, or names Origin and nothing twice.
fn is_settled(line: &[u8]) -> bool {
    if line == b"*" {
        return true;
    }
    let mut seen: SmallVec<[&[u8]; FEW]> = SmallVec::new();
    for name in elements(line) {
        let repeated = seen.iter().any(|known| known.eq_ignore_ascii_case(name));
        if seen.len() == FEW || repeated || name.is_empty() || name == b"*" {
            return false;
        }
        seen.push(name);
    }
    seen.iter().any(|name| name.eq_ignore_ascii_case(ORIGIN.as_str().as_bytes()))
}

fn merged(response: &HeaderMap) -> HeaderValue {
    let lines = response.get_all(VARY).iter().map(HeaderValue::as_bytes);
    let names = lines.flat_map(elements).filter(|name| !name.is_empty());
    let mut seen = HashSet::new();
    let mut line: Vec<u8> = Vec::with_capacity(64);
    for name in names.chain([&b"Origin"[..]]) {
        if name == b"*" {
            return HeaderValue::from_static("*");
        }
        if seen.insert(name.to_ascii_lowercase()) {
            if !line.is_empty() {
                line.extend_from_slice(b", ");
            }
            line.extend_from_slice(name);
        }
    }
    HeaderValue::from_bytes(&line).expect("parts of header values, commas and spaces are one")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn merging() {
        let many: String = (0..40).fold(String::new(), |line, i| line + &format!("x-{i}, "));
        let many_merged = format!("{many}Origin");
        #[rustfmt::skip]
        let cases: [(&[&str], Option<&str>); 15] = [
            (&[],                             Some("Origin")),
            (&[""],                           Some("Origin")),
            (&["Origin"],                     None),
            (&["origin"],                     None),
            (&["Accept,Origin"],              None),
            (&["*"],                          None),
            (&["Accept-Encoding"],            Some("Accept-Encoding, Origin")),
            (&["A , B"],                      Some("A, B, Origin")),
            (&["A", "B"],                     Some("A, B, Origin")),
            (&["Origin", "Accept"],           Some("Origin, Accept")),
            (&["Origin, ORIGIN"],             Some("Origin")),
            (&["Accept, accept, Origin"],     Some("Accept, Origin")),
            (&["Accept, *"],                  Some("*")),
            (&["Accept", "*"],                Some("*")),
            (&[&many],                        Some(&many_merged)),
        ];
        for (lines, expected) in cases {
            let response = lines.iter().map(|line| (VARY, line.parse().unwrap())).collect();
            assert_eq!(
                with_origin(&response),
                expected.map(|line| line.parse().unwrap()),
                "{lines:?}"
            );
        }
    }
}
