//! TLS to clients: which certificate, which rules, what they are told.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use rustls::version::{TLS12, TLS13};

use crate::harness::{
    Answer, Certified, Corsac, DEADLINE, Origin, Setup, TlsClient, TlsConnection, await_some,
};

const HELLO: &str = "[services.s.routes.r]\npaths = \"/*\"\nrespond = { body = \"hello\" }\n";

/// Of a listener over TLS, with these keys beside its address, and what follows.
fn over_tls(listener: &str, rest: &str) -> Setup {
    Corsac::with(&format!(
        "version = 1\nserver.threads = 2\nadmin.listen = [\"127.0.0.1:0\", \"unix:admin.sock\"]\n\
         [listeners.https]\naddress = \"127.0.0.1:0\"\n{listener}\n{rest}"
    ))
}

/// The table of a certificate, whose files are called as it is.
fn table(name: &str) -> String {
    format!("[certificates.{name}]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\n")
}

trait WithCertificate {
    fn certificate(self, name: &str, pair: &Certified) -> Self;
}

impl WithCertificate for Setup {
    fn certificate(self, name: &str, pair: &Certified) -> Self {
        let setup = self.file(&format!("{name}.pem"), &pair.cert);
        let setup = setup.file(&format!("{name}.key"), &pair.key);
        allow(&setup, name, 0o600);
        setup
    }
}

/// Who may read a key.
fn allow(setup: &Setup, name: &str, mode: u32) {
    let key = setup.path().join(format!("{name}.key"));
    fs::set_permissions(key, Permissions::from_mode(mode)).unwrap();
}

/// One certificate, in the listener's own table: the short form.
fn simple(pair: &Certified, listener: &str, rest: &str) -> Corsac {
    let tls = format!("tls = {{ cert = \"a.pem\", key = \"a.key\" }}\n{listener}");
    over_tls(&tls, rest).certificate("a", pair).start()
}

fn says_hello(corsac: &Corsac, connection: &mut TlsConnection) {
    assert_eq!(corsac.get("/").send_over(connection).text(), "hello");
}

fn await_failure(corsac: &Corsac, reason: &str, count: usize) {
    corsac.await_metric(&format!(
        "corsac_tls_handshake_failures_total{{listener=\"https\",reason=\"{reason}\"}} {count}"
    ));
}

#[test]
fn the_name_decides_and_then_the_kind_of_key() {
    let one = Certified::of(&["a.test", "*.b.test"]);
    let rsa = Certified::rsa(&["a.test"]);
    let other = Certified::of(&["x.b.test"]);
    let fallback = Certified::of(&["fallback.test"]);
    let tables = ["one", "rsa", "other"].map(table).concat();
    let rest = format!("{tables}{}default = true\n{HELLO}", table("fallback"));
    let corsac = over_tls("tls = [\"one\", \"rsa\", \"other\", \"fallback\"]", &rest)
        .certificate("one", &one)
        .certificate("rsa", &rsa)
        .certificate("other", &other)
        .certificate("fallback", &fallback)
        .start();
    let any = TlsClient::new();
    #[rustfmt::skip]
    let cases = [
        (Some("a.test"),       &one),
        (Some("A.TEST"),       &one),
        (Some("y.b.test"),     &one),
        (Some("x.b.test"),     &other),
        (Some("z.y.b.test"),   &fallback),
        (Some("b.test"),       &fallback),
        (Some("unknown.test"), &fallback),
        (None,                 &fallback),
    ];
    for (name, due) in cases {
        let mut connection = any.connect(corsac.address(), name);
        assert_eq!(connection.shown(), due.der, "{name:?}");
        says_hello(&corsac, &mut connection);
    }
    for version in [&TLS12, &TLS13] {
        let client = TlsClient::of_rsa(version);
        assert_eq!(client.connect(corsac.address(), Some("a.test")).shown(), rsa.der);
        // There is none of its kind for these names, and no other name's is shown.
        for name in ["y.b.test", "unknown.test"] {
            let error = client.try_connect(corsac.address(), Some(name)).err().unwrap();
            assert!(error.to_string().contains("HandshakeFailure"), "{name}: {error}");
        }
    }
}

#[test]
fn who_names_no_known_server_is_refused_where_that_is_asked_for() {
    let pair = Certified::of(&["a.test"]);
    // It has asked itself by now, and names no server.
    let corsac = simple(&pair, "strict_sni = true", HELLO);
    let client = TlsClient::new();
    let mut connection = client.connect(corsac.address(), Some("a.test"));
    let by_name = corsac.get("/").header("Host", "a.test").send_over(&mut connection);
    assert_eq!(by_name.text(), "hello");
    for (name, alert) in [(Some("b.test"), "UnrecognisedName"), (None, "MissingExtension")] {
        let error = client.try_connect(corsac.address(), name).err().unwrap();
        assert!(error.to_string().contains(alert), "{name:?}: {error}");
    }
    await_failure(&corsac, "unknown_name", 2);
    let said = corsac.await_stderr("listeners.https: no TLS with 127.0.0.1", 1);
    assert!(said.contains("unknown_name"), "{said}");
}

#[test]
fn what_upstream_and_log_are_told() {
    let origin = Origin::answering(200).start();
    let services = format!(
        "[upstreams.o]\nnodes = \"{}\"\n[services.s]\nupstream = \"o\"\nroutes.r.paths = \"/*\"\n",
        origin.address()
    );
    let corsac = simple(&Certified::of(&["a.test"]), "", &services);
    let client = TlsClient::of_version(&TLS13);
    let mut connection = client.connect(corsac.address(), Some("a.test"));
    assert_eq!(
        corsac.get("/x").header("X-Forwarded-Proto", "http").send_over(&mut connection).status,
        200
    );
    assert_eq!(origin.only_request().header("X-Forwarded-Proto").as_deref(), Some("https"));
    connection.write(b"nonsense\r\n\r\n");
    assert_eq!(connection.receive("GET").status, 400);
    assert_eq!(connection.await_close().unwrap(), b"");
    for line in corsac.access_log(2) {
        assert_eq!(line["scheme"], "https");
        assert_eq!(line["tls_version"], "1.3");
        assert!(line["cipher"].as_str().unwrap().starts_with("TLS_AES_"), "{line}");
        assert_eq!(line["sni"], "a.test");
        assert_eq!(line["resumed"], false);
    }
}

#[test]
fn sessions_are_resumed_on_every_thread_and_after_a_reload() {
    let corsac = simple(&Certified::of(&["a.test"]), "", HELLO);
    for version in [&TLS12, &TLS13] {
        let client = TlsClient::of_version(version);
        let mut first = client.connect(corsac.address(), Some("a.test"));
        // Tickets of TLS 1.3 come behind the handshake.
        says_hello(&corsac, &mut first);
        assert!(!first.is_resumed());
        // The threads take turns while connections are open.
        let mut open = Vec::new();
        for _ in 0..4 {
            let mut next = client.connect(corsac.address(), Some("a.test"));
            says_hello(&corsac, &mut next);
            assert!(next.is_resumed(), "{version:?}");
            open.push(next);
        }
        corsac.workdir().write("corsac.toml", corsac_toml(&corsac) + "# another one\n");
        assert!(corsac.command(&["reload", "--wait", "--socket", "admin.sock"]).status.success());
        let mut after = client.connect(corsac.address(), Some("a.test"));
        says_hello(&corsac, &mut after);
        assert!(after.is_resumed(), "{version:?}");
    }
}

fn corsac_toml(corsac: &Corsac) -> String {
    fs::read_to_string(corsac.path("corsac.toml")).unwrap()
}

#[test]
fn a_renewal_on_disk_is_served() {
    let [old, new] = [(); 2].map(|()| Certified::of(&["a.test"]));
    let corsac = simple(&old, "", HELLO);
    // A session that is resumed goes on with what it was shown, so each one is new.
    let shown = || TlsClient::new().connect(corsac.address(), Some("a.test")).shown();
    let mut kept = TlsClient::new().connect(corsac.address(), Some("a.test"));
    assert_eq!(kept.shown(), old.der);
    // One file comes before the other: nothing is served that does not fit.
    corsac.workdir().replace("a.pem", &new.cert);
    let said = corsac.await_stderr("E403", 1);
    assert!(said.contains("a.key is not that of the certificate"), "{said}");
    assert_eq!(shown(), old.der);
    corsac.workdir().replace("a.key", &new.key);
    corsac.await_stderr("serves (a changed file)", 1);
    assert_eq!(shown(), new.der);
    says_hello(&corsac, &mut kept);
    corsac.await_stderr("listeners.https: serial: ", 1);
    // Nothing has changed: nothing is said.
    corsac.workdir().replace("a.key", &new.key);
    // What was broken can be mended by what was served before.
    corsac.workdir().replace("a.pem", "nonsense");
    corsac.await_stderr("E401", 1);
    corsac.workdir().replace("a.pem", &new.cert);
    corsac.await_stderr("serves (a changed file)", 2);
    assert_eq!(shown(), new.der);
}

#[test]
fn requests_that_come_in_one_record() {
    let corsac = simple(&Certified::of(&["a.test"]), "", HELLO);
    let client = TlsClient::new();
    let mut connection = client.connect(corsac.address(), Some("a.test"));
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    connection.write(&request.repeat(3));
    for _ in 0..3 {
        assert_eq!(connection.receive("GET").text(), "hello");
    }
    // And one byte to a record.
    for byte in request {
        connection.write(&[*byte]);
    }
    assert_eq!(connection.receive("GET").text(), "hello");
    // The end is told, not only seen.
    connection.write(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert_eq!(connection.receive("GET").text(), "hello");
    let mut rest = Vec::new();
    assert_eq!(connection.stream().read_to_end(&mut rest).unwrap(), 0);
}

#[test]
fn bodies_both_ways() {
    let origin = Origin::scripted(|request| {
        let body = request.body.as_deref().cloned().unwrap_or_default();
        Answer::status(200).body(body)
    });
    let services = format!(
        "[upstreams.o]\nnodes = \"{}\"\n[services.s]\nupstream = \"o\"\nroutes.r.paths = \"/*\"\n",
        origin.address()
    );
    let corsac = simple(&Certified::of(&["a.test"]), "", &services);
    let mut connection = TlsClient::new().connect(corsac.address(), Some("a.test"));
    for length in [0, 1, 16 * 1024 - 1, 16 * 1024, 3 * 1024 * 1024] {
        let body = crate::harness::payload(length);
        let answer = corsac.call("POST", "/").body(body.clone()).send_over(&mut connection);
        crate::harness::assert_same_bytes(&answer.body, &body, "with its length");
        let answer = corsac.call("POST", "/").chunked(&body, 1000).send_over(&mut connection);
        crate::harness::assert_same_bytes(&answer.body, &body, "in chunks");
    }
}

#[test]
fn a_tunnel() {
    let origin = Origin::answering(101).start();
    let services = format!(
        "[upstreams.o]\nnodes = \"{}\"\n[services.s]\nupstream = \"o\"\nroutes.r.paths = \"/*\"\n",
        origin.address()
    );
    let corsac = simple(&Certified::of(&["a.test"]), "", &services);
    let client = TlsClient::new();
    // They stay open, so that both threads get some.
    let mut open = Vec::new();
    for _ in 0..200 {
        let mut connection = client.connect(corsac.address(), Some("a.test"));
        let answer = corsac.get("/").web_socket().send_over(&mut connection);
        assert_eq!(answer.status, 101);
        connection.write(b"there and back");
        assert_eq!(connection.read(14), b"there and back");
        open.push(connection);
    }
}

#[test]
fn what_is_no_handshake() {
    let corsac = simple(&Certified::of(&["a.test"]), "limits.handshake = \"300ms\"", HELLO);
    // Silent, half a record, and one that stops after its hello.
    for begun in [&b""[..], &[22, 3, 1, 0], &[22, 3, 1, 2, 0, 1, 0, 1]] {
        let mut socket = TcpStream::connect(corsac.address()).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(begun).unwrap();
        assert_eq!(socket.read(&mut [0; 8]).unwrap_or(0), 0, "{begun:?}");
    }
    await_failure(&corsac, "timeout", 3);
    let in_the_clear = corsac.get("/").try_send();
    assert!(in_the_clear.is_err(), "{in_the_clear:?}");
    await_failure(&corsac, "not_tls", 1);
    drop(TcpStream::connect(corsac.address()).unwrap());
    await_failure(&corsac, "closed", 1);
    let client = TlsClient::new();
    assert!(client.alpn(&["h3"]).try_connect(corsac.address(), None).is_err());
    await_failure(&corsac, "alpn", 1);
    says_hello(&corsac, &mut client.alpn(&["h3", "http/1.1"]).connect(corsac.address(), None));
    says_hello(&corsac, &mut client.connect(corsac.address(), None));
}

#[test]
fn the_least_version() {
    let tls = "tls = { certificates = \"a\", min_version = \"1.3\" }";
    let pair = Certified::of(&["a.test"]);
    let corsac = over_tls(tls, &(table("a") + HELLO)).certificate("a", &pair).start();
    assert!(TlsClient::of_version(&TLS12).try_connect(corsac.address(), None).is_err());
    await_failure(&corsac, "version", 1);
    says_hello(&corsac, &mut TlsClient::of_version(&TLS13).connect(corsac.address(), None));
}

#[test]
fn an_upgrade_loses_no_connection() {
    let corsac = simple(&Certified::of(&["a.test"]), "", HELLO);
    let client = TlsClient::new();
    let mut kept = client.connect(corsac.address(), Some("a.test"));
    says_hello(&corsac, &mut kept);
    let upgraded = corsac.command(&["upgrade", "--wait", "--socket", "admin.sock"]);
    assert!(upgraded.status.success(), "{upgraded:?}");
    says_hello(&corsac, &mut client.connect(corsac.address(), Some("a.test")));
}

#[test]
fn tls_comes_and_goes_with_a_new_process() {
    let corsac = simple(&Certified::of(&["a.test"]), "", HELLO);
    let text = corsac_toml(&corsac);
    let line = text.lines().find(|line| line.starts_with("tls = ")).unwrap();
    corsac.workdir().write("corsac.toml", text.replace(line, ""));
    let reload = corsac.command(&["reload", "--wait", "--socket", "admin.sock"]);
    assert!(!reload.status.success());
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(said.contains("listeners.https.tls cannot change while corsac runs"), "{said}");
}

#[test]
fn what_check_says_of_certificates() {
    let (a, b) = (Certified::of(&["a.test"]), Certified::of(&["a.test"]));
    let check = |setup: Setup| {
        let output = setup.check(&[]);
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let of =
        |pair: &Certified| over_tls("tls = \"a\"", &(table("a") + HELLO)).certificate("a", pair);
    let mixed = Certified { key: b.key.clone(), ..a.clone() };
    #[rustfmt::skip]
    let cases = [
        (of(&a),                                            true,  ""),
        (of(&mixed),                                        false, "E403"),
        (of(&Certified::between(&["a.test"], -20, -1)),     true,  "W401"),
        (of(&Certified::between(&["a.test"], 2, 30)),       true,  "W401"),
        (of(&Certified::between(&["a.test"], -90, 10)),     true,  "W402"),
        // It lives for six days, and has four of them.
        (of(&Certified::between(&["a.test"], -2, 4)),       true,  ""),
        (of(&Certified::between(&["a.test"], -5, 1)),       true,  "W402"),
    ];
    for (index, (setup, is_fine, code)) in cases.into_iter().enumerate() {
        let (fine, text) = check(setup);
        assert_eq!(fine, is_fine, "{index}: {text}");
        assert!(
            text.contains(code) && (!code.is_empty() || !text.contains("[W4")),
            "{index}: {text}"
        );
    }
    let open = of(&a);
    allow(&open, "a", 0o644);
    let (fine, text) = check(open);
    assert!(fine && text.contains("W405"), "{text}");
}

/// Ended in time, and nobody else is harmed.
#[test]
fn a_thousand_who_never_shake_hands() {
    let corsac = simple(&Certified::of(&["a.test"]), "limits.handshake = \"500ms\"", HELLO);
    let silent: Vec<_> = (0..1000).map(|_| TcpStream::connect(corsac.address()).unwrap()).collect();
    let started = Instant::now();
    says_hello(&corsac, &mut TlsClient::new().connect(corsac.address(), None));
    await_some("all are ended", || {
        let text = corsac.metrics();
        text.contains("reason=\"timeout\"} 1000\n").then_some(())
    });
    assert!(started.elapsed() < DEADLINE);
    drop(silent);
}

/// A listener in the clear that sends to TLS, and one that does not.
fn redirecting(port: &str, services: &str) -> Corsac {
    Corsac::with(&format!(
        "version = 1\nserver.threads = 1\nadmin.listen = \"unix:admin.sock\"\n\
         [listeners.http]\naddress = \"127.0.0.1:0\"\nredirect_https = {port}\n\
         [listeners.internal]\naddress = \"127.0.0.1:0\"\n{services}"
    ))
    .start()
}

const WITH_POLICY: &str = "[services.s]\nhosts = [\"a.test\", \"[::1]\"]\n\
     cors = { allow_origins = \"https://app.test\", allow_methods = \"PUT\" }\n\
     routes.r.paths = \"/*\"\nroutes.r.respond = { body = \"hello\" }\n";

#[test]
fn who_comes_in_the_clear_is_sent_to_tls() {
    let corsac = redirecting("true", WITH_POLICY);
    #[rustfmt::skip]
    let cases = [
        ("GET",    "a.test",      "/x?q=%20&r",                  Some("https://a.test/x?q=%20&r")),
        ("POST",   "A.test:8080", "/",                           Some("https://a.test/")),
        ("PUT",    "[::1]:80",    "/a/../b//c",                  Some("https://[::1]/b//c")),
        ("GET",    "other.test",  "/no/route",                   Some("https://other.test/no/route")),
        ("GET",    "a.test",      "/.well-known/acme-challenge/x", None),
        ("HEAD",   "a.test",      "/.well-known/acme-challenge/x", None),
        ("POST",   "a.test",      "/.well-known/acme-challenge/x", Some("https://a.test/.well-known/acme-challenge/x")),
        ("GET",    "a.test",      "/.well-known/acme-challenge/x/y", Some("https://a.test/.well-known/acme-challenge/x/y")),
        ("GET",    "a.test",      "/.well-known/acme-challenge/", Some("https://a.test/.well-known/acme-challenge/")),
    ];
    for (method, host, target, location) in cases {
        let answer = corsac.call(method, target).header("Host", host).send();
        let case = format!("{method} {host} {target}");
        assert_eq!(answer.header("location").as_deref(), location, "{case}");
        assert_eq!(answer.status, if location.is_some() { 308 } else { 200 }, "{case}");
    }
    let lines = corsac.access_log(cases.len());
    assert_eq!(lines[0]["reason"], "redirect_https");
    // A page may follow it, and a preflight is answered: browsers fail one that is redirected.
    let asked =
        corsac.get("/").header("Host", "a.test").header("Origin", "https://app.test").send();
    assert_eq!(asked.status, 308);
    assert_eq!(asked.header("access-control-allow-origin").as_deref(), Some("https://app.test"));
    let preflight = corsac
        .call("OPTIONS", "/")
        .header("Host", "a.test")
        .header("Origin", "https://app.test")
        .header("Access-Control-Request-Method", "PUT")
        .send();
    assert_eq!(preflight.status, 200);
    assert!(preflight.header("access-control-allow-methods").is_some());
    // Before anything is read of a body.
    let large = corsac.call("POST", "/").header("Host", "a.test").body(vec![b'x'; 1 << 20]).send();
    assert_eq!(large.status, 308);
    let malformed = corsac.get("/%00").header("Host", "a.test").send();
    assert_eq!(malformed.status, 400);
    let (internal, _) = corsac.addresses()[1].clone();
    let answer = crate::harness::Call::new(internal, "GET", "/").header("Host", "a.test").send();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
}

#[test]
fn to_another_port_and_no_more_after_a_reload() {
    let corsac = redirecting("8443", WITH_POLICY);
    let get = || corsac.get("/x").header("Host", "a.test").send();
    assert_eq!(get().header("location").as_deref(), Some("https://a.test:8443/x"));
    let text = corsac_toml(&corsac).replace("redirect_https = 8443", "redirect_https = false");
    corsac.workdir().write("corsac.toml", text);
    let reload = corsac.command(&["reload", "--wait", "--socket", "admin.sock"]);
    assert!(reload.status.success(), "{reload:?}");
    assert!(corsac.await_stderr("redirect_https: 8443", 1).contains("[widens]"));
    assert_eq!(get().status, 200);
}

#[test]
fn tests_and_explanations_know_of_it() {
    let config = |test: &str| {
        Corsac::with(&format!(
            "version = 1\n[listeners.http]\naddress = \"0.0.0.0:80\"\nredirect_https = true\n\
             [listeners.internal]\naddress = \"127.0.0.1:8081\"\n{WITH_POLICY}\
             [[tests]]\nname = \"it is sent away\"\nrequest = \"GET {test}\"\n"
        ))
    };
    let with = |url: &str, expect: &str| {
        let text = config(url);
        let path = text.path().join("corsac.toml");
        let whole = fs::read_to_string(&path).unwrap() + &format!("expect = {{ {expect} }}\n");
        fs::write(path, whole).unwrap();
        let output = text.check(&[]);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let fine = |text: &String| text.contains("the configuration is fine");
    let away = "status = 308, headers = { location = \"https://a.test/x\" }";
    #[rustfmt::skip]
    let cases = [
        ("http://a.test/x",      away,           true),
        ("http://a.test:8081/x", "status = 200", true),
        ("https://a.test/x",     "status = 200", true),
        ("http://a.test/x",      "status = 200", false),
    ];
    for (url, expect, due) in cases {
        let text = with(url, expect);
        assert_eq!(fine(&text), due, "{url}: {text}");
    }
    let ambiguous = with("http://a.test:9999/x", away);
    assert!(ambiguous.contains("E302") && ambiguous.contains("listeners.internal"), "{ambiguous}");
}

#[test]
fn browsers_are_told_to_come_over_tls_alone() {
    let origin = Origin::answering(200).header("Strict-Transport-Security", "max-age=1").start();
    let services = format!(
        "[listeners.http]\naddress = \"127.0.0.1:0\"\n[upstreams.o]\nnodes = \"{}\"\n\
         [upstreams.dead]\nnodes = \"127.0.0.1:1\"\n\
         [services.year]\nprefix = \"/year\"\nhsts = true\nupstream = \"o\"\n\
         cors = {{ allow_origins = \"https://app.test\" }}\nroutes.r.paths = \"/*\"\n\
         routes.dead = {{ paths = \"/dead\", upstream = \"dead\" }}\n\
         [services.all]\nprefix = \"/all\"\nupstream = \"o\"\nroutes.r.paths = \"/*\"\n\
         hsts = {{ max_age = \"730d\", subdomains = true, preload = true }}\n\
         [services.own]\nprefix = \"/own\"\nupstream = \"o\"\nroutes.r.paths = \"/*\"\n",
        origin.address()
    );
    let corsac = simple(&Certified::of(&["a.test"]), "", &services);
    let addresses = corsac.addresses();
    let at = |name: &str| addresses.iter().find(|(_, listener)| listener.contains(name)).unwrap().0;
    let client = TlsClient::new();
    let year = Some("max-age=31536000");
    let all = Some("max-age=63072000; includeSubDomains; preload");
    #[rustfmt::skip]
    let cases = [
        // target     over TLS               in the clear
        ("/year/x",   year,                  None),
        ("/year/dead", year,                 None),
        ("/all/x",    all,                   None),
        // The upstream's own is its own.
        ("/own/x",    Some("max-age=1"),     Some("max-age=1")),
        ("/none",     None,                  None),
    ];
    for (target, over_tls, in_the_clear) in cases {
        let header = |answer: crate::harness::Response| answer.header("strict-transport-security");
        let mut connection = client.connect(at("listeners.https"), None);
        let answer = corsac.get(target).send_over(&mut connection);
        assert_eq!(header(answer).as_deref(), over_tls, "{target} over TLS");
        let answer = crate::harness::Call::new(at("listeners.http)"), "GET", target).send();
        assert_eq!(header(answer).as_deref(), in_the_clear, "{target} in the clear");
    }
}

#[test]
fn the_status_lists_certificates() {
    let (first, second) =
        (Certified::of(&["a.example", "*.b.example"]), Certified::rsa(&["c.example"]));
    let listener = "tls = [\"a\", \"c\"]\nstrict_sni = true";
    let corsac = over_tls(listener, &format!("{}{}{HELLO}", table("a"), table("c")))
        .certificate("a", &first)
        .certificate("c", &second)
        .start();
    let answer = crate::harness::Call::new(corsac.admin_address(), "GET", "/status").send();
    let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let certificates = status["certificates"].as_array().unwrap();
    let of = |index: usize, key: &str| certificates[index][key].clone();
    assert_eq!(of(0, "names"), serde_json::json!(["a.example", "*.b.example"]));
    assert_eq!((of(0, "kind"), of(1, "kind")), ("ECDSA".into(), "RSA".into()));
    assert_eq!(of(1, "listeners"), serde_json::json!(["https"]));
    assert!(of(0, "not_after").as_i64() > of(0, "not_before").as_i64());
    assert_eq!(of(0, "fingerprint").as_str().unwrap().len(), 64);
    assert!(!answer.text().contains(".key"), "where keys lie is nobody's business");
}

/// Silent sockets shut nobody out: the oldest of them gives way.
#[test]
fn handshakes_at_a_time() {
    let certified = Certified::of(&["a.example"]);
    let corsac = Corsac::with(&format!(
        "version = 1\nserver.threads = 1\nadmin.listen = \"127.0.0.1:0\"\n\
         [listeners.https]\naddress = \"127.0.0.1:0\"\n\
         tls = {{ cert = \"a.pem\", key = \"a.key\" }}\n\
         limits = {{ handshakes = 3, handshake = \"1h\" }}\n{HELLO}"
    ))
    .certificate("a", &certified)
    .start();
    let mut silent: Vec<_> = (0..3).map(|_| corsac.connect()).collect();
    for first in 0..3 {
        says_hello(&corsac, &mut TlsClient::new().connect(corsac.address(), None));
        assert_eq!(silent[first].await_close().unwrap(), b"");
        await_failure(&corsac, "crowded", first + 1);
        silent.push(corsac.connect());
    }
}
