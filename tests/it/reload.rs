//! Changing what is served while it is served.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Call, Corsac, Origin};

/// A configuration that answers `says`, and can be told things.
fn saying(says: &str) -> String {
    format!(
        r#"
version = 1
[listeners.http]
address = "127.0.0.1:0"
[server]
threads = 1
[admin]
listen = "unix:admin.sock"
[services.s.routes.r]
paths   = "/"
respond = {{ body = "{says}" }}
"#
    )
}

/// The same, in front of an origin.
fn forwarding(origin: std::net::SocketAddr, max_age: usize) -> String {
    format!(
        r#"
version = 1
[listeners.http]
address = "127.0.0.1:0"
[access_log]
output = "off"
[admin]
listen = "unix:admin.sock"
[upstreams.origin]
nodes = "{origin}"
[services.s]
upstream = "origin"
[services.s.cors]
allow_origins = "https://a.example"
max_age       = "{max_age}s"
[services.s.routes.r]
paths = "/*"
"#
    )
}

fn says(corsac: &Corsac) -> String {
    corsac.get("/").send().text()
}

fn reload(corsac: &Corsac) -> Output {
    corsac.command(&["reload", "--wait", "--socket", "admin.sock"])
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn by_a_signal() {
    let corsac = Corsac::with(&saying("one")).start();
    assert_eq!(says(&corsac), "one");
    // The same text: only the signal can be the cause.
    corsac.signal("HUP");
    corsac.await_stderr("serves (SIGHUP)", 1);
    assert_eq!(says(&corsac), "one");
}

#[test]
fn by_the_admin_socket() {
    let corsac = Corsac::with(&saying("one")).start();
    corsac.workdir().replace("corsac.toml", saying("two"));
    let output = reload(&corsac);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(says(&corsac), "two");
}

/// What is refused changes nothing, and is told whole.
#[test]
fn what_is_refused() {
    let good = saying("good");
    let failing = format!(
        "{}\n[[tests]]\nname = \"never\"\nrequest = \"GET http://x/\"\nexpect = {{ status = 404 }}\n",
        saying("bad")
    );
    let cases = [
        ("no TOML", "version = ".to_owned(), "E000"),
        (
            "an unknown key",
            format!("{}\nnothing = 1\n", saying("bad").replace("paths ", "pats ")),
            "E001",
        ),
        ("a failing test", failing, "E301"),
        ("another listener", saying("bad").replace("127.0.0.1:0", "127.0.0.2:0"), "listeners.http"),
        (
            "one more listener",
            format!("{}\n[listeners.more]\naddress = \"127.0.0.1:0\"\n", saying("bad")),
            "listeners.more",
        ),
        ("other threads", saying("bad").replace("threads = 1", "threads = 2"), "server.threads"),
        (
            "another admin listener",
            saying("bad").replace("admin.sock", "other.sock"),
            "admin.listen",
        ),
        (
            "another log",
            format!("{}\n[access_log]\noutput = \"off\"\n", saying("bad")),
            "access_log.output",
        ),
        (
            "another form of the log",
            format!("{}\n[access_log]\nformat = \"combined\"\n", saying("bad")),
            "access_log.format",
        ),
    ];
    let corsac = Corsac::with(&good).start();
    for (case, text, told) in cases {
        corsac.workdir().replace("corsac.toml", text);
        let output = reload(&corsac);
        assert_eq!(output.status.code(), Some(1), "{case}");
        assert!(stderr(&output).contains(told), "{case}: {}", stderr(&output));
        assert_eq!(says(&corsac), "good", "{case}");
        let status = corsac.command(&["status", "--format", "json", "--socket", "admin.sock"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let configuration = &status["configuration"];
        assert!(configuration["refused"].as_str().unwrap().contains(told), "{case}: {status}");
        assert_ne!(configuration["wanted"], configuration["running"], "{case}");
    }
    corsac.workdir().replace("corsac.toml", good);
    assert!(reload(&corsac).status.success());
}

#[test]
fn round_robin_goes_on_where_it_stood() {
    let one = Origin::answering(200).body("one").start();
    let two = Origin::answering(200).body("two").start();
    let text = |max_age: usize| {
        let nodes = format!("{}\", \"{}", one.address(), two.address());
        forwarding(one.address(), max_age)
            .replace(&format!("nodes = \"{}\"", one.address()), &format!("nodes = [\"{nodes}\"]"))
    };
    let corsac = Corsac::with(&text(1)).start();
    let mut seen = vec![says(&corsac)];
    for max_age in 2..6 {
        corsac.workdir().replace("corsac.toml", text(max_age));
        assert!(reload(&corsac).status.success());
        seen.push(says(&corsac));
    }
    assert_eq!(seen, ["one", "two", "one", "two", "one"]);
}

#[test]
fn load_through_fifty_reloads() {
    const RELOADS: usize = 50;
    let origin = Origin::answering(200).body("ok").start();
    let corsac = Corsac::with(&forwarding(origin.address(), 0)).start();
    let done = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let address = corsac.address();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (done, served) = (Arc::clone(&done), Arc::clone(&served));
            thread::spawn(move || {
                // One connection from the first request to the last: none may be closed.
                let mut connection = crate::harness::Connection::open(address);
                while !done.load(Ordering::Relaxed) {
                    let answer = Call::new(address, "GET", "/")
                        .header("Origin", "https://a.example")
                        .send_over(&mut connection);
                    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for max_age in 1..=RELOADS {
        let before = served.load(Ordering::Relaxed);
        corsac.workdir().replace("corsac.toml", forwarding(origin.address(), max_age));
        assert!(reload(&corsac).status.success());
        // Requests pass between any two reloads.
        while served.load(Ordering::Relaxed) == before
            && !clients.iter().any(thread::JoinHandle::is_finished)
        {
            thread::yield_now();
        }
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    let preflight = corsac
        .call("OPTIONS", "/")
        .header("Origin", "https://a.example")
        .header("Access-Control-Request-Method", "PUT")
        .send();
    assert_eq!(preflight.header("access-control-max-age"), Some(RELOADS.to_string()));
}

/// A stream of half a minute and a WebSocket begin on one configuration, and
/// outlive twenty others.
#[test]
fn a_stream_and_a_web_socket_live_on() {
    const RELOADS: usize = 20;
    const PACE: Duration = Duration::from_millis(1_500);
    let streaming = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = Origin::answering(101).header("Upgrade", "websocket").start();
    let text = |max_age| {
        let stream = streaming.local_addr().unwrap();
        let more = format!(
            "[upstreams.sockets]\nnodes = \"{}\"\n[services.s.routes.ws]\npaths = \"/ws\"\n\
             upstream = \"sockets\"\n",
            sockets.address()
        );
        forwarding(stream, max_age) + &more
    };
    let corsac = Corsac::with(&text(0)).start();
    let mut stream = corsac.connect();
    stream.write(b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut origin = accept(&streaming);
    origin.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n").unwrap();
    let mut socket = corsac.connect();
    assert_eq!(corsac.get("/ws").web_socket().send_over(&mut socket).status, 101);
    for reloads in 1..=RELOADS {
        corsac.workdir().replace("corsac.toml", text(reloads));
        assert!(reload(&corsac).status.success());
        origin.write_all(b"..").unwrap();
        socket.write(b"ping");
        assert_eq!(socket.read(4), b"ping");
        // The stream is to take half a minute: that is the point of it.
        thread::park_timeout(PACE);
    }
    let rest = String::from_utf8(stream.await_close().unwrap()).unwrap();
    assert!(rest.ends_with(&"..".repeat(RELOADS)), "{rest}");
}

/// Accepts one connection, and reads a request's head.
fn accept(listener: &TcpListener) -> std::net::TcpStream {
    let (stream, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    stream
}

/// systemd is told when a reload starts and ends.
#[test]
fn systemd_is_told() {
    let workdir = crate::harness::Workdir::new();
    let path = workdir.path().join("notify.sock");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
    let corsac =
        Corsac::with(&saying("one")).environment("NOTIFY_SOCKET", path.to_str().unwrap()).start();
    let told = || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert!(told().contains("READY=1"));
    corsac.signal("HUP");
    let reloading = told();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="));
    assert!(told().contains("READY=1"));
    assert_eq!(corsac.stop(), Some(0));
    assert!(told().contains("STOPPING=1"));
}

/// The admin listener answers on TCP, but changes nothing there.
#[test]
fn the_admin_listener() {
    let config =
        saying("one").replace("\"unix:admin.sock\"", "[\"unix:admin.sock\", \"127.0.0.1:0\"]");
    let corsac = Corsac::with(&config).start();
    let admin = corsac.admin_address();
    let get = |method: &str, path: &str| Call::new(admin, method, path).send();
    #[rustfmt::skip]
    let cases = [
        ("GET",  "/healthz", 200, "ok"),
        ("GET",  "/readyz",  200, "ready"),
        ("GET",  "/metrics", 200, "corsac_build_info"),
        ("GET",  "/status",  200, "\"uptime_seconds\""),
        ("POST", "/reload",  403, "socket"),
        ("POST", "/explain", 403, "socket"),
        ("POST", "/status",  405, ""),
        ("GET",  "/other",   404, "/metrics"),
    ];
    for (method, path, status, text) in cases {
        let answer = get(method, path);
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.text().contains(text), "{method} {path}: {}", answer.text());
    }
    let mode = std::fs::metadata(corsac.workdir().path().join("admin.sock")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
}

/// What runs is explained by what it serves, not by what the file says now.
#[test]
fn explain_live() {
    let corsac = Corsac::with(&saying("one")).start();
    corsac.workdir().replace("corsac.toml", "version = ");
    corsac.await_stderr("refused", 1);
    let live = corsac.command(&[
        "explain",
        "GET",
        "http://x/",
        "--live",
        "--socket",
        "admin.sock",
        "--format",
        "json",
    ]);
    let explanation: serde_json::Value = serde_json::from_slice(&live.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(&live)));
    assert_eq!(explanation["exchanges"][0]["status"], 200, "{explanation}");
}

#[test]
fn no_running_corsac() {
    let workdir = crate::harness::Workdir::new();
    for command in [&["status"] as &[&str], &["reload"], &["reload", "--wait"]] {
        let output = crate::harness::corsac(workdir.path())
            .args(command)
            .args(["--socket", "none.sock"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{command:?}: {}", stderr(&output));
    }
}

/// However many ask while nothing can be read: one reading is newer than what any of them
/// has in mind.
#[test]
fn a_hundred_who_ask_get_one_reading() {
    const ASKED: usize = 100;
    let config = saying("one");
    // An upgrade keeps every reload away.
    let corsac = Corsac::with(&config).environment("CORSAC_PAUSE_AT", "new:bound").start();
    assert!(corsac.command(&["upgrade", "--socket", "admin.sock"]).status.success());
    let held = corsac.await_stderr("is held at new:bound", 1);
    let held = held.split(' ').rev().nth(4).unwrap();
    for _ in 0..ASKED {
        let mut socket = UnixStream::connect(corsac.path("admin.sock")).unwrap();
        let request = "POST /reload HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
    corsac.workdir().replace("corsac.toml", saying("two"));
    let kill =
        std::process::Command::new("sh").args(["-c", &format!("kill -KILL {held}")]).status();
    assert!(kill.unwrap().success());
    assert!(reload(&corsac).status.success());
    assert_eq!(says(&corsac), "two");
    // Theirs, and the one after it, unless that was the same.
    let readings = corsac.stderr().matches("serves (corsac reload)").count();
    assert!((1..=2).contains(&readings), "{readings}:\n{}", corsac.stderr());
}

/// What is no regular file may make a reader wait for ever, and every reload behind it.
#[test]
fn what_is_no_file_is_refused() {
    let corsac = Corsac::with(&saying("one")).start();
    let fifo = corsac.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    std::fs::create_dir(corsac.path("folder")).unwrap();
    for (name, told) in [("fifo", "a FIFO"), ("folder", "a directory"), ("/dev/zero", "a device")] {
        let text =
            saying("two").replace("version = 1", &format!("version = 1\ninclude = \"{name}\""));
        corsac.workdir().replace("corsac.toml", text);
        let output = reload(&corsac);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(stderr(&output).contains(told), "{name}: {}", stderr(&output));
    }
    std::fs::rename(fifo, corsac.config()).unwrap();
    assert!(stderr(&reload(&corsac)).contains("a FIFO"));
    corsac.workdir().replace("corsac.toml", saying("two"));
    assert!(reload(&corsac).status.success());
    assert_eq!(says(&corsac), "two");
}
