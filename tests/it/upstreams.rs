//! What happens between corsac and its upstreams, and what clients see of it.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};

use corsac::config::{self, NodeAddress};
use corsac::snapshot::Snapshot;
use serde_json::{Value, json};

use crate::harness::{Answer, Corsac, InProcess, Origin, Unreachable, payload};

const EVERYTHING: &str = r#"
[services.all]
upstream = "origin"
cors = { allow_origins = "https://a.example" }
routes.all.paths = "/*"
[services.all.routes.own]
paths = "/own"
respond = { status = 200, body = "own" }
"#;

// ------------------------------------------------------------ which endpoint is asked

#[test]
fn weights_are_honoured_exactly() {
    let origins = [Origin::answering(200).start(), Origin::answering(200).start()];
    let [first, second] = [0, 1].map(|i: usize| origins[i].address());
    let corsac = Corsac::serving(&format!(
        "[upstreams.origin]\nnodes = [{{ address = \"{first}\", weight = 3 }}, \"{second}\"]\n\
         {EVERYTHING}"
    ))
    .start();
    let mut connection = corsac.connect();
    for _ in 0..40 {
        assert_eq!(corsac.get("/").send_over(&mut connection).status, 200);
    }
    assert_eq!(origins.each_ref().map(|origin| origin.received().len()), [30, 10]);
}

#[test]
fn a_node_that_refuses_is_passed_over() {
    let origin = Origin::answering(200).start();
    let refusing = Unreachable::refusing();
    let corsac = Corsac::serving(&format!(
        "[upstreams.origin]\nnodes = [\"{}\", \"{}\"]\n{EVERYTHING}",
        refusing.address(),
        origin.address()
    ))
    .start();
    for attempt in 0..6 {
        assert_eq!(corsac.get("/").send().status, 200, "request {attempt}");
    }
    assert_eq!(origin.received().len(), 6);
}

/// What no resolver here would answer the same everywhere: a name with two addresses.
#[test]
fn a_name_of_which_one_address_refuses() {
    let origin = Origin::answering(200).start();
    let refusing = Unreachable::refusing();
    let text = "version = 1\nlisteners.http.address = \"127.0.0.1:0\"\n\
                upstreams.twin.nodes = \"twin.internal:80\"\n\
                [services.all]\nupstream = \"twin\"\nroutes.all.paths = \"/*\"\n";
    let (config, _) = config::parse(text, "corsac.toml").unwrap();
    let name = NodeAddress::Name("twin.internal".into(), 80);
    let addresses = Box::from([refusing.address(), origin.address()]);
    let addresses = HashMap::from([(name, addresses)]);
    let proxy = InProcess::serving(Snapshot::compile(Arc::new(config), addresses, None));
    let statuses: Vec<u16> = (0..20).map(|_| proxy.get("/").send().status).collect();
    assert_eq!(statuses, [200; 20]);
}

// ------------------------------------------------------------ what is sent again

/// An origin that serves one request on each connection, and ends the second one so.
fn mortal(death: Answer) -> Origin {
    let seen = Mutex::new(HashSet::new());
    Origin::scripted(move |request| {
        let is_first = seen.lock().unwrap().insert(request.connection);
        if is_first { Answer::status(200) } else { death.clone() }
    })
}

/// How many requests of each id these origins have seen.
fn sightings(origins: &[&Origin]) -> HashMap<String, usize> {
    let mut sightings = HashMap::new();
    for request in origins.iter().flat_map(|origin| origin.received()) {
        *sightings.entry(request.header("x-request-id").unwrap()).or_default() += 1;
    }
    sightings
}

/// Sends requests until a kept connection has died; a pool does not have one at once.
fn until_one_dies(origins: &[&Origin], mut send: impl FnMut()) {
    let has_died = || {
        origins.iter().any(|origin| {
            let mut seen = HashSet::new();
            origin.received().iter().any(|request| !seen.insert(request.connection))
        })
    };
    for _ in 0..1_000 {
        send();
        if has_died() {
            return;
        }
    }
    panic!("no connection is kept");
}

const LIMITED: &str = r#"
[limits]
body = "64KiB"

[services.all]
upstream = "origin"
routes.all.paths = "/*"
"#;

#[test]
fn a_kept_connection_that_dies() {
    let partial = "HTTP/1.1 20";
    let hinted = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    #[rustfmt::skip]
    let cases = [
        ("closed",                 "GET",    Answer::close(),       200),
        ("reset",                  "PUT",    Answer::reset(),       200),
        ("closed",                 "DELETE", Answer::close(),       200),
        ("closed",                 "POST",   Answer::close(),       502),
        ("reset",                  "PATCH",  Answer::reset(),       502),
        ("after half a head",      "GET",    Answer::raw(partial),  502),
        ("after an interim head",  "GET",    Answer::raw(hinted),   502),
    ];
    for (how, method, death, expected) in cases {
        let case = format!("{method}, {how}");
        let origin = mortal(death);
        let corsac = Corsac::in_front_of(&origin, LIMITED);
        // Twice the body would be over the limit.
        let call = corsac.call(method, "/");
        let call = if method == "GET" { call } else { call.body(payload(40 << 10)) };
        let mut statuses = Vec::new();
        until_one_dies(&[&origin], || statuses.push(call.clone().send().status));
        assert_eq!(statuses.pop(), Some(expected), "{case}");
        assert!(statuses.iter().all(|&status| status == 200), "{case}: {statuses:?}");
        let most = sightings(&[&origin]).into_values().max();
        assert_eq!(most, Some(if expected == 200 { 2 } else { 1 }), "{case}");
    }
}

/// A new connection that closes says that the request was too much, or that it was done.
#[test]
fn a_new_connection_that_closes() {
    for death in [Answer::close(), Answer::reset()] {
        let origin = death.start();
        let corsac = Corsac::in_front_of(&origin, LIMITED);
        assert_eq!(corsac.get("/").send().status, 502);
        origin.only_request();
    }
}

/// Who has failed a request does not get it again, whoever's turn it is.
#[test]
fn another_endpoint_gets_what_one_has_failed() {
    let [often, seldom] = [mortal(Answer::close()), mortal(Answer::close())];
    let corsac = Corsac::serving(&format!(
        "[upstreams.origin]\nnodes = [{{ address = \"{}\", weight = 100 }}, \"{}\"]\n{LIMITED}",
        often.address(),
        seldom.address()
    ))
    .start();
    until_one_dies(&[&often], || assert_eq!(corsac.get("/").send().status, 200));
    let most = sightings(&[&often]).into_values().max();
    assert_eq!(most, Some(1), "what the first has failed, the other one got");
}

// ------------------------------------------------------------ whose fault it is

/// Without a descriptor there is no connection, and nothing is the upstream's fault.
#[test]
fn no_descriptor_is_left() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(
        &origin,
        "[services.all]\nupstream = \"origin\"\nroutes.all.paths = \"/*\"\n\
         [services.all.routes.own]\npaths = \"/own\"\nrespond = { status = 200, body = \"ok\" }\n",
    );
    let mut connection = corsac.connect();
    assert_eq!(corsac.get("/own").send_over(&mut connection).status, 200);
    let limit = |limit: u32| {
        let limited = Command::new("prlimit")
            .args([format!("--pid={}", corsac.pid()), format!("--nofile={limit}:")])
            .output();
        limited.is_ok_and(|output| output.status.success())
    };
    // Those that are open stay open; there are no new ones.
    if !limit(1) {
        eprintln!("prlimit is not to be had; this test has not been run");
        return;
    }
    let answer = corsac.get("/").send_over(&mut connection);
    assert_eq!((answer.status, answer.text().as_str().get(..3)), (503, Some("503")));
    assert!(limit(1_024));
    assert_eq!(corsac.access_log(2)[1]["reason"], "no_socket");
    assert_eq!(corsac.get("/").send().status, 200);
}

// ------------------------------------------------------------ what is passed on of an answer

/// Whoever speaks HTTP/1.0 knows neither chunks nor interim answers, and reads to the end
/// of the connection.
#[test]
fn a_client_of_http_1_0() {
    let origin = Origin::scripted(|request| match request.target.as_str() {
        "/chunks" => Answer::status(200).chunked(b"chunks", 2),
        "/close" => Answer::raw("HTTP/1.1 200 OK\r\n\r\nclose"),
        "/old" => Answer::raw("HTTP/1.0 200 OK\r\n\r\nold"),
        "/hinted" => Answer::status(200).interim(103, "Link", "</a>").body("hinted"),
        _ => Answer::status(200).body("length"),
    });
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    for target in ["/chunks", "/close", "/old", "/hinted", "/length", "/own"] {
        let mut connection = corsac.connect();
        let head = "Host: a.example\r\nConnection: keep-alive\r\n\r\n";
        connection.write(format!("GET {target} HTTP/1.0\r\n{head}").as_bytes());
        let answer = String::from_utf8(connection.await_close().unwrap()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, &target[1..], "{target}: {head}");
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{target}: {head}");
        assert!(head.contains("connection: close"), "{target}: {head}");
        assert!(!head.contains("transfer-encoding"), "{target}: {head}");
    }
}

/// Headers that an answer has, or has not.
type Headers = &'static [(&'static str, Option<&'static str>)];

/// Framings that are understood are said anew; those that are not are never passed on.
#[test]
fn how_upstreams_frame_their_answers() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let body = |head: &str, body: &str| format!("{OK}{head}\r\n\r\n{body}");
    #[rustfmt::skip]
    let cases: [(&str, String, u16, &str, Headers); 20] = [
        ("HTTP/1.0 with a length", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".into(), 200, "ok", &[("content-length", Some("2"))]),
        ("HTTP/1.0 to the end",    "HTTP/1.0 200 OK\r\n\r\nok".into(),                      200, "ok", &[("transfer-encoding", Some("chunked"))]),
        ("204 with chunks",        "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 204, "", &[("transfer-encoding", None)]),
        ("204 with any coding",    "HTTP/1.1 204 No\r\nTransfer-Encoding: gzip\r\n\r\n".into(),  204, "", &[("transfer-encoding", None)]),
        ("204 with a length",      "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n".into(),   204, "",   &[("content-length", None)]),
        ("304 with a length",      "HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n".into(),   304, "",   &[("content-length", None)]),
        ("304 with chunks",        "HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 304, "", &[("transfer-encoding", None)]),
        ("equal lengths",          body("Content-Length: 2\r\nContent-Length: 2", "ok"),    200, "ok", &[("content-length", Some("2"))]),
        ("equal in a list",        body("Content-Length: 2 , 2", "ok"),                     200, "ok", &[("content-length", Some("2"))]),
        ("different lengths",      body("Content-Length: 2\r\nContent-Length: 3", "ok"),    502, "",   &[]),
        ("different in a list",    body("Content-Length: 2, 3", "ok"),                      502, "",   &[]),
        ("no length",              body("Content-Length: two", "ok"),                       502, "",   &[]),
        ("chunks in any case",     body("Transfer-Encoding: ChunkeD", "2\r\nok\r\n0\r\n\r\n"), 200, "ok", &[]),
        ("xchunked",               body("Transfer-Encoding: xchunked", "ok"),               502, "",   &[]),
        ("identity",               body("Transfer-Encoding: identity", "ok"),               502, "",   &[]),
        ("gzip, chunked",          body("Transfer-Encoding: gzip, chunked", "2\r\nok\r\n0\r\n\r\n"), 502, "", &[]),
        ("two lines",              body("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", "2\r\nok\r\n0\r\n\r\n"), 502, "", &[]),
        ("an empty one",           body("Transfer-Encoding: ,chunked", "2\r\nok\r\n0\r\n\r\n"), 502, "", &[]),
        ("an unasked 101",         "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(), 502, "", &[]),
        ("trailers",               body("Transfer-Encoding: chunked\r\nTrailer: X-T", "2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"), 200, "ok", &[("trailer", None), ("x-t", None)]),
    ];
    for (case, wire, status, body, headers) in cases {
        let origin = Answer::raw(wire).start();
        let corsac = Corsac::in_front_of(&origin, EVERYTHING);
        let mut connection = corsac.connect();
        let answer = corsac.get("/").send_over(&mut connection);
        assert_eq!(answer.status, status, "{case}");
        let line = &corsac.access_log(1)[0];
        if status == 502 {
            assert_eq!(line["reason"], "upstream_failed", "{case}");
            continue;
        }
        assert_eq!((answer.text().as_str(), &line["reason"]), (body, &Value::Null), "{case}");
        for (name, value) in headers {
            assert_eq!(answer.header(name).as_deref(), *value, "{case}: {name}");
        }
        // Whoever misread the end of that would not read this.
        let own = corsac.get("/own").send_over(&mut connection);
        assert_eq!((own.status, own.text().as_str()), (200, "own"), "{case}");
    }
}

/// 101 without the version that has it, in answer to who does ask for another protocol.
#[test]
fn a_protocol_is_switched_by_http_1_1_alone() {
    let switching = "HTTP/1.0 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhi";
    let origin = Answer::raw(switching).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    assert_eq!(corsac.get("/").web_socket().send().status, 502);
}

/// A few interim answers pass; a stream of them ends the request.
#[test]
fn interim_answers_have_an_end() {
    let answer = |count| {
        let hinted = |answer: Answer, _| answer.interim(103, "Link", "</a>");
        (0..count).fold(Answer::status(200), hinted).body("ok")
    };
    for (count, status) in [(16, 200), (17, 502)] {
        let origin = answer(count).start();
        let corsac = Corsac::in_front_of(&origin, EVERYTHING);
        let answer = corsac.get("/").send();
        assert_eq!(answer.status, status, "{count}");
        // Of those that come with the one too many, none may have been sent.
        let passed = answer.interim.len();
        assert!(passed == 16 || (status == 502 && passed < 16), "{count}: {passed}");
    }
}

// ------------------------------------------------------------ what is cut off

/// What is still in flight when the drain's time is up has a line, and is counted.
#[test]
fn what_is_cut_off_is_written_down() {
    let origin = Origin::scripted(|request| match request.header("upgrade") {
        Some(_) => Answer::status(101),
        None => Answer::silence(),
    });
    let limits = format!("{EVERYTHING}\n[limits]\ndrain = \"100ms\"");
    let corsac = Corsac::in_front_of(&origin, &limits);
    let mut socket = corsac.connect();
    let call = corsac.get("/socket?secret=1").web_socket();
    assert_eq!(call.send_over(&mut socket).status, 101);
    socket.write(b"ping");
    assert_eq!(socket.read(4), b"ping");
    let mut waiting = corsac.connect();
    let head = "Host: a.example\r\nOrigin: https://a.example\r\nUser-Agent: test\r\n\r\n";
    waiting.write(format!("GET /waiting?secret=1 HTTP/1.1\r\n{head}").as_bytes());
    origin.await_requests(2);
    let (lines, _) = corsac.stop_and_read();
    let mut lines: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["path"].to_string());
    let [socket, waiting] = &lines[..] else { panic!("two lines: {lines:?}") };
    for line in &lines {
        assert_eq!(line["reason"], "cut_off", "{line}");
        assert_eq!(line["method"], "GET", "{line}");
        assert_eq!(line["upstream"], origin.address().to_string(), "{line}");
        assert_eq!(line["route"], "all/all", "{line}");
        assert!(line["request_id"].is_string() && line["client"].is_string(), "{line}");
    }
    assert_eq!((&socket["path"], &socket["status"]), (&json!("/socket"), &json!(101)));
    assert_eq!((&socket["bytes_in"], &socket["bytes_out"]), (&json!(4), &json!(4)));
    assert_eq!((&waiting["path"], &waiting["status"]), (&json!("/waiting"), &Value::Null));
    assert_eq!((&waiting["host"], &waiting["user_agent"]), (&json!("a.example"), &json!("test")));
    assert_eq!(
        (&waiting["origin"], &waiting["cors_reason"]),
        (&json!("https://a.example"), &json!("ok"))
    );
}

// ------------------------------------------------------------ what dies half-way

/// Nothing of the answer has left, so there is still one to give, and a page can read it.
#[test]
fn an_upstream_that_dies_after_its_head() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Theirs: 1\r\n\r\n";
    let origin = Answer::raw(head).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    // The end comes with the head, or after it.
    for attempt in 0..20 {
        let answer = corsac.get("/").header("Origin", "https://a.example").send();
        assert_eq!((answer.status, answer.text().get(..3)), (502, Some("502")), "{attempt}");
        assert_eq!(answer.header("x-theirs"), None);
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed.as_deref(), Some("https://a.example"));
        let line = &corsac.access_log(attempt + 1)[attempt];
        assert_eq!((&line["status"], &line["reason"]), (&json!(502), &json!("upstream_failed")));
        assert_eq!(
            Some(line["request_id"].as_str().unwrap()),
            answer.header("x-request-id").as_deref()
        );
    }
    // A head that is all there is to come is an answer.
    assert_eq!(corsac.call("HEAD", "/").send().status, 200);
}

/// A head that does not fit where it is held leaves early, and cannot be taken back.
#[test]
fn a_head_that_cannot_be_held() {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: {}\r\n\r\nok", "x".repeat(9_000));
    let origin = Answer::raw(head).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let answer = corsac.get("/").send();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}

/// Whoever has a whole answer of the upstream has no other, whatever comes of the rest.
#[test]
fn an_early_answer_to_a_body_that_is_too_large() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let corsac = Corsac::serving(&format!(
        "[limits]\nbody = \"1KB\"\n[upstreams.origin]\nnodes = \"{}\"\n{EVERYTHING}",
        listener.local_addr().unwrap()
    ))
    .start();
    let mut connection = corsac.connect();
    connection.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    let (mut upstream, _) = listener.accept().unwrap();
    upstream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone").unwrap();
    let answer = connection.receive("POST");
    assert_eq!((answer.status, answer.text().as_str()), (404, "none"));
    // It may be closed by now.
    let _ = connection.writer().write_all(format!("7d0\r\n{}\r\n", "a".repeat(2_000)).as_bytes());
    assert!(connection.await_close().unwrap().is_empty());
    let line = &corsac.access_log(1)[0];
    assert_eq!((&line["status"], &line["reason"]), (&json!(404), &Value::Null), "{line}");
}
