//! HTTP/1 byte by byte: what is refused, what is read, and where a request ends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::Value;

use crate::harness::{Answer, Connection, Corsac, Gate, Origin, payload};

const EVERYTHING: &str = "[services.s]\nupstream = \"origin\"\nroutes.all.paths = \"/*\"\n";

/// What it is, its bytes, and the status and reason of its refusal.
#[rustfmt::skip]
const REFUSED: &[(&str, &[u8], u16, &str)] = &[
    ("no target",               b"GET\r\nHost: a\r\n\r\n",                                              400, "head_malformed"),
    ("no such version",         b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",                                   400, "head_malformed"),
    ("a control character",     b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \x01\r\n\r\n",                      400, "head_malformed"),
    ("a folded line",           b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n 2\r\n\r\n",                   400, "head_malformed"),
    ("TLS",                     b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",                                400, "head_malformed"),
    ("no path",                 b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",                                   400, "path_malformed"),
    ("an authority",            b"GET h.test:80 HTTP/1.1\r\nHost: a\r\n\r\n",                           400, "path_malformed"),
    ("userinfo",                b"GET @evil.test/x HTTP/1.1\r\nHost: a\r\n\r\n",                        400, "path_malformed"),
    ("a query alone",           b"GET ?a=b HTTP/1.1\r\nHost: a\r\n\r\n",                                400, "path_malformed"),
    ("* of a GET",              b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",                                   400, "path_malformed"),
    ("another scheme",          b"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n",                           400, "path_malformed"),
    ("a fragment",              b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",                                400, "path_malformed"),
    ("a space in the path",     b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",                                400, "path_malformed"),
    ("a tab in the path",       b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n",                               400, "path_malformed"),
    ("VT in the path",          b"GET /a\x0bb HTTP/1.1\r\nHost: a\r\n\r\n",                             400, "path_malformed"),
    ("DEL in the path",         b"GET /a\x7fb HTTP/1.1\r\nHost: a\r\n\r\n",                             400, "path_malformed"),
    ("NUL in the query",        b"GET /a?b\0c HTTP/1.1\r\nHost: a\r\n\r\n",                             400, "path_malformed"),
    ("< in the path",           b"GET /a<b HTTP/1.1\r\nHost: a\r\n\r\n",                                400, "path_malformed"),
    ("` in the path",           b"GET /a`b HTTP/1.1\r\nHost: a\r\n\r\n",                                400, "path_malformed"),
    ("no Host",                 b"GET / HTTP/1.1\r\n\r\n",                                              400, "host_missing"),
    ("two Hosts",               b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",                        400, "host_malformed"),
    ("a list of hosts",         b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",                                400, "host_malformed"),
    ("a space in a host",       b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",                                 400, "host_malformed"),
    ("a slash in a host",       b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",                                 400, "host_malformed"),
    ("a port that is none",     b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",                                 400, "host_malformed"),
    ("a host beyond ASCII",     b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n",                            400, "host_malformed"),
    ("an escape in a host",     b"GET / HTTP/1.1\r\nHost: a%41\r\n\r\n",                               400, "host_malformed"),
    ("one in a target's",       b"GET http://a%41/ HTTP/1.1\r\nHost: a%41\r\n\r\n",                    400, "path_malformed"),
    ("another host",            b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",                           400, "host_malformed"),
    ("a list of lengths",       b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",     400, "framing_malformed"),
    ("a length twice",          b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400, "framing_malformed"),
    ("a length and chunks",     b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na", 400, "framing_malformed"),
    ("chunked not last",        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400, "framing_malformed"),
    ("chunks in HTTP/1.0",      b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",               400, "framing_malformed"),
    ("another coding",          b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "coding_unknown"),
    ("identity",                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n", 501, "coding_unknown"),
    ("chunked twice",           b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 501, "coding_unknown"),
    ("an empty coding",         b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n",   501, "coding_unknown"),
    ("codings on two lines",    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501, "coding_unknown"),
    ("a tunnel",                b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",                       405, "method_not_allowed"),
];

/// What is no request never reaches an upstream, gets an answer of corsac's own, and is
/// seen: it has an id, a line in the log and a count.
#[test]
fn what_is_no_request_is_refused_and_seen() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::serving(&format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[upstreams.origin]\nnodes = \"{}\"\n{EVERYTHING}",
        origin.address()
    ))
    .start();
    let mut wrong = Vec::new();
    let mut counts = BTreeMap::<&str, usize>::new();
    for &(case, bytes, status, reason) in REFUSED {
        *counts.entry(reason).or_default() += 1;
        let mut connection = corsac.connect();
        connection.write(bytes);
        match connection.try_receive("GET") {
            Ok(answer) => {
                let own = answer.header("server").is_none()
                    && answer.header("x-request-id").is_some()
                    && answer.header("date").is_some()
                    && answer.header("connection").as_deref() == Some("close");
                if answer.status != status || !own {
                    wrong.push(format!("{case}: {} {:?}", answer.start, answer.headers));
                }
            }
            Err(error) => wrong.push(format!("{case}: no answer: {error}")),
        }
        if !connection.await_close().is_ok_and(|rest| rest.is_empty()) {
            wrong.push(format!("{case}: the connection does not end with its answer"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(origin.received().is_empty(), "none of them reaches the upstream");
    for (line, &(case, _, status, reason)) in corsac.access_log(REFUSED.len()).iter().zip(REFUSED) {
        assert_eq!((&line["status"], &line["reason"]), (&status.into(), &reason.into()), "{case}");
        assert!(line["request_id"].is_string() && line["client"].is_string(), "{case}: {line}");
    }
    for (reason, count) in counts {
        corsac.await_metric(&format!(
            "corsac_requests_refused_total{{listener=\"http\",reason=\"{reason}\"}} {count}"
        ));
    }
    assert_eq!(corsac.get("/").send().status, 200, "and others are served");
}

/// What is unusual, and means one thing.
#[test]
fn what_is_a_request_is_served() {
    #[rustfmt::skip]
    let cases: &[(&str, &[u8], &str)] = &[
        ("empty lines before it",   b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",                  "/a"),
        ("bare line feeds",         b"GET /a HTTP/1.1\nHost: a\n\n",                                "/a"),
        ("an absolute target",      b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",                  "/x"),
        ("a backslash in a path",   b"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n",                       "/a%5Cb"),
        ("what browsers leave",     b"GET /?a=`{|}[]^' HTTP/1.1\r\nHost: a\r\n\r\n",                "/?a=`{|}[]^'"),
        ("an IPv6 host",            b"GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",                   "/a"),
        ("an empty Host",           b"GET /a HTTP/1.1\r\nHost:\r\n\r\n",                            "/a"),
        ("obs-text in a value",     b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: \xe9\r\n\r\n",             "/a"),
    ];
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    for &(case, bytes, target) in cases {
        let mut connection = corsac.connect();
        connection.write(bytes);
        let status = connection.try_receive("GET").map(|answer| answer.status);
        assert_eq!(status.unwrap_or(0), 200, "{case}");
        let received = origin.take_received();
        let [request] = &received[..] else { panic!("{case}: {received:?}") };
        assert!(request.target.ends_with(target), "{case}: {}", request.target);
    }
}

/// Requests that come before the answer to the one before them are served in their order.
#[test]
fn requests_that_do_not_wait() {
    let gate = Gate::default();
    let origin = Origin::scripted({
        let gate = gate.clone();
        move |request| {
            let answer = Answer::status(200).body(request.target.clone());
            if request.target == "/slow" { answer.after(&gate) } else { answer }
        }
    });
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut connection = corsac.connect();
    // In one packet; a body between them, and the empty line that some clients add to one.
    let all = format!(
        "{}POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\n{}\
         POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n{}",
        get("/1"),
        get("/3"),
        get("/5"),
    );
    connection.write(all.as_bytes());
    for path in ["/1", "/2", "/3", "/4", "/5"] {
        let answer = connection.receive("GET");
        assert_eq!((answer.status, answer.text().as_str()), (200, path));
    }
    // While the first is in flight: a whole one, and a part.
    connection.write(get("/slow").as_bytes());
    origin.await_requests(6);
    connection.write(get("/7").as_bytes());
    connection.write(b"GET /8 HT");
    // Somebody else's request shows that corsac has had its turn with what is there.
    assert_eq!(corsac.get("/other").send().status, 200);
    gate.open();
    for path in ["/slow", "/7"] {
        assert_eq!(connection.receive("GET").text(), path);
    }
    connection.write(b"TP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.receive("GET").text(), "/8");
    let bodies: Vec<_> = origin
        .received()
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| request.body.as_deref().cloned())
        .collect();
    assert_eq!(bodies, [Some(b"abc".to_vec()), Some(b"abc".to_vec())]);
}

/// Behind a request, only the next one is read, whatever else is there.
#[test]
fn what_follows_a_request_is_held_to_the_same_rules() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let mut connection = corsac.connect();
    connection.write(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET x HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.receive("GET").status, 200);
    assert_eq!(connection.receive("GET").status, 400);
    assert_eq!(connection.await_close().unwrap(), b"");
    assert_eq!(origin.only_request().target, "/a");
}

/// A chunked body means one thing, or the request ends.
#[test]
fn chunks() {
    #[rustfmt::skip]
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("one chunk",                 "5\r\nhello\r\n0\r\n\r\n",                     Some("hello")),
        ("leading zeros",             "0005\r\nhello\r\n000\r\n\r\n",                Some("hello")),
        ("an extension",              "5;a=b\r\nhello\r\n0;c\r\n\r\n",              Some("hello")),
        ("trailers",                  "5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n",           Some("hello")),
        ("an empty size",             "5\r\nhello\r\n\r\n\r\n",                      None),
        ("a size with a sign",        "+5\r\nhello\r\n0\r\n\r\n",                    None),
        ("a bare line feed",          "5\nhello\r\n0\r\n\r\n",                       None),
        ("one in an extension",       "5;a\nb\r\nhello\r\n0\r\n\r\n",                None),
        ("a chunk that is too long",  "5\r\nhello!\r\n0\r\n\r\n",                    None),
        ("a size that is too large",  "10000000000000005\r\nhello\r\n0\r\n\r\n",     None),
    ];
    let origin = Answer::echo().start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for &(case, body, due) in cases {
        let mut connection = corsac.connect();
        connection.write(format!("{head}{body}").as_bytes());
        let answer = connection.receive("POST");
        let told = (answer.status == 200).then(|| answer.text());
        assert_eq!((told.as_deref(), answer.status), (due, due.map_or(400, |_| 200)), "{case}");
        let received = origin.take_received();
        assert!(
            received.iter().all(|request| request.headers.get("trailer").is_none()
                && (due.is_some() || request.body.is_none())),
            "{case}: what is malformed does not reach an upstream whole: {received:?}"
        );
        if due.is_none() {
            assert_eq!(connection.await_close().unwrap(), b"", "{case}");
        }
    }
    let refused = corsac.access_log(cases.len());
    let reasons = refused.iter().filter(|line| line["reason"] == "body_malformed").count();
    assert_eq!(reasons, cases.iter().filter(|case| case.2.is_none()).count());
}

/// However small its chunks are, and however they are cut into packets, a body arrives.
#[test]
fn a_body_in_chunks_of_one_byte() {
    let origin = Answer::echo().start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let body = payload(50_000);
    let answer = corsac.call("POST", "/").chunked(&body, 1).send();
    assert!(answer.status == 200 && answer.body == body);
    let answer = corsac.call("POST", "/").chunked(&body, 1021).send();
    assert!(answer.status == 200 && answer.body == body);
}

/// An answer that comes before the request has ended is read by whoever is still sending.
#[test]
fn an_early_answer_is_read() {
    let early =
        Origin::scripted(|_| Answer::raw("HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno"));
    let origin = Origin::answering(200).start();
    let dead = crate::harness::Unreachable::refusing();
    let corsac = Corsac::with(&format!(
        "version = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n\
         [upstreams]\nok.nodes = \"{}\"\ndead.nodes = \"{}\"\nearly.nodes = \"{}\"\n\
         [services.s.routes]\n\
         announced = {{ paths = \"/413\", upstream = \"ok\", limits = {{ body = \"1KiB\" }} }}\n\
         dead = {{ paths = \"/502\", upstream = \"dead\" }}\n\
         early = {{ paths = \"/early\", upstream = \"early\" }}\n\
         ok = {{ paths = \"/200\", respond = {{ status = 200, body = \"ok\" }} }}\n\
         moved = {{ paths = \"/307\", redirect = {{ to = \"https://a.example/\", status = 307 }} }}\n\
         post = {{ paths = \"/405\", methods = \"GET\", respond = {{ status = 200, body = \"\" }} }}\n",
        origin.address(),
        dead.address(),
        early.address(),
    ))
    .start();
    let body = vec![b'a'; 4 << 20];
    for (path, chunked, status) in [
        ("/413", false, 413),
        ("/413", true, 413),
        ("/502", false, 502),
        ("/early", false, 413),
        ("/200", false, 200),
        ("/307", true, 307),
        ("/404", false, 404),
        ("/405", false, 405),
        ("/%zz", false, 400),
    ] {
        let mut connection = corsac.connect();
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", body.len())
        };
        connection
            .write(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes());
        // As browsers do: all is sent before anything is read.
        let mut writer = connection.writer();
        for piece in body.chunks(64 * 1024) {
            if chunked {
                writer.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
            }
            writer.write_all(piece).unwrap_or_else(|error| panic!("{path}: {error}"));
            if chunked {
                writer.write_all(b"\r\n").unwrap();
            }
        }
        let answer = connection.try_receive("POST");
        assert_eq!(answer.map_or(0, |answer| answer.status), status, "{path}");
    }
}

/// A request whose body does not come whole is not the upstream's fault.
#[test]
fn while_a_request_is_not_sent_whole_its_client_is_waited_for() {
    let origin = Origin::scripted(|request| {
        if request.target == "/silent" { Answer::silence() } else { Answer::echo() }
    });
    let corsac = Corsac::with(&format!(
        "version = 1\nlisteners.http.address = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n\
         [upstreams.origin]\nnodes = \"{}\"\ntimeouts.read = \"200ms\"\n{EVERYTHING}",
        origin.address()
    ))
    .start();
    let mut connection = corsac.connect();
    connection.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    // The upstream's time passes, and is up for another request.
    assert_eq!(corsac.get("/silent").send().status, 504);
    assert_eq!(corsac.get("/silent").send().status, 504);
    connection.write(b"world");
    let answer = connection.receive("POST");
    assert_eq!((answer.status, answer.text().as_str()), (200, "helloworld"));
    // The two that were its fault, and no more.
    corsac.await_metric(
        "corsac_upstream_errors_total{reason=\"upstream_timeout\",upstream=\"origin\"} 2",
    );
}

/// An upload whose client asks first, and is told to go on.
#[test]
fn an_answer_may_take_its_time_after_100_continue() {
    let origin = Origin::scripted(|request| {
        if request.target == "/silent" { Answer::silence() } else { Answer::echo() }
    });
    let corsac = Corsac::serving(&format!(
        "[upstreams.origin]\nnodes = \"{}\"\ntimeouts.read = \"200ms\"\n{EVERYTHING}",
        origin.address()
    ))
    .start();
    let mut connection = corsac.connect();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    connection.write(head.as_bytes());
    assert_eq!(connection.read(25), b"HTTP/1.1 100 Continue\r\n\r\n");
    // More than the answer's time, but the upstream is not late: it waits for the body.
    for _ in 0..2 {
        assert_eq!(corsac.get("/silent").send().status, 504);
    }
    connection.write(b"hello");
    let answer = connection.receive("POST");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
}

/// An upstream that does not say `100 Continue`: who sends all the same is served, and for
/// who waits, the upstream is late.
#[test]
fn an_upstream_that_never_says_100_continue() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let (mut bytes, mut piece) = (Vec::new(), [0; 1024]);
                while !bytes.ends_with(b"\r\n\r\nhello") {
                    match stream.read(&mut piece) {
                        Ok(0) | Err(_) => return,
                        Ok(read) => bytes.extend_from_slice(&piece[..read]),
                    }
                }
                // It closes, and says so: kept, the connection would be gone for the next one.
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                );
            });
        }
    });
    let corsac = Corsac::serving(&format!(
        "[upstreams.origin]\nnodes = \"{node}\"\ntimeouts.read = \"1s\"\n{EVERYTHING}"
    ))
    .start();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let (mut sends, mut waits) = (corsac.connect(), corsac.connect());
    sends.write(head);
    sends.write(b"hello");
    assert_eq!(sends.receive("POST").status, 200);
    waits.write(head);
    assert_eq!(waits.receive("POST").status, 504);
    let line = &corsac.access_log(2)[1];
    assert_eq!(line["reason"], "upstream_timeout");
}

/// The empty line that some clients add to a body begins no request, also where it comes
/// by itself.
#[test]
fn an_empty_line_between_requests() {
    let origin = Answer::echo().start();
    let corsac = Corsac::with(&format!(
        "version = 1\nserver.threads = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n\
         limits = {{ head = \"300ms\" }}\n[upstreams.origin]\nnodes = \"{}\"\n{EVERYTHING}",
        origin.address()
    ))
    .start();
    let mut connection = corsac.connect();
    for line in ["\r\n", "\r", "\n", "\n\r\n"] {
        let answer = corsac.call("POST", "/").body("hello").send_over(&mut connection);
        assert_eq!(answer.text(), "hello", "{line:?}");
        connection.write(line.as_bytes());
        // Who has begun a head after that is late by now.
        let mut slow = corsac.connect();
        slow.write(b"G");
        assert_eq!(slow.receive("GET").status, 408);
    }
    assert_eq!(corsac.get("/").send_over(&mut connection).status, 200);
}

/// The id of a refused request is that of its line.
#[test]
fn a_refused_request_is_named_by_its_id() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    // What may hold secrets is not written down.
    for (index, target) in ["/secret?token=1", "/secret#token=1"].into_iter().enumerate() {
        let mut connection: Connection = corsac.connect();
        connection.write(format!("GET {target} HTTP/1.1\r\nHost: a b\r\n\r\n").as_bytes());
        let answer = connection.receive("GET");
        let line = &corsac.access_log(index + 1)[index];
        assert_eq!(line["request_id"].as_str(), answer.header("x-request-id").as_deref());
        assert_eq!((&line["method"], &line["path"]), (&"GET".into(), &"/secret".into()));
        assert_eq!(line["route"], Value::Null);
    }
}
