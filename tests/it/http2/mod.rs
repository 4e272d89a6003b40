//! HTTP/2 to clients: requests are served as over HTTP/1.1, and nobody is harmed by another.

mod malformed;

use std::net::SocketAddr;

use crate::harness::{
    Answer, Certified, Corsac, End, Gate, Http2, Origin, TlsClient, await_some, fields, frame,
};

const EVERYTHING: &str = "[services.s]\nupstream = \"origin\"\nroutes.all.paths = \"/*\"\n";

/// In the clear, with these keys of the listener, in front of `origin`.
fn listening(origin: &Origin, keys: &str, services: &str) -> Corsac {
    Corsac::with(&format!(
        "version = 1\nserver.threads = 1\nadmin.listen = [\"127.0.0.1:0\", \"unix:admin.sock\"]\n\
         [listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h2\", \"http/1.1\"]\n{keys}\n\
         [upstreams.origin]\nnodes = \"{}\"\n{services}",
        origin.address()
    ))
    .start()
}

fn await_counted(corsac: &Corsac, series: &str, labels: &str, count: usize) {
    corsac.await_metric(&format!("{series}{{{labels}}} {count}"));
}

/// A request of a stream, which ends with it.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let head =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", path)];
    frame(1, 5, stream, &fields(&head))
}

#[test]
fn requests_side_by_side() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::scripted(move |request| match request.target.as_str() {
        "/slow" => Answer::status(200).body("slow").after(&held),
        _ => Answer::echo(),
    });
    let corsac = listening(&origin, "", EVERYTHING);
    let mut client = Http2::open(corsac.address());
    let slow = client.begin(&corsac.get("/slow")).unwrap();
    let body = vec![b'b'; 3_000_000];
    let echoed = client.send(&corsac.call("POST", "/echo").body(body.clone()));
    assert_eq!((echoed.status, echoed.body.len()), (200, body.len()));
    gate.open();
    assert_eq!(client.receive(slow).unwrap().text(), "slow");
    let lines = corsac.access_log(2);
    assert_eq!(lines[0]["path"], "/echo");
    assert_eq!(lines[0]["bytes_in"], 3_000_000);
}

/// The head arrives in the form of HTTP/1.1: one Host, cookies in one piece.
#[test]
fn what_the_upstream_sees() {
    let origin = Origin::answering(200).start();
    let corsac = listening(&origin, "", EVERYTHING);
    let call = corsac.get("/a?b=c").header("host", "A.example:81").headers([
        ("cookie", "a=1"),
        ("x-a", "1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
    ]);
    assert_eq!(Http2::open(corsac.address()).send(&call).status, 200);
    let request = origin.only_request();
    assert_eq!(request.target, "/a?b=c");
    assert_eq!(request.header("host").unwrap(), "A.example:81");
    assert_eq!(request.header("x-forwarded-host").unwrap(), "A.example:81");
    assert_eq!(request.header("cookie").unwrap(), "a=1; b=2");
    assert_eq!(request.header("te"), None);
}

#[test]
fn over_tls_both_are_offered() {
    let origin = Origin::answering(200).start();
    let certified = Certified::of(&["a.example"]);
    let serve = |keys: &str| {
        Corsac::with(&format!(
            "version = 1\nadmin.listen = \"127.0.0.1:0\"\n[listeners.https]\naddress = \"127.0.0.1:0\"\n{keys}\n\
             tls = {{ cert = \"a.pem\", key = \"a.key\" }}\n\
             [upstreams.origin]\nnodes = \"{}\"\n{EVERYTHING}",
            origin.address()
        ))
        .file("a.pem", &certified.cert)
        .file("a.key", &certified.key)
        .start()
    };
    let agreed = |corsac: &Corsac, offered: &[&str]| {
        let client = TlsClient::new().alpn(offered);
        let mut connection = client.try_connect(corsac.address(), None).ok()?;
        let agreed = connection.stream().conn.alpn_protocol().map(<[u8]>::to_vec);
        Some(agreed.map(|agreed| String::from_utf8(agreed).unwrap()))
    };
    let corsac = serve("");
    let word = |word: &str| Some(Some(word.to_owned()));
    assert_eq!(agreed(&corsac, &["h2", "http/1.1"]), word("h2"));
    assert_eq!(agreed(&corsac, &["http/1.1", "h2"]), word("h2"));
    assert_eq!(agreed(&corsac, &["http/1.1"]), word("http/1.1"));
    assert_eq!(agreed(&corsac, &[]), Some(None));
    assert_eq!(agreed(&corsac, &["spdy/3"]), None);
    for (alpn, count) in [("h2", 2), ("http/1.1", 1), ("none", 1)] {
        let label = format!("alpn=\"{alpn}\"");
        await_some("handshakes are counted by their protocol", || {
            let text = corsac.metrics();
            let mut lines =
                text.lines().filter(|line| line.starts_with("corsac_tls_handshakes_total{"));
            lines
                .any(|line| line.contains(&label) && line.ends_with(&format!(" {count}")))
                .then_some(())
        });
    }
    let connection = TlsClient::new().alpn(&["h2"]).connect(corsac.address(), None);
    let mut client = Http2::over(connection).unwrap();
    assert_eq!(client.send(&corsac.get("/").header("host", "a.example")).status, 200);
    assert_eq!(origin.only_request().header("x-forwarded-proto").unwrap(), "https");
    // Without ALPN it is HTTP/1.1, whatever the first bytes are (RFC 9113, 3.3).
    let mut connection = TlsClient::new().connect(corsac.address(), None);
    connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(connection.receive("PRI").status, 400);
    let old = serve("protocols = \"http/1.1\"");
    assert_eq!(agreed(&old, &["h2", "http/1.1"]), word("http/1.1"));
    assert_eq!(agreed(&old, &["h2"]), None);
}

/// In the clear only who knows it begins with it, in whatever pieces its preface comes.
#[test]
fn prior_knowledge() {
    let origin = Origin::answering(200).start();
    let corsac = listening(&origin, "", EVERYTHING);
    let mut slow = Http2::silent(corsac.connect());
    let first = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[]), &get(1, "/")];
    for byte in first.concat() {
        slow.write(&[byte]).unwrap();
    }
    assert_eq!(slow.receive(1).unwrap().status, 200);
    for (sent, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("PRI * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r!", 400),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 200),
        // Dropped, since RFC 9113 has no such upgrade any more.
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
          HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
            200,
        ),
    ] {
        let mut connection = corsac.connect();
        connection.write(sent.as_bytes());
        assert_eq!(connection.receive("GET").status, status, "{sent}");
    }
    assert!(origin.received().iter().all(|request| request.header("upgrade").is_none()));
    let old = listening(&origin, "", EVERYTHING.replace("/*", "/b").as_str());
    assert_eq!(Http2::open(old.address()).send(&old.get("/")).status, 404);
    let old = Corsac::in_front_of(&origin, EVERYTHING);
    let mut connection = old.connect();
    connection.write(&first.concat());
    assert_eq!(connection.receive("PRI").status, 400);
}

/// Interim answers pass, and so does the question whether a body may come.
#[test]
fn interim_answers() {
    let origin = Answer::echo().interim(103, "link", "</a.css>; rel=preload").start();
    let corsac = listening(&origin, "", EVERYTHING);
    let answer = Http2::open(corsac.address()).send(&corsac.get("/"));
    assert_eq!(answer.interim[0].0, 103);
    assert_eq!(answer.interim[0].1.get("link").unwrap(), "</a.css>; rel=preload");
}

/// An upstream that dies after its head has given no answer, as over HTTP/1.1.
#[test]
fn a_head_that_is_taken_back() {
    let policy = "cors = { allow_origins = [\"https://a.example\"] }\n";
    let origin = Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").start();
    let corsac =
        listening(&origin, "", &EVERYTHING.replace("routes.", &format!("{policy}routes.")));
    let call = corsac.get("/").header("origin", "https://a.example");
    let mut client = Http2::open(corsac.address());
    let answer = client.send(&call);
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("access-control-allow-origin").unwrap(), "https://a.example");
    assert_eq!(corsac.access_log(1)[0]["reason"], "upstream_failed");
    // One whose body has begun cannot be taken back, and is told from one that is whole.
    origin.will(Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"));
    let stream = client.begin(&call).unwrap();
    assert_eq!(client.receive(stream).unwrap_err(), End::Reset(8));
}

#[test]
fn an_upstream_that_is_late() {
    let origin = Answer::silence().start();
    let late = EVERYTHING.replace("[services", "timeouts.read = \"300ms\"\n[services");
    let corsac = listening(&origin, "", &late);
    let mut client = Http2::open(corsac.address());
    assert_eq!(client.send(&corsac.get("/")).status, 504);
    assert_eq!(client.send(&corsac.call("POST", "/").body("body")).status, 504);
    assert_eq!(corsac.access_log(2)[1]["reason"], "upstream_timeout");
}

#[test]
fn what_is_refused_has_a_reason() {
    let origin = Origin::answering(200).start();
    let limits = "limits = { target = \"100B\", headers = 10, head_size = \"1KiB\" }";
    let body = format!("{EVERYTHING}routes.all.limits.body = \"10B\"\n");
    let corsac = listening(&origin, limits, &body);
    let mut client = Http2::open(corsac.address());
    let long = format!("/{}", "a".repeat(100));
    let (many, large) = ("1".repeat(10), "a".repeat(4_096));
    let many: Vec<_> = many.chars().map(|_| ("x-a", "1")).collect();
    #[rustfmt::skip]
    let cases = [
        (corsac.get(&long),                                     414, "client_limit"),
        (corsac.get("/").headers(many),                         431, "client_limit"),
        (corsac.get("/").header("host", "a,b"),                 400, "host_malformed"),
        (corsac.get("/%zz"),                                    400, "path_malformed"),
        (corsac.call("POST", "/").body("more than ten bytes"),  413, "body_too_large"),
        (corsac.call("TRACE", "/"),                             405, "method_not_allowed"),
    ];
    let count = cases.len();
    for (call, status, reason) in cases {
        let answer = client.send(&call);
        assert_eq!(answer.status, status, "{call:?}");
        assert!(answer.header("x-request-id").is_some() && answer.header("date").is_some());
        corsac.await_access_log(reason);
    }
    assert_eq!(corsac.access_log(count).len(), count);
    // This one never becomes a request: the crate answers, and nothing is logged.
    assert_eq!(client.send(&corsac.get("/").header("x-large", &large)).status, 431);
    assert_eq!(client.send(&corsac.get("/")).status, 200, "the connection goes on");
}

/// What a client may take holds for each request, and ends that request alone.
#[test]
fn limits_of_a_request() {
    let origin = Answer::echo().start();
    let corsac = listening(&origin, "limits = { body_idle = \"300ms\" }", EVERYTHING);
    let mut client = Http2::open(corsac.address());
    let head =
        [(":method", "POST"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];
    client.write(&frame(1, 4, 1, &fields(&head))).unwrap();
    client.write(&frame(0, 0, 1, b"part")).unwrap();
    assert_eq!(client.receive(1).unwrap().status, 408);
    assert_eq!(corsac.access_log(1)[0]["reason"], "client_slow");
    await_counted(
        &corsac,
        "corsac_limits_reached_total",
        "limit=\"body_idle\",listener=\"http\"",
        1,
    );
    client.write(&get(3, "/")).unwrap();
    assert_eq!(client.receive(3).unwrap().status, 200);
}

/// A client that opens no window for an answer, or opens it by single bytes.
#[test]
fn answers_that_are_not_taken() {
    let origin = Answer::status(200).body(vec![b'x'; 200_000]).start();
    let corsac = listening(&origin, "limits = { send = \"500ms\" }", EVERYTHING);
    for drips in [false, true] {
        let mut client = Http2::silent(corsac.connect());
        let window = [0, 4, 0, 0, 0, 1];
        client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        client.write(&[frame(4, 0, 0, &window), get(1, "/")].concat()).unwrap();
        let end = loop {
            let got = client.read_frame().unwrap();
            match (got.kind, got.stream) {
                (3, 1) => break got,
                (0, 1) if drips => client.write(&frame(8, 0, 1, &[0, 0, 0, 1])).unwrap(),
                _ => {}
            }
        };
        assert_eq!(end.payload, [0, 0, 0, 8], "CANCEL");
        client.write(&get(3, "/none")).unwrap();
    }
    await_counted(&corsac, "corsac_limits_reached_total", "limit=\"send\",listener=\"http\"", 2);
}

/// A request that its client has taken back is dropped, and its upstream with it.
#[test]
fn a_request_that_is_taken_back() {
    let gate = Gate::default();
    let origin = Answer::status(200).after(&gate).start();
    let corsac = listening(&origin, "", EVERYTHING);
    let mut client = Http2::open(corsac.address());
    let stream = client.begin(&corsac.get("/")).unwrap();
    origin.await_requests(1);
    client.write(&frame(3, 0, stream, &[0, 0, 0, 8])).unwrap();
    let line = &corsac.access_log(1)[0];
    assert_eq!((&line["reason"], &line["status"]), (&"client_failed".into(), &().into()));
    corsac.await_metric("corsac_http_requests_in_flight 0");
    gate.open();
    assert_eq!(client.send(&corsac.get("/")).status, 200);
}

/// A client that leaves takes all of its requests with it.
#[test]
fn a_client_that_leaves() {
    let gate = Gate::default();
    let origin = Answer::status(200).after(&gate).start();
    let corsac = listening(&origin, "", EVERYTHING);
    let mut client = Http2::open(corsac.address());
    for _ in 0..10 {
        client.begin(&corsac.get("/")).unwrap();
    }
    origin.await_requests(10);
    drop(client);
    for line in corsac.access_log(10) {
        assert_eq!(line["reason"], "client_failed");
    }
    corsac.await_metric("corsac_http_connections{listener=\"http\"} 0");
    gate.open();
}

#[test]
fn connections_that_say_too_little() {
    let origin = Origin::answering(200).start();
    let limits = "limits = { handshake = \"300ms\", head = \"300ms\", idle = \"700ms\" }";
    let corsac = listening(&origin, limits, EVERYTHING);
    // The preface alone; h2 itself would wait for ever.
    let mut silent = Http2::silent(corsac.connect());
    silent.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    assert_eq!(silent.await_end(), End::GoAway(4));
    // A block of headers that begins, and stops in a frame or between two.
    let whole = get(1, "/");
    for part in [&whole[..whole.len() - 1], &frame(1, 0, 1, b"")] {
        let mut begun = Http2::silent(corsac.connect());
        begun.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        begun.write(&[&frame(4, 0, 0, &[]), part].concat()).unwrap();
        assert_eq!(begun.await_end(), End::GoAway(11));
    }
    await_counted(&corsac, "corsac_limits_reached_total", "limit=\"head\",listener=\"http\"", 2);
    // Nothing to say is no fault; PINGs are nothing.
    let mut idle = Http2::open(corsac.address());
    assert_eq!(idle.send(&corsac.get("/")).status, 200);
    assert_eq!(idle.await_end(), End::GoAway(0));
}

#[test]
fn requests_of_a_connection() {
    let origin = Origin::answering(200).start();
    let corsac = listening(&origin, "limits = { requests = 3 }", EVERYTHING);
    let mut client = Http2::open(corsac.address());
    for _ in 0..3 {
        assert_eq!(client.send(&corsac.get("/")).status, 200);
    }
    assert_eq!(client.await_end(), End::GoAway(0));
    await_counted(
        &corsac,
        "corsac_limits_reached_total",
        "limit=\"requests\",listener=\"http\"",
        1,
    );
}

/// A stop says so, serves what has begun, and takes no longer than that.
#[test]
fn a_stop() {
    let gate = Gate::default();
    let origin = Answer::status(200).body("late").after(&gate).start();
    let mut corsac = listening(&origin, "", EVERYTHING);
    let mut idle = Http2::open(corsac.address());
    let mut busy = Http2::open(corsac.address());
    let stream = busy.begin(&corsac.get("/")).unwrap();
    origin.await_requests(1);
    corsac.signal("TERM");
    assert_eq!(idle.await_end(), End::GoAway(0));
    while busy.gone().is_none() {
        busy.read_frame().unwrap();
    }
    gate.open();
    assert_eq!(busy.receive(stream).unwrap().text(), "late");
    assert_eq!(busy.await_end(), End::GoAway(0));
    assert_eq!(corsac.await_exit(), Some(0));
}

#[test]
fn what_the_drain_cuts_off() {
    let gate = Gate::default();
    let origin = Answer::status(200).after(&gate).start();
    let services = format!("[limits]\ndrain = \"300ms\"\n{EVERYTHING}");
    let corsac = listening(&origin, "", &services);
    let mut client = Http2::open(corsac.address());
    client.begin(&corsac.get("/")).unwrap();
    origin.await_requests(1);
    corsac.signal("TERM");
    let line = &corsac.access_log(1)[0];
    assert_eq!((&line["reason"], &line["path"]), (&"cut_off".into(), &"/".into()));
    gate.open();
}

/// What attackers send, and what becomes of their connection. Others do not notice.
#[test]
fn floods() {
    let origin = Answer::status(200).body("x").start();
    let keys = "h2 = { resets_per_second = 20, frames_per_second = 20, streams = 10 }";
    let corsac = listening(&origin, keys, EVERYTHING);
    let honest = |corsac: &Corsac| {
        let mut client = Http2::open(corsac.address());
        client.send(&corsac.get("/")).status
    };
    let many = |each: &dyn Fn(u32) -> Vec<u8>| {
        (0..3_000).map(|number| each(2 * number + 1)).collect::<Vec<_>>().concat()
    };
    let few = |each: &dyn Fn(u32) -> Vec<u8>| {
        (0..40).map(|number| each(2 * number + 1)).collect::<Vec<_>>().concat()
    };
    let reset = |stream, code| frame(3, 0, stream, &[0, 0, 0, code]);
    let broken = |stream| {
        let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("connection", "x")];
        frame(1, 5, stream, &fields(&head))
    };
    let endless = |_| frame(9, 0, 1, &fields(&[("x-a", "b")]));
    #[rustfmt::skip]
    let cases: [(&str, Vec<u8>, Option<&str>); 10] = [
        ("rapid reset (CVE-2023-44487)",   many(&|it| [get(it, "/"), reset(it, 8)].concat()),            Some("resets")),
        ("PING (CVE-2019-9512)",           many(&|_| frame(6, 0, 0, &[0; 8])),                           Some("frames")),
        ("SETTINGS (CVE-2019-9515)",       many(&|_| frame(4, 0, 0, &[])),                               Some("frames")),
        ("PRIORITY (CVE-2019-9513)",       many(&|it| frame(2, 0, it, &[0, 0, 0, 0, 1])),                Some("frames")),
        ("unknown frames",                 many(&|_| frame(0xFA, 0, 0, b"?")),                           Some("frames")),
        ("empty DATA (CVE-2019-9518)",     [post(1), many(&|_| frame(0, 0, 1, &[]))].concat(),           None),
        ("windows",                        [post(1), many(&|_| frame(8, 0, 1, &[0, 0, 0, 1]))].concat(), Some("frames")),
        ("MadeYouReset (CVE-2025-8671)",   many(&|it| [get(it, "/"), frame(8, 0, it, &[0; 4])].concat()),Some("frames")),
        ("malformed requests",             few(&broken),                                                Some("malformed")),
        ("CONTINUATION (CVE-2024-27316)",  [frame(1, 1, 1, &[]), many(&endless)].concat(),               None),
    ];
    for (what, bytes, reason) in cases {
        let mut attacker = Http2::open(corsac.address());
        // It may be cut off before all of it is sent.
        let _ = attacker.write(&bytes);
        let end = attacker.await_end();
        assert_ne!(end, End::GoAway(0), "{what}");
        if let Some(reason) = reason {
            let labels = format!("listener=\"http\",reason=\"{reason}\"");
            let series = format!("corsac_h2_connections_ended_total{{{labels}}}");
            await_some(what, || corsac.metrics().contains(&series).then_some(()));
        }
        assert_eq!(honest(&corsac), 200, "{what}");
    }
    corsac.await_metric("corsac_http_connections{listener=\"http\"} 0");
}

fn post(stream: u32) -> Vec<u8> {
    let head =
        [(":method", "POST"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];
    frame(1, 4, stream, &fields(&head))
}

/// A body that nobody wants is answered early, and its connection goes on.
#[test]
fn an_early_answer() {
    let origin = Origin::answering(200).start();
    let refusing = "[services.s]\nupstream = \"origin\"\nroutes.all = { paths = \"/*\", \
                    respond = { status = 403, body = \"no\" } }\n";
    let corsac = listening(&origin, "", refusing);
    let mut client = Http2::open(corsac.address());
    client.write(&post(1)).unwrap();
    let answer = client.receive(1).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    // What was on its way comes all the same.
    client.write(&frame(0, 1, 1, &[0; 100])).unwrap();
    client.write(&get(3, "/")).unwrap();
    assert_eq!(client.receive(3).unwrap().status, 403);
}

/// The window of a body opens as the upstream takes it.
#[test]
fn an_upload_larger_than_every_window() {
    let origin = Answer::echo().start();
    let keys = "h2 = { window = \"16KiB\", connection_window = \"64KiB\" }";
    let corsac = listening(&origin, keys, EVERYTHING);
    let body: Vec<u8> = (0..2_000_000_u32).map(|it| u8::try_from(it % 251).unwrap()).collect();
    let mut client = Http2::open(corsac.address());
    let answer = client.send(&corsac.call("POST", "/").body(body.clone()));
    assert!(answer.body == body, "{} bytes", answer.body.len());
}

/// Many requests at once are shared out as they come, and each gets its own answer.
#[test]
fn a_hundred_at_once() {
    let origin = Origin::scripted(|request| Answer::status(200).body(request.target.clone()));
    let corsac = listening(&origin, "", EVERYTHING);
    let mut client = Http2::open(corsac.address());
    let begin = |client: &mut Http2, address: SocketAddr, number: u32| {
        assert_eq!(address.port(), corsac.address().port());
        client.begin(&corsac.get(&format!("/{number}"))).unwrap()
    };
    let streams: Vec<u32> =
        (0..100).map(|number| begin(&mut client, corsac.address(), number)).collect();
    for (number, stream) in streams.into_iter().enumerate().rev() {
        assert_eq!(client.receive(stream).unwrap().text(), format!("/{number}"));
    }
}

/// An upgrade serves what has begun, and sends clients to the new process.
#[test]
fn an_upgrade() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::scripted(move |request| match request.target.as_str() {
        "/slow" => Answer::status(200).body("slow").after(&held),
        _ => Answer::status(200),
    });
    let corsac = listening(&origin, "", EVERYTHING);
    let mut client = Http2::open(corsac.address());
    let slow = client.begin(&corsac.get("/slow")).unwrap();
    origin.await_requests(1);
    let upgraded = corsac.command(&["upgrade", "--wait", "--socket", "admin.sock"]);
    assert!(upgraded.status.success());
    while client.gone().is_none() {
        client.read_frame().unwrap();
    }
    assert_eq!(Http2::open(corsac.address()).send(&corsac.get("/")).status, 200);
    gate.open();
    assert_eq!(client.receive(slow).unwrap().text(), "slow");
    assert_eq!(client.await_end(), End::GoAway(0));
}
