//! What RFC 9113, 4 to 8, calls an error, as a table: each gets its answer, ends what it
//! must, and nothing more.
//!
//! The crate `h2` says `PROTOCOL_ERROR` where the RFC names `COMPRESSION_ERROR`,
//! `STREAM_CLOSED`, or `FRAME_SIZE_ERROR` of small frames, and ends the connection for names and values that are
//! none, as it may (RFC 9113, 5.4.1). Pseudo-headers in trailers it drops, as corsac drops all
//! trailers of requests.

use std::fmt;

use super::{get, listening, post};
use crate::harness::{Corsac, End, Http2, Origin, fields, frame};

/// What a case has to come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Due {
    /// The connection ends with this code (RFC 9113, 7).
    Connection(u32),
    /// The stream ends with this code, and the connection goes on.
    Stream(u32),
    /// The request is answered, and the connection goes on.
    Status(u16),
    /// It is ignored.
    Nothing,
}

use Due::{Connection, Nothing, Status, Stream};

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const FRAME_SIZE: u32 = 6;
const CALM: u32 = 11;

/// The head of a request with these fields behind its pseudo-headers.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];
    head(&[&pseudo, more].concat())
}

/// A request of stream 1 with exactly these fields.
fn head(all: &[(&str, &str)]) -> Vec<u8> {
    frame(1, 5, 1, &fields(all))
}

/// A request of stream 1 with a body.
fn body(more: &[(&str, &str)], data: &[u8], flags: u8) -> Vec<u8> {
    let pseudo =
        [(":method", "POST"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];
    let head = frame(1, 4, 1, &fields(&[&pseudo, more].concat()));
    [head, frame(0, flags, 1, data)].concat()
}

/// A field whose name or value need not be text.
fn raw(name: &[u8], value: &[u8]) -> Vec<u8> {
    let pseudo =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];
    let mut block = fields(&pseudo);
    for text in [name, value] {
        if std::ptr::eq(text, name) {
            block.push(0);
        }
        block.push(u8::try_from(text.len()).unwrap());
        block.extend(text);
    }
    frame(1, 5, 1, &block)
}

#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<(&'static str, &'static str, Vec<u8>, Due)> {
    let setting = |key: u16, value: u32| {
        frame(4, 0, 0, &[&key.to_be_bytes()[..], &value.to_be_bytes()].concat())
    };
    let then = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    let large = vec![0; 16_385];
    let done = get(1, "/");
    let open = post(1);
    vec![
        // 4: frames, and blocks of headers
        ("4.2",   "a frame larger than was allowed",        then(open.clone(), frame(0, 0, 1, &large)),              Connection(FRAME_SIZE)),
        ("4.2",   "headers larger than was allowed",        frame(1, 4, 1, &large),                                  Connection(FRAME_SIZE)),
        ("4.3",   "a block that is no HPACK",               frame(1, 5, 1, &[0xFF; 9]),                              Connection(PROTOCOL)),
        ("4.3",   "an index that nobody has filled",        frame(1, 5, 1, &[0xBE]),                                 Connection(PROTOCOL)),
        ("4.3",   "an index of 0",                          frame(1, 5, 1, &[0x80]),                                 Connection(PROTOCOL)),
        ("4.3",   "a table larger than was allowed",        frame(1, 5, 1, &[0x3F, 0xFF, 0xFF, 0x7F]),               Connection(PROTOCOL)),
        ("4.3",   "a literal that is cut off",              frame(1, 5, 1, &[0x00, 0x05, b'a']),                     Connection(PROTOCOL)),
        ("4.3",   "another frame within a block",           then(frame(1, 1, 1, &[0x82]), frame(6, 0, 0, &[0; 8])),  Connection(PROTOCOL)),
        ("4.3",   "another stream within a block",          then(frame(1, 1, 1, &[0x82]), frame(9, 4, 3, &[0x84])),  Connection(PROTOCOL)),
        // 5: streams
        ("5.1",   "data on a stream that is idle",          frame(0, 0, 1, b"x"),                                    Connection(PROTOCOL)),
        ("5.1",   "a reset of a stream that is idle",       frame(3, 0, 1, &[0; 4]),                                 Connection(PROTOCOL)),
        ("5.1",   "a window for a stream that is idle",     frame(8, 0, 1, &[0, 0, 0, 1]),                           Connection(PROTOCOL)),
        ("5.1",   "headers on a stream that has ended",     then(done.clone(), get(1, "/")),                         Connection(PROTOCOL)),
        ("5.1",   "data after the end",                     then(body(&[], b"x", 1), frame(0, 0, 1, b"y")),          Connection(PROTOCOL)),
        ("5.1.1", "a stream of an even number",             get(2, "/"),                                             Connection(PROTOCOL)),
        ("5.1.1", "a stream below one that was opened",     then(get(5, "/"), get(3, "/")),                          Connection(PROTOCOL)),
        ("5.3",   "a stream that depends on itself",        frame(2, 0, 1, &[0, 0, 0, 1, 0]),                        Nothing),
        ("5.5",   "a frame of an unknown type",             frame(0xEE, 0, 0, b"?"),                                 Nothing),
        ("5.5",   "one of a stream",                        then(open.clone(), then(frame(0xEE, 0, 1, b"?"), frame(0, 1, 1, b""))), Status(200)),
        // 6.1: DATA
        ("6.1",   "data of no stream",                      frame(0, 0, 0, b"x"),                                    Connection(PROTOCOL)),
        ("6.1",   "more padding than data",                 then(open.clone(), frame(0, 8, 1, &[9, b'x'])),          Connection(PROTOCOL)),
        ("6.1",   "padding without a length",               then(open.clone(), frame(0, 8, 1, &[])),                 Connection(PROTOCOL)),
        ("6.1",   "padding that is right",                  then(open.clone(), frame(0, 9, 1, &[2, b'x', 0, 0])),    Status(200)),
        // 6.2: HEADERS
        ("6.2",   "headers of no stream",                   frame(1, 5, 0, &[0x82]),                                 Connection(PROTOCOL)),
        ("6.2",   "more padding than headers",              frame(1, 13, 1, &[9, 0x82]),                             Connection(PROTOCOL)),
        ("6.2",   "priority that is cut off",               frame(1, 0x25, 1, &[0, 0, 0]),                           Connection(PROTOCOL)),
        // 6.3: PRIORITY
        ("6.3",   "priority of no stream",                  frame(2, 0, 0, &[0, 0, 0, 0, 0]),                        Connection(PROTOCOL)),
        ("6.3",   "priority of four bytes",                 frame(2, 0, 1, &[0; 4]),                                 Connection(PROTOCOL)),
        // 6.4: RST_STREAM
        ("6.4",   "a reset of no stream",                   frame(3, 0, 0, &[0; 4]),                                 Connection(PROTOCOL)),
        ("6.4",   "a reset of three bytes",                 then(open.clone(), frame(3, 0, 1, &[0; 3])),             Connection(PROTOCOL)),
        // 6.5: SETTINGS
        ("6.5",   "settings of a stream",                   frame(4, 0, 1, &[]),                                     Connection(PROTOCOL)),
        ("6.5",   "an acknowledgement with a payload",      frame(4, 1, 0, &[0; 6]),                                 Connection(PROTOCOL)),
        ("6.5",   "settings of five bytes",                 frame(4, 0, 0, &[0; 5]),                                 Connection(PROTOCOL)),
        ("6.5.2", "push that is neither on nor off",        setting(2, 2),                                           Connection(PROTOCOL)),
        ("6.5.2", "a window of 2^31",                       setting(4, 1 << 31),                                     Connection(PROTOCOL)),
        ("6.5.2", "frames too small",                       setting(5, 16_383),                                      Connection(PROTOCOL)),
        ("6.5.2", "frames too large",                       setting(5, 1 << 24),                                     Connection(PROTOCOL)),
        ("6.5.2", "a setting that nobody knows",            setting(0x77, 1),                                        Nothing),
        // 6.6: PUSH_PROMISE
        ("6.6",   "a promise of a client's",                frame(5, 4, 1, &[0, 0, 0, 2, 0x82]),                     Connection(PROTOCOL)),
        // 6.7: PING
        ("6.7",   "a ping of a stream",                     frame(6, 0, 1, &[0; 8]),                                 Connection(PROTOCOL)),
        ("6.7",   "a ping of six bytes",                    frame(6, 0, 0, &[0; 6]),                                 Connection(PROTOCOL)),
        ("6.7",   "an answer to no ping",                   frame(6, 1, 0, &[7; 8]),                                 Nothing),
        // 6.8: GOAWAY
        ("6.8",   "a goodbye of a stream",                  frame(7, 0, 1, &[0; 8]),                                 Connection(PROTOCOL)),
        ("6.8",   "a goodbye of seven bytes",               frame(7, 0, 0, &[0; 7]),                                 Connection(PROTOCOL)),
        // 6.9: WINDOW_UPDATE
        ("6.9",   "a window of three bytes",                frame(8, 0, 0, &[0; 3]),                                 Connection(PROTOCOL)),
        ("6.9",   "room for nothing, connection",           frame(8, 0, 0, &[0; 4]),                                 Connection(PROTOCOL)),
        ("6.9",   "room for nothing, stream",               then(open.clone(), frame(8, 0, 1, &[0; 4])),             Connection(PROTOCOL)),
        ("6.9.1", "more room than there is, connection",    frame(8, 0, 0, &[0x7F, 0xFF, 0xFF, 0xFF]),               Connection(FLOW_CONTROL)),
        ("6.9.1", "more room than there is, stream",        then(open.clone(), frame(8, 0, 1, &[0x7F, 0xFF, 0xFF, 0xFF])), Stream(FLOW_CONTROL)),
        // 6.10: CONTINUATION
        ("6.10",  "a continuation of nothing",              frame(9, 4, 1, &[0x82]),                                 Connection(PROTOCOL)),
        ("6.10",  "a continuation of no stream",            then(frame(1, 1, 1, &[0x82]), frame(9, 4, 0, &[])),      Connection(PROTOCOL)),
        ("6.10",  "a continuation after the end",           then(open.clone(), frame(9, 4, 1, &[0x82])),             Connection(PROTOCOL)),
        // 8.1: messages
        ("8.1",   "trailers that do not end",               then(open.clone(), frame(1, 4, 1, &fields(&[("x", "y")]))), Stream(PROTOCOL)),
        ("8.1.1", "less data than its length",              body(&[("content-length", "2")], b"x", 1),               Stream(PROTOCOL)),
        ("8.1.1", "more data than its length",              body(&[("content-length", "1")], b"xy", 1),              Stream(PROTOCOL)),
        ("8.1.1", "a length, and no data",                  with(&[("content-length", "1")]),                        Stream(PROTOCOL)),
        ("8.1.1", "two lengths",                            body(&[("content-length", "1"), ("content-length", "1")], b"x", 1), Status(400)),
        ("8.1.1", "a length that is no number",             body(&[("content-length", "+1")], b"x", 1),              Stream(PROTOCOL)),
        // 8.2: fields
        ("8.2",   "a name in upper case",                   with(&[("X-A", "b")]),                                   Connection(PROTOCOL)),
        ("8.2.1", "a name with a space",                    with(&[("x a", "b")]),                                   Connection(PROTOCOL)),
        ("8.2.1", "a name without a letter",                with(&[("", "b")]),                                      Connection(PROTOCOL)),
        ("8.2.1", "a name with a colon",                    with(&[("x:a", "b")]),                                   Connection(PROTOCOL)),
        ("8.2.1", "a name with a quotation mark",           with(&[("x\"", "b")]),                                   Status(400)),
        ("8.2.1", "a value with a line",                    raw(b"x-a", b"b\r\nx: y"),                               Connection(PROTOCOL)),
        ("8.2.1", "a value with a NUL",                     raw(b"x-a", b"b\0"),                                     Connection(PROTOCOL)),
        ("8.2.1", "a value that begins with a blank",       with(&[("x-a", " b")]),                                  Status(400)),
        ("8.2.1", "a value that ends with a blank",         with(&[("x-a", "b\t")]),                                 Status(400)),
        ("8.2.2", "connection",                             with(&[("connection", "keep-alive")]),                   Stream(PROTOCOL)),
        ("8.2.2", "keep-alive",                             with(&[("keep-alive", "1")]),                            Stream(PROTOCOL)),
        ("8.2.2", "proxy-connection",                       with(&[("proxy-connection", "x")]),                      Stream(PROTOCOL)),
        ("8.2.2", "transfer-encoding",                      with(&[("transfer-encoding", "chunked")]),               Stream(PROTOCOL)),
        ("8.2.2", "upgrade",                                with(&[("upgrade", "websocket")]),                       Stream(PROTOCOL)),
        ("8.2.2", "te",                                     with(&[("te", "gzip")]),                                 Stream(PROTOCOL)),
        ("8.2.2", "te for trailers",                        with(&[("te", "trailers")]),                             Status(200)),
        // 8.3: pseudo-headers
        ("8.3",   "one that nobody knows",                  with(&[(":x", "y")]),                                    Connection(PROTOCOL)),
        ("8.3",   "one of an answer",                       with(&[(":status", "200")]),                             Stream(PROTOCOL)),
        ("8.3",   "one behind a field",                     head(&[(":method", "GET"), ("x", "y"), (":scheme", "http"), (":path", "/")]), Stream(PROTOCOL)),
        ("8.3",   "the same one twice",                     with(&[(":path", "/")]),                                 Stream(PROTOCOL)),
        ("8.3",   "in trailers",                            then(open.clone(), frame(1, 5, 1, &fields(&[(":path", "/")]))), Status(200)),
        ("8.3.1", "no method",                              head(&[(":scheme", "http"), (":authority", "a"), (":path", "/")]), Stream(PROTOCOL)),
        ("8.3.1", "no scheme",                              head(&[(":method", "GET"), (":authority", "a"), (":path", "/")]), Stream(PROTOCOL)),
        ("8.3.1", "no path",                                head(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")]), Stream(PROTOCOL)),
        ("8.3.1", "an empty path",                          head(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "")]), Stream(PROTOCOL)),
        ("8.3.1", "a path without a slash",                 head(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "a")]), Stream(PROTOCOL)),
        ("8.3.1", "an absolute path",                       head(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "http://a/")]), Stream(PROTOCOL)),
        ("8.3.1", "a path with a space",                    head(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/a b")]), Stream(PROTOCOL)),
        ("8.3.1", "a path with a line",                     head(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/a\r\nx: y")]), Stream(PROTOCOL)),
        ("8.3.1", "a method with a space",                  head(&[(":method", "G T"), (":scheme", "http"), (":authority", "a"), (":path", "/")]), Connection(PROTOCOL)),
        ("8.3.1", "another scheme",                         head(&[(":method", "GET"), (":scheme", "ftp"), (":authority", "a"), (":path", "/")]), Status(400)),
        ("8.3.1", "no authority and no host",               head(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]), Status(400)),
        ("8.3.1", "a host alone",                           head(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a")]), Status(200)),
        ("8.3.1", "another host beside the authority",      with(&[("host", "b.example")]),                          Status(400)),
        ("8.3.1", "the same host beside the authority",     with(&[("host", "a.example")]),                          Status(200)),
        ("8.3.1", "a user in the authority",                head(&[(":method", "GET"), (":scheme", "http"), (":authority", "u@a"), (":path", "/")]), Status(400)),
        ("8.3.1", "every path",                             head(&[(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", "*")]), Status(400)),
        // 8.5: CONNECT
        ("8.5",   "a tunnel",                               head(&[(":method", "CONNECT"), (":authority", "a:443")]), Status(405)),
        ("8.5",   "a tunnel with a path",                   head(&[(":method", "CONNECT"), (":scheme", "http"), (":authority", "a:443"), (":path", "/")]), Stream(PROTOCOL)),
        ("8.5",   "a tunnel for WebSockets (RFC 8441)",     head(&[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a"), (":path", "/")]), Stream(PROTOCOL)),
        // 10.5: what costs too much
        ("10.5",  "a head larger than the limit",           with(&[("x-a", &"b".repeat(10_000)), ("x-b", &"b".repeat(5_000))]), Status(431)),
        ("10.5",  "a block without an end",                 then(frame(1, 1, 1, &[0x82]), frame(9, 0, 1, &fields(&[("x", &"y".repeat(2_000))])).repeat(40)), Connection(CALM)),
    ]
}

/// What a case has come to.
fn sent(corsac: &Corsac, bytes: &[u8], due: Due) -> Result<Due, Unexpected> {
    let mut client = Http2::open(corsac.address());
    client.write(bytes).map_err(|_| Unexpected("not taken"))?;
    // A request behind it shows whether the connection goes on.
    let _ = client.write(&get(9, "/"));
    let probe = client.receive(9);
    if let Err(End::GoAway(code)) = probe {
        return Ok(Connection(code));
    }
    if probe.map_err(|_| Unexpected("the next request is not served"))?.status != 200 {
        return Err(Unexpected("the next request is not served as it should be"));
    }
    if due == Nothing {
        return Ok(Nothing);
    }
    match client.receive(1) {
        Ok(response) => Ok(Status(response.status)),
        Err(End::Reset(code)) => Ok(Stream(code)),
        Err(_) => Err(Unexpected("the connection has ended")),
    }
}

#[derive(Debug, Eq, PartialEq)]
struct Unexpected(&'static str);

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[test]
fn what_is_malformed() {
    let origin = Origin::answering(200).start();
    let everything = "[services.s]\nupstream = \"origin\"\nroutes.all.paths = \"/*\"\n";
    let corsac = listening(&origin, "limits = { head_size = \"8KiB\" }", everything);
    let cases = cases();
    assert!(cases.len() >= 60);
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(section, what, bytes, due)| {
            let came = sent(&corsac, bytes, *due);
            (came != Ok(*due)).then(|| format!("{section}, {what}: {came:?}, due {due:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    corsac.await_metric("corsac_http_connections{listener=\"http\"} 0");
}
