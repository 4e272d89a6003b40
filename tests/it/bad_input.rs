//! What nobody should send, and what nobody should configure.

use std::net::TcpListener;
use std::process::Output;

use crate::harness::{Call, Corsac, Origin};

const WITH_CORS: &str = r#"
[services.s]
upstream = "origin"
cors = { allow_origins = "https://a.example", allow_methods = "PUT", allow_headers = "x-a" }
routes.all.paths = "/*"
"#;

#[test]
fn malformed_requests_are_refused_and_closed() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    #[rustfmt::skip]
    let cases: [(&str, &[u8]); 11] = [
        ("no target",              b"GET\r\nHost: a\r\n\r\n"),
        ("no such version",        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
        ("space in a name",        b"GET / HTTP/1.1\r\nHost: a\r\nX A: 1\r\n\r\n"),
        ("no colon",               b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"),
        ("NUL in a value",         b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \0\r\n\r\n"),
        ("two Hosts",              b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("length is no number",    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"),
        ("two lengths",            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("chunked not last",       b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
        ("TLS on a plain port",    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n"),
        ("only garbage",           b"\xff\xfe\xfd\r\n\r\n"),
    ];
    let mut wrong = Vec::new();
    for (case, bytes) in cases {
        let mut connection = corsac.connect();
        connection.write(bytes);
        match connection.try_receive("GET") {
            Ok(answer) if answer.status == 400 => {}
            Ok(answer) => wrong.push(format!("{case}: {}", answer.status)),
            Err(error) => wrong.push(format!("{case}: no answer: {error}")),
        }
        match connection.await_close() {
            Ok(more) if more.is_empty() => {}
            Ok(more) => wrong.push(format!("{case}: more than an answer: {}", more.escape_ascii())),
            Err(_) => wrong.push(format!("{case}: the connection stays open")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(origin.received().is_empty(), "none of them reaches the upstream");
    assert_eq!(corsac.get("/").send().status, 200, "and others are served");
}

#[test]
fn paths_that_mean_nothing() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    for path in ["/a%00b", "/%zz", "/%", "/%4", "/a%2"] {
        assert_eq!(corsac.get(path).send().status, 400, "{path}");
    }
    assert!(origin.received().is_empty());
}

/// RFC 9112, 3.2. HTTP/1.0 knew no Host, and gets what any host gets.
#[test]
fn a_request_must_name_its_host() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    for (version, status) in [("1.1", 400), ("1.0", 200)] {
        let mut connection = corsac.connect();
        connection.write(format!("GET / HTTP/{version}\r\n\r\n").as_bytes());
        assert_eq!(connection.receive("GET").status, status, "HTTP/{version}");
    }
}

/// Both a length and chunks: whoever is behind must not read it another way.
#[test]
fn no_request_is_smuggled() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    let mut connection = corsac.connect();
    connection.write(
        b"POST /outer HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n\
          0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let answer = connection.receive("POST");
    assert!(matches!(answer.status, 200 | 400), "{}", answer.status);
    connection.await_close().expect("what follows is no request, so nothing may follow");
    assert!(origin.received().iter().all(|request| request.target != "/smuggled"));
}

#[test]
fn hostile_cors_headers() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    let preflight = || corsac.call("OPTIONS", "/").header("Access-Control-Request-Method", "PUT");
    let allowed = || preflight().header("Origin", "https://a.example");
    let long_origin = format!("https://{}.example", "a".repeat(2000));
    let acrh = "Access-Control-Request-Headers";
    #[rustfmt::skip]
    let refused = [
        ("10 KB of names",       allowed().header(acrh, &"x-a,".repeat(2560))),
        ("10 KB in one name",    allowed().header(acrh, &"x".repeat(10_240))),
        ("10 KB over lines",     (0..60).fold(allowed(), |call, _| call.header(acrh, &"x".repeat(170)))),
        ("no token",             allowed().header(acrh, "x-a, x b")),
        ("two origins",          allowed().header("Origin", "https://a.example")),
        ("an allowed first",     preflight().header("Origin", "https://a.example, https://evil.example")),
        ("2 KB of origin",       preflight().header("Origin", &long_origin)),
        ("origin of a file",     preflight().header("Origin", "file://a.example")),
        ("two methods",          allowed().header("Access-Control-Request-Method", "PUT")),
        ("method is no token",   corsac.call("OPTIONS", "/").header("Origin", "https://a.example")
                                     .header("Access-Control-Request-Method", "P UT")),
    ];
    let mut connection = corsac.connect();
    for (case, call) in refused {
        let answer = call.send_over(&mut connection);
        assert_eq!(answer.status, 403, "{case}");
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"), "{case}");
        let of_cors = answer
            .headers
            .iter()
            .find(|(name, _)| name.to_ascii_lowercase().starts_with("access-control-"));
        assert_eq!(of_cors, None, "{case}: a refused preflight grants nothing");
    }
    let answer = allowed().header(acrh, "x-a").send_over(&mut connection);
    assert_eq!(answer.status, 200, "and the connection is as good as before");
    assert!(origin.received().is_empty());
    let twice = corsac.get("/").header("Origin", "https://a.example");
    let answer = twice.header("Origin", "https://a.example").send();
    assert_eq!(answer.status, 200, "an actual request goes through");
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

/// A client that is slow, or says nothing at all, holds nobody up.
#[test]
fn slow_clients_stop_nobody() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    let starts: [&[u8]; 4] = [b"", b"G", b"GET / HTTP/1.1\r\nHo", b"\xff"];
    let mut slow = Vec::new();
    for bytes in starts.iter().cycle().take(64) {
        let mut connection = corsac.connect();
        connection.write(bytes);
        slow.push(connection);
    }
    assert_eq!(corsac.get("/").send().status, 200);
    // The third of them goes on where it stopped.
    slow[2].write(b"st: a\r\n\r\n");
    assert_eq!(slow[2].receive("GET").status, 200);
}

#[test]
fn a_client_that_leaves_early_harms_nobody() {
    let origin = Origin::answering(200).body(vec![b'a'; 1 << 20]).start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    for _ in 0..20 {
        let mut connection = corsac.connect();
        connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut half = corsac.connect();
        half.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
        half.finish_writing();
    }
    assert_eq!(corsac.get("/").send().body.len(), 1 << 20);
    assert!(!corsac.stderr().contains("panicked"), "{}", corsac.stderr());
}

#[test]
fn an_address_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = Corsac::with(&format!(
        "version = 1\n[listeners.http]\naddress = \"{address}\"\n\
         [services.s.routes.r]\npaths = \"/*\"\nrespond = {{ status = 200, body = \"\" }}\n"
    ))
    .run();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let naming: Vec<&str> = said.lines().filter(|l| l.contains(&address.to_string())).collect();
    assert_eq!(naming.len(), 1, "one line names the address:\n{said}");
    assert!(!said.contains("panicked") && !said.contains("ready"), "{said}");
}

#[test]
fn mistakes_in_a_configuration_are_reported_by_run_and_check_alike() {
    let config = || {
        Corsac::with(
            "version = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n\
             [policies.cors.app]\nallow_orgins = \"https://a.example\"\n\
             [services.s]\nupstream = \"shpo\"\nroutes.r.paths = \"/*\"\n",
        )
    };
    for (command, output) in [("run", config().run()), ("check", config().check(&[]))] {
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        for part in ["E001", "allow_orgins", "allow_origins", "E201", "shpo", "corsac.toml"] {
            assert!(said.contains(part), "{command} does not say {part}:\n{said}");
        }
        assert!(!said.contains("panicked"), "{command}: {said}");
    }
    let said = text(&config().run());
    assert!(!said.contains("listening on"), "nothing listens: {said}");
}

#[test]
fn files_that_are_no_configuration() {
    for (case, text) in [("empty", ""), ("not TOML", "\u{0}["), ("not a table", "version = [")] {
        let output = Corsac::with(text).run();
        assert_eq!(output.status.code(), Some(1), "{case}");
        let said = self::text(&output);
        assert!(said.contains("error") && !said.contains("panicked"), "{case}: {said}");
    }
}

#[test]
fn a_failing_test_of_the_configuration_stops_it() {
    let output = Corsac::serving(
        "[services.s]\ncors = { allow_origins = \"https://a.example\" }\n\
         routes.r = { paths = \"/*\", respond = { status = 200, body = \"\" } }\n\
         [[tests]]\nname = \"everyone may\"\nrequest = \"GET http://x.example/\"\n\
         with = { origin = \"https://b.example\" }\n\
         expect = { headers = { access-control-allow-origin = \"https://b.example\" } }\n",
    )
    .run();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("E301") && said.contains("everyone may"), "{said}");
}

/// Every request of a hundred, half of them bad, gets its own answer.
#[test]
fn good_and_bad_side_by_side() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    let send = |number: usize| {
        let path = if number.is_multiple_of(2) { "/good" } else { "/%zz" };
        let call = Call::new(corsac.address(), "GET", path);
        std::thread::spawn(move || (number, call.send().status))
    };
    for answered in (0..100).map(send).collect::<Vec<_>>() {
        let (number, status) = answered.join().unwrap();
        assert_eq!(status, if number.is_multiple_of(2) { 200 } else { 400 });
    }
}

/// What a command said, wherever it said it.
fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}
