//! A request is served by the snapshot that it began with, whatever is stored
//! while it is on its way; and keeps it no longer than it must.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use corsac::config;
use corsac::snapshot::Snapshot;

use crate::harness::{Call, Connection, Corsac, DEADLINE, Gate, InProcess, Origin};

/// A configuration whose answers show that it is this one.
fn snapshot(origin: &Origin, mark: &str) -> Snapshot {
    let text = format!(
        r#"
        version = 1
        listeners.http.address = "127.0.0.1:0"
        upstreams.origin.nodes = "{}"
        [services.all]
        upstream = "origin"
        cors = {{ allow_origins = "https://app.example", expose_headers = "{mark}" }}
        [services.all.routes.all]
        paths = "/*"
        headers = {{ response = {{ set = {{ x-mark = "{mark}" }} }} }}
        "#,
        origin.address()
    );
    let (config, _) = config::parse(&text, "corsac.toml").unwrap();
    Snapshot::compile(Arc::new(config), HashMap::new(), None)
}

#[test]
fn a_request_sees_one_snapshot() {
    let gate = Gate::default();
    let origin = Origin::answering(200).after(&gate).start();
    let proxy = InProcess::serving(snapshot(&origin, "old"));
    let call = proxy.get("/").header("Origin", "https://app.example");
    let in_flight = thread::spawn({
        let call = call.clone();
        move || call.send()
    });
    origin.await_requests(1);
    proxy.snapshots.store(snapshot(&origin, "new"));
    gate.open();
    for (answer, mark) in [(in_flight.join().unwrap(), "old"), (call.send(), "new")] {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-mark").as_deref(), Some(mark));
        assert_eq!(answer.header("access-control-expose-headers").as_deref(), Some(mark));
    }
}

/// What is open for days must not keep the configurations of all that time in memory.
#[test]
fn tunnels_and_streams_keep_no_snapshot() {
    const RELOADS: usize = 30;
    let sockets = Origin::answering(101).start();
    let streaming = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = |mark: usize| {
        format!(
            r#"
            version = 1
            listeners.http.address = "127.0.0.1:0"
            admin.listen = "127.0.0.1:0"
            upstreams.sockets.nodes = "{}"
            upstreams.streams.nodes = "{}"
            [services.all]
            upstream = "sockets"
            routes.all = {{ paths = "/*", headers = {{ response = {{ set = {{ x-mark = "{mark}" }} }} }} }}
            routes.stream = {{ paths = "/stream", upstream = "streams" }}
            "#,
            sockets.address(),
            streaming.local_addr().unwrap()
        )
    };
    let corsac = Corsac::with(&text(0)).start();
    let admin = corsac.admin_address();
    let mut open = Vec::new();
    for reload in 1..=RELOADS {
        open.push((web_socket(&corsac), stream(&corsac, &streaming)));
        corsac.workdir().replace("corsac.toml", text(reload));
        corsac.signal("HUP");
        corsac.await_stderr("serves (SIGHUP)", reload);
    }
    let started = Instant::now();
    loop {
        let metrics = Call::new(admin, "GET", "/metrics").send().text();
        let line = metrics.lines().find(|line| line.starts_with("corsac_config_snapshots "));
        let held: usize = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        if (1..=2).contains(&held) {
            break;
        }
        assert!(started.elapsed() < DEADLINE, "{held} snapshots after {RELOADS} reloads");
        thread::yield_now();
    }
    for (socket, (client, upstream)) in &mut open {
        socket.write(b"ping");
        assert_eq!(socket.read(4), b"ping");
        upstream.write_all(b"4\r\nmore\r\n").unwrap();
        assert_eq!(client.read(9), b"4\r\nmore\r\n");
    }
}

fn web_socket(corsac: &Corsac) -> Connection {
    let mut connection = corsac.connect();
    assert_eq!(corsac.get("/").web_socket().send_over(&mut connection).status, 101);
    connection
}

/// A stream without an end, of which four bytes have come: both ends of it.
fn stream(corsac: &Corsac, streaming: &TcpListener) -> (Connection, std::net::TcpStream) {
    let mut connection = corsac.connect();
    connection.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    let (mut upstream, _) = streaming.accept().unwrap();
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n";
    upstream.write_all(head).unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"some\r\n") {
        seen.extend(connection.read(1));
    }
    (connection, upstream)
}
