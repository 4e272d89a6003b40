//! Who the client is, as trusted proxies in front say by `X-Forwarded-For`.

use serde_json::json;

use crate::harness::{Call, Certified, Connection, Corsac, Origin, TlsClient};

/// With these keys of its listener, and in front of `origin`.
fn with(listener: &str, rest: &str, origin: &Origin) -> Corsac {
    Corsac::with(&format!(
        "version = 1\nserver.threads = 1\nadmin.listen = \"unix:admin.sock\"\n{rest}\n\
         [listeners.http]\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [upstreams.o]\nnodes = \"{}\"\n[services.s]\nupstream = \"o\"\nhsts = true\n\
         routes.r.paths = \"/*\"\n",
        origin.address()
    ))
    .start()
}

const HOPS: &str = "trust_forwarded = [\"127.0.0.1\", \"10.0.0.0/8\", \"2001:db8:a::/48\"]";

fn forwarded(call: Call, lines: &[&str]) -> Call {
    call.headers(lines.iter().map(|line| ("X-Forwarded-For", *line)))
}

/// A connection that begins with a header of the PROXY protocol.
fn from(corsac: &Corsac, source: &str) -> Connection {
    let mut connection = corsac.connect();
    let kind = if source.contains(':') { "TCP6" } else { "TCP4" };
    let to = if source.contains(':') { "2001:db8::80" } else { "192.0.2.80" };
    connection.write(format!("PROXY {kind} {source} {to} 4711 80\r\n").as_bytes());
    connection
}

#[test]
fn the_client_is_where_the_chain_of_trusted_hops_ends() {
    let origin = Origin::answering(200).start();
    let corsac = with(HOPS, "", &origin);
    #[rustfmt::skip]
    let cases: [(&[&str], Option<&str>, &str); 19] = [
        // what the peer says                       client               what the upstream is told
        (&["192.0.2.7"],                            Some("192.0.2.7"),   "192.0.2.7, 127.0.0.1"),
        (&["192.0.2.7, 10.0.0.1"],                  Some("192.0.2.7"),   "192.0.2.7, 10.0.0.1, 127.0.0.1"),
        (&["192.0.2.7", "10.0.0.2 ,10.0.0.1:80"],   Some("192.0.2.7"),   "192.0.2.7, 10.0.0.2, 10.0.0.1, 127.0.0.1"),
        // What the client has made up is told to nobody.
        (&["192.0.2.9, 10.9.9.9, 192.0.2.7"],       Some("192.0.2.7"),   "192.0.2.7, 127.0.0.1"),
        (&["evil", "192.0.2.7, 10.0.0.1"],          Some("192.0.2.7"),   "192.0.2.7, 10.0.0.1, 127.0.0.1"),
        // A hop that asks for itself.
        (&["10.0.0.2, 10.0.0.1"],                   Some("10.0.0.2"),    "10.0.0.2, 10.0.0.1, 127.0.0.1"),
        (&["2001:db8::7"],                          Some("2001:db8::7"), "2001:db8::7, 127.0.0.1"),
        (&["[2001:DB8:0::7]:99, 2001:db8:a::1"],    Some("2001:db8::7"), "2001:db8::7, 2001:db8:a::1, 127.0.0.1"),
        (&["::ffff:192.0.2.7, [::ffff:10.0.0.1]"],  Some("192.0.2.7"),   "192.0.2.7, 10.0.0.1, 127.0.0.1"),
        // Nothing is said, or what cannot be read: the peer.
        (&[],                                       None,                "127.0.0.1"),
        (&["", " , ,"],                             None,                "127.0.0.1"),
        (&["unknown"],                              None,                "127.0.0.1"),
        (&["192.0.2.7, unknown, 10.0.0.1"],         None,                "127.0.0.1"),
        (&["192.0.2.7, _hop"],                      None,                "127.0.0.1"),
        (&["\"192.0.2.7\""],                        None,                "127.0.0.1"),
        (&["fe80::1%eth0, 10.0.0.1"],               None,                "127.0.0.1"),
        (&["192.0.2.7, 10.0.0"],                    None,                "127.0.0.1"),
        (&["192.0.2.7;10.0.0.1"],                   None,                "127.0.0.1"),
        (&["2001:db8::7:, 10.0.0.1"],               None,                "127.0.0.1"),
    ];
    let mut connection = corsac.connect();
    for (number, (lines, client, told)) in cases.into_iter().enumerate() {
        let call = forwarded(corsac.get("/"), lines).header("X_Forwarded_For", "6.6.6.6");
        assert_eq!(call.send_over(&mut connection).status, 200, "{lines:?}");
        let request = origin.take_received().pop().unwrap();
        assert_eq!(request.headers.all("x-forwarded-for"), [told], "{lines:?}");
        assert_eq!(request.headers.all("x_forwarded_for"), [""; 0]);
        let line = corsac.access_log(number + 1).pop().unwrap();
        let peer = line["peer"].as_str().unwrap();
        assert!(peer.starts_with("127.0.0.1:"), "{line}");
        assert_eq!(line["client"], client.unwrap_or(peer), "{lines:?}");
        assert_eq!(line["listener"], "http");
    }
    let long = format!("192.0.2.7{}", ", 10.0.0.1".repeat(32));
    forwarded(corsac.get("/"), &[&long]).send_over(&mut connection);
    let request = origin.take_received().pop().unwrap();
    assert_eq!(request.headers.all("x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn who_is_not_trusted_says_nothing() {
    let origin = Origin::answering(200).start();
    let rest = "admin.debug_clients = \"192.0.2.7\"";
    for networks in ["", "trust_forwarded = []", "trust_forwarded = [\"10.0.0.0/8\", \"::1\"]"] {
        let corsac = with(&format!("{networks}\nredirect_https = true"), rest, &origin);
        let call = forwarded(corsac.get("/.well-known/acme-challenge/x"), &["192.0.2.7"]);
        let call = call.header("X-Forwarded-Proto", "https").header("Corsac-Explain", "1");
        let answer = call.send();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("corsac-explanation"), None);
        assert_eq!(answer.header("strict-transport-security"), None);
        let request = origin.take_received().pop().unwrap();
        assert_eq!(request.headers.all("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(request.headers.all("x-forwarded-proto"), ["http"]);
        let call = corsac.get("/").header("X-Forwarded-Proto", "https");
        assert_eq!(call.send().status, 308);
        let line = corsac.access_log(2).remove(0);
        assert_eq!((&line["client"], &line["scheme"]), (&line["peer"], &json!("http")));
    }
}

/// What else such a proxy says, nobody can check: it may have come from the client.
#[test]
fn what_else_a_trusted_proxy_says_is_dropped() {
    let origin = Origin::answering(200).start();
    let corsac = with(HOPS, "", &origin);
    let call = forwarded(corsac.get("/"), &["192.0.2.7"]).header("Host", "shop.example");
    let dropped = [
        ("Forwarded", "for=192.0.2.9;proto=https"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Prefix", "/admin"),
        ("X-Real-IP", "192.0.2.9"),
        ("X_Forwarded_Proto", "https"),
    ];
    let call = call.headers(dropped).header("X-Forwarded-Host", "evil.example");
    assert_eq!(call.send().status, 200);
    let request = origin.only_request();
    for (name, _) in dropped {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.headers.all("x-forwarded-host"), ["shop.example"]);
    assert_eq!(request.headers.all("x-forwarded-proto"), ["http"]);
}

/// The client may ask why, and not who passes its question on; and where it cannot be told
/// who that is, nobody may.
#[test]
fn the_client_is_told_why() {
    let origin = Origin::answering(200).start();
    let is_told = |debug: &str, lines: &[&str]| {
        let corsac = with(HOPS, &format!("admin.debug_clients = {debug}"), &origin);
        let call = forwarded(corsac.get("/"), lines).header("Corsac-Explain", "1");
        call.send().header("corsac-explanation").is_some()
    };
    #[rustfmt::skip]
    let cases: [(&str, &[&str], bool); 9] = [
        ("\"192.0.2.7\"",                  &["192.0.2.7, 10.0.0.1"],   true),
        ("\"192.0.2.7\"",                  &["::ffff:192.0.2.7"],      true),
        ("\"::ffff:192.0.2.0/120\"",       &["192.0.2.7"],             true),
        ("\"192.0.2.7\"",                  &["192.0.2.7, 192.0.2.8"],  false),
        ("\"127.0.0.1\"",                  &["192.0.2.8"],             false),
        ("\"127.0.0.1\"",                  &[],                        true),
        ("\"127.0.0.1\"",                  &["unknown"],               false),
        ("[\"0.0.0.0/0\", \"::/0\"]",      &["192.0.2.7, unknown"],    false),
        ("[\"192.0.2.7\", \"127.0.0.1\"]", &["192.0.2.7, 10.0.0"],     false),
    ];
    for (debug, lines, due) in cases {
        assert_eq!(is_told(debug, lines), due, "{debug} {lines:?}");
    }
}

/// The peer is whom the PROXY protocol names. Its networks hold for the socket, those of
/// `trust_forwarded` for the peer.
#[test]
fn behind_a_proxy_protocol() {
    let origin = Origin::answering(200).start();
    let listener = format!("proxy_protocol = \"127.0.0.1\"\n{HOPS}");
    let rest = "[request_id]\ntrusted = [\"10.0.0.1\", \"192.0.2.7\"]";
    let corsac = with(&listener, rest, &origin);
    #[rustfmt::skip]
    let cases = [
        // the header's   client          what the upstream is told  the id that was brought
        ("10.0.0.1",      "192.0.2.7",    "192.0.2.7, 10.0.0.1",     true),
        ("10.0.0.2",      "192.0.2.7",    "192.0.2.7, 10.0.0.2",     false),
        ("2001:db8:a::1", "192.0.2.7",    "192.0.2.7, 2001:db8:a::1", false),
        ("198.51.100.7",  "198.51.100.7", "198.51.100.7",            false),
        ("192.0.2.7",     "192.0.2.7",    "192.0.2.7",               true),
        ("2001:db8::7",   "2001:db8::7",  "2001:db8::7",             false),
    ];
    for (number, (peer, client, told, keeps_id)) in cases.into_iter().enumerate() {
        let call = forwarded(corsac.get("/"), &["192.0.2.7"]).header("X-Request-Id", "brought");
        assert_eq!(call.send_over(&mut from(&corsac, peer)).status, 200);
        let request = origin.take_received().pop().unwrap();
        assert_eq!(request.headers.all("x-forwarded-for"), [told]);
        assert_eq!(request.header("x-request-id").unwrap() == "brought", keeps_id, "{peer}");
        let line = corsac.access_log(number + 1).pop().unwrap();
        let with_port =
            if peer.contains(':') { format!("[{peer}]:4711") } else { format!("{peer}:4711") };
        assert_eq!(line["peer"], with_port);
        assert_eq!(line["client"], if told.contains(',') { client } else { &with_port });
    }
}

/// Behind a proxy that ends TLS, `redirect_https` must send nobody round in circles.
#[test]
fn who_came_over_tls_to_a_trusted_proxy_is_not_sent_there() {
    let origin = Origin::answering(200).start();
    let corsac = with(&format!("redirect_https = true\n{HOPS}"), "", &origin);
    #[rustfmt::skip]
    let cases: [(&[&str], u16); 8] = [
        (&["https"],          200),
        (&["http"],           308),
        (&[],                 308),
        (&["HTTPS"],          308),
        (&["https, https"],   308),
        (&["https", "https"], 308),
        (&["wss"],            308),
        (&[""],               308),
    ];
    for (number, (schemes, status)) in cases.into_iter().enumerate() {
        let call = corsac.get("/").headers(schemes.iter().map(|it| ("X-Forwarded-Proto", *it)));
        let answer = call.send();
        assert_eq!(answer.status, status, "{schemes:?}");
        let hsts = answer.header("strict-transport-security");
        assert_eq!(hsts.is_some(), status == 200, "{schemes:?}");
        let line = corsac.access_log(number + 1).pop().unwrap();
        assert_eq!(line["scheme"], if status == 200 { "https" } else { "http" });
        assert_eq!((&line["tls_version"], &line["alpn"]), (&json!(null), &json!(null)));
    }
    let [request] = <[_; 1]>::try_from(origin.take_received()).unwrap();
    assert_eq!(request.headers.all("x-forwarded-proto"), ["https"]);
}

/// Two of them, one behind the other, the first of which ends TLS.
#[test]
fn one_corsac_behind_another() {
    let origin = Origin::answering(200).start();
    let back = with(&format!("redirect_https = true\n{HOPS}"), "", &origin);
    let pair = Certified::of(&["a.test"]);
    let front = Corsac::with(&format!(
        "version = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n\
         [listeners.https]\naddress = \"127.0.0.1:0\"\nproxy_protocol = \"127.0.0.1\"\n\
         tls = {{ cert = \"a.pem\", key = \"a.key\" }}\n\
         [upstreams.o]\nnodes = \"{}\"\n[services.s]\nupstream = \"o\"\nroutes.r.paths = \"/*\"\n",
        back.address()
    ))
    .file("a.pem", &pair.cert)
    .file("a.key", &pair.key)
    .start();
    let addresses = front.addresses();
    let of = |name: &str| {
        addresses.iter().find(|(_, said)| said.contains(&format!("listeners.{name})"))).unwrap().0
    };
    let mut connection = Connection::open(of("https"));
    connection.write(b"PROXY TCP4 192.0.2.7 192.0.2.80 4711 443\r\n");
    let client = TlsClient::new().alpn(&["http/1.1"]);
    let mut connection = client.over(connection.into_stream(), "a.test").unwrap();
    let call = forwarded(front.get("/"), &["10.0.0.1, 192.0.2.9"]);
    assert_eq!(call.send_over(&mut connection).status, 200);
    let request = origin.only_request();
    assert_eq!(request.headers.all("x-forwarded-for"), ["192.0.2.7, 127.0.0.1"]);
    assert_eq!(request.headers.all("x-forwarded-proto"), ["https"]);
    let line = front.access_log(1).remove(0);
    for (field, due) in [
        ("listener", json!("https")),
        ("client", json!("192.0.2.7:4711")),
        ("peer", json!("192.0.2.7:4711")),
        ("protocol", json!("HTTP/1.1")),
        ("scheme", json!("https")),
        ("alpn", json!("http/1.1")),
    ] {
        assert_eq!(line[field], due, "{field}");
    }
    let line = back.access_log(1).remove(0);
    assert_eq!((&line["client"], &line["scheme"]), (&json!("192.0.2.7"), &json!("https")));
    // Who comes in the clear is sent away by the second.
    assert_eq!(Call::new(of("http"), "GET", "/").send().status, 308);
}

#[test]
fn what_is_no_request_is_the_peers() {
    let origin = Origin::answering(200).start();
    let corsac = with(HOPS, "", &origin);
    let mut connection = corsac.connect();
    connection.write(b"GET / HTTP/1.1\r\nX-Forwarded-For: 192.0.2.7\r\nHost: a b\r\n\r\n");
    assert_eq!(connection.receive("GET").status, 400);
    let line = corsac.access_log(1).remove(0);
    assert_eq!(line["client"], line["peer"]);
    assert_eq!((&line["listener"], &line["scheme"]), (&json!("http"), &json!("http")));
}

/// It has the connections of many clients.
#[test]
fn a_trusted_peer_may_have_any_number_of_connections() {
    let origin = Origin::answering(200).start();
    let limit = "limits.connections_per_client = 1";
    let many = |corsac: &Corsac| {
        let mut held: Vec<_> = (0..3).map(|_| corsac.connect()).collect();
        let answered = held.iter_mut().map(|connection| corsac.get("/").try_over(connection));
        answered.flatten().count()
    };
    assert_eq!(many(&with(&format!("{HOPS}\n{limit}"), "", &origin)), 3);
    assert_eq!(many(&with(limit, "", &origin)), 1);
    // Nor is a proxy's own, such as a health check.
    let corsac = with(&format!("proxy_protocol = \"127.0.0.1\"\n{HOPS}\n{limit}"), "", &origin);
    let open = |header: &str| {
        let mut connection = corsac.connect();
        connection.write(header.as_bytes());
        connection
    };
    let mut own: Vec<_> = (0..3).map(|_| open("PROXY UNKNOWN\r\n")).collect();
    let mut hops: Vec<_> = (0..3).map(|_| from(&corsac, "10.0.0.1")).collect();
    for connection in own.iter_mut().chain(&mut hops) {
        assert_eq!(corsac.get("/").send_over(connection).status, 200);
    }
    let mut client = from(&corsac, "192.0.2.7");
    assert_eq!(corsac.get("/").send_over(&mut client).status, 200);
    assert!(corsac.get("/").try_over(&mut from(&corsac, "192.0.2.7")).is_err());
}

#[test]
fn a_reload_holds_from_the_next_request_on() {
    let origin = Origin::answering(200).start();
    let corsac = with("trust_forwarded = [\"10.0.0.1\"]", "", &origin);
    let text = std::fs::read_to_string(corsac.path("corsac.toml")).unwrap();
    let mut connection = corsac.connect();
    let mut told = || {
        assert_eq!(
            forwarded(corsac.get("/"), &["192.0.2.7"]).send_over(&mut connection).status,
            200
        );
        origin.take_received().pop().unwrap().header("x-forwarded-for").unwrap()
    };
    assert_eq!(told(), "127.0.0.1");
    corsac.workdir().write("corsac.toml", text.replace("10.0.0.1", "127.0.0.1"));
    let output = corsac.command(&["reload", "--wait", "--socket", "admin.sock"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let widened = corsac.await_stderr("trust_forwarded: 127.0.0.1/32", 1);
    assert!(widened.contains("[widens]"), "{widened}");
    assert_eq!(told(), "192.0.2.7, 127.0.0.1");
}
