//! What a client may take: each limit is reached, told, and harms nobody else.

use std::io::Read;
use std::net::TcpStream;

use crate::harness::{Answer, Connection, Corsac, Origin, await_some};

const EVERYTHING: &str = "[services.s]\nupstream = \"origin\"\nroutes.all.paths = \"/*\"\n";

/// With these limits, in front of `origin`.
fn limited(origin: &Origin, limits: &str) -> Corsac {
    Corsac::with(&format!(
        "version = 1\nserver.threads = 1\nadmin.listen = [\"127.0.0.1:0\", \"unix:admin.sock\"]\n\
         [listeners.http]\naddress = \"127.0.0.1:0\"\nlimits = {{ {limits} }}\n\
         [upstreams.origin]\nnodes = \"{}\"\ntimeouts.read = \"1h\"\n{EVERYTHING}",
        origin.address()
    ))
    .start()
}

fn await_limit(corsac: &Corsac, limit: &str, count: usize) {
    let series = "corsac_limits_reached_total{limit=";
    corsac.await_metric(&format!("{series}\"{limit}\",listener=\"http\"}} {count}"));
}

/// The reason of the last line of the access log.
fn last_reason(corsac: &Corsac, lines: usize) -> String {
    let line = corsac.access_log(lines).pop().unwrap();
    line["reason"].as_str().unwrap_or("null").to_owned()
}

#[test]
fn a_head_that_takes_too_long() {
    let origin = Origin::answering(200).start();
    let corsac = limited(&origin, "head = \"300ms\", idle = \"1h\"");
    for begun in ["G", "GET / HTTP/1.1\r\nHo"] {
        // Also behind a request that was served.
        let mut connection = corsac.connect();
        assert_eq!(corsac.get("/").send_over(&mut connection).status, 200);
        connection.write(begun.as_bytes());
        assert_eq!(connection.receive("GET").status, 408);
        assert_eq!(connection.await_close().unwrap(), b"");
    }
    await_limit(&corsac, "head", 2);
    assert_eq!(last_reason(&corsac, 4), "client_slow");
    // Who has sent nothing is not timed by it.
    let mut silent = corsac.connect();
    let mut slow = corsac.connect();
    slow.write(b"G");
    assert_eq!(slow.receive("GET").status, 408);
    assert_eq!(corsac.get("/").send_over(&mut silent).status, 200);
}

#[test]
fn a_connection_that_says_nothing() {
    let origin = Origin::answering(200).start();
    let corsac = limited(&origin, "idle = \"300ms\"");
    let mut silent = corsac.connect();
    assert_eq!(silent.await_close().unwrap(), b"");
    let mut kept = corsac.connect();
    assert_eq!(corsac.get("/").send_over(&mut kept).status, 200);
    assert_eq!(kept.await_close().unwrap(), b"");
}

#[test]
fn heads_that_are_too_large() {
    let origin = Origin::answering(200).start();
    let corsac = limited(&origin, "head_size = \"1KiB\", headers = 10, target = \"100B\"");
    let long = "a".repeat(1024);
    let cases = [
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: 1\r\n".repeat(10)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {long}"), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..100]), 414),
        (format!("GET /{long}"), 414),
    ];
    for (head, status) in &cases {
        let mut connection = corsac.connect();
        connection.write(head.as_bytes());
        assert_eq!(connection.receive("GET").status, *status, "{head}");
        assert_eq!(connection.await_close().unwrap(), b"");
    }
    await_limit(&corsac, "head_size", 3);
    await_limit(&corsac, "target", 2);
    assert_eq!(last_reason(&corsac, cases.len()), "client_limit");
    let fits =
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n{}\r\n", &long[..99], "X-A: 1\r\n".repeat(9));
    let mut connection = corsac.connect();
    connection.write(fits.as_bytes());
    assert_eq!(connection.receive("GET").status, 200);
}

#[test]
fn a_body_that_does_not_come() {
    let origin = Answer::echo().start();
    let corsac = limited(&origin, "body_idle = \"300ms\"");
    for (framing, part) in [
        ("Content-Length: 10", ""),
        ("Content-Length: 10", "hello"),
        ("Transfer-Encoding: chunked", "5\r\nhel"),
    ] {
        let mut connection = corsac.connect();
        connection
            .write(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{part}").as_bytes());
        assert_eq!(connection.receive("POST").status, 408, "{framing}, {part:?}");
        assert_eq!(connection.await_close().unwrap(), b"");
    }
    await_limit(&corsac, "body_idle", 3);
    assert_eq!(last_reason(&corsac, 3), "client_slow");
    let errors = "corsac_upstream_errors_total{";
    assert!(!corsac.metrics().contains(errors), "the upstream did nothing wrong");
}

/// Bytes that come in time, and too few: the rate is that of a minute, which this test takes.
#[test]
fn a_body_that_drips() {
    let origin = Answer::echo().start();
    let corsac = limited(&origin, "body_rate = \"100B\"");
    let mut client = TcpStream::connect(corsac.address()).unwrap();
    let pause = std::time::Duration::from_millis(250);
    client.set_read_timeout(Some(pause)).unwrap();
    let write = |mut client: &TcpStream, bytes| std::io::Write::write_all(&mut client, bytes);
    write(&client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    // The wait for an answer is the pause between two bytes.
    let read = (0..1_000).find_map(|_| {
        write(&client, b"a").unwrap();
        match client.read(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            read => Some(read.unwrap()),
        }
    });
    assert_eq!((read, &answer), (Some(12), b"HTTP/1.1 408"));
    await_limit(&corsac, "body_rate", 1);
    assert_eq!(last_reason(&corsac, 1), "client_slow");
}

/// What a client does not take ends its request, and gives the upstream's connection back.
#[test]
fn an_answer_that_is_not_taken() {
    let origin = Answer::status(200).body(vec![b'a'; 64 << 20]).start();
    let corsac = limited(&origin, "send = \"300ms\"");
    let mut connection = corsac.connect();
    connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await_limit(&corsac, "send", 1);
    assert_eq!(last_reason(&corsac, 1), "client_slow");
    assert!(connection.await_close().unwrap().len() < 64 << 20);
    corsac.await_metric("corsac_http_connections{listener=\"http\"} 0");
    corsac.await_metric("corsac_http_requests_in_flight 0");
}

/// A client that takes little by little is not cut: the kernel asks for more only when a
/// third of what it holds is gone, which takes this one longer than the limit.
#[test]
fn an_answer_that_is_taken_slowly() {
    let length = 32 << 20;
    let origin = Answer::status(200).body(vec![b'a'; length]).start();
    let corsac = limited(&origin, "send = \"2s\"");
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    client.set_recv_buffer_size(16 * 1024).unwrap();
    client.connect(&corsac.address().into()).unwrap();
    let mut client = TcpStream::from(client);
    std::io::Write::write_all(&mut client, b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut piece = [0; 4 * 1024];
    let (mut read, started) = (0, std::time::Instant::now());
    while started.elapsed() < std::time::Duration::from_secs(5) {
        read += client.read(&mut piece).unwrap();
        // Slowness is what is tested.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(read < 2 << 20, "{read} bytes are not slow");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(read + rest.len() > length, "cut off after {}", read + rest.len());
}

/// A connection ends in good order though its client has sent another request: a reset
/// could overtake the last answer.
#[test]
fn what_is_behind_the_last_request_resets_nothing() {
    let corsac = Corsac::with(
        "version = 1\nserver.threads = 1\nadmin.listen = \"127.0.0.1:0\"\n\
         [listeners.http]\naddress = \"127.0.0.1:0\"\n\
         limits = { requests = 1, linger = \"300ms\" }\n\
         [services.s.routes.all]\npaths = \"/*\"\nrespond = { body = \"ok\" }\n",
    )
    .start();
    // As many bytes as are read at a time, so that the next request stays in the kernel.
    let head = |padding: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {padding}\r\n\r\n");
    let first = head(&"a".repeat(4096 - head("").len()));
    let mut connection = corsac.connect();
    connection.write(format!("{first}{}", head("b")).as_bytes());
    assert_eq!(connection.receive("GET").text(), "ok");
    assert_eq!(connection.await_close().unwrap(), b"");
    // It was read on for a while, which is counted where the client does not close.
    await_limit(&corsac, "linger", 1);
}

/// Who was answered before it had sent all may go on for a while, and no longer.
#[test]
fn a_client_that_is_silent_after_its_answer() {
    let origin = Origin::answering(200).start();
    let corsac = limited(&origin, "linger = \"300ms\"");
    let head = b"POST /%zz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello";
    let mut closes = corsac.connect();
    closes.write(head);
    assert_eq!(closes.receive("POST").status, 400);
    closes.write(&vec![b'a'; 100_000]);
    drop(closes);
    corsac.await_metric("corsac_http_connections{listener=\"http\"} 0");
    let mut silent = corsac.connect();
    silent.write(head);
    assert_eq!(silent.receive("POST").status, 400);
    assert_eq!(silent.await_close().unwrap(), b"");
    corsac.await_metric("corsac_http_connections{listener=\"http\"} 0");
    await_limit(&corsac, "linger", 1);
}

#[test]
fn a_tunnel_that_is_silent() {
    let origin =
        Answer::status(101).header("Upgrade", "websocket").header("Connection", "upgrade").start();
    let corsac = limited(&origin, "tunnel_idle = \"300ms\"");
    let mut connection = corsac.connect();
    assert_eq!(corsac.get("/").web_socket().send_over(&mut connection).status, 101);
    connection.write(b"hello");
    assert_eq!(connection.read(5), b"hello");
    assert_eq!(connection.await_close().unwrap(), b"");
    await_limit(&corsac, "tunnel_idle", 1);
}

/// A tunnel is not timed by how long an answer may take.
#[test]
fn a_tunnel_outlives_the_time_of_an_answer() {
    let origin = Origin::scripted(|request| match request.target.as_str() {
        "/silent" => Answer::silence(),
        _ => Answer::status(101).header("Upgrade", "websocket").header("Connection", "upgrade"),
    });
    let corsac = Corsac::serving(&format!(
        "[upstreams.origin]\nnodes = \"{}\"\ntimeouts.read = \"200ms\"\n{EVERYTHING}",
        origin.address()
    ))
    .start();
    let mut connection = corsac.connect();
    assert_eq!(corsac.get("/").web_socket().send_over(&mut connection).status, 101);
    for _ in 0..2 {
        assert_eq!(corsac.get("/silent").send().status, 504);
    }
    connection.write(b"hello");
    assert_eq!(connection.read(5), b"hello");
}

/// The head of an upstream's answer has a time as a whole, whatever drips.
#[test]
fn an_answer_whose_head_drips() {
    let origin = Dripping::start();
    let corsac = Corsac::serving(&format!(
        "[upstreams.origin]\nnodes = \"{}\"\ntimeouts.read = \"500ms\"\n{EVERYTHING}",
        origin.0
    ))
    .start();
    let answer = corsac.get("/").send();
    assert_eq!(answer.status, 504);
    assert_eq!(last_reason(&corsac, 1), "upstream_timeout");
}

/// An origin whose head never ends: a header line each few milliseconds.
struct Dripping(std::net::SocketAddr);

impl Dripping {
    fn start() -> Self {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let pause = std::time::Duration::from_millis(20);
                    let mut line: &[u8] = b"HTTP/1.1 200 OK\r\n";
                    while stream.write_all(line).is_ok() {
                        line = b"X-A: 1\r\n";
                        std::thread::sleep(pause);
                    }
                });
            }
        });
        Self(address)
    }
}

#[test]
fn requests_of_a_connection() {
    let origin = Origin::answering(200).start();
    let corsac = limited(&origin, "requests = 3");
    let mut connection = corsac.connect();
    for number in 1..=3 {
        let answer = corsac.get("/").send_over(&mut connection);
        let closes = answer.header("connection").as_deref() == Some("close");
        assert_eq!((answer.status, closes), (200, number == 3));
    }
    assert_eq!(connection.await_close().unwrap(), b"");
    await_limit(&corsac, "requests", 1);
}

#[test]
fn connections_at_a_time() {
    let origin = Origin::answering(200).start();
    let corsac = limited(&origin, "connections = 2");
    let mut held: Vec<Connection> = (0..2).map(|_| corsac.connect()).collect();
    for connection in &mut held {
        assert_eq!(corsac.get("/").send_over(connection).status, 200);
    }
    // It waits to be accepted, and is, once another one has gone.
    let mut waiting = corsac.connect();
    waiting.write(b"GET /waiting HTTP/1.1\r\nHost: a\r\n\r\n");
    await_limit(&corsac, "connections", 1);
    assert!(origin.received().iter().all(|request| request.target == "/"));
    assert_eq!(corsac.get("/").send_over(&mut held[0]).status, 200);
    held.pop();
    assert_eq!(waiting.receive("GET").status, 200);
}

#[test]
fn connections_of_a_client() {
    let origin = Origin::answering(200).start();
    let corsac = limited(&origin, "connections_per_client = 2");
    let mut held: Vec<Connection> = (0..2).map(|_| corsac.connect()).collect();
    for connection in &mut held {
        assert_eq!(corsac.get("/").send_over(connection).status, 200);
    }
    assert_eq!(corsac.connect().await_close().unwrap(), b"");
    await_limit(&corsac, "connections_per_client", 1);
    // Another address of this machine is another client.
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    other.bind(&"127.0.0.2:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    other.connect(&corsac.address().into()).unwrap();
    let mut other = TcpStream::from(other);
    std::io::Write::write_all(&mut other, b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    other.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
}

/// A listener's limits are its own, and a reload changes them for whoever comes then.
#[test]
fn a_reload_changes_limits() {
    let origin = Origin::answering(200).start();
    let config = |target: &str, other: &str| {
        format!(
            "version = 1\nlimits.target = \"{target}\"\nadmin.listen = \"unix:admin.sock\"\n\
             [listeners.a]\naddress = \"127.0.0.1:0\"\n\
             [listeners.b]\naddress = \"127.0.0.1:0\"\nlimits = {{ {other} }}\n\
             [upstreams.origin]\nnodes = \"{}\"\n{EVERYTHING}",
            origin.address()
        )
    };
    let corsac = Corsac::with(&config("100B", "target = \"200B\"")).start();
    let addresses = corsac.addresses();
    let path = format!("/{}", "a".repeat(150));
    let statuses = || {
        let ask = |name: &str| {
            let (address, _) =
                addresses.iter().find(|(_, listener)| listener.contains(name)).unwrap();
            crate::harness::Call::new(*address, "GET", &path).send().status
        };
        [ask("listeners.a"), ask("listeners.b")]
    };
    assert_eq!(statuses(), [414, 200]);
    std::fs::write(corsac.config(), config("200B", "target = \"100B\"")).unwrap();
    let output = corsac.command(&["reload", "--wait", "--socket", "admin.sock"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(statuses(), [200, 414]);
}

/// However many descriptors clients take, some are left for the process itself.
#[test]
fn clients_do_not_take_the_last_descriptor() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::with(&format!(
        "version = 1\nadmin.listen = [\"127.0.0.1:0\", \"unix:admin.sock\"]\nserver.threads = 2\n\
         [listeners.http]\naddress = \"127.0.0.1:0\"\n\
         [upstreams.origin]\nnodes = \"{}\"\n{EVERYTHING}",
        origin.address()
    ))
    .descriptors(256)
    .start();
    let mut held = Vec::new();
    // Also by requests that each need a second one.
    for number in 0..400 {
        let mut connection = corsac.connect();
        if number % 2 == 0 {
            connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        held.push(connection);
    }
    corsac.await_stderr("clients have all descriptors but a reserve", 1);
    let status = corsac.command(&["status", "--socket", "admin.sock"]);
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let reload = corsac.command(&["reload", "--wait", "--socket", "admin.sock"]);
    assert!(reload.status.success(), "{}", String::from_utf8_lossy(&reload.stderr));
    assert!(corsac.metrics().contains("limit=\"descriptors\""));
    drop(held);
    // Those that are gone may wait to be accepted still, each for a moment.
    await_some("others are served again", || {
        corsac.get("/").try_send().ok().filter(|answer| answer.status == 200)
    });
}
