//! Starting and stopping.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{
    Call, Connection, Corsac, DEADLINE, Gate, Lines, Origin, Workdir, await_exit, await_some,
    signal,
};

const EVERYTHING: &str = "
[services.all]
upstream = \"origin\"
routes.all.paths = \"/*\"
";

#[test]
fn stops_at_once_when_idle() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    // A connection that waits for its next request holds nothing up.
    let mut idle = corsac.connect();
    assert_eq!(corsac.get("/").send_over(&mut idle).status, 200);
    assert_eq!(corsac.stop(), Some(0));
}

#[test]
fn interrupt_stops_it_too() {
    let origin = Origin::answering(200).start();
    let mut corsac = Corsac::in_front_of(&origin, EVERYTHING);
    corsac.signal("INT");
    assert_eq!(corsac.await_exit(), Some(0));
}

#[test]
fn a_request_in_flight_is_finished() {
    let gate = Gate::default();
    let origin = Origin::answering(200).body("late").after(&gate).start();
    let mut corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let call = corsac.get("/");
    let client = thread::spawn(move || call.send());
    origin.await_requests(1);
    corsac.signal("TERM");
    while Connection::try_open(corsac.address()).is_ok() {
        // It stops accepting soon; the test's own time limit is the deadline.
        assert!(!client.is_finished(), "the request in flight was not waited for");
        thread::yield_now();
    }
    gate.open();
    let answer = client.join().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
    assert_eq!(corsac.await_exit(), Some(0));
}

#[test]
fn every_address_is_announced() {
    let config = "
        version = 1
        [listeners.one]
        address = [\"127.0.0.1:0\", \"127.0.0.1:0\"]
        [listeners.two]
        address = \"127.0.0.1:0\"
        [services.all.routes.all]
        paths = \"/*\"
        respond = { status = 200, body = \"ok\" }
    ";
    let corsac = Corsac::with(config).start();
    let addresses = corsac.addresses();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    for (address, listener) in addresses {
        let answer = crate::harness::Call::new(address, "GET", "/").send();
        assert_eq!(answer.status, 200, "{listener}");
    }
}

/// Load balancers are to see first that it goes.
#[test]
fn a_lame_duck_still_serves() {
    let config = "
        version = 1
        [listeners.http]
        address = \"127.0.0.1:0\"
        [admin]
        listen = \"127.0.0.1:0\"
        [limits]
        lame_duck = \"1h\"
        [services.all.routes.all]
        paths = \"/*\"
        respond = { status = 200, body = \"ok\" }
    ";
    let mut corsac = Corsac::with(config).start();
    let ready = || Call::new(corsac.admin_address(), "GET", "/readyz").send().status;
    assert_eq!(ready(), 200);
    corsac.signal("TERM");
    corsac.await_stderr("connections are accepted for 3600 s more", 1);
    assert_eq!(ready(), 503);
    let answer = corsac.get("/").send();
    assert_eq!((answer.status, answer.header("connection").as_deref()), (200, Some("keep-alive")));
    // Who insists is obeyed.
    corsac.signal("TERM");
    assert_eq!(corsac.await_exit(), Some(0));
    corsac.await_stderr("by a second signal", 1);
}

/// What is in flight is waited for until `limits.drain`, and no longer.
#[test]
fn a_drain_ends() {
    let gate = Gate::default();
    let origin = Origin::answering(200).after(&gate).start();
    let limits = format!("{EVERYTHING}\n[limits]\ndrain = \"100ms\"");
    let mut corsac = Corsac::in_front_of(&origin, &limits);
    let call = corsac.get("/");
    let client = thread::spawn(move || call.try_send());
    origin.await_requests(1);
    corsac.signal("TERM");
    assert_eq!(corsac.await_exit(), Some(0));
    corsac.await_stderr("stopped; connections still open: 1", 1);
    assert!(client.join().unwrap().is_err());
}

/// A client that keeps its connection after an answer that began before the stop, and
/// so could not announce its end, holds nothing up.
#[test]
fn a_kept_connection_is_not_waited_for() {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = origin.local_addr().unwrap();
    let setup = Corsac::serving(&format!("[upstreams.origin]\nnodes = \"{node}\"\n{EVERYTHING}"));
    let mut corsac = setup.start();
    let (mut idle, mut kept) = (corsac.connect(), corsac.connect());
    kept.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut upstream, _) = origin.accept().unwrap();
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbe\r\n";
    upstream.write_all(head).unwrap();
    let head = kept.read(17);
    assert_eq!(head, b"HTTP/1.1 200 OK\r\n");
    corsac.signal("TERM");
    // By now it was looked who waits; the answer is to end later than that.
    idle.await_close().unwrap();
    upstream.write_all(b"2\r\nen\r\n0\r\n\r\n").unwrap();
    assert_eq!(corsac.await_exit(), Some(0));
    let rest = kept.await_close().unwrap();
    assert!(rest.ends_with(b"2\r\nen\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    assert!(!corsac.stderr().contains("still open"), "{}", corsac.stderr());
}

/// Who sends a head byte by byte does not hold up a stop.
#[test]
fn a_head_that_drips_is_not_waited_for() {
    let origin = Origin::answering(200).start();
    let limits = format!("{EVERYTHING}\n[limits]\nhead = \"1h\"");
    let mut corsac = Corsac::in_front_of(&origin, &limits);
    let client = corsac.connect();
    let mut writer = client.writer();
    writer.write_all(b"GET / HTTP/1.1\r\nX-A: ").unwrap();
    assert_eq!(corsac.get("/").send().status, 200);
    corsac.signal("TERM");
    let drips = thread::spawn(move || {
        while writer.write_all(b"a").is_ok() {
            thread::park_timeout(Duration::from_millis(100));
        }
    });
    assert_eq!(corsac.await_exit(), Some(0));
    assert!(!corsac.stderr().contains("still open"), "{}", corsac.stderr());
    drop(client);
    drips.join().unwrap();
}

/// Connections that the kernel has accepted are served, however many there are.
#[test]
fn who_waits_to_be_accepted_is_served_at_a_stop() {
    const WAITING: usize = 2_000;
    raise_descriptors();
    let text = "version = 1\nserver.threads = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n\
                [services.s.routes.all]\npaths = \"/*\"\nrespond = { body = \"ok\" }\n";
    let mut corsac = Corsac::with(text).descriptors(8_000).start();
    corsac.signal("STOP");
    let mut waiting: Vec<TcpStream> = (0..WAITING)
        .map(|_| {
            let mut stream = TcpStream::connect(corsac.address()).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream
        })
        .collect();
    corsac.signal("TERM");
    corsac.signal("CONT");
    let is_answered = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = String::new();
        match stream.read_to_string(&mut answer) {
            Ok(_) if answer.starts_with("HTTP/1.1 200") => Ok(()),
            Ok(_) => Err(answer),
            Err(error) => Err(error.to_string()),
        }
    };
    let unanswered: Vec<_> = waiting
        .iter_mut()
        .enumerate()
        .filter_map(|(number, stream)| Some((number, is_answered(stream).err()?)))
        .collect();
    assert!(unanswered.is_empty(), "{}: {unanswered:?}", unanswered.len());
    assert_eq!(corsac.await_exit(), Some(0));
}

/// For tests that have many connections; the processes that they start have limits of their
/// own.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// Each connection that is kept has its time after its answer, whenever that ended.
#[test]
fn no_kept_connection_ends_early_at_a_drain() {
    const PAUSE: Duration = Duration::from_millis(500);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = listener.local_addr().unwrap();
    let setup = Corsac::serving(&format!("[upstreams.origin]\nnodes = \"{node}\"\n{EVERYTHING}"));
    let mut corsac = setup.start();
    let mut idle = corsac.connect();
    let mut kept: Vec<(Connection, TcpStream)> = (0..120)
        .map(|_| {
            let mut client = corsac.connect();
            client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let (mut upstream, _) = listener.accept().unwrap();
            // It begins before the stop, so it cannot say that it is the last.
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbe\r\n";
            upstream.write_all(head).unwrap();
            assert_eq!(client.read(17), b"HTTP/1.1 200 OK\r\n");
            (client, upstream)
        })
        .collect();
    corsac.signal("TERM");
    idle.await_close().unwrap();
    let ends: Vec<_> = kept
        .drain(..)
        .map(|(mut client, mut upstream)| {
            let began = Instant::now();
            upstream.write_all(b"2\r\nen\r\n0\r\n\r\n").unwrap();
            // So that the ends of answers fall between all looks at who waits.
            thread::park_timeout(Duration::from_millis(10));
            thread::spawn(move || {
                let rest = client.await_close().unwrap();
                assert!(rest.ends_with(b"2\r\nen\r\n0\r\n\r\n"));
                drop(upstream);
                began.elapsed()
            })
        })
        .collect();
    let times: Vec<Duration> = ends.into_iter().map(|end| end.join().unwrap()).collect();
    let early = times.iter().filter(|time| **time < PAUSE).count();
    assert_eq!(early, 0, "{times:?}");
    assert_eq!(corsac.await_exit(), Some(0));
}

/// A shell passes its stdin on as systemd passes sockets: from descriptor 3 on.
fn socket_activated(config: &str, listener: TcpListener, name: &str) -> (Lines, Child) {
    let workdir = Workdir::new();
    workdir.write("corsac.toml", config);
    let script = format!(
        "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec {} run --config corsac.toml \
         3<&0 0</dev/null",
        env!("CARGO_BIN_EXE_corsac")
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .current_dir(workdir.path())
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = Lines::of(child.stderr.take().unwrap());
    let ready = |lines: &[String]| lines.iter().any(|line| line.ends_with("ready")).then_some(());
    if let Err(said) = lines.await_some(ready) {
        let _ = child.kill();
        panic!("it did not start:\n{said}");
    }
    (lines, child)
}

/// A socket of systemd's is a listener's by its address, or by its name; the queue of
/// who waits on it is served.
#[test]
fn sockets_of_systemd() {
    let text = |address: &str| {
        format!(
            "version = 1\n[listeners.http]\naddress = \"{address}\"\n\
             [services.all.routes.all]\npaths = \"/*\"\nrespond = {{ body = \"ok\" }}\n"
        )
    };
    for (case, ip, name, configured, used) in [
        ("by its address", "127.0.0.1", "corsac.socket", "{bound}", true),
        ("by its name", "127.0.0.1", "http", "127.0.0.1:0", true),
        ("by its name, another address", "127.0.0.1", "http", "127.0.0.2:0", true),
        ("of nobody", "127.0.0.1", "other", "127.0.0.2:0", false),
        // `ListenStream=80` listens on both.
        ("by one of its two wildcards", "[::]", "corsac.socket", "0.0.0.0:{port}", true),
    ] {
        let listener = TcpListener::bind(format!("{ip}:0")).unwrap();
        let bound = listener.local_addr().unwrap();
        let port = bound.port().to_string();
        let address = configured.replace("{bound}", &bound.to_string()).replace("{port}", &port);
        let reached = SocketAddr::from(([127, 0, 0, 1], bound.port()));
        // It waits in the kernel, before there is a process.
        let mut early = Connection::open(reached);
        early.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let (lines, mut child) = socket_activated(&text(&address), listener, name);
        assert_eq!(lines.text().contains("is no listener's"), !used, "{case}: {}", lines.text());
        if used {
            assert_eq!(early.receive("GET").text(), "ok", "{case}");
        }
        signal(&child, "TERM");
        assert_eq!(await_exit(&mut child, || lines.text()), Some(0), "{case}");
    }
}

/// A corsac that has said more than its stderr takes, of which nobody reads anything, and
/// its configuration. Requests are answered meanwhile, also those of refused origins, of
/// which the log has lines.
fn with_a_full_stderr(gate: &Gate) -> (Corsac, String) {
    let services = "
        [admin]
        listen = \"127.0.0.1:0\"
        [services.all]
        cors = { allow_origins = \"https://a.example\" }
        [services.all.routes.all]
        paths   = \"/*\"
        respond = { body = \"ok\" }
    ";
    let setup = Corsac::serving(services);
    let good = std::fs::read_to_string(setup.path().join("corsac.toml")).unwrap();
    let corsac = setup.stderr_after(gate).start();
    let admin = corsac.admin_address();
    let metrics = || Call::new(admin, "GET", "/metrics").send().text();
    // More than a pipe takes, in one report.
    let mut refused = "version = 1\n".to_owned();
    for key in 0..2_000 {
        writeln!(refused, "nonsense_{key} = 1").unwrap();
    }
    let has_lost = || {
        let count = |line: &str| line.strip_prefix("corsac_log_dropped_total ").map(str::to_owned);
        metrics().lines().find_map(count).is_some_and(|count| count != "0")
    };
    let mut read = 0;
    while !has_lost() {
        read += 1;
        // Each differs from the last, or it would not be read as another one.
        corsac.workdir().replace("corsac.toml", format!("{refused}# {read}\n"));
        let counted = format!("corsac_config_refused_total{{code=\"E001\"}} {read}\n");
        await_some(&counted, || metrics().contains(&counted).then_some(()));
        let origin = format!("https://b{read}.example");
        assert_eq!(corsac.get("/").header("Origin", &origin).send().status, 200);
        assert!(read < 100, "nothing is lost");
    }
    (corsac, good)
}

/// Nobody reads what corsac says of itself, for a while: what is lost is counted, and
/// said.
#[test]
fn a_stderr_that_nobody_reads() {
    let gate = Gate::default();
    let (corsac, good) = with_a_full_stderr(&gate);
    corsac.workdir().replace("corsac.toml", good);
    gate.open();
    corsac.await_stderr("log lines are lost: stderr was not read", 1);
    corsac.await_stderr("serves (a changed file)", 1);
    assert_eq!(corsac.stop(), Some(0));
}

/// As above, to the end.
#[test]
fn a_stderr_that_nobody_reads_does_not_keep_the_process() {
    let gate = Gate::default();
    let (mut corsac, _) = with_a_full_stderr(&gate);
    corsac.signal("TERM");
    assert_eq!(corsac.await_exit(), Some(0));
    gate.open();
}
