//! HTTP/1.1 messages off a socket: heads, header lines in their order, bodies by
//! their framing (RFC 9112).
//!
//! Written apart from everything that corsac uses, on purpose: a parser shared
//! with the program under test would share its mistakes.

use std::io::{self, BufRead, Read};

/// Longest head that is read; no test sends or expects more.
const HEAD_LIMIT: u64 = 1 << 20;

/// Header lines in the order in which they arrived, names as they were written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Every line of this name, whatever its case.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The lines of this name joined with `, ` (RFC 9110, 5.3), or `None`.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let lines = self.all(name);
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The lines as they stand on the wire.
    pub(crate) fn wire(&self) -> String {
        self.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect()
    }
}

/// A start line and header lines.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) headers: Headers,
    /// As received, with the empty line at its end.
    pub(crate) raw: Vec<u8>,
}

/// Reads one head. `None`: the peer closed before the first byte of one.
pub(crate) fn read_head(from: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut raw = Vec::new();
    while !raw.ends_with(b"\r\n\r\n") {
        let limit = HEAD_LIMIT - raw.len() as u64;
        if from.by_ref().take(limit).read_until(b'\n', &mut raw)? == 0 {
            return match raw.as_slice() {
                [] => Ok(None),
                part => Err(invalid(&format!("the head ends early: {}", part.escape_ascii()))),
            };
        }
    }
    let text = String::from_utf8_lossy(&raw);
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let mut headers = Headers::default();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(line))?;
        headers.push(name, value.trim_matches([' ', '\t']));
    }
    Ok(Some(Head { start, headers, raw }))
}

/// How the end of a body is told (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    pub(crate) fn of_request(headers: &Headers) -> Self {
        Self::told(headers).unwrap_or(Self::Length(0))
    }

    /// `method` is the request's: an answer to HEAD has no body, whatever it says.
    pub(crate) fn of_response(method: &str, status: u16, headers: &Headers) -> Self {
        if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
            return Self::Length(0);
        }
        Self::told(headers).unwrap_or(Self::UntilClose)
    }

    fn told(headers: &Headers) -> Option<Self> {
        if headers.get("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            return Some(Self::Chunked);
        }
        headers.get("content-length")?.parse().ok().map(Self::Length)
    }
}

/// Reads a body to its end. An early end is an error, never a shorter body.
pub(crate) fn read_body(from: &mut impl BufRead, framing: Framing) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match framing {
        Framing::Length(length) => read_exactly(from, length, &mut body)?,
        Framing::UntilClose => {
            from.read_to_end(&mut body)?;
        }
        Framing::Chunked => loop {
            let size = chunk_size(&line(from)?)?;
            if size == 0 {
                // Trailer lines, of which no test looks at any.
                while !line(from)?.is_empty() {}
                break;
            }
            read_exactly(from, size, &mut body)?;
            if !line(from)?.is_empty() {
                return Err(invalid("a chunk is longer than it says"));
            }
        },
    }
    Ok(body)
}

/// `chunks` as a chunked body, each in a chunk of its own.
pub(crate) fn chunked<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in chunks.into_iter().filter(|chunk| !chunk.is_empty()) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

fn read_exactly(from: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = from.by_ref().take(length).read_to_end(body)? as u64;
    if read < length {
        return Err(invalid(&format!("the body ends after {read} of {length} bytes")));
    }
    Ok(())
}

fn chunk_size(line: &str) -> io::Result<u64> {
    let size = line.split(';').next().unwrap_or_default();
    u64::from_str_radix(size, 16).map_err(|_| invalid(&format!("not a chunk size: {line:?}")))
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.by_ref().take(HEAD_LIMIT).read_line(&mut line)?;
    line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| invalid("a line ends early"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
