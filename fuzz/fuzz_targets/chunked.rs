//! However a chunked body is cut into packets, it is what a slow and simple decoder makes of
//! it; and encoded anew, as it is handed on, it is the same once more.
#![no_main]

use corsac::http1::chunked::{Decoder, LAST};
use libfuzzer_sys::fuzz_target;

/// How it ended.
#[derive(Debug, PartialEq)]
enum End {
    /// With so many bytes read.
    Done(usize),
    Partial,
    Malformed,
}

fuzz_target!(|input: &[u8]| {
    let [size, raw @ ..] = input else { return };
    let whole = decode(raw, raw.len().max(1));
    for size in [1, usize::from(*size) + 1] {
        let cut = decode(raw, size);
        assert_eq!((&cut.body, &cut.end), (&whole.body, &whole.end), "in pieces of {size}");
        if let End::Done(_) = cut.end {
            let again = decode(&cut.encoded, size);
            assert_eq!((&again.body, again.end), (&whole.body, End::Done(cut.encoded.len())));
        }
    }
    match oracle(raw) {
        Some((body, read)) => assert_eq!((whole.body, whole.end), (body, End::Done(read))),
        None => assert!(matches!(whole.end, End::Partial | End::Malformed), "{:?}", whole.end),
    }
});

struct Decoded {
    body: Vec<u8>,
    /// What is handed on.
    encoded: Vec<u8>,
    end: End,
}

fn decode(raw: &[u8], size: usize) -> Decoded {
    let (mut decoder, mut body, mut encoded) = (Decoder::default(), Vec::new(), Vec::new());
    let mut read = 0;
    for piece in raw.chunks(size) {
        let mut piece = piece.to_vec();
        let Ok((bytes, used)) = decoder.decode(&mut piece) else {
            // What stood before the mistake in the same piece is lost with it.
            return Decoded { body: Vec::new(), encoded, end: End::Malformed };
        };
        assert!(bytes <= used && used <= piece.len());
        assert!(decoder.is_done() || used == piece.len(), "all of it belongs to the body");
        if bytes > 0 {
            encoded.extend_from_slice(format!("{bytes:x}\r\n").as_bytes());
            encoded.extend_from_slice(&piece[..bytes]);
            encoded.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(&piece[..bytes]);
        read += used;
        if decoder.is_done() {
            encoded.extend_from_slice(LAST);
            return Decoded { body, encoded, end: End::Done(read) };
        }
    }
    Decoded { body, encoded, end: End::Partial }
}

/// A whole body, and how many bytes it took; line by line (RFC 9112, 7.1).
fn oracle(raw: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = line(&raw[at..], 1024)?;
        at += line.len() + 2;
        let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        let (size, extension) = line.split_at(end);
        let extension = extension.trim_ascii_start();
        if !(1..=15).contains(&size.len()) || !(extension.is_empty() || extension[0] == b';') {
            return None;
        }
        let size = std::str::from_utf8(size).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            break;
        }
        let chunk = raw.get(at..at.checked_add(size)?)?;
        body.extend_from_slice(chunk);
        at += size;
        if raw.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    let trailers = at;
    loop {
        let line = line(&raw[at..], 8 * 1024)?;
        at += line.len() + 2;
        if at - trailers > 8 * 1024 {
            return None;
        }
        if line.is_empty() {
            return Some((body, at));
        }
    }
}

/// The bytes before the next CRLF; `None`: there is none within the limit, or a control
/// character comes first.
fn line(raw: &[u8], limit: usize) -> Option<&[u8]> {
    let end = raw.windows(2).position(|pair| pair == b"\r\n")?;
    let line = &raw[..end];
    let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    (end + 2 <= limit && line.iter().all(is_text)).then_some(line)
}
