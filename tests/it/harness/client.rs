//! A client that sends exactly the bytes that it is told to.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::DEADLINE;
use super::message::{Framing, Head, Headers, chunked, read_body, read_head};

/// A request to come. `corsac.get("/x").header("Origin", "https://a.example").send()`
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(super) to: SocketAddr,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Headers,
    /// As it goes over the wire, framing included.
    pub(super) body: Vec<u8>,
}

impl Call {
    pub(crate) fn new(to: SocketAddr, method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { to, method, target, headers: Headers::default(), body: Vec::new() }
    }

    /// The same, to another address.
    pub(crate) fn to(self, to: SocketAddr) -> Self {
        Self { to, ..self }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    pub(crate) fn headers<'h>(self, lines: impl IntoIterator<Item = (&'h str, &'h str)>) -> Self {
        lines.into_iter().fold(self, |call, (name, value)| call.header(name, value))
    }

    /// The handshake of a WebSocket (RFC 6455, 4.1).
    pub(crate) fn web_socket(self) -> Self {
        self.headers([
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ])
    }

    /// A body with its `Content-Length`, unless the test has given one.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        if !self.headers.contains("content-length") {
            let length = self.body.len().to_string();
            self.headers.push("Content-Length", &length);
        }
        self
    }

    /// A chunked body, cut into pieces of `size` bytes.
    pub(crate) fn chunked(mut self, body: &[u8], size: usize) -> Self {
        self.headers.push("Transfer-Encoding", "chunked");
        self.body = chunked(body.chunks(size));
        self
    }

    /// Sends over a connection of its own and awaits the answer.
    #[track_caller]
    pub(crate) fn send(self) -> Response {
        let mut connection = Connection::open(self.to);
        self.send_over(&mut connection)
    }

    /// Sends over a connection that stays open, and awaits the answer.
    #[track_caller]
    pub(crate) fn send_over(self, connection: &mut Connection<impl Read + Write>) -> Response {
        match self.try_over(connection) {
            Ok(response) => response,
            Err(error) => panic!("{} {}: no answer: {error}", self.method, self.target),
        }
    }

    /// As [`Self::send`], for where no answer is a result like others.
    pub(crate) fn try_send(&self) -> io::Result<Response> {
        self.try_over(&mut Connection::try_open(self.to)?)
    }

    /// As [`Self::send_over`], for where no answer is a result like others.
    pub(crate) fn try_over(
        &self,
        connection: &mut Connection<impl Read + Write>,
    ) -> io::Result<Response> {
        // A server may answer and close before it has read a body that it refuses,
        // so that writing the rest fails: the answer is what counts.
        let sent =
            connection.try_write(&self.head()).and_then(|()| connection.try_write(&self.body));
        let received = connection.try_receive(&self.method);
        if received.is_err() {
            sent?;
        }
        received
    }

    fn head(&self) -> Vec<u8> {
        let host = if self.headers.contains("host") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.to)
        };
        let Self { method, target, headers, .. } = self;
        format!("{method} {target} HTTP/1.1\r\n{host}{}\r\n", headers.wire()).into_bytes()
    }
}

/// One connection, for as many requests as its server allows.
pub(crate) struct Connection<Stream = TcpStream>(BufReader<Stream>);

impl Connection {
    #[track_caller]
    pub(crate) fn open(to: SocketAddr) -> Self {
        Self::try_open(to).unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"))
    }

    pub(crate) fn try_open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Says that no more bytes will come; the other direction stays open.
    pub(crate) fn finish_writing(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    /// A second handle, to write with while another thread reads.
    pub(crate) fn writer(&self) -> TcpStream {
        self.0.get_ref().try_clone().unwrap()
    }

    /// The socket, while nothing that was read waits in between.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.0.into_inner()
    }
}

impl<Stream: Read + Write> Connection<Stream> {
    /// Over this.
    pub(crate) fn over(stream: Stream) -> Self {
        Self(BufReader::new(stream))
    }

    /// What it goes over.
    pub(crate) fn stream(&mut self) -> &mut Stream {
        self.0.get_mut()
    }

    /// Sends these bytes as they are.
    #[track_caller]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// The answer to a request of this method, with the 1xx before it.
    pub(crate) fn try_receive(&mut self, method: &str) -> io::Result<Response> {
        let mut interim = Vec::new();
        loop {
            let head = read_head(&mut self.0)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status = status(&head)?;
            if matches!(status, 100 | 102..=199) {
                interim.push((status, head.headers));
                continue;
            }
            let framing = match status {
                101 => Framing::Length(0),
                _ => Framing::of_response(method, status, &head.headers),
            };
            let body = read_body(&mut self.0, framing)?;
            let Head { start, headers, .. } = head;
            return Ok(Response { start, status, headers, body, interim });
        }
    }

    #[track_caller]
    pub(crate) fn receive(&mut self, method: &str) -> Response {
        self.try_receive(method).unwrap()
    }

    /// The next bytes, whatever they are: after an upgrade.
    #[track_caller]
    pub(crate) fn read(&mut self, length: usize) -> Vec<u8> {
        self.try_read(length).unwrap()
    }

    pub(crate) fn try_read(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Awaits that the server closes, orderly or not; returns what it sent before.
    pub(crate) fn await_close(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(rest),
        }
    }
}

fn status(head: &Head) -> io::Result<u16> {
    let code = head.start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("not a status line: {:?}", head.start))
    })
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// The status line.
    pub(crate) start: String,
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    /// The 1xx before it, in their order.
    pub(crate) interim: Vec<(u16, Headers)>,
}

impl Response {
    /// The lines of this header joined with `, `.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
