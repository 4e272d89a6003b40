//! Who the client is, as a load balancer in front says by the PROXY protocol.

use std::io::Write;
use std::net::TcpStream;

use corsac::proxy_protocol::write_v2;

use crate::harness::{
    Call, Certified, Connection, Corsac, Origin, Response, TlsClient, await_some,
};

const NOBODY: &[u8] = b"PROXY UNKNOWN\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Behind proxies of these networks, and in front of `origin`.
fn behind(proxies: &str, listener: &str, origin: &Origin) -> Corsac {
    Corsac::with(&format!(
        "version = 1\nserver.threads = 1\nadmin.listen = [\"127.0.0.1:0\", \"unix:admin.sock\"]\n\
         [listeners.http]\naddress = \"127.0.0.1:0\"\nproxy_protocol = {proxies}\n{listener}\n\
         [upstreams.o]\nnodes = \"{}\"\n[services.s]\nupstream = \"o\"\nroutes.r.paths = \"/*\"\n",
        origin.address()
    ))
    .start()
}

/// A connection whose header is in these pieces.
fn after(corsac: &Corsac, pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Connection {
    let mut connection = corsac.connect();
    for piece in pieces {
        connection.write(piece.as_ref());
    }
    connection
}

fn get(corsac: &Corsac, connection: &mut Connection) -> Response {
    corsac.get("/").send_over(connection)
}

fn v2(source: &str) -> Vec<u8> {
    let mut header = Vec::new();
    write_v2(source.parse().unwrap(), "192.0.2.80:443".parse().unwrap(), &mut header);
    header
}

fn await_refusal(corsac: &Corsac, reason: &str, count: usize) {
    corsac.await_metric(&format!(
        "corsac_proxy_headers_refused_total{{listener=\"http\",reason=\"{reason}\"}} {count}"
    ));
}

#[test]
fn the_client_is_whom_the_header_names() {
    let origin = Origin::answering(200).start();
    let corsac = behind("[\"127.0.0.0/8\"]", "", &origin);
    let v1 = b"PROXY TCP4 198.51.100.7 192.0.2.80 4711 443\r\n".to_vec();
    let v1_of_6 = b"PROXY TCP6 2001:db8::7 2001:db8::80 4711 443\r\n".to_vec();
    // What is beside the addresses is skipped, whatever it looks like.
    let mut with_tlv = v2("198.51.100.9:1");
    with_tlv[15] += 26;
    with_tlv.extend_from_slice(b"GET /no HTTP/1.1\r\nHost: a\r\n");
    with_tlv[15] += 1;
    #[rustfmt::skip]
    let cases = [
        (v1,                            "198.51.100.7", Some("198.51.100.7:4711")),
        (v1_of_6,                       "2001:db8::7",  Some("[2001:db8::7]:4711")),
        (v2("198.51.100.8:1"),          "198.51.100.8", Some("198.51.100.8:1")),
        (v2("[2001:db8::8]:65535"),     "2001:db8::8",  Some("[2001:db8::8]:65535")),
        (v2("[::ffff:198.51.100.5]:1"), "198.51.100.5", None),
        (with_tlv,                      "198.51.100.9", Some("198.51.100.9:1")),
        (NOBODY.to_vec(),               "127.0.0.1",    None),
        (LOCAL.to_vec(),                "127.0.0.1",    None),
    ];
    let mut lines = 0;
    for (header, client, logged) in &cases {
        let whole = vec![header.clone()];
        let in_bytes = header.iter().map(|byte| vec![*byte]).collect();
        for pieces in [whole, in_bytes] {
            let mut connection = after(&corsac, &pieces);
            // For as long as the connection lives.
            for _ in 0..2 {
                let forged = corsac.get("/").header("X-Forwarded-For", "203.0.113.1");
                assert_eq!(forged.send_over(&mut connection).status, 200);
                lines += 1;
                let told = origin.take_received().pop().unwrap();
                assert_eq!(told.header("X-Forwarded-For").as_deref(), Some(*client));
                let line = corsac.access_log(lines).pop().unwrap();
                if let Some(logged) = logged {
                    assert_eq!(line["client"], *logged);
                }
            }
        }
    }
    // In one packet with the request, and not a byte of that lost.
    let request = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut connection = after(&corsac, [[&v2("198.51.100.8:1")[..], request].concat()]);
    assert_eq!(connection.receive("GET").status, 200);
    assert_eq!(origin.take_received().pop().unwrap().target, "/x");
}

#[test]
fn before_tls() {
    let origin = Origin::answering(200).start();
    let pair = Certified::of(&["a.test"]);
    let corsac = Corsac::with(&format!(
        "version = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\nproxy_protocol = \"127.0.0.1\"\n\
         tls = {{ cert = \"a.pem\", key = \"a.key\" }}\nstrict_sni = true\n\
         [upstreams.o]\nnodes = \"{}\"\n[services.s]\nupstream = \"o\"\nroutes.r.paths = \"/*\"\n",
        origin.address()
    ))
    .file("a.pem", &pair.cert)
    .file("a.key", &pair.key)
    .start();
    let socket = after(&corsac, [v2("198.51.100.8:1")]).into_stream();
    let mut connection = TlsClient::new().over(socket, "a.test").unwrap();
    let by_name = corsac.get("/").header("Host", "a.test").send_over(&mut connection);
    assert_eq!(by_name.status, 200);
    let told = origin.only_request();
    assert_eq!(told.header("X-Forwarded-For").as_deref(), Some("198.51.100.8"));
    assert_eq!(told.header("X-Forwarded-Proto").as_deref(), Some("https"));
}

#[test]
fn from_elsewhere_nobody_says_it() {
    let origin = Origin::answering(200).start();
    // It has asked itself by now, from an address that is none of these.
    let corsac = behind("[\"192.0.2.0/24\", \"2001:db8::/32\"]", "", &origin);
    let mut connection = corsac.connect();
    assert_eq!(connection.await_close().unwrap(), b"");
    await_refusal(&corsac, "not_allowed", 1);
    let _ = TcpStream::connect(corsac.address()).unwrap().write_all(&v2("198.51.100.8:1"));
    await_refusal(&corsac, "not_allowed", 2);
    assert!(origin.received().is_empty());
}

#[test]
fn what_is_no_header() {
    let origin = Origin::answering(200).start();
    let limits = "limits = { proxy_header = \"300ms\", handshake = \"300ms\" }";
    let corsac = behind("\"127.0.0.1\"", limits, &origin);
    // Without one, a request is none.
    assert!(corsac.get("/").try_send().is_err());
    await_refusal(&corsac, "malformed", 1);
    let udp = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0";
    for (number, wrong) in
        [&b"PROXY TCP5 "[..], b"PROXY TCP4 a ", &[b'\r'; 3], udp].iter().enumerate()
    {
        let mut connection = after(&corsac, [wrong]);
        assert_eq!(connection.await_close().unwrap(), b"", "{wrong:?}");
        await_refusal(&corsac, "malformed", number + 2);
    }
    for begun in [&b""[..], b"PROXY TCP4 198", &v2("198.51.100.8:1")[..20]] {
        let mut connection = after(&corsac, [begun]);
        assert_eq!(connection.await_close().unwrap(), b"", "{begun:?}");
    }
    await_refusal(&corsac, "timeout", 3);
    // A health check, which is no trouble.
    drop(corsac.connect());
    await_refusal(&corsac, "empty", 1);
    drop(after(&corsac, [b"PROXY "]));
    await_refusal(&corsac, "malformed", 6);
    assert_eq!(get(&corsac, &mut after(&corsac, [NOBODY])).status, 200);
    assert_eq!(origin.received().len(), 1);
}

#[test]
fn connections_are_counted_for_the_client() {
    let origin = Origin::answering(200).start();
    let corsac = behind("\"127.0.0.1\"", "limits.connections_per_client = 2", &origin);
    let one = || after(&corsac, [v2("198.51.100.8:1")]);
    let mut held = [one(), one()];
    for connection in &mut held {
        assert_eq!(get(&corsac, connection).status, 200);
    }
    assert_eq!(one().await_close().unwrap(), b"");
    let mut other = after(&corsac, [v2("198.51.100.9:1")]);
    assert_eq!(get(&corsac, &mut other).status, 200);
    drop(held);
    await_some("its places are free again", || {
        Call::new(corsac.address(), "GET", "/").try_over(&mut one()).ok()
    });
}

#[test]
fn it_comes_and_goes_with_a_new_process() {
    let origin = Origin::answering(200).start();
    let corsac = behind("\"127.0.0.1\"", "", &origin);
    let text = std::fs::read_to_string(corsac.path("corsac.toml")).unwrap();
    let reload = |text: String| {
        corsac.workdir().write("corsac.toml", text);
        corsac.command(&["reload", "--wait", "--socket", "admin.sock"])
    };
    let refused = reload(text.replace("proxy_protocol = \"127.0.0.1\"", ""));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("listeners.http.proxy_protocol cannot change"), "{said}");
    // Which networks, a reload says.
    let reloaded = reload(text.replace("\"127.0.0.1\"\n", "\"192.0.2.1\"\n"));
    let said = String::from_utf8_lossy(&reloaded.stdout).into_owned();
    assert!(reloaded.status.success() && said.contains("listener"), "{said}");
    assert!(after(&corsac, [NOBODY]).await_close().is_ok());
    await_refusal(&corsac, "not_allowed", 1);
}
