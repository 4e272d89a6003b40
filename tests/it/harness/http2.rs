//! HTTP/2 frame by frame: an honest client, and what others send.
//!
//! Written apart from the crate that corsac uses, as all of this harness is.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::message::Headers;
use super::{Call, Connection, Response};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// As much as a frame may have before its receiver allows more (RFC 9113, 4.2).
const FRAME_BYTES: usize = 16_384;

/// One frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    fn number(&self, at: usize) -> u32 {
        self.payload.get(at..at + 4).map_or(0, |it| u32::from_be_bytes(it.try_into().unwrap()))
    }
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of these fields, each a literal that nobody is to index (RFC 7541, 6.2.2).
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A length of seven bits (RFC 7541, 5.1).
fn length(mut length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        return block.push(u8::try_from(length).unwrap());
    }
    block.push(127);
    length -= 127;
    while length >= 128 {
        block.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    block.push(u8::try_from(length).unwrap());
}

/// How a stream, or the connection, has ended without an answer that is whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// `RST_STREAM` with this code.
    Reset(u32),
    /// `GOAWAY` with this code, and then nothing.
    GoAway(u32),
    /// The connection was closed without a word.
    Closed,
}

/// One connection of HTTP/2, from the client's side.
pub(crate) struct Http2<Stream = TcpStream> {
    connection: Connection<Stream>,
    decoder: httlib_hpack::Decoder<'static>,
    next: u32,
    /// Frames of other streams than the one that is waited for; of heads, what they say.
    others: VecDeque<(Frame, Headers)>,
    /// Room that the server has given: on the connection (0), and on streams.
    windows: BTreeMap<u32, i64>,
    initial_window: i64,
    /// The last `GOAWAY`'s code.
    gone: Option<u32>,
    /// It answers SETTINGS and PING.
    is_polite: bool,
}

impl Http2 {
    /// In the clear, by prior knowledge.
    #[track_caller]
    pub(crate) fn open(to: SocketAddr) -> Self {
        Self::over(Connection::open(to)).unwrap()
    }
}

impl<Stream: Read + Write> Http2<Stream> {
    /// Over a connection that is there; begins with the preface, and much room for answers.
    pub(crate) fn over(connection: Connection<Stream>) -> io::Result<Self> {
        let mut this = Self { is_polite: true, ..Self::silent(connection) };
        let window = i32::MAX.to_be_bytes();
        let settings = [&[0, 4], &window[..]].concat();
        let room = (i32::MAX - 65_535).to_be_bytes();
        this.write(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat())?;
        this.write(&frame(WINDOW_UPDATE, 0, 0, &room))?;
        Ok(this)
    }

    /// Over a connection to which nothing was sent, and nothing is that no test sends.
    pub(crate) fn silent(connection: Connection<Stream>) -> Self {
        Self {
            connection,
            decoder: httlib_hpack::Decoder::default(),
            next: 1,
            others: VecDeque::new(),
            windows: BTreeMap::from([(0, 65_535)]),
            initial_window: 65_535,
            gone: None,
            is_polite: false,
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.stream().write_all(bytes)?;
        self.connection.stream().flush()
    }

    /// Begins a request, and gives its stream. A body is sent whole, as there is room.
    pub(crate) fn begin(&mut self, call: &Call) -> io::Result<u32> {
        let host = call.headers.get("host").unwrap_or_else(|| call.to.to_string());
        let mut all = vec![
            (":method", call.method.as_str()),
            (":scheme", "http"),
            (":authority", &host),
            (":path", &call.target),
        ];
        let lines: Vec<(String, &str)> =
            // Blanks around a value are no part of it (RFC 9110, 5.5), and may not come along.
            call.headers.iter().map(|(name, value)| (name.to_lowercase(), value.trim())).collect();
        let lines = lines.iter().filter(|(name, _)| name != "host");
        all.extend(lines.map(|(name, value)| (name.as_str(), *value)));
        let stream = self.next;
        self.next += 2;
        let flags = END_HEADERS | if call.body.is_empty() { END_STREAM } else { 0 };
        self.write(&frame(HEADERS, flags, stream, &fields(&all)))?;
        self.send_body(stream, &call.body)?;
        Ok(stream)
    }

    fn send_body(&mut self, stream: u32, mut body: &[u8]) -> io::Result<()> {
        let initial = self.initial_window;
        self.windows.insert(stream, initial);
        while !body.is_empty() {
            let room = self.windows[&0].min(self.windows[&stream]);
            if room <= 0 {
                let (frame, headers) = self.read()?;
                self.others.push_back((frame, headers));
                continue;
            }
            let bytes = body.len().min(FRAME_BYTES).min(usize::try_from(room).unwrap());
            let (piece, rest) = body.split_at(bytes);
            let flags = if rest.is_empty() { END_STREAM } else { 0 };
            self.write(&frame(DATA, flags, stream, piece))?;
            for stream in [0, stream] {
                *self.windows.get_mut(&stream).unwrap() -= i64::try_from(bytes).unwrap();
            }
            body = rest;
        }
        Ok(())
    }

    /// Sends a request and awaits the answer.
    #[track_caller]
    pub(crate) fn send(&mut self, call: &Call) -> Response {
        self.try_send(call).unwrap_or_else(|error| panic!("{call:?}: no answer: {error}"))
    }

    /// As [`Self::send`], for where no answer is a result like others.
    pub(crate) fn try_send(&mut self, call: &Call) -> io::Result<Response> {
        let stream = self.begin(call)?;
        self.receive(stream).map_err(|end| io::Error::other(format!("{end:?}")))
    }

    /// The answer on a stream, or how the stream has ended.
    pub(crate) fn receive(&mut self, stream: u32) -> Result<Response, End> {
        let mut interim = Vec::new();
        let mut head: Option<(u16, Headers)> = None;
        let mut body = Vec::new();
        loop {
            let (frame, headers) = self.next_of(stream)?;
            match frame.kind {
                HEADERS => {
                    assert!(frame.flags & END_HEADERS != 0, "a head in one frame");
                    let status = headers.get(":status").map(|status| status.parse().unwrap());
                    match (status, &mut head) {
                        (Some(status @ 100..200), _) => interim.push((status, headers)),
                        (Some(status), head @ None) => *head = Some((status, headers)),
                        // Trailers, which are headers to a test.
                        (None, Some((_, before))) => {
                            headers.iter().for_each(|(name, value)| before.push(name, value));
                        }
                        _ => panic!("a second head"),
                    }
                }
                DATA => body.extend(frame.payload),
                RST_STREAM => return Err(End::Reset(frame.number(0))),
                _ => {}
            }
            if frame.flags & END_STREAM != 0 && matches!(frame.kind, HEADERS | DATA) {
                let (status, headers) = head.expect("a head");
                return Ok(Response { start: "HTTP/2".to_owned(), status, headers, body, interim });
            }
        }
    }

    /// The next frame of this stream.
    fn next_of(&mut self, stream: u32) -> Result<(Frame, Headers), End> {
        if let Some(at) = self.others.iter().position(|(frame, _)| frame.stream == stream) {
            return Ok(self.others.remove(at).unwrap());
        }
        loop {
            let (frame, headers) = self.read().map_err(|_| self.end())?;
            if frame.stream == stream {
                return Ok((frame, headers));
            }
            if frame.stream != 0 {
                self.others.push_back((frame, headers));
            }
        }
    }

    /// How the connection has ended, now that it has.
    fn end(&self) -> End {
        self.gone.map_or(End::Closed, End::GoAway)
    }

    /// Reads until the connection ends.
    pub(crate) fn await_end(&mut self) -> End {
        while self.read_frame().is_ok() {}
        self.end()
    }

    /// The code of the `GOAWAY` that has come.
    pub(crate) fn gone(&self) -> Option<u32> {
        self.gone
    }

    /// The next frame, whatever it is.
    pub(crate) fn read_frame(&mut self) -> io::Result<Frame> {
        self.read().map(|(frame, _)| frame)
    }

    /// The next frame, and the head in it; what is the connection's is acted on.
    fn read(&mut self) -> io::Result<(Frame, Headers)> {
        let head = self.connection.try_read(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap()) & (u32::MAX >> 1);
        let payload = self.connection.try_read(length as usize)?;
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => {
                for setting in frame.payload.chunks_exact(6) {
                    if setting[..2] == [0, 4] {
                        let window = u32::from_be_bytes(setting[2..].try_into().unwrap());
                        let more = i64::from(window) - self.initial_window;
                        self.initial_window = window.into();
                        let streams = self.windows.iter_mut().filter(|(stream, _)| **stream != 0);
                        streams.for_each(|(_, room)| *room += more);
                    }
                }
                if self.is_polite {
                    self.write(&self::frame(SETTINGS, ACK, 0, &[]))?;
                }
            }
            PING if self.is_polite && frame.flags & ACK == 0 => {
                self.write(&self::frame(PING, ACK, 0, &frame.payload))?;
            }
            WINDOW_UPDATE => {
                let initial = self.initial_window;
                let room = self.windows.entry(frame.stream).or_insert(initial);
                *room += i64::from(frame.number(0));
            }
            GOAWAY => self.gone = Some(frame.number(4)),
            _ => {}
        }
        let headers =
            if frame.kind == HEADERS { self.decode(&frame.payload) } else { Headers::default() };
        Ok((frame, headers))
    }

    fn decode(&mut self, block: &[u8]) -> Headers {
        let (mut block, mut found) = (block.to_vec(), Vec::new());
        self.decoder.decode(&mut block, &mut found).unwrap();
        let mut headers = Headers::default();
        for (name, value, _) in found {
            headers.push(&String::from_utf8(name).unwrap(), &String::from_utf8_lossy(&value));
        }
        headers
    }
}
