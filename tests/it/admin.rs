//! What a running corsac says of itself, while it has other things to do.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use corsac::server::{AdminEndpoint, ENDPOINTS};
use serde_json::Value;

use crate::harness::{Answer, Call, Corsac, DEADLINE, Gate, Origin, await_exit};

const SERVICES: &str = "
[admin]
listen = \"127.0.0.1:0\"

[policies.cors.app]
allow_origins = \"https://a.example\"

[services.all]
upstream = \"origin\"
cors     = \"app\"
routes.all.paths = \"/*\"
";

/// An origin that answers when the gate opens.
fn held(gate: &Gate) -> Origin {
    Answer::status(200).after(gate).start()
}

fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let answer = Call::new(admin, "GET", path).send();
    (answer.status, answer.text())
}

fn status(admin: SocketAddr) -> Value {
    serde_json::from_str(&get(admin, "/status").1).unwrap()
}

/// Asks until the answer is as expected: a signal, and the count of a request, take
/// effect a little later.
#[track_caller]
fn await_that<T: std::fmt::Debug>(ask: impl Fn() -> T, is_it: impl Fn(&T) -> bool) -> T {
    let started = Instant::now();
    loop {
        let answer = ask();
        if is_it(&answer) {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "{answer:?}");
        thread::yield_now();
    }
}

/// A page that makes its own name resolve to this machine asks by that name.
#[test]
fn by_which_name_it_is_asked() {
    const HOSTS: &str = "listen = [\"127.0.0.1:0\", \"unix:admin.sock\"]\nhosts = \"corsac\"";
    let origin = Origin::answering(200).start();
    let services = SERVICES.replace("listen = \"127.0.0.1:0\"", HOSTS);
    let corsac = Corsac::in_front_of(&origin, &services);
    let admin = corsac.admin_address();
    let ask = |target: &str, hosts: &[&str]| {
        let call = Call::new(admin, "GET", target);
        hosts.iter().fold(call, |call, host| call.header("Host", host)).send()
    };
    #[rustfmt::skip]
    let cases: &[(&str, &[&str], u16)] = &[
        ("/healthz",                   &["localhost"],              200),
        ("/healthz",                   &["[::1]:9901"],             200),
        ("/status",                    &["corsac:9901"],            200),
        ("/status",                    &["evil.test:9901"],         421),
        ("/metrics",                   &["evil.test"],              421),
        ("/healthz",                   &["evil.test"],              421),
        ("/other",                     &["evil.test"],              421),
        ("/status",                    &[""],                       421),
        ("http://evil.test/status",    &["evil.test"],              421),
        ("http://localhost/status",    &["localhost"],              200),
    ];
    for (target, hosts, status) in cases {
        let answer = ask(target, hosts);
        assert_eq!(answer.status, *status, "{target} {hosts:?}");
        if *status == 421 {
            assert!(answer.text().contains("admin.hosts"), "{}", answer.text());
        }
    }
    // Pingora takes neither two that differ nor a target of another name.
    for (target, hosts) in [
        ("/status", ["localhost", "evil.test"].as_slice()),
        ("http://evil.test/status", &["localhost"]),
    ] {
        let call = hosts
            .iter()
            .fold(Call::new(admin, "GET", target), |call, host| call.header("Host", host));
        assert!(call.try_send().map_or(true, |answer| answer.status >= 400), "{target} {hosts:?}");
    }
    // HTTP/1.0 knows no `Host`, and no browser speaks it.
    let mut old = crate::harness::Connection::open(admin);
    old.write(b"GET /healthz HTTP/1.0\r\n\r\n");
    let answer = String::from_utf8(old.await_close().unwrap()).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
    // The socket is asked by any name: no page can reach it.
    assert!(corsac.command(&["status", "--socket", "admin.sock"]).status.success());
    // The names are what the configuration says now.
    let text = std::fs::read_to_string(corsac.config()).unwrap();
    corsac.workdir().replace("corsac.toml", text.replace("\"corsac\"", "\"evil.test\""));
    assert!(corsac.command(&["reload", "--wait", "--socket", "admin.sock"]).status.success());
    assert_eq!(ask("/status", &["evil.test"]).status, 200);
    assert_eq!(ask("/status", &["corsac"]).status, 421);
}

/// A socket that is forwarded to a port is within reach of every page in the browser
/// there, which could make corsac start a program.
#[test]
fn no_browser_is_answered() {
    let origin = Origin::answering(200).start();
    let services = SERVICES.replace("\"127.0.0.1:0\"", "[\"127.0.0.1:0\", \"unix:admin.sock\"]");
    let corsac = Corsac::in_front_of(&origin, &services);
    let admin = corsac.admin_address();
    for AdminEndpoint { method, path, .. } in ENDPOINTS {
        for header in ["Origin: http://localhost", "Origin: null", "Sec-Fetch-Site: cross-site"] {
            let (name, value) = header.split_once(": ").unwrap();
            let by_address = Call::new(admin, method, path).header(name, value).send();
            assert_eq!(by_address.status, 403, "{method} {path}, {header}");
            assert!(by_address.text().contains("browser"), "{}", by_address.text());
            let mut socket = UnixStream::connect(corsac.path("admin.sock")).unwrap();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            socket.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 403"), "{method} {path}, {header}: {answer}");
        }
    }
}

/// Whoever asks is not kept for ever by a corsac that does not answer.
#[test]
fn the_command_line_does_not_wait_for_ever() {
    let folder = crate::harness::Workdir::new();
    // One is never accepted from; the other one has no room to wait in, either.
    let _mute = UnixListener::bind(folder.path().join("mute.sock")).unwrap();
    let full = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let address = socket2::SockAddr::unix(folder.path().join("full.sock")).unwrap();
    full.bind(&address).unwrap();
    full.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let client = client.unwrap();
        client.set_nonblocking(true).unwrap();
        if client.connect(&address).is_err() {
            break;
        }
        waiting.push(client);
    }
    thread::scope(|scope| {
        for (command, socket) in [
            (["status"].as_slice(), "mute.sock"),
            (&["reload"], "mute.sock"),
            (&["status"], "full.sock"),
            (&["reload", "--wait"], "full.sock"),
        ] {
            let folder = folder.path();
            scope.spawn(move || {
                let mut asks = crate::harness::corsac(folder);
                asks.args(command).args(["--socket", socket]).stderr(Stdio::piped());
                let mut asks = asks.spawn().unwrap();
                let code = await_exit(&mut asks, || format!("{command:?} at {socket} waits"));
                let said = String::from_utf8(asks.wait_with_output().unwrap().stderr).unwrap();
                assert_eq!(code, Some(3), "{command:?}: {said}");
                assert!(said.contains("has not answered within 5 s"), "{command:?}: {said}");
            });
        }
    });
}

#[test]
fn a_socket_that_cannot_be_made() {
    let cases = [
        ("none/admin.sock", "its folder does not exist"),
        ("taken.sock", "another process answers there"),
    ];
    for (path, told) in cases {
        let setup = Corsac::with(&format!(
            "version = 1\nlisteners.http.address = \"127.0.0.1:0\"\n\
             admin.listen = \"unix:{path}\"\n\
             services.s.routes.r = {{ paths = \"/\", respond = {{}} }}\n"
        ));
        let _taken = UnixListener::bind(setup.path().join("taken.sock")).unwrap();
        let output = setup.run();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("admin.listen cannot listen on ") && said.contains(told), "{said}");
    }
}

/// A socket is bound by another name first, which must fit, too.
#[test]
fn a_long_path_of_a_socket() {
    // Of 107; the number in the name of the next folder may have a digit more.
    const PATH_BYTES: usize = 105;
    let origin = Origin::answering(200).start();
    let folder = crate::harness::Workdir::new();
    let folder = folder.path().as_os_str().len();
    let name = "s".repeat(PATH_BYTES - folder - "/".len());
    let services = SERVICES.replace("127.0.0.1:0", &format!("unix:{name}"));
    let corsac = Corsac::in_front_of(&origin, &services);
    assert!(corsac.command(&["status", "--socket", &name]).status.success());
}

#[test]
fn not_ready_while_draining() {
    let gate = Gate::default();
    let origin = held(&gate);
    let mut corsac = Corsac::in_front_of(&origin, SERVICES);
    let admin = corsac.admin_address();
    assert_eq!(get(admin, "/readyz"), (200, "ready\n".to_owned()));
    let call = corsac.get("/");
    let client = thread::spawn(move || call.send());
    origin.await_requests(1);
    corsac.signal("TERM");
    let ready = await_that(|| get(admin, "/readyz"), |(status, _)| *status != 200);
    assert_eq!(ready, (503, "stopping\n".to_owned()));
    assert_eq!(get(admin, "/healthz").0, 200);
    let status = status(admin);
    assert_eq!((&status["state"], &status["requests_in_flight"]), (&"stopping".into(), &1.into()));
    gate.open();
    assert_eq!(client.join().unwrap().status, 200);
    assert_eq!(corsac.await_exit(), Some(0));
}

#[test]
fn origins_that_were_refused() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, SERVICES);
    let admin = corsac.admin_address();
    assert_eq!(status(admin)["refused_origins"], Value::Array(Vec::new()));
    for (origin, times) in [("https://a.example", 3), ("https://b.example", 1), ("null", 2)] {
        for _ in 0..times {
            let preflight = corsac.call("OPTIONS", "/").header("Origin", origin);
            preflight.header("Access-Control-Request-Method", "PUT").send();
        }
    }
    let refused = |status: &Value| {
        let origins = status["refused_origins"][0]["origins"].as_array().into_iter().flatten();
        let pair = |it: &Value| Some((it["origin"].as_str()?.to_owned(), it["count"].as_u64()?));
        origins.filter_map(pair).collect::<Vec<_>>()
    };
    let expected = [("null".to_owned(), 2), ("https://b.example".to_owned(), 1)];
    let status = await_that(|| status(admin), |status| refused(status) == expected);
    assert_eq!(status["refused_origins"][0]["policy"], "policies.cors.app");
    assert_eq!(status["refused_origins"][0]["skipped"], 0);
}

#[test]
fn it_answers_while_others_are_busy() {
    const HELD: usize = 64;
    let gate = Gate::default();
    let origin = held(&gate);
    let corsac = Corsac::in_front_of(&origin, SERVICES);
    let admin = corsac.admin_address();
    let call = corsac.get("/");
    let clients: Vec<_> =
        (0..HELD).map(|_| call.clone()).map(|call| thread::spawn(|| call.send())).collect();
    origin.await_requests(HELD);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(admin, path).0, 200, "{path}");
    }
    assert_eq!(status(admin)["requests_in_flight"], HELD);
    gate.open();
    for client in clients {
        assert_eq!(client.join().unwrap().status, 200);
    }
}
