//! What passes through must come out as it went in: bodies of every size and
//! framing, both ways, and what HTTP/1.1 has beside them.

use std::io::Write as _;
use std::process::Command;
use std::thread;

use crate::harness::{Answer, Call, Corsac, Nginx, Origin, Workdir, assert_same_bytes, payload};

/// Empty, the least, a power of two, and beyond every buffer on the way.
const SIZES: [usize; 4] = [0, 1, 64 << 10, 1 << 20];

const LARGE: usize = 100_000_000;

/// Everything goes to the upstream `origin`; no limit is in the way.
const EVERYTHING: &str = r#"
[limits]
body = "1GB"

[services.all]
upstream = "origin"
routes.all.paths = "/*"
"#;

fn in_front_of_nginx(nginx: &Nginx) -> Corsac {
    let address = nginx.address();
    let upstream = format!("[upstreams.origin]\nnodes = [\"{address}\"]\n");
    Corsac::serving(&(upstream + EVERYTHING)).start()
}

#[test]
fn files_of_nginx() {
    let names = SIZES.map(|size| size.to_string());
    let bodies = SIZES.map(payload);
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&bodies).map(|(name, body)| (name.as_str(), body.as_slice())).collect();
    let nginx = Nginx::serving(&files);
    let corsac = in_front_of_nginx(&nginx);
    let mut connection = corsac.connect();
    for (name, body) in files {
        for path in [format!("/{name}"), format!("/chunked/{name}")] {
            let answer = corsac.get(&path).send_over(&mut connection);
            assert_eq!(answer.status, 200, "{path}");
            assert_same_bytes(&answer.body, body, &path);
            same_headers(&corsac, &nginx, "GET", &path, &[]);
        }
        same_headers(&corsac, &nginx, "HEAD", &format!("/{name}"), &[]);
    }
}

#[test]
fn conditions_and_ranges_of_nginx() {
    let body = payload(10_000);
    let nginx = Nginx::serving(&[("file", &body)]);
    let corsac = in_front_of_nginx(&nginx);
    let etag = corsac.get("/file").send().header("etag").unwrap();
    let cases: [(&str, &str, u16, &[u8]); 4] = [
        ("If-None-Match", &etag, 304, b""),
        ("If-None-Match", "\"another\"", 200, &body),
        ("Range", "bytes=1000-1999", 206, &body[1000..2000]),
        ("Range", "bytes=99999-", 416, b""),
    ];
    for (name, value, status, expected) in cases {
        let case = format!("{name}: {value}");
        let answer = corsac.get("/file").header(name, value).send();
        assert_eq!(answer.status, status, "{case}");
        if status != 416 {
            assert_same_bytes(&answer.body, expected, &case);
        }
        same_headers(&corsac, &nginx, "GET", "/file", &[(name, value)]);
    }
}

/// Through corsac an answer has the header lines that it has without it, but for
/// those of the connection and the clock, and the request's id.
fn same_headers(corsac: &Corsac, nginx: &Nginx, method: &str, path: &str, lines: &[(&str, &str)]) {
    const OTHERS: [&str; 4] = ["connection", "date", "keep-alive", "x-request-id"];
    let end_to_end = |to| {
        let call = Call::new(to, method, path).headers(lines.iter().copied());
        let answer = call.send();
        let mut headers: Vec<(String, String)> = answer
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .filter(|(name, _)| !OTHERS.contains(&name.as_str()))
            .collect();
        headers.sort();
        (answer.status, headers)
    };
    let (through, direct) = (end_to_end(corsac.address()), end_to_end(nginx.address()));
    assert_eq!(through, direct, "{method} {path} {lines:?}");
}

#[test]
fn a_large_file() {
    let body = payload(LARGE);
    let nginx = Nginx::serving(&[("large", &body)]);
    let corsac = in_front_of_nginx(&nginx);
    assert_same_bytes(&corsac.get("/large").send().body, &body, "down, by length");
    assert_same_bytes(&corsac.get("/chunked/large").send().body, &body, "down, chunked");
}

#[test]
fn a_large_upload() {
    let body = payload(LARGE);
    let origin = Origin::answering(204).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    assert_eq!(corsac.call("PUT", "/large").body(body.clone()).send().status, 204);
    let received = origin.only_request().body.unwrap();
    assert_same_bytes(&received, &body, "up");
}

#[test]
fn uploads_and_their_echo() {
    let origin = Answer::echo().start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let mut connection = corsac.connect();
    for size in SIZES {
        let body = payload(size);
        let call = corsac.call("POST", "/echo");
        for (framing, call) in
            [("length", call.clone().body(body.clone())), ("chunks", call.chunked(&body, 3_001))]
        {
            let case = format!("{size} bytes by {framing}");
            let answer = call.send_over(&mut connection);
            assert_eq!(answer.status, 200, "{case}");
            let [request] = &origin.take_received()[..] else { panic!("{case}: one request") };
            assert_same_bytes(request.body.as_deref().unwrap(), &body, &format!("{case}, up"));
            assert_same_bytes(&answer.body, &body, &format!("{case}, down"));
        }
    }
}

#[test]
fn chunks_down() {
    let body = payload(100_000);
    let origin = Origin::answering(200).chunked(&body, 777).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    assert_same_bytes(&corsac.get("/").send().body, &body, "chunked");
    assert!(corsac.call("HEAD", "/").send().body.is_empty());
}

/// Without a length and without chunks, the end of the connection is the end of
/// the body (RFC 9112, 6.3).
#[test]
fn a_body_that_ends_with_its_connection() {
    let body = payload(100_000);
    let mut wire = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    wire.extend_from_slice(&body);
    let origin = Answer::raw(wire).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    assert_same_bytes(&corsac.get("/").send().body, &body, "until close");
}

/// A body that breaks off must not look whole to the client.
#[test]
fn a_body_that_breaks_off_is_not_completed() {
    for wire in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    ] {
        let origin = Answer::raw(wire).start();
        let corsac = Corsac::in_front_of(&origin, EVERYTHING);
        if let Ok(answer) = corsac.get("/").try_send() {
            assert!(answer.status >= 500, "a short body became a whole one: {wire:?}");
        }
    }
}

#[test]
fn both_sides_keep_their_connection() {
    let origin = Origin::answering(200).body("ok").start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let mut connection = corsac.connect();
    for _ in 0..20 {
        assert_eq!(corsac.get("/").send_over(&mut connection).text(), "ok");
    }
    let received = origin.received();
    assert_eq!(received.len(), 20);
    let connections = 1 + received.iter().map(|request| request.connection).max().unwrap();
    // The pool gets a connection back only after the answer has been sent, so the
    // next request may be too early for it; that must stay the exception.
    assert!(connections < 10, "{connections} connections for 20 requests");
}

#[test]
fn early_hints() {
    let origin = Origin::answering(200)
        .interim(103, "Link", "</a.css>; rel=preload")
        .interim(103, "Link", "</b.js>; rel=preload")
        .body("page")
        .start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let answer = corsac.get("/").send();
    assert_eq!((answer.status, answer.text().as_str()), (200, "page"));
    let hints: Vec<_> = answer.interim.iter().map(|(s, h)| (*s, h.get("link").unwrap())).collect();
    let preload = |file: &str| (103, format!("<{file}>; rel=preload"));
    assert_eq!(hints, [preload("/a.css"), preload("/b.js")]);
}

/// Frames are opaque to corsac, so any bytes will do.
#[test]
fn a_websocket() {
    let origin = Origin::answering(101).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let mut connection = corsac.connect();
    let answer = corsac.get("/socket").web_socket().send_over(&mut connection);
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("upgrade").unwrap().to_ascii_lowercase(), "websocket");
    connection.write(b"\x81\x02hi");
    assert_eq!(connection.read(4), b"\x81\x02hi", "a small frame comes back at once");
    let body = payload(1 << 20);
    let mut writer = connection.writer();
    let sent = body.clone();
    // Nobody's buffers hold it all, so it is written while it is read.
    let writing = thread::spawn(move || writer.write_all(&sent).unwrap());
    assert_same_bytes(&connection.read(body.len()), &body, "1 MiB, both ways at once");
    writing.join().unwrap();
}

/// An upstream that answers at once must not be quicker than the end of the request's own
/// body on its way there: the tunnel would end before it began, now and then.
#[test]
fn every_handshake_leads_to_a_tunnel() {
    let origin = Origin::answering(101).start();
    // With more than one thread, it may be another one that the kernel tells first.
    let corsac = Corsac::with(&format!(
        "version = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n[server]\nthreads = 12\n\
         [upstreams.origin]\nnodes = \"{}\"\n{EVERYTHING}",
        origin.address()
    ))
    .start();
    // They stay open, so that threads which do not accept get some, too.
    let mut open = Vec::new();
    for number in 0..200 {
        let mut connection = corsac.connect();
        let answer = corsac.get("/socket").web_socket().send_over(&mut connection);
        assert_eq!(answer.status, 101, "handshake {number}");
        connection.write(b"hi");
        assert_eq!(connection.read(2), b"hi", "handshake {number}");
        open.push(connection);
    }
}

/// A client that corsac's authors did not write.
#[test]
fn curl() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("curl is not installed; this test has not been run");
        return;
    }
    let body = payload(1 << 20);
    let workdir = Workdir::new();
    let file = workdir.write("body", &body);
    let origin = Answer::echo().start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let url = format!("http://{}/echo", corsac.address());
    let upload = format!("@{}", file.display());
    for more in [&[][..], &["-H", "Transfer-Encoding: chunked"], &["-H", "Expect: 100-continue"]] {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "30"])
            .args(["--data-binary", &upload, &url])
            .args(more)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "curl {more:?}: {said}");
        assert_same_bytes(&output.stdout, &body, &format!("curl {more:?}"));
    }
}
