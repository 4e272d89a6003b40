//! A line of the access log: what is known of a request that has ended, and how
//! that is written.
//!
//! Most of it is the client's to choose. So a field is cut after
//! [`FIELD_BYTES_MAX`] bytes, and what leaves here is printable ASCII, quotes
//! escaped: no request can end its line, begin another, or speak to a terminal.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use http::Version;
use jiff::{Timestamp, fmt::temporal::DateTimePrinter};

use super::wire::Secured;
use crate::{config::LogFormat, edge::Caller};

/// The most bytes of a field that a client chooses. Real ones are shorter, and clients that
/// send longer ones should not fill the disk.
const FIELD_BYTES_MAX: usize = 1024;

/// One line. `docs/config.md` says what its fields mean.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are documented for users, in docs/config.md")]
pub struct Line<'r> {
    pub time: Timestamp,
    pub request_id: Option<Plain<'r>>,
    pub listener: Option<Plain<'r>>,
    pub caller: Option<Caller>,
    pub method: Option<Plain<'r>>,
    pub host: Option<Chosen<'r>>,
    pub path: Option<Chosen<'r>>,
    pub version: Version,
    pub route: Option<Plain<'r>>,
    pub status: Option<u16>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: Duration,
    pub upstream: Option<SocketAddr>,
    pub reason: Option<Plain<'r>>,
    pub cors_kind: Option<Plain<'r>>,
    pub cors_reason: Option<Plain<'r>>,
    pub origin: Option<Chosen<'r>>,
    pub referer: Option<Chosen<'r>>,
    pub user_agent: Option<Chosen<'r>>,
    pub secured: Option<&'r Secured>,
}

/// What a line says of TLS where there is none.
const IN_THE_CLEAR: &[u8] =
    br#","tls_version":null,"cipher":null,"alpn":null,"sni":null,"resumed":null"#;

/// What the client chose: any bytes. Cut where they are written.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'r>(pub &'r [u8]);

/// What is known to be printable ASCII without quotes and backslashes, so that it is
/// written as it is: a name of the configuration, a word of a fixed set, a token, an id.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'r>(pub &'r [u8]);

impl Line<'_> {
    /// Appends the line as it is written, with its end.
    pub fn write(&self, format: LogFormat, out: &mut Vec<u8>) {
        match format {
            LogFormat::Json => self.write_json(out),
            LogFormat::Combined => self.write_combined(out),
        }
        out.push(b'\n');
    }

    /// By hand: serde takes six times as long. Tests compare with the object that it makes.
    fn write_json(&self, out: &mut Vec<u8>) {
        self.time.field(br#"{"time":"#, out);
        self.request_id.field(br#","request_id":"#, out);
        self.listener.field(br#","listener":"#, out);
        match self.caller {
            None => out.extend_from_slice(br#","client":null,"peer":null"#),
            Some(caller) => {
                match caller.named() {
                    // Its port is not known.
                    Some(client) => client.field(br#","client":"#, out),
                    None => caller.peer().field(br#","client":"#, out),
                }
                caller.peer().field(br#","peer":"#, out);
            }
        }
        self.method.field(br#","method":"#, out);
        self.host.field(br#","host":"#, out);
        self.path.field(br#","path":"#, out);
        Plain(protocol(self.version)).field(br#","protocol":"#, out);
        self.route.field(br#","route":"#, out);
        self.status.field(br#","status":"#, out);
        self.bytes_in.field(br#","bytes_in":"#, out);
        self.bytes_out.field(br#","bytes_out":"#, out);
        self.duration.field(br#","duration_ms":"#, out);
        self.upstream.field(br#","upstream":"#, out);
        self.reason.field(br#","reason":"#, out);
        self.cors_kind.field(br#","cors_kind":"#, out);
        self.cors_reason.field(br#","cors_reason":"#, out);
        self.origin.field(br#","origin":"#, out);
        let scheme = self.caller.map(|caller| Plain(caller.scheme().as_str().as_bytes()));
        scheme.field(br#","scheme":"#, out);
        match self.secured {
            None => out.extend_from_slice(IN_THE_CLEAR),
            Some(Secured { version, cipher, alpn, server_name, is_resumed, .. }) => {
                Plain(version.as_bytes()).field(br#","tls_version":"#, out);
                Plain(cipher.as_bytes()).field(br#","cipher":"#, out);
                alpn.map(|alpn| Plain(alpn.as_bytes())).field(br#","alpn":"#, out);
                server_name.as_ref().map(|name| Chosen(name.as_bytes())).field(br#","sni":"#, out);
                let resumed: &[u8] = if *is_resumed { b"true" } else { b"false" };
                out.extend_from_slice(br#","resumed":"#);
                out.extend_from_slice(resumed);
            }
        }
        self.user_agent.field(br#","user_agent":"#, out);
        out.push(b'}');
    }

    /// NCSA's combined format, escaped as nginx does. Without queries, as in JSON.
    fn write_combined(&self, out: &mut Vec<u8>) {
        match self.caller {
            Some(caller) => ip(caller.client(), out),
            None => out.push(b'-'),
        }
        display(out, format_args!(" - - [{}] \"", self.time.strftime("%d/%b/%Y:%H:%M:%S +0000")));
        out.extend_from_slice(self.method.map_or(b"-", |method| method.0));
        out.push(b' ');
        self.path.unwrap_or(Chosen(b"-")).escape(out);
        out.push(b' ');
        out.extend_from_slice(protocol(self.version));
        out.extend_from_slice(b"\" ");
        match self.status {
            Some(status) => number(out, status),
            None => out.push(b'-'),
        }
        out.push(b' ');
        number(out, self.bytes_out);
        out.extend_from_slice(b" \"");
        let page = self.referer.map(Chosen::without_query);
        page.unwrap_or(Chosen(b"-")).escape(out);
        out.extend_from_slice(b"\" \"");
        self.user_agent.unwrap_or(Chosen(b"-")).escape(out);
        out.push(b'"');
    }
}

/// The protocol that a request came by.
fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2.0",
        _ => b"HTTP/1.1",
    }
}

impl Chosen<'_> {
    fn cut(&self) -> &[u8] {
        self.0.get(..FIELD_BYTES_MAX).unwrap_or(self.0)
    }

    /// Up to a query or a fragment, which may hold secrets.
    pub(super) fn without_query(self) -> Self {
        let is_end = |byte: &u8| matches!(byte, b'?' | b'#');
        Self(self.0.split(is_end).next().unwrap_or_default())
    }

    /// What is not printable ASCII, and what ends or escapes a quoted field, as `\xHH`.
    fn escape(&self, out: &mut Vec<u8>) {
        for &byte in self.cut() {
            if is_plain(byte) {
                out.push(byte);
            } else {
                display(out, format_args!("\\x{byte:02X}"));
            }
        }
    }
}

/// Whether a byte may stand as it is between quotes, in both formats.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')
}

/// A value of a JSON object.
trait Json {
    fn value(&self, out: &mut Vec<u8>);

    /// Appends what stands before the value, and the value.
    fn field(&self, before: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(before);
        self.value(out);
    }
}

impl<T: Json> Json for Option<T> {
    fn value(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.value(out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

/// As text; what is not UTF-8 becomes U+FFFD. In ASCII: what JSON need not escape
/// has C1 control characters, which some terminals obey, and signs that turn a
/// text's direction.
impl Json for Chosen<'_> {
    fn value(&self, out: &mut Vec<u8>) {
        let text = self.cut();
        out.push(b'"');
        // Looks at every byte, whatever it finds, so that it can look at many at once.
        if text.iter().fold(true, |plain, &byte| plain & is_plain(byte)) {
            out.extend_from_slice(text);
        } else {
            escape_json(&String::from_utf8_lossy(text), out);
        }
        out.push(b'"');
    }
}

fn escape_json(text: &str, out: &mut Vec<u8>) {
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(br#"\""#),
            '\\' => out.extend_from_slice(br"\\"),
            ' '..='~' => out.push(character as u8),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    display(out, format_args!("\\u{unit:04x}"));
                }
            }
        }
    }
}

impl Json for Plain<'_> {
    fn value(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.0);
        out.push(b'"');
    }
}

impl Json for u16 {
    fn value(&self, out: &mut Vec<u8>) {
        number(out, *self);
    }
}

impl Json for u64 {
    fn value(&self, out: &mut Vec<u8>) {
        number(out, *self);
    }
}

impl Json for SocketAddr {
    fn value(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        match self {
            Self::V4(address) => {
                ipv4(*address.ip(), |byte| out.push(byte));
                out.push(b':');
                number(out, address.port());
            }
            Self::V6(address) => display(out, address),
        }
        out.push(b'"');
    }
}

impl Json for IpAddr {
    fn value(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        ip(*self, out);
        out.push(b'"');
    }
}

fn ip(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => ipv4(address, |byte| out.push(byte)),
        IpAddr::V6(address) => display(out, address),
    }
}

/// Writes as `Display` does, which takes ten times as long.
pub(super) fn ipv4(address: Ipv4Addr, mut push: impl FnMut(u8)) {
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
}

/// RFC 3339, in milliseconds.
impl Json for Timestamp {
    fn value(&self, out: &mut Vec<u8>) {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        out.push(b'"');
        // Fails only where writing does, and memory does not.
        let _ = PRINTER.print_timestamp(self, &mut *out);
        out.push(b'"');
    }
}

/// Milliseconds, to the nearest microsecond.
impl Json for Duration {
    fn value(&self, out: &mut Vec<u8>) {
        let rounded = self.saturating_add(Self::from_nanos(500));
        let micros = rounded.subsec_micros();
        number(out, rounded.as_secs().saturating_mul(1000).saturating_add((micros / 1000).into()));
        // Three digits behind a fourth, which becomes the point.
        let point = out.len();
        number(out, 1000 + micros % 1000);
        if let Some(digit) = out.get_mut(point) {
            *digit = b'.';
        }
    }
}

fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn display(out: &mut Vec<u8>, text: impl std::fmt::Display) {
    // Fails only where writing does, and memory does not.
    let _ = write!(out, "{text}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use http::HeaderMap;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::certificate::Trust;
    use crate::edge::Scheme;

    fn line<'r>(path: &'r str, user_agent: Option<&'r [u8]>) -> Line<'r> {
        Line {
            time: "2026-01-31T12:00:00.0009Z".parse().unwrap(),
            request_id: Some(Plain(b"01930f3e-7b2a-7c3d-8e4f-0123456789ab")),
            listener: Some(Plain(b"http")),
            caller: Some(caller("192.0.2.7:4711".parse().unwrap(), Scheme::Http, None)),
            method: Some(Plain(b"GET")),
            host: Some(Chosen(b"api.example.com")),
            path: Some(Chosen(path.as_bytes())),
            version: Version::HTTP_11,
            route: Some(Plain(b"shop/orders")),
            status: Some(200),
            bytes_in: 0,
            bytes_out: 17,
            duration: Duration::from_micros(1_234),
            upstream: Some("10.0.1.11:8080".parse().unwrap()),
            reason: None,
            cors_kind: Some(Plain(b"actual")),
            cors_reason: Some(Plain(b"ok")),
            origin: Some(Chosen(b"https://app.example.com")),
            referer: Some(Chosen(b"https://app.example.com/a?token=1")),
            user_agent: user_agent.map(Chosen),
            secured: None,
        }
    }

    /// A caller whom everyone may speak for.
    fn caller(peer: SocketAddr, scheme: Scheme, client: Option<IpAddr>) -> Caller {
        let everyone = ["0.0.0.0/0", "::/0"].iter().map(|network| network.parse().unwrap());
        let mut headers = HeaderMap::new();
        if let Some(client) = client {
            headers.insert("x-forwarded-for", client.to_string().parse().unwrap());
        }
        Caller::direct(peer, scheme).trusting(&everyone.collect(), &headers)
    }

    fn secured(server_name: Option<&str>, is_resumed: bool) -> Secured {
        let server_name = server_name.map(Into::into);
        Secured {
            version: "1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            alpn: Some("http/1.1"),
            server_name,
            is_resumed,
            trust: Trust::Anybody,
            identity: None,
        }
    }

    fn written(line: &Line<'_>, format: LogFormat) -> String {
        let mut text = Vec::new();
        line.write(format, &mut text);
        String::from_utf8(text).unwrap()
    }

    /// The same line by serde.
    fn oracle(line: &Line<'_>) -> Value {
        let text = |chosen: Chosen<'_>| String::from_utf8_lossy(chosen.cut()).into_owned();
        let word = |plain: Plain<'_>| String::from_utf8(plain.0.to_vec()).unwrap();
        json!({
            "time": format!("{:.3}", line.time),
            "request_id": line.request_id.map(word),
            "listener": line.listener.map(word),
            "client": line.caller.map(|it| match it.named() {
                Some(client) => client.to_string(),
                None => it.peer().to_string(),
            }),
            "peer": line.caller.map(|it| it.peer()),
            "method": line.method.map(word),
            "host": line.host.map(text),
            "path": line.path.map(text),
            "protocol": format!("{:?}", line.version),
            "route": line.route.map(word),
            "status": line.status,
            "bytes_in": line.bytes_in,
            "bytes_out": line.bytes_out,
            "duration_ms": (line.duration.as_secs_f64() * 1e6).round() / 1e3,
            "upstream": line.upstream,
            "reason": line.reason.map(word),
            "cors_kind": line.cors_kind.map(word),
            "cors_reason": line.cors_reason.map(word),
            "origin": line.origin.map(text),
            "scheme": line.caller.map(|it| it.scheme().as_str()),
            "tls_version": line.secured.map(|it| it.version),
            "cipher": line.secured.map(|it| it.cipher),
            "alpn": line.secured.and_then(|it| it.alpn),
            "sni": line.secured.and_then(|it| it.server_name.as_deref()),
            "resumed": line.secured.map(|it| it.is_resumed),
            "user_agent": line.user_agent.map(text),
        })
    }

    #[test]
    fn word_for_word() {
        let line = line("/v1/orders/7", Some(b"curl/8"));
        assert_eq!(
            written(&line, LogFormat::Json),
            r#"{"time":"2026-01-31T12:00:00.000Z","request_id":"01930f3e-7b2a-7c3d-8e4f-0123456789ab","listener":"http","client":"192.0.2.7:4711","peer":"192.0.2.7:4711","method":"GET","host":"api.example.com","path":"/v1/orders/7","protocol":"HTTP/1.1","route":"shop/orders","status":200,"bytes_in":0,"bytes_out":17,"duration_ms":1.234,"upstream":"10.0.1.11:8080","reason":null,"cors_kind":"actual","cors_reason":"ok","origin":"https://app.example.com","scheme":"http","tls_version":null,"cipher":null,"alpn":null,"sni":null,"resumed":null,"user_agent":"curl/8"}"#.to_owned() + "\n"
        );
        assert_eq!(
            written(&line, LogFormat::Combined),
            r#"192.0.2.7 - - [31/Jan/2026:12:00:00 +0000] "GET /v1/orders/7 HTTP/1.1" 200 17 "https://app.example.com/a" "curl/8""#.to_owned() + "\n"
        );
        let secured = secured(Some("api.example.com"), true);
        let hop = caller("10.0.0.1:80".parse().unwrap(), Scheme::Https, "2001:db8::7".parse().ok());
        let line = Line { secured: Some(&secured), caller: Some(hop), ..line };
        let text = written(&line, LogFormat::Json);
        let tls = r#","scheme":"https","tls_version":"1.3","cipher":"TLS_AES_128_GCM_SHA256","alpn":"http/1.1","sni":"api.example.com","resumed":true,"#;
        assert!(text.contains(tls), "{text}");
        assert!(text.contains(r#""client":"2001:db8::7","peer":"10.0.0.1:80","#), "{text}");
        assert!(written(&line, LogFormat::Combined).starts_with("2001:db8::7 - - ["));
    }

    #[test]
    fn what_is_not_there() {
        let line = Line { caller: None, status: None, referer: None, ..line("*", None) };
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
            (b"a\r\nb",          r#""a\u000d\u000ab""#,   r#""a\x0D\x0Ab""#),
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
        /// Whatever a client sends, a line is one line of printable ASCII, and is not
        /// much longer than its fields may be.
        #[test]
        fn a_line_is_one_line(path in ".{0,9}|[aé]{2000}", agent in any::<Vec<u8>>(), many in 0_usize..3000) {
            let agent = agent.repeat(many / agent.len().max(1));
            let line = line(&path, Some(&agent));
            for format in [LogFormat::Json, LogFormat::Combined] {
                let text = written(&line, format);
                let rest = text.strip_suffix('\n').unwrap();
                prop_assert!(rest.bytes().all(|byte| matches!(byte, b' '..=b'~')));
                prop_assert!(text.len() <= 12 * FIELD_BYTES_MAX + 768);
                if format == LogFormat::Combined {
                    prop_assert_eq!(rest.matches('"').count(), 6);
                }
            }
        }

        /// The object is the one that serde makes.
        #[test]
        fn json_is_as_serde_writes_it(
            seconds in -62_000_000_000..253_000_000_000_i64,
            (addresses, micros) in (any::<[Option<SocketAddr>; 2]>(), 0..1_u64 << 40),
            (status, sizes) in any::<(Option<u16>, [usize; 2])>(),
            path in any::<Vec<u8>>(),
            others in any::<[Option<Vec<u8>>; 3]>(),
            tls in any::<Option<(Option<String>, bool)>>(),
            named in any::<Option<IpAddr>>(),
        ) {
            let tls = tls.map(|(name, is_resumed)| secured(name.as_deref(), is_resumed));
            let [host, origin, user_agent] = others.each_ref().map(Option::as_deref);
            let line = Line {
                time: Timestamp::new(seconds, 987_654_321).unwrap(),
                caller: addresses[0].map(|peer| {
                    let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
                    caller(peer, scheme, named)
                }),
                host: host.map(Chosen),
                path: Some(Chosen(&path)),
                status,
                bytes_in: sizes[0] as u64,
                bytes_out: sizes[1] as u64,
                duration: Duration::from_micros(micros),
                upstream: addresses[1],
                origin: origin.map(Chosen),
                secured: tls.as_ref(),
                ..line("*", user_agent)
            };
            let text = written(&line, LogFormat::Json);
            let object: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(object, oracle(&line), "{}", text);
        }
    }
}
