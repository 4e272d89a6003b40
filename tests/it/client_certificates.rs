//! Clients that show certificates: who gets in, where else they might, and what upstreams
//! are told of them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use rcgen::{DnType, SanType};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::harness::{
    Authority, Call, Certified, Corsac, DEADLINE, Origin, Response, Setup, TlsClient,
    TlsConnection, Workdir, await_some, corsac, expires_in,
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Three listeners: two over TLS and one in the clear. `staff.test` is for those whom `staff.ca`
/// vouches for, `open.test` for all.
fn setup(client: &str, origin: &Origin, staff: &Authority, more: &str) -> Setup {
    let setup = Corsac::with(&format!(
        "version = 1\nserver.threads = 2\nadmin.listen = [\"127.0.0.1:0\", \"unix:admin.sock\"]\n\
         [listeners.https]\naddress = \"127.0.0.1:0\"\ntls = [\"staff\", \"open\"]\n\
         [listeners.other]\naddress = \"127.0.0.1:0\"\ntls = \"back\"\n\
         [listeners.http]\naddress = \"127.0.0.1:0\"\n\
         [certificates.staff]\ncert = \"staff.pem\"\nclient_ca = \"staff.ca\"\n{client}\n\
         [certificates.open]\ncert = \"open.pem\"\ndefault = true\n\
         [certificates.back]\ncert = \"back.pem\"\n\
         [upstreams.o]\nnodes = \"{}\"\n\
         [services.s]\nhosts = [\"staff.test\", \"open.test\"]\nupstream = \"o\"\n\
         cors = {{ allow_origins = \"https://app.test\", allow_methods = \"PUT\" }}\n\
         routes.r.paths = \"/*\"\n{more}",
        origin.address()
    ));
    let setup = setup.file("staff.ca", &staff.cert);
    // The same name has another certificate on another listener.
    for (name, host) in [("staff", "staff.test"), ("open", "open.test"), ("back", "staff.test")] {
        let pair = Certified::of(&[host]);
        let path = setup.path().join(format!("{name}.pem"));
        fs::write(&path, pair.cert + &pair.key).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    setup
}

fn origin() -> Origin {
    Origin::answering(200).body("secret").start()
}

fn at(corsac: &Corsac, listener: &str) -> SocketAddr {
    let name = format!("(listeners.{listener})");
    corsac.addresses().into_iter().find(|(_, of)| *of == name).unwrap().0
}

fn get(host: &str) -> Call {
    Call::new(([127, 0, 0, 1], 1).into(), "GET", "/").header("Host", host)
}

fn preflight(host: &str) -> Call {
    Call::new(([127, 0, 0, 1], 1).into(), "OPTIONS", "/").headers([
        ("Host", host),
        ("Origin", "https://app.test"),
        ("Access-Control-Request-Method", "PUT"),
    ])
}

/// Over TLS 1.3 a client has shaken hands before the server has seen its certificate.
fn ask(client: &TlsClient, to: SocketAddr, name: &str, call: &Call) -> io::Result<Response> {
    let mut connection = client.try_connect(to, Some(name))?;
    call.try_over(&mut connection)
}

fn status(client: &TlsClient, to: SocketAddr, name: &str, host: &str) -> Option<u16> {
    ask(client, to, name, &get(host)).ok().map(|answer| answer.status)
}

fn await_refused(corsac: &Corsac, count: usize) {
    corsac.await_metric(&format!(
        "corsac_tls_handshake_failures_total{{listener=\"https\",reason=\"client_certificate\"}} \
         {count}"
    ));
}

#[test]
fn who_has_no_certificate_of_the_authority_does_not_get_in() {
    let (origin, staff, strangers) = (origin(), Authority::new("staff"), Authority::new("staff"));
    let corsac = setup("", &origin, &staff, "").start();
    let https = at(&corsac, "https");
    let billing = staff.issue("billing", |_| {});
    let mut refused = 0;
    for version in VERSIONS {
        let nobody = TlsClient::of_version(version);
        assert_eq!(status(&nobody.showing(&billing), https, "staff.test", "staff.test"), Some(200));
        let stranger = strangers.issue("billing", |_| {});
        let expired = staff.issue("billing", |params| params.not_after = params.not_before);
        let on_its_own = Certified::of(&["billing"]);
        for client in [&stranger, &expired, &on_its_own].map(|client| nobody.showing(client)) {
            assert_eq!(status(&client, https, "staff.test", "staff.test"), None);
            // Who asks for what is for all is not even asked.
            assert_eq!(status(&client, https, "open.test", "open.test"), Some(200));
        }
        assert_eq!(status(&nobody, https, "staff.test", "staff.test"), None);
        refused += 4;
        await_refused(&corsac, refused);
    }
    assert_eq!(origin.received().len(), 2 + 6);
    corsac.await_stderr("no TLS with 127.0.0.1", 1);
}

#[test]
fn another_name_is_another_door() {
    let (origin, staff) = (origin(), Authority::new("staff"));
    let corsac = setup("", &origin, &staff, "").start();
    let https = at(&corsac, "https");
    let nobody = TlsClient::new();
    let billing = nobody.showing(&staff.issue("billing", |_| {}));
    // Either way round: it is not a matter of who may, but of what was agreed on.
    for (client, name, host) in [
        (&nobody, "open.test", "staff.test"),
        (&nobody, "open.test", "STAFF.test.:443"),
        (&nobody, "unknown.test", "staff.test"),
        (&billing, "staff.test", "open.test"),
        (&billing, "staff.test", "unknown.test"),
    ] {
        let mut connection = client.connect(https, Some(name));
        let answer = get(host).header("Origin", "https://app.test").send_over(&mut connection);
        assert_eq!(answer.status, 421, "{name} {host}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
        // It is asked again for what it is for.
        let fitting = if name == "staff.test" { "staff.test" } else { "open.test" };
        assert_eq!(get(fitting).send_over(&mut connection).status, 200, "{name} {host}");
    }
    assert_eq!(origin.received().len(), 5);
    corsac.await_access_log("\"status\":421,");
    corsac.await_access_log("\"reason\":\"misdirected\"");
}

#[test]
fn another_listener_is_no_way_round() {
    let (origin, staff) = (origin(), Authority::new("staff"));
    let more = "[listeners.redirecting]\naddress = \"127.0.0.1:0\"\nredirect_https = true\n\
                trust_forwarded = \"127.0.0.1\"\n";
    let corsac = setup("", &origin, &staff, more).start();
    let nobody = TlsClient::new();
    let billing = nobody.showing(&staff.issue("billing", |_| {}));
    for client in [&nobody, &billing] {
        assert_eq!(status(client, at(&corsac, "other"), "staff.test", "staff.test"), Some(421));
    }
    let clear = |listener: &str, host: &str, target: &str| {
        Call::new(at(&corsac, listener), "GET", target).header("Host", host).send().status
    };
    #[rustfmt::skip]
    let cases = [
        ("http",        "staff.test", "/",                              421),
        ("http",        "Staff.Test", "/",                              421),
        ("http",        "staff.test", "/.well-known/acme-challenge/x",  421),
        ("http",        "open.test",  "/",                              200),
        ("redirecting", "staff.test", "/",                              308),
        ("redirecting", "staff.test", "/.well-known/acme-challenge/x",  200),
        ("redirecting", "open.test",  "/",                              308),
    ];
    for (listener, host, target, due) in cases {
        assert_eq!(clear(listener, host, target), due, "{listener} {host} {target}");
    }
    let star = Call::new(at(&corsac, "redirecting"), "OPTIONS", "*").header("Host", "staff.test");
    assert_eq!(star.send().status, 421);
    // A proxy in front may have seen TLS; it has seen no certificate.
    for target in ["/", "/.well-known/acme-challenge/x"] {
        let call = Call::new(at(&corsac, "redirecting"), "GET", target).headers([
            ("Host", "staff.test"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-For", "192.0.2.1"),
        ]);
        assert_eq!(call.send().status, 421, "{target}");
    }
    assert_eq!(origin.received().len(), 2);
}

#[test]
fn a_ticket_is_good_where_it_was_given_alone() {
    let (origin, staff) = (origin(), Authority::new("staff"));
    let corsac = setup("", &origin, &staff, "").start();
    let (https, other) = (at(&corsac, "https"), at(&corsac, "other"));
    for version in VERSIONS {
        let nobody = TlsClient::of_version(version);
        // For the same name, from the listener that asks nobody.
        let resumes = |client: &TlsClient, to, host| -> io::Result<bool> {
            let mut connection = client.try_connect(to, Some("staff.test"))?;
            get(host).try_over(&mut connection)?;
            Ok(connection.is_resumed())
        };
        assert!(!resumes(&nobody, other, "open.test").unwrap());
        assert!(resumes(&nobody, other, "open.test").unwrap());
        assert!(resumes(&nobody, https, "staff.test").is_err(), "{version:?}");
        let billing = nobody.showing(&staff.issue("billing", |_| {}));
        assert!(!resumes(&billing, https, "staff.test").unwrap());
        assert!(resumes(&billing, https, "staff.test").unwrap(), "{version:?}");
        assert!(!resumes(&billing, other, "staff.test").unwrap(), "{version:?}");
    }
    // Which clients it is for, another process knows, too.
    let before = VERSIONS.map(|version| {
        let client = TlsClient::of_version(version).showing(&staff.issue("billing", |_| {}));
        assert_eq!(status(&client, https, "staff.test", "staff.test"), Some(200));
        client
    });
    let upgraded = corsac.command(&["upgrade", "--wait", "--socket", "admin.sock"]);
    assert!(upgraded.status.success(), "{upgraded:?}");
    for client in before {
        let mut connection = client.connect(https, Some("staff.test"));
        assert_eq!(get("staff.test").send_over(&mut connection).status, 200);
        assert!(connection.is_resumed());
    }
    let lines = origin.take_received();
    assert!(lines.iter().all(|request| {
        let of_staff = request.header("Host").as_deref() == Some("staff.test");
        of_staff == request.header("x-client-cert-subject").is_some()
    }));
}

#[test]
fn a_ticket_does_not_outlive_the_certificate() {
    let (origin, staff) = (origin(), Authority::new("staff"));
    let corsac = setup("", &origin, &staff, "").start();
    let https = at(&corsac, "https");
    for (index, version) in VERSIONS.into_iter().enumerate() {
        let short = staff.issue("billing", |params| expires_in(params, 3));
        let client = TlsClient::of_version(version).showing(&short);
        let resumed = |client: &TlsClient| -> (bool, io::Result<Response>) {
            let mut connection = client.connect(https, Some("staff.test"));
            let answer = get("staff.test").try_over(&mut connection);
            (connection.is_resumed(), answer)
        };
        assert!(matches!(resumed(&client), (false, Ok(_))));
        assert!(matches!(resumed(&client), (true, Ok(_))));
        await_some("it expires", || resumed(&client).1.is_err().then_some(()));
        // The ticket was taken, and not what is behind it.
        await_refused(&corsac, index + 1);
    }
}

#[test]
fn upstreams_are_told_who_the_client_is_by_nobody_else() {
    const FORGED: [&str; 8] = [
        "X-Client-Cert-Subject",
        "X_Client_Cert_SAN",
        "x-client_cert-fingerprint",
        "X-Client-Cert-Anything",
        "Client-Cert",
        "Client_Cert_Chain",
        "X-Forwarded-Client-Cert",
        "X_Forwarded_Client-Cert",
    ];
    let (origin, staff) = (origin(), Authority::new("staff"));
    let more = "[services.s.routes.forged]\npaths = \"/*\"\n\
                match.headers = { x-client-cert-subject = \"CN=root\" }\n\
                respond = { status = 500 }\n";
    let corsac = setup("", &origin, &staff, more).start();
    let nobody = TlsClient::new();
    let billing = staff.issue("Billing, \"Inc\" \u{e9}", |params| {
        params.distinguished_name.push(DnType::OrganizationName, "a+O=b");
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 3, 4]), "x");
        params.subject_alt_names = vec![
            SanType::DnsName("billing.test".try_into().unwrap()),
            SanType::URI("spiffe://test/a,b".try_into().unwrap()),
            SanType::Rfc822Name("b@test".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 1].into()),
        ];
    });
    let forged = |host| {
        let call = get(host).headers(FORGED.map(|name| (name, "CN=root")));
        call.header("Connection", "x-client-cert-subject, x-client-cert-fingerprint")
    };
    let is_claim = |name: &str| name.to_lowercase().replace('_', "-").contains("client-cert");
    // From those who have shown none, on every listener.
    for listener in ["https", "other", "http"] {
        let answer = match listener {
            "http" => forged("open.test").to(at(&corsac, "http")).send(),
            _ => ask(&nobody, at(&corsac, listener), "open.test", &forged("open.test")).unwrap(),
        };
        assert_eq!(answer.status, 200, "{listener}");
        let seen = origin.take_received().remove(0);
        assert!(!seen.headers.iter().any(|(name, _)| is_claim(name)), "{listener}: {seen:?}");
    }
    let client = nobody.showing(&billing);
    // A session that is resumed has the same client.
    for _ in 0..2 {
        let https = at(&corsac, "https");
        assert_eq!(ask(&client, https, "staff.test", &forged("staff.test")).unwrap().status, 200);
        let seen = origin.take_received().remove(0);
        let claims: Vec<_> = seen.headers.iter().filter(|(name, _)| is_claim(name)).collect();
        let fingerprint = sha256(&billing.der);
        let mut due = vec![
            ("x-client-cert-fingerprint", fingerprint.as_str()),
            (
                "x-client-cert-san",
                "dns:billing.test,uri:spiffe://test/a%2Cb,email:b@test,ip:192.0.2.1",
            ),
            (
                "x-client-cert-subject",
                "1.2.3.4=#0c0178,C=DE,O=a%2BO=b,CN=Billing%2C %22Inc%22 %C3%A9",
            ),
        ];
        due.sort_unstable();
        let mut claims = claims;
        claims.sort_unstable();
        assert_eq!(claims, due);
    }
    // What would not fit into a head is nobody.
    let long = staff.issue(&"x".repeat(1030), |_| {});
    assert_eq!(
        status(&nobody.showing(&long), at(&corsac, "https"), "staff.test", "staff.test"),
        None
    );
    await_refused(&corsac, 1);
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn a_certificate_that_is_asked_for_and_not_required() {
    let (origin, staff) = (origin(), Authority::new("staff"));
    let corsac = setup("client = \"request\"", &origin, &staff, "").start();
    let https = at(&corsac, "https");
    let nobody = TlsClient::new();
    let claims = || origin.take_received()[0].header("x-client-cert-subject");
    assert_eq!(status(&nobody, https, "staff.test", "staff.test"), Some(200));
    assert_eq!(claims(), None);
    let billing = nobody.showing(&staff.issue("billing", |_| {}));
    assert_eq!(status(&billing, https, "staff.test", "staff.test"), Some(200));
    assert_eq!(claims().as_deref(), Some("CN=billing"));
    // One that does not verify is worse than none.
    let stranger = nobody.showing(&Authority::new("staff").issue("billing", |_| {}));
    assert_eq!(status(&stranger, https, "staff.test", "staff.test"), None);
    await_refused(&corsac, 1);
    // In the clear there is nothing to get round.
    let clear = Call::new(at(&corsac, "http"), "GET", "/").header("Host", "staff.test").send();
    assert_eq!(clear.status, 200);
    assert_eq!(status(&nobody, https, "open.test", "staff.test"), Some(421));
}

#[test]
fn preflights_come_without_certificates() {
    let (origin, staff) = (origin(), Authority::new("staff"));
    let nobody = TlsClient::new();
    let billing = staff.issue("billing", |_| {});
    let strict = setup("", &origin, &staff, "").start();
    assert!(ask(&nobody, at(&strict, "https"), "staff.test", &preflight("staff.test")).is_err());
    let handing = "[services.handing]\nhosts = [\"staff.test\"]\nprefix = \"/handing\"\n\
                   upstream = \"o\"\nroutes.r.paths = \"/*\"\n\
                   cors = { allow_origins = \"https://x.test\", preflight = \"upstream\" }\n";
    let kind = setup("client = \"require-except-preflights\"", &origin, &staff, handing).start();
    let https = at(&kind, "https");
    let mut connection = nobody.connect(https, Some("staff.test"));
    let answer = preflight("staff.test").send_over(&mut connection);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-methods").as_deref(), Some("PUT"));
    let call = |method: &str, target: &str| {
        Call::new(https, method, target)
            .header("Host", "staff.test")
            .header("Origin", "https://app.test")
    };
    let handed_on = call("OPTIONS", "/handing/x").header("Access-Control-Request-Method", "PUT");
    #[rustfmt::skip]
    let cases = [
        // call               a page of the policy gets to read why
        (call("GET", "/"),    true),
        (call("PUT", "/x"),   true),
        (call("TRACE", "/"),  true),
        // The application would answer it, under another policy.
        (handed_on,           false),
        (get("staff.test"),   false),
        (get("other.test"),   false),
    ];
    for (call, is_readable) in cases {
        let case = format!("{call:?}");
        let answer = call.send_over(&mut connection);
        let host_is_another = case.contains("other.test");
        assert_eq!(answer.status, if host_is_another { 421 } else { 403 }, "{case}");
        let origin = answer.header("access-control-allow-origin");
        assert_eq!(origin.is_some(), is_readable, "{case}");
    }
    kind.await_access_log("\"reason\":\"client_certificate\"");
    assert!(origin.received().is_empty());
    let client = nobody.showing(&billing);
    assert_eq!(ask(&client, https, "staff.test", &call("GET", "/")).unwrap().status, 200);
    assert_eq!(origin.take_received().len(), 1);
    // It counts as required.
    let clear = Call::new(at(&kind, "http"), "GET", "/").header("Host", "staff.test").send();
    assert_eq!(clear.status, 421);
    assert_eq!(status(&nobody, at(&kind, "other"), "staff.test", "staff.test"), Some(421));
}

#[test]
fn who_trusts_others_now_ends_what_was_before() {
    let (origin, old, new) = (origin(), Authority::new("old"), Authority::new("new"));
    let corsac = setup("", &origin, &old, "").start();
    let https = at(&corsac, "https");
    let nobody = TlsClient::new();
    let clients = [&old, &new].map(|ca| nobody.showing(&ca.issue("billing", |_| {})));
    let mut connection = clients[0].connect(https, Some("staff.test"));
    let mut other = nobody.connect(https, Some("open.test"));
    let answers = |connection: &mut TlsConnection, host| get(host).send_over(connection).status;
    assert_eq!(
        (answers(&mut connection, "staff.test"), answers(&mut other, "open.test")),
        (200, 200)
    );
    corsac.workdir().replace("staff.ca", &new.cert);
    let said = corsac.await_stderr("client_ca: CN=old", 1);
    assert!(!said.contains("[widens]"), "{said}");
    let said = corsac.await_stderr("client_ca: CN=new", 1);
    assert!(said.contains("[widens]"), "{said}");
    let last = get("staff.test").send_over(&mut connection);
    assert_eq!((last.status, last.header("connection").as_deref()), (421, Some("close")));
    assert_eq!(connection.await_close().unwrap(), b"");
    assert_eq!(answers(&mut other, "open.test"), 200);
    let statuses = clients.each_ref().map(|it| status(it, https, "staff.test", "staff.test"));
    assert_eq!(statuses, [None, Some(200)]);
    // A file that is none changes nothing.
    corsac.workdir().replace("staff.ca", "nonsense");
    corsac.await_stderr("E405", 1);
    assert_eq!(status(&clients[1], https, "staff.test", "staff.test"), Some(200));
    // Nobody is asked any more: also that is another trust.
    let mut connection = clients[1].connect(https, Some("staff.test"));
    assert_eq!(answers(&mut connection, "staff.test"), 200);
    let text = fs::read_to_string(corsac.config()).unwrap();
    corsac.workdir().write("corsac.toml", text.replace("client_ca = \"staff.ca\"\n", ""));
    let reload = corsac.command(&["reload", "--wait", "--socket", "admin.sock"]);
    assert!(String::from_utf8_lossy(&reload.stdout).contains("widen"), "{reload:?}");
    assert_eq!(get("staff.test").send_over(&mut connection).status, 421);
    assert_eq!(status(&nobody, https, "staff.test", "staff.test"), Some(200));
}

#[test]
fn requests_side_by_side_are_judged_by_their_own_hosts() {
    let (origin, staff) = (origin(), Authority::new("staff"));
    let corsac = setup("", &origin, &staff, "").start();
    let client = TlsClient::new().showing(&staff.issue("billing", |_| {})).alpn(&["h2"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (requests, closed) = runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(at(&corsac, "https")).await.unwrap();
        let name = "staff.test".try_into().unwrap();
        let tls = tokio_rustls::TlsConnector::from(client.config()).connect(name, socket).await;
        let (requests, connection) = h2::client::handshake(tls.unwrap()).await.unwrap();
        (requests, tokio::spawn(connection))
    });
    let ask = |host: &str| {
        let request = http::Request::get(format!("https://{host}/"))
            .header("x-client-cert-subject", "CN=root")
            .header("x_client_cert_san", "dns:root");
        runtime.block_on(async {
            let mut requests = requests.clone().ready().await?;
            let (answer, _) = requests.send_request(request.body(()).unwrap(), true)?;
            answer.await.map(|answer| answer.status().as_u16())
        })
    };
    assert_eq!(ask("staff.test").unwrap(), 200);
    let seen = origin.take_received().remove(0);
    assert_eq!(seen.headers.all("x-client-cert-subject"), ["CN=billing"]);
    assert!(!seen.headers.contains("x_client_cert_san"), "{seen:?}");
    assert_eq!(ask("open.test").unwrap(), 421);
    assert_eq!(ask("staff.test").unwrap(), 200);
    corsac.workdir().replace("staff.ca", Authority::new("staff").cert);
    corsac.await_stderr("serves (a changed file)", 1);
    assert_eq!(ask("staff.test").unwrap(), 421);
    // It is told to go.
    let left = runtime.block_on(async { tokio::time::timeout(DEADLINE, closed).await });
    left.expect("in time").unwrap().unwrap();
    assert!(ask("staff.test").is_err());
}

#[test]
fn a_host_that_no_certificate_is_for_has_no_door() {
    let pair = Certified::of(&["a.test"]);
    let corsac = Corsac::with(
        "version = 1\nadmin.listen = \"unix:admin.sock\"\n\
         [listeners.https]\naddress = \"127.0.0.1:0\"\nstrict_sni = true\ntls = [\"a\", \"b\"]\n\
         [certificates.a]\ncert = \"a.pem\"\n[certificates.b]\ncert = \"b.pem\"\n\
         [services.s.routes.r]\npaths = \"/*\"\nrespond = { body = \"hello\" }\n",
    )
    .file("a.pem", &(pair.cert + &pair.key));
    let pair = Certified::of(&["b.test"]);
    // It answers itself, though it names no server.
    let corsac = corsac.file("b.pem", &(pair.cert + &pair.key)).start();
    let mut connection = TlsClient::new().connect(corsac.address(), Some("a.test"));
    for (host, due) in [("a.test", 200), ("b.test", 200), ("c.test", 421), ("A.test", 200)] {
        assert_eq!(get(host).send_over(&mut connection).status, due, "{host}");
    }
}

#[test]
fn what_a_change_widens() {
    let folder = Workdir::new();
    let pair = Certified::of(&["a.test"]);
    folder.write("a.pem", pair.cert + &pair.key);
    let [one, two] = ["one", "two"].map(Authority::new);
    folder.write("one.ca", &one.cert);
    folder.write("two.ca", &two.cert);
    folder.write("both.ca", two.cert + &one.cert);
    folder.write("again.ca", [one.cert.as_str(), &one.cert].concat());
    let one = Some(("one", None));
    #[rustfmt::skip]
    let cases = [
        // before                        after                                             what is said                              widens
        (one,                            None,                                             "- certificates.c: client_ca",            true),
        (None,                           one,                                              "+ certificates.c: client_ca",            false),
        (one,                            Some(("both", None)),                             "+ certificates.c: client_ca: CN=two",    true),
        (Some(("both", None)),           one,                                              "- certificates.c: client_ca: CN=two",    false),
        (one,                            Some(("two", None)),                              "+ certificates.c: client_ca: CN=two",    true),
        (one,                            Some(("one", Some("request"))),                   "client: require -> request",             true),
        (one,                            Some(("one", Some("require-except-preflights"))), "client: require -> require-except",      true),
        (Some(("one", Some("request"))), one,                                              "client: request -> require",             false),
        (one,                            Some(("again", Some("require"))),                 "",                                       false),
    ];
    for (before, after, due, widens) in cases {
        let case = format!("{before:?} -> {after:?}");
        for (name, clients) in [("before.toml", before), ("after.toml", after)] {
            let ca = clients.map(|(ca, _)| format!("client_ca = \"{ca}.ca\"\n"));
            let client = clients.and_then(|(_, client)| client);
            let client = client.map(|client| format!("client = \"{client}\"\n"));
            let text = format!(
                "version = 1\n[listeners.https]\naddress = \"127.0.0.1:443\"\ntls = \"c\"\n\
                 [certificates.c]\ncert = \"a.pem\"\n{}{}\
                 [services.s.routes.r]\npaths = \"/*\"\nrespond = {{ body = \"\" }}\n",
                ca.unwrap_or_default(),
                client.unwrap_or_default()
            );
            folder.write(name, text);
        }
        let output =
            corsac(folder.path()).args(["diff", "before.toml", "after.toml"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains(due), "{case}: {said}{error}");
        assert_eq!(said.contains("[widens]"), widens, "{case}: {said}");
        assert_eq!(due.is_empty(), !said.contains("certificates.c"), "{case}: {said}");
    }
}

#[test]
fn what_is_said_before_anything_is_served() {
    let (origin, staff) = (origin(), Authority::new("staff"));
    let explain = |client: &str, arguments: &[&str]| {
        let setup = setup(client, &origin, &staff, "");
        let corsac = setup.start();
        let configuration = ["explain", "--config", "corsac.toml"];
        let output = corsac.command(&[&configuration, arguments].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    let clear = explain("", &["GET", "http://staff.test/"]);
    assert!(clear.contains("client") && clear.contains("421"), "{clear}");
    let served = explain("", &["GET", "https://staff.test/"]);
    assert!(served.contains("to the upstream o"), "{served}");
    assert!(served.contains("without, as preflights are, there is no connection"), "{served}");
    let kind = "client = \"require-except-preflights\"";
    let page = ["-H", "Origin: https://app.test", "PUT", "https://staff.test/"];
    let told = explain(kind, &page);
    assert!(told.contains("403 (client_certificate)"), "{told}");
    assert!(told.contains("answer    200"), "{told}");
}
