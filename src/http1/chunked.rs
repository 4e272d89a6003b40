//! The chunked transfer coding (RFC 9112, 7.1), as clients send it.
//!
//! What is decoded here is encoded anew for the upstream, a chunk for each piece that has
//! come. So an upload in chunks of one byte costs what any other costs, and no upstream sees
//! a chunk that could be read in two ways. Extensions and trailers end here.

/// The longest line of a chunk's size, its extensions included, in bytes. Real ones have a
/// dozen.
const LINE_MAX: usize = 1024;

/// The most bytes of trailers.
const TRAILERS_MAX: usize = 8 * 1024;

/// The most digits of a chunk's size, leading zeros included: 2^60 bytes and more are no
/// chunk.
const DIGITS_MAX: u8 = 15;

/// What an encoded piece has beside its bytes at most: its size, and two line ends.
pub const OVERHEAD: usize = 8 + 2 + 2;

/// The end of a body.
pub const LAST: &[u8] = b"0\r\n\r\n";

/// What was sent is no chunked body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MalformedChunks(pub &'static str);

impl std::fmt::Display for MalformedChunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for MalformedChunks {}

/// Where in a body the decoder stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// In the digits of a size, after this many.
    Size(u8),
    /// In blanks after a size: its extensions may follow, or its line's end.
    Blank,
    /// In extensions.
    Extension,
    /// The line feed of a size's line is due.
    SizeEnd,
    /// In a chunk's bytes.
    Data,
    /// The carriage return after a chunk's bytes is due.
    DataCr,
    /// The line feed after them is due.
    DataLf,
    /// At the start of a line after the last chunk.
    Trailer,
    /// Inside such a line.
    TrailerLine,
    /// The line feed of such a line is due.
    TrailerLf,
    /// The last line feed is due.
    End,
    /// Nothing more belongs to the body.
    Done,
}

/// Decodes one body, piece by piece.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Of the chunk: its size while it is read, then what is left of it.
    left: u64,
    /// Bytes of the line, or of all trailers, so far.
    line: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size(0), left: 0, line: 0 }
    }
}

impl Decoder {
    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes `raw` in place: moves the bytes of chunks to its front. Returns the number of
    /// these bytes, and how many bytes of `raw` belonged to the body.
    ///
    /// # Errors
    /// It is no chunked body. Nothing more can be read of it, nor behind it.
    pub fn decode(&mut self, raw: &mut [u8]) -> Result<(usize, usize), MalformedChunks> {
        let (mut decoded, mut at) = (0, 0);
        while self.state != State::Done {
            if self.state == State::Data {
                let there = raw.len() - at;
                let piece = usize::try_from(self.left).map_or(there, |left| left.min(there));
                raw.copy_within(at..at + piece, decoded);
                decoded += piece;
                at += piece;
                self.left -= piece as u64;
                if self.left > 0 {
                    break;
                }
                self.state = State::DataCr;
            }
            let Some(&byte) = raw.get(at) else { break };
            at += 1;
            self.state = self.next(byte)?;
        }
        Ok((decoded, at))
    }

    fn next(&mut self, byte: u8) -> Result<State, MalformedChunks> {
        self.line += 1;
        let (limit, what) = match self.state {
            State::Trailer | State::TrailerLine | State::TrailerLf | State::End => {
                (TRAILERS_MAX, "trailers too large")
            }
            _ => (LINE_MAX, "a chunk's size has too long a line"),
        };
        if self.line > limit {
            return Err(MalformedChunks(what));
        }
        Ok(match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() => {
                if digits == DIGITS_MAX {
                    return Err(MalformedChunks("a chunk's size has too many digits"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.left = (self.left << 4) | u64::from(digit);
                State::Size(digits + 1)
            }
            (State::Size(0), _) => return Err(MalformedChunks("a chunk without a size")),
            (State::Size(_) | State::Blank | State::Extension, b'\r') => State::SizeEnd,
            (State::Size(_) | State::Blank, b' ' | b'\t') => State::Blank,
            (State::Size(_) | State::Blank, b';')
            | (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => State::Extension,
            (State::Size(_) | State::Blank, _) => {
                return Err(MalformedChunks("a chunk's size is no number"));
            }
            (State::Extension, _) => {
                return Err(MalformedChunks("a control character after a size"));
            }
            (State::SizeEnd, b'\n') => {
                self.line = 0;
                if self.left == 0 { State::Trailer } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                (self.line, self.left) = (0, 0);
                State::Size(0)
            }
            (State::DataCr | State::DataLf, _) => {
                return Err(MalformedChunks("a chunk is longer than its size"));
            }
            (State::Trailer, b'\r') => State::End,
            (State::TrailerLine, b'\r') => State::TrailerLf,
            (State::Trailer | State::TrailerLine, b'\t' | b' '..=b'~' | 0x80..) => {
                State::TrailerLine
            }
            (State::Trailer | State::TrailerLine, _) => {
                return Err(MalformedChunks("a control character in trailers"));
            }
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::End, b'\n') => State::Done,
            (State::SizeEnd | State::TrailerLf | State::End, _) => {
                return Err(MalformedChunks("a carriage return without a line feed"));
            }
            // Not asked: bytes of a chunk are not looked at, and after the end there is none.
            (State::Data | State::Done, _) => self.state,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    /// What is in a body, and what is behind it; `None`: it has no end yet.
    type Decoded<T> = Option<(T, T)>;

    /// Decodes `raw` in pieces of `piece` bytes.
    fn decode(raw: &[u8], piece: usize) -> Result<Decoded<Vec<u8>>, MalformedChunks> {
        let (mut decoder, mut bytes_in_it) = (Decoder::default(), Vec::new());
        let mut rest = raw;
        while !rest.is_empty() && !decoder.is_done() {
            let mut buffer = rest[..piece.min(rest.len())].to_vec();
            let (bytes, used) = decoder.decode(&mut buffer)?;
            bytes_in_it.extend_from_slice(&buffer[..bytes]);
            rest = &rest[used..];
        }
        Ok(decoder.is_done().then(|| (bytes_in_it, rest.to_vec())))
    }

    #[test]
    fn bodies() {
        #[rustfmt::skip]
        let cases: &[(&str, Result<Decoded<&str>, ()>)] = &[
            ("0\r\n\r\n",                                 Ok(Some(("", "")))),
            ("5\r\nhello\r\n0\r\n\r\nGET",                Ok(Some(("hello", "GET")))),
            ("05\r\nhello\r\n00\r\n\r\n",                 Ok(Some(("hello", "")))),
            ("A\r\n0123456789\r\n0\r\n\r\n",              Ok(Some(("0123456789", "")))),
            ("1\r\na\r\n1\r\nb\r\n0\r\n\r\n",             Ok(Some(("ab", "")))),
            ("1;x=\"y\"\r\na\r\n0;z\r\n\r\n",             Ok(Some(("a", "")))),
            ("1 ;x\r\na\r\n0\r\n\r\n",                    Ok(Some(("a", "")))),
            ("1 \t\r\na\r\n0  \r\n\r\n",              Ok(Some(("a", "")))),
            ("0\r\nTrailer: 1\r\nOther: 2\r\n\r\n",       Ok(Some(("", "")))),
            ("5\r\nhel",                                  Ok(None)),
            ("0\r\n",                                     Ok(None)),
            ("\r\n",                                      Err(())),
            (";x\r\n",                                    Err(())),
            ("5\r\nhello\r\n\r\n",                        Err(())),
            ("x\r\n",                                     Err(())),
            ("+5\r\nhello\r\n",                           Err(())),
            ("0x5\r\nhello\r\n",                          Err(())),
            ("1 0\r\na\r\n",                             Err(())),
            ("5\nhello\r\n",                              Err(())),
            ("1;a\nb\r\na\r\n",                           Err(())),
            ("1;a\rb\r\n",                                Err(())),
            ("5\r\nhello!\r\n",                           Err(())),
            ("5\r\nhello\n0\r\n\r\n",                     Err(())),
            ("0\r\nA: b\n\r\n",                           Err(())),
            ("1000000000000000\r\n",                      Err(())),
            ("0\r\n\n",                                   Err(())),
        ];
        for &(raw, due) in cases {
            for piece in [1, 2, 3, 100] {
                let found = decode(raw.as_bytes(), piece);
                let found = found.as_ref().map(|body| {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    body.as_ref().map(|(body, rest)| (text(body), text(rest)))
                });
                let due =
                    due.map(|body| body.map(|(body, rest)| (body.to_owned(), rest.to_owned())));
                assert_eq!(found.map_err(|_| ()), due, "{raw:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_stands_beside_bytes_is_bounded() {
        let extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(LINE_MAX));
        assert!(decode(extension.as_bytes(), 4096).is_err());
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(TRAILERS_MAX / 6 + 1));
        assert!(decode(trailers.as_bytes(), 4096).is_err());
    }

    proptest! {
        /// However a body was cut into chunks, and comes in pieces, it is the same.
        #[test]
        fn what_was_encoded(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            piece in 1_usize..50,
        ) {
            let mut raw = Vec::new();
            for chunk in &chunks {
                raw.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                raw.extend_from_slice(chunk);
                raw.extend_from_slice(b"\r\n");
            }
            raw.extend_from_slice(LAST);
            raw.extend_from_slice(b"next");
            prop_assert_eq!(decode(&raw, piece), Ok(Some((chunks.concat(), b"next".to_vec()))));
        }

        #[test]
        fn any_bytes_are_read(raw in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..9) {
            let _ = decode(&raw, piece);
        }
    }
}
