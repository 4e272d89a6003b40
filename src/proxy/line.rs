//! A line of the access log: what is known of a request that has ended, and how
//! that is written.
//!
//! Most of it is the client's to choose. So a field is cut after
//! [`FIELD_BYTES_MAX`] bytes, and what leaves here is printable ASCII, quotes
//! escaped: no request can end its line, begin another, or speak to a terminal.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use http::{HeaderName, HeaderValue, Version, header};
use jiff::Timestamp;
use pingora_proxy::Session;
use serde::{Serialize, Serializer};

use super::Context;
use crate::{config::LogFormat, edge::Cause};

/// The most bytes of a field that a client chooses. Real ones are shorter; those
/// who send longer ones should not fill the disk.
const FIELD_BYTES_MAX: usize = 1024;

/// What most lines fit in, so that a line is one allocation.
const LINE_BYTES: usize = 768;

/// One line. `docs/config.md` says what its fields mean.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are documented for users, in docs/config.md")]
pub struct Line<'r> {
    #[serde(serialize_with = "rfc_3339")]
    pub time: Timestamp,
    pub request_id: Option<Chosen<'r>>,
    pub client: Option<SocketAddr>,
    pub method: Chosen<'r>,
    pub host: Option<Chosen<'r>>,
    pub path: Chosen<'r>,
    #[serde(skip)]
    pub version: Version,
    pub route: Option<&'r str>,
    pub status: Option<u16>,
    pub bytes_in: usize,
    pub bytes_out: usize,
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
    pub upstream: Option<SocketAddr>,
    pub reason: Option<&'static str>,
    pub cors_kind: Option<&'static str>,
    pub cors_reason: Option<&'static str>,
    pub origin: Option<Chosen<'r>>,
    #[serde(skip)]
    pub referer: Option<Chosen<'r>>,
    pub user_agent: Option<Chosen<'r>>,
}

/// What the client chose: any bytes. Cut where they are written.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'r>(pub &'r [u8]);

impl<'r> Line<'r> {
    /// The line of a request that has ended.
    pub(super) fn new(session: &'r Session, ctx: &'r Context) -> Self {
        let chosen = |value: &'r HeaderValue| Chosen(value.as_bytes());
        let head = session.req_header();
        let header = |name: HeaderName| head.headers.get(name).map(chosen);
        let route = ctx.serving.as_ref().and_then(|serving| Some(&*serving.route()?.name));
        Self {
            time: Timestamp::now(),
            request_id: ctx.id.as_ref().map(|(_, id)| chosen(id)),
            client: session.client_addr().and_then(|client| client.as_inet()).copied(),
            method: Chosen(head.method.as_str().as_bytes()),
            host: header(header::HOST),
            path: Chosen(head.uri.path().as_bytes()),
            version: head.version,
            route,
            status: session.response_written().map(|response| response.status.as_u16()),
            bytes_in: session.body_bytes_read(),
            bytes_out: session.body_bytes_sent(),
            duration: ctx.started.elapsed(),
            upstream: ctx.endpoint.map(|endpoint| endpoint.address),
            reason: ctx.cause.map(Cause::as_str),
            cors_kind: ctx.cors.map(|(kind, _)| kind.as_str()),
            cors_reason: ctx.cors.map(|(_, reason)| reason.as_str()),
            origin: header(header::ORIGIN),
            referer: header(header::REFERER),
            user_agent: header(header::USER_AGENT),
        }
    }

    /// The line as it is written, with its end.
    #[must_use]
    pub fn to_bytes(&self, format: LogFormat) -> Vec<u8> {
        let mut line = Vec::with_capacity(LINE_BYTES);
        // Writing text and numbers into memory cannot fail.
        let _ = match format {
            LogFormat::Json => self.write_json(&mut line),
            LogFormat::Combined => self.write_combined(&mut line),
        };
        line.push(b'\n');
        line
    }

    fn write_json(&self, line: &mut Vec<u8>) -> io::Result<()> {
        let mut json = serde_json::Serializer::with_formatter(line, Ascii);
        self.serialize(&mut json).map_err(io::Error::from)
    }

    /// NCSA's combined format, escaped as nginx does. Without queries, as in JSON:
    /// they hold secrets.
    fn write_combined(&self, line: &mut Vec<u8>) -> io::Result<()> {
        match self.client {
            Some(client) => write!(line, "{}", client.ip())?,
            None => line.push(b'-'),
        }
        write!(line, " - - [{}] \"", self.time.strftime("%d/%b/%Y:%H:%M:%S +0000"))?;
        self.method.escape(line)?;
        line.push(b' ');
        self.path.escape(line)?;
        write!(line, " {:?}\" ", self.version)?;
        match self.status {
            Some(status) => write!(line, "{status}")?,
            None => line.push(b'-'),
        }
        write!(line, " {} \"", self.bytes_out)?;
        let page = self.referer.map(Chosen::without_query);
        page.unwrap_or(Chosen(b"-")).escape(line)?;
        line.extend_from_slice(b"\" \"");
        self.user_agent.unwrap_or(Chosen(b"-")).escape(line)?;
        line.push(b'"');
        Ok(())
    }
}

impl Chosen<'_> {
    fn cut(&self) -> &[u8] {
        self.0.get(..FIELD_BYTES_MAX).unwrap_or(self.0)
    }

    fn without_query(self) -> Self {
        let is_end = |byte: &u8| matches!(byte, b'?' | b'#');
        Self(self.0.split(is_end).next().unwrap_or_default())
    }

    /// What is not printable ASCII, and what ends or escapes a quoted field, as `\xHH`.
    fn escape(&self, line: &mut Vec<u8>) -> io::Result<()> {
        for &byte in self.cut() {
            match byte {
                b'"' | b'\\' | ..b' ' | 0x7f.. => write!(line, "\\x{byte:02X}")?,
                _ => line.push(byte),
            }
        }
        Ok(())
    }
}

/// As text; what is not UTF-8 becomes U+FFFD.
impl Serialize for Chosen<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&String::from_utf8_lossy(self.cut()))
    }
}

/// JSON in ASCII. `serde_json` alone escapes what JSON must; C1 control characters,
/// which some terminals obey, and signs that turn a text's direction are not among that.
struct Ascii;

impl serde_json::ser::Formatter for Ascii {
    fn write_string_fragment<W>(&mut self, out: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return out.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            match character {
                ' '..='~' => write!(out, "{character}")?,
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(out, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn rfc_3339<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.3}"))
}

fn milliseconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn line<'r>(path: &'r str, user_agent: Option<&'r [u8]>) -> Line<'r> {
        Line {
            time: "2026-01-31T12:00:00.0009Z".parse().unwrap(),
            request_id: Some(Chosen(b"01930f3e-7b2a-7c3d-8e4f-0123456789ab")),
            client: Some("192.0.2.7:4711".parse().unwrap()),
            method: Chosen(b"GET"),
            host: Some(Chosen(b"api.example.com")),
            path: Chosen(path.as_bytes()),
            version: Version::HTTP_11,
            route: Some("shop/orders"),
            status: Some(200),
            bytes_in: 0,
            bytes_out: 17,
            duration: Duration::from_micros(1_234),
            upstream: Some("10.0.1.11:8080".parse().unwrap()),
            reason: None,
            cors_kind: Some("actual"),
            cors_reason: Some("ok"),
            origin: Some(Chosen(b"https://app.example.com")),
            referer: Some(Chosen(b"https://app.example.com/a?token=1")),
            user_agent: user_agent.map(Chosen),
        }
    }

    fn written(line: &Line<'_>, format: LogFormat) -> String {
        String::from_utf8(line.to_bytes(format)).unwrap()
    }

    #[test]
    fn word_for_word() {
        let line = line("/v1/orders/7", Some(b"curl/8"));
        assert_eq!(
            written(&line, LogFormat::Json),
            r#"{"time":"2026-01-31T12:00:00.000Z","request_id":"01930f3e-7b2a-7c3d-8e4f-0123456789ab","client":"192.0.2.7:4711","method":"GET","host":"api.example.com","path":"/v1/orders/7","route":"shop/orders","status":200,"bytes_in":0,"bytes_out":17,"duration_ms":1.234,"upstream":"10.0.1.11:8080","reason":null,"cors_kind":"actual","cors_reason":"ok","origin":"https://app.example.com","user_agent":"curl/8"}"#.to_owned() + "\n"
        );
        assert_eq!(
            written(&line, LogFormat::Combined),
            r#"192.0.2.7 - - [31/Jan/2026:12:00:00 +0000] "GET /v1/orders/7 HTTP/1.1" 200 17 "https://app.example.com/a" "curl/8""#.to_owned() + "\n"
        );
    }

    #[test]
    fn what_is_not_there() {
        let line = Line { client: None, status: None, referer: None, ..line("*", None) };
        assert_eq!(
            written(&line, LogFormat::Combined),
            "- - - [31/Jan/2026:12:00:00 +0000] \"GET * HTTP/1.1\" - 17 \"-\" \"-\"\n"
        );
    }

    #[test]
    fn escapes() {
        #[rustfmt::skip]
        let cases: [(&[u8], &str, &str); 5] = [
            // user agent         JSON                    combined
            (b"a\" 200 \"b",      r#""a\" 200 \"b""#,      r#""a\x22 200 \x22b""#),
            (b"a\\b",             r#""a\\b""#,             r#""a\x5Cb""#),
            (b"a\r\nb\tc",        r#""a\r\nb\tc""#,        r#""a\x0D\x0Ab\x09c""#),
            (b"\x1b[2J\x7f",      r#""\u001b[2J\u007f""#,  r#""\x1B[2J\x7F""#),
            (b"\xc2\x9b2J\xff",   r#""\u009b2J\ufffd""#,   r#""\xC2\x9B2J\xFF""#),
        ];
        for (user_agent, json, combined) in cases {
            let line = line("/", Some(user_agent));
            let end = format!("\"user_agent\":{json}}}\n");
            assert!(written(&line, LogFormat::Json).ends_with(&end), "{json}");
            assert!(written(&line, LogFormat::Combined).ends_with(&format!(" {combined}\n")));
        }
        let json = written(&line("/\u{9b}\u{1f98a}", None), LogFormat::Json);
        assert!(json.contains(r#""path":"/\u009b\ud83e\udd8a""#), "{json}");
    }

    proptest! {
        /// Whatever a client sends, a line is one line of printable ASCII, is not
        /// much longer than its fields may be, and has the fields that it has.
        #[test]
        fn a_line_is_one_line(path in ".{0,9}|[aé]{2000}", agent in any::<Vec<u8>>(), many in 0_usize..3000) {
            let agent = agent.repeat(many / agent.len().max(1));
            let line = line(&path, Some(&agent));
            for format in [LogFormat::Json, LogFormat::Combined] {
                let text = line.to_bytes(format);
                let (end, rest) = text.split_last().unwrap();
                prop_assert!(*end == b'\n' && rest.iter().all(|byte| matches!(byte, b' '..=b'~')));
                prop_assert!(text.len() <= 12 * FIELD_BYTES_MAX + LINE_BYTES);
                if format == LogFormat::Combined {
                    prop_assert_eq!(rest.split(|byte| *byte == b'"').count(), 7);
                } else {
                    let fields: serde_json::Value = serde_json::from_slice(rest).unwrap();
                    prop_assert_eq!(fields.as_object().unwrap().len(), 17);
                    let shown = fields["path"].as_str().unwrap().trim_end_matches('\u{fffd}');
                    prop_assert!(path.starts_with(shown));
                }
            }
        }
    }
}
