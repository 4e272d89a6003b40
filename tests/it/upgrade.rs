//! Replacing the process while it serves.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::harness::{
    Answer, Call, Connection, Corsac, DEADLINE, Gate, Origin, Setup, await_some, payload,
};

#[path = "../../src/server/upgrade/step.rs"]
mod step;

use step::HandOverStep;

/// One listener, an admin socket, a route that answers and one to the origin.
fn config(origin: SocketAddr, more: &str) -> String {
    config_at("127.0.0.1:0", origin, more)
}

fn config_at(listen: &str, origin: SocketAddr, more: &str) -> String {
    format!(
        r#"
version = 1
[listeners.http]
address = "{listen}"
[server]
threads = 2
[access_log]
output = "off"
[admin]
listen = "unix:admin.sock"
[upstreams.origin]
nodes = "{origin}"
[services.s.routes.local]
paths   = "/local"
respond = {{ body = "local" }}
[services.s.routes.origin]
paths    = "/*"
upstream = "origin"
{more}
"#
    )
}

fn start() -> (Origin, Corsac) {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::with(&config(origin.address(), "")).start();
    (origin, corsac)
}

fn upgrade(corsac: &Corsac, more: &[&str]) -> Output {
    let base = ["upgrade", "--wait", "--socket", "admin.sock"];
    corsac.command(&[&base[..], more].concat())
}

#[track_caller]
fn upgrade_must_work(corsac: &Corsac) {
    let output = upgrade(corsac, &[]);
    assert!(output.status.success(), "{}\n{}", stderr(&output), corsac.stderr());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("serves; process"), "{said}");
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn status(corsac: &Corsac) -> Value {
    let output = corsac.command(&["status", "--socket", "admin.sock", "--format", "json"]);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
}

fn serving_pid(corsac: &Corsac) -> u64 {
    status(corsac)["pid"].as_u64().unwrap()
}

/// What the admin socket shows.
fn metrics(corsac: &Corsac) -> String {
    let mut socket = UnixStream::connect(corsac.path("admin.sock")).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}

fn kill(pid: u64, signal: &str) {
    let kill = format!("kill -{signal} {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[test]
fn another_process_serves_and_the_old_one_goes() {
    let gate = Gate::default();
    let origin = Origin::answering(200).body("late").after(&gate).start();
    let mut corsac = Corsac::with(&config(origin.address(), "")).start();
    let call = corsac.get("/");
    let client = thread::spawn(move || call.send());
    origin.await_requests(1);
    upgrade_must_work(&corsac);
    let new = serving_pid(&corsac);
    assert_ne!(new, u64::from(corsac.pid()));
    gate.open();
    // A connection from before ends with its answer, which says so.
    let last = client.join().unwrap();
    assert_eq!(
        (last.text().as_str(), last.header("connection").as_deref()),
        ("late", Some("close"))
    );
    assert_eq!(corsac.await_exit(), Some(0));
    // And again, by the one that was started so.
    upgrade_must_work(&corsac);
    assert_ne!(serving_pid(&corsac), new);
    assert_eq!(corsac.get("/local").send().text(), "local");
}

/// What goes wrong, and a word of the reason. `{corsac}` is the binary.
const FAILURES: [(&str, &str, &str); 5] = [
    // By `run` it would be launched a second time; whoever fails at the first says how.
    ("it ends at once", "[ $1 = check ] || exit 7", "ended (exit status: 7)"),
    ("it crashes", "[ $1 = check ] || kill -SEGV $$", "(signal: 11"),
    ("it hangs", "[ $1 = check ] || exec sleep 600", "did not serve within 2 s"),
    ("its check hangs", "exec sleep 600", "check` did not end within 2 s"),
    ("its check refuses", "echo no >&2; exit 1", "refuses the configuration"),
];

#[test]
fn a_binary_that_fails_changes_nothing() {
    let (_origin, corsac) = start();
    let before = serving_pid(&corsac);
    let load = Load::start(&corsac);
    for (what, script, reason) in FAILURES {
        corsac.workdir().write("new", format!("#!/bin/sh\n{script}\n"));
        let path = corsac.path("new");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = upgrade(&corsac, &["--binary", path.to_str().unwrap(), "--timeout", "2s"]);
        assert_eq!(output.status.code(), Some(1), "{what}");
        assert!(stderr(&output).contains(reason), "{what}: {}", stderr(&output));
        assert_eq!(serving_pid(&corsac), before, "{what}");
    }
    let output = upgrade(&corsac, &["--binary", "nowhere"]);
    assert!(stderr(&output).contains("nowhere cannot be started"), "{}", stderr(&output));
    load.stop_without_failures();
    upgrade_must_work(&corsac);
}

#[test]
fn a_configuration_that_fails_changes_nothing() {
    let (origin, corsac) = start();
    let before = serving_pid(&corsac);
    let load = Load::start(&corsac);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let unbindable = format!("[listeners.more]\naddress = \"{taken}\"");
    for (more, reason) in [
        ("nonsense = 1", "refuses the configuration"),
        (&*unbindable, "listeners.more cannot listen on"),
    ] {
        corsac.workdir().replace("corsac.toml", config(origin.address(), more));
        let output = upgrade(&corsac, &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
        assert_eq!(serving_pid(&corsac), before);
    }
    load.stop_without_failures();
    corsac.workdir().replace("corsac.toml", config(origin.address(), ""));
    upgrade_must_work(&corsac);
}

#[test]
fn listeners_come_and_go() {
    let (origin, mut corsac) = start();
    let first = corsac.address();
    let more = "[listeners.more]\naddress = [\"127.0.0.1:0\", \"[::1]:0\"]";
    corsac.workdir().replace("corsac.toml", config(origin.address(), more));
    let refused = corsac.command(&["reload", "--wait", "--socket", "admin.sock"]);
    assert!(stderr(&refused).contains("`corsac upgrade` changes it"), "{}", stderr(&refused));
    upgrade_must_work(&corsac);
    assert_eq!(corsac.await_exit(), Some(0));
    let line = corsac.await_stderr("(listeners.more)", 2);
    let added: SocketAddr = line.split(' ').rev().nth(1).unwrap().parse().unwrap();
    for address in [first, added] {
        assert_eq!(Call::new(address, "GET", "/local").send().text(), "local", "{address}");
    }
    corsac.workdir().replace("corsac.toml", config(origin.address(), ""));
    upgrade_must_work(&corsac);
    corsac.await_stderr("is not listened on any more", 2);
    assert_eq!(corsac.get("/local").send().text(), "local");
    // The old one may still be about to close it.
    await_some("it closes", || Connection::try_open(added).err());
}

#[test]
fn a_hundred_listeners() {
    let mut text = "version = 1\n[admin]\nlisten = \"unix:admin.sock\"\n\
                    [services.s.routes.r]\npaths = \"/*\"\nrespond = { body = \"local\" }\n"
        .to_owned();
    for listener in 0..100 {
        write!(text, "[listeners.l{listener}]\naddress = \"127.0.0.1:0\"\n").unwrap();
    }
    let mut corsac = Corsac::with(&text).start();
    assert_eq!(corsac.addresses().len(), 100);
    upgrade_must_work(&corsac);
    assert_eq!(corsac.await_exit(), Some(0));
    for (address, listener) in corsac.addresses() {
        assert_eq!(Call::new(address, "GET", "/").send().text(), "local", "{listener}");
    }
}

#[test]
fn what_is_in_flight_ends_on_the_old_process() {
    let gate = Gate::default();
    let opened = gate.clone();
    let body = payload(3_000_000);
    let origin = Origin::scripted(move |request| match request.target.as_str() {
        "/upload" => Answer::echo(),
        "/socket" => {
            Answer::status(101).header("Upgrade", "websocket").header("Connection", "Upgrade")
        }
        _ => Answer::status(200).body(body.clone()).after(&opened),
    });
    let mut corsac = Corsac::with(&config(origin.address(), "")).start();
    let mut socket = corsac.connect();
    assert_eq!(corsac.get("/socket").web_socket().send_over(&mut socket).status, 101);
    let mut upload = corsac.connect();
    let head = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n";
    upload.write(head.as_bytes());
    let sent = payload(200_000);
    upload.write(&sent[..100_000]);
    let call = corsac.get("/download");
    let download = thread::spawn(move || call.send());
    await_some("they are open", || (status(&corsac)["connections"] == 3).then_some(()));
    origin.await_requests(2);
    upgrade_must_work(&corsac);
    // The new process tells who is still on the old one.
    let draining = await_some("it is shown", || status(&corsac)["draining"].get(0).cloned());
    assert_eq!(draining["pid"], corsac.pid());
    let clients = draining["clients"].as_array().unwrap();
    assert_eq!(clients.len(), 3, "{clients:?}");
    upload.write(&sent[100_000..]);
    let echoed = upload.receive("POST");
    assert_eq!((echoed.status, echoed.body.len()), (200, sent.len()));
    socket.write(b"still there?");
    assert_eq!(socket.read(12), b"still there?");
    gate.open();
    assert_eq!(download.join().unwrap().body, payload(3_000_000));
    socket.finish_writing();
    assert_eq!(corsac.await_exit(), Some(0));
    let none = Value::Array(Vec::new());
    await_some("its end is seen", || (status(&corsac)["draining"] == none).then_some(()));
}

/// A process that drains is told by the last one, whoever that is, and counts there.
#[test]
fn a_stream_outlives_two_upgrades() {
    let gate = Gate::default();
    let origin = Origin::answering(200).body("late").after(&gate).start();
    let mut corsac = Corsac::with(&config(origin.address(), "")).start();
    let call = corsac.get("/");
    let client = thread::spawn(move || call.send());
    origin.await_requests(1);
    upgrade_must_work(&corsac);
    upgrade_must_work(&corsac);
    let draining = || status(&corsac)["draining"].as_array().unwrap().clone();
    let first = |elders: &[Value]| elders.iter().any(|elder| elder["pid"] == corsac.pid());
    await_some("the first is shown", || first(&draining()).then_some(()));
    gate.open();
    assert_eq!(client.join().unwrap().text(), "late");
    assert_eq!(corsac.await_exit(), Some(0));
    let late = "corsac_http_requests_total{code=\"200\",route=\"s/origin\",service=\"s\"} 1";
    await_some(late, || metrics(&corsac).contains(late).then_some(()));
    assert!(!corsac.stderr().contains("has ended"), "{}", corsac.stderr());
}

/// Files are read by the process that serves, and not once more by one that drains.
#[test]
fn who_drains_reads_no_files() {
    let gate = Gate::default();
    let origin = Origin::answering(200).after(&gate).start();
    let mut corsac = Corsac::with(&config(origin.address(), "")).start();
    let call = corsac.get("/");
    let client = thread::spawn(move || call.send());
    origin.await_requests(1);
    upgrade_must_work(&corsac);
    // When the second change is served, whoever reads has read the first.
    for change in 1..=2 {
        let text = config(origin.address(), &format!("# {change}"));
        corsac.workdir().replace("corsac.toml", text);
        corsac.await_stderr("serves (a changed file)", change);
    }
    gate.open();
    assert_eq!(client.join().unwrap().status, 200);
    assert_eq!(corsac.await_exit(), Some(0));
    let served = corsac.stderr().matches("serves (a changed file)").count();
    assert_eq!(served, 2, "{}", corsac.stderr());
}

#[test]
fn ten_upgrades_under_load() {
    let (_origin, corsac) = start();
    let load = Load::start(&corsac);
    for _ in 0..10 {
        upgrade_must_work(&corsac);
    }
    assert!(load.stop_without_failures() > 100, "there was hardly any load");
    assert_eq!(corsac.successors().len(), 10);
}

/// Whichever process dies, the other one serves. Nothing but what it had accepted is lost.
#[test]
fn killed_at_every_step() {
    for step in HandOverStep::ALL {
        let name = step.name();
        let origin = Origin::answering(200).start();
        let setup = Corsac::with(&config(origin.address(), ""));
        let mut corsac = setup.environment("CORSAC_PAUSE_AT", name).start();
        // Who comes after a dead process can only bind what it can know.
        let listen = corsac.address().to_string();
        corsac.workdir().replace("corsac.toml", config_at(&listen, origin.address(), ""));
        let command = ["upgrade", "--wait", "--socket", "admin.sock", "--timeout", "30s"];
        let has_accepted =
            !matches!(step, HandOverStep::Attached | HandOverStep::Received | HandOverStep::Bound);
        let load = Load::start(&corsac);
        thread::scope(|scope| {
            let asked = scope.spawn(|| corsac.command(&command));
            let line = corsac.await_stderr(&format!("is held at {name}"), 1);
            let pid: u64 = line.split(' ').rev().nth(4).unwrap().parse().unwrap();
            load.await_more(20);
            kill(pid, "KILL");
            let output = asked.join().unwrap();
            if name.starts_with("new:") {
                assert_eq!(output.status.code(), Some(1), "{name}");
                let said = stderr(&output);
                assert!(said.contains("the new process ended"), "{name}: {said}");
            }
        });
        if name.starts_with("old:") {
            assert_eq!(corsac.await_exit(), None, "{name}: it was the old one that was held");
        }
        if step == HandOverStep::Checked {
            continue; // There was no other process yet.
        }
        if !has_accepted {
            load.await_more(20);
            load.stop_without_failures();
        }
        // Whoever is left serves, and can be asked.
        // It may still be binding.
        let answer = await_some(name, || corsac.get("/local").try_send().ok());
        assert_eq!(answer.text(), "local", "{name}");
        let serving = await_some(name, || {
            let output = corsac.command(&["status", "--socket", "admin.sock", "--format", "json"]);
            serde_json::from_slice::<Value>(&output.stdout).ok()?["pid"].as_u64()
        });
        let is_old = serving == u64::from(corsac.pid());
        assert_eq!(is_old, name.starts_with("new:"), "{name}: process {serving} serves");
        assert_eq!(corsac.get("/").send().status, 200, "{name}");
        let load = Load::start(&corsac);
        load.await_more(20);
        load.stop_without_failures();
    }
}

/// From the moment at which it accepts, clients come to the new process, too. If it is
/// not to serve, it ends what they have begun.
#[test]
fn given_up_when_the_new_process_has_accepted() {
    const TIMES: usize = 3;
    let origin = Origin::answering(200).start();
    let setup = Corsac::with(&config(origin.address(), ""));
    let corsac = setup.environment("CORSAC_PAUSE_AT", "new:answering").start();
    let load = Load::start(&corsac);
    // It accepts while it is held; on a busy machine it may not come so far.
    let held = || corsac.stderr().matches("is held at new:answering").count();
    while held() < TIMES {
        let output = upgrade(&corsac, &["--timeout", "2s"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("did not") && said.contains("within 2 s"), "{said}");
    }
    load.await_more(100);
    load.stop_without_failures();
    assert_eq!(serving_pid(&corsac), u64::from(corsac.pid()));
    for pid in corsac.successors() {
        assert!(has_gone(pid), "process {pid} is left");
    }
}

/// At whatever moment.
#[test]
fn twenty_upgrades_that_are_given_up() {
    let origin = Origin::answering(200).start();
    // So many that the new process is busy for a while when it accepts already.
    let mut more = String::new();
    for listener in 0..50 {
        writeln!(more, "[listeners.l{listener}]\naddress = \"127.0.0.1:0\"").unwrap();
    }
    let corsac = Corsac::with(&config(origin.address(), &more)).start();
    let load = Load::start(&corsac);
    for moment in payload(20) {
        let timeout = format!("{}ms", 20 + 2 * usize::from(moment));
        // A quick machine may be in time.
        upgrade(&corsac, &["--timeout", &timeout]);
    }
    load.await_more(100);
    load.stop_without_failures();
    upgrade_must_work(&corsac);
}

/// A new process that is told to stop tells the old one, which serves on.
#[test]
fn the_new_process_is_told_to_stop() {
    let origin = Origin::answering(200).start();
    let setup = Corsac::with(&config(origin.address(), ""));
    let corsac = setup.environment("CORSAC_PAUSE_AT", "new:answering").start();
    let load = Load::start(&corsac);
    thread::scope(|scope| {
        let asked = scope.spawn(|| upgrade(&corsac, &[]));
        corsac.await_stderr("is held at new:answering", 1);
        load.await_more(20);
        kill(corsac.successors()[0].into(), "TERM");
        let output = asked.join().unwrap();
        assert!(stderr(&output).contains("told to stop"), "{}", stderr(&output));
    });
    load.await_more(20);
    load.stop_without_failures();
    assert_eq!(serving_pid(&corsac), u64::from(corsac.pid()));
}

/// Whether a process, which is no child of this one, has gone.
fn has_gone(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_err()
}

#[test]
fn a_stop_ends_an_upgrade() {
    let origin = Origin::answering(200).start();
    let setup = Corsac::with(&config(origin.address(), ""));
    let mut corsac = setup.environment("CORSAC_PAUSE_AT", "new:bound").start();
    let output = corsac.command(&["upgrade", "--socket", "admin.sock"]);
    assert!(output.status.success(), "{}", stderr(&output));
    corsac.await_stderr("is held at new:bound", 1);
    let second = upgrade(&corsac, &[]);
    assert!(stderr(&second).contains("another upgrade is under way"), "{}", stderr(&second));
    corsac.signal("TERM");
    assert_eq!(corsac.await_exit(), Some(0));
    corsac.await_stderr("not upgraded, this process serves on: corsac stops", 1);
    let pid = corsac.successors()[0];
    await_some("it has gone", || has_gone(pid).then_some(()));
    assert!(Connection::try_open(corsac.address()).is_err(), "nobody listens any more");
}

#[test]
fn what_was_counted_goes_on() {
    let gate = Gate::default();
    let origin = Origin::answering(200).after(&gate).start();
    let cors = "[services.s.cors]\nallow_origins = \"https://a.example\"";
    let mut corsac = Corsac::with(&config(origin.address(), cors)).start();
    for _ in 0..3 {
        corsac.get("/local").header("Origin", "https://b.example").send();
    }
    let call = corsac.get("/");
    let held = thread::spawn(move || call.send());
    origin.await_requests(1);
    upgrade_must_work(&corsac);
    corsac.get("/local").send();
    let local = "corsac_http_requests_total{code=\"200\",route=\"s/local\",service=\"s\"} 4";
    await_some(local, || metrics(&corsac).contains(local).then_some(()));
    let refused = &status(&corsac)["refused_origins"][0]["origins"][0];
    assert_eq!((&refused["origin"], &refused["count"]), (&"https://b.example".into(), &3.into()));
    // What ends on the old process counts in the new one, too.
    gate.open();
    assert_eq!(held.join().unwrap().status, 200);
    assert_eq!(corsac.await_exit(), Some(0));
    let late = "corsac_http_requests_total{code=\"200\",route=\"s/origin\",service=\"s\"} 1";
    await_some(late, || metrics(&corsac).contains(late).then_some(()));
}

/// A request that is cut off is the last one that the old process counts.
#[test]
fn what_a_drain_cuts_off_is_counted() {
    let origin = Origin::scripted(|_| Answer::silence());
    let drain = "[limits]\ndrain = \"100ms\"";
    let mut corsac = Corsac::with(&config(origin.address(), drain)).start();
    let mut waiting = corsac.connect();
    waiting.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.await_requests(1);
    upgrade_must_work(&corsac);
    assert_eq!(corsac.await_exit(), Some(0));
    corsac.await_stderr("stopped; connections still open: 1", 1);
    let cut_off = "corsac_http_requests_total{code=\"none\",route=\"s/origin\",service=\"s\"} 1";
    await_some(cut_off, || metrics(&corsac).contains(cut_off).then_some(()));
}

#[test]
fn systemd_is_told() {
    let origin = Origin::answering(200).start();
    let setup = Corsac::with(&config(origin.address(), ""));
    let path = setup.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let next = || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let await_told = |told: &str| while !next().contains(told) {};
    let mut corsac = setup
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        // In microseconds: fed every second, by an answer that may take as long.
        .environment("WATCHDOG_USEC", "2000000")
        .start();
    await_told("READY=1");
    await_told("WATCHDOG=1");
    upgrade_must_work(&corsac);
    let main = format!("MAINPID={}\nREADY=1", corsac.successors()[0]);
    await_told(&main);
    assert_eq!(corsac.await_exit(), Some(0));
    // The old one is gone, so this is the new one.
    while socket.set_nonblocking(true).is_ok() && socket.recv(&mut [0; 512]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    await_told("WATCHDOG=1");
    kill(corsac.successors()[0].into(), "TERM");
    await_told("STOPPING=1");
    assert!(!corsac.stderr().contains("watchdog is not fed"), "{}", corsac.stderr());
}

/// What a corsac says to systemd, read by the test.
struct Systemd(UnixDatagram);

impl Systemd {
    fn of(setup: Setup) -> (Self, Setup) {
        let path = setup.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (Self(socket), setup.environment("NOTIFY_SOCKET", path.to_str().unwrap()))
    }

    /// What has been said by now, and was not read yet.
    fn told(&self) -> String {
        let mut told = String::new();
        let mut buffer = [0; 512];
        while let Ok(length) = self.0.recv(&mut buffer) {
            told += String::from_utf8_lossy(&buffer[..length]).trim_end();
            told += "\n";
        }
        told
    }
}

/// systemd believes every process of the service: who drains must not speak for who
/// serves, nor a process that stops take it back.
#[test]
fn only_the_main_process_speaks() {
    let gate = Gate::default();
    let origin = Origin::answering(200).after(&gate).start();
    let (systemd, setup) = Systemd::of(Corsac::with(&config(origin.address(), "")));
    let mut corsac = setup.start();
    let held: Vec<_> = (1..=2)
        .map(|count| {
            let call = corsac.get("/");
            let client = thread::spawn(move || call.send());
            origin.await_requests(count);
            if count == 1 {
                upgrade_must_work(&corsac);
            }
            client
        })
        .collect();
    // The old process drains, the new one has a request, too.
    await_some("READY=1", || systemd.told().contains("MAINPID=").then_some(()));
    corsac.signal("HUP");
    corsac.await_stderr("does not read its configuration", 1);
    kill(corsac.successors()[0].into(), "TERM");
    await_some("STOPPING=1", || systemd.told().contains("STOPPING=1").then_some(()));
    kill(corsac.successors()[0].into(), "HUP");
    corsac.await_stderr("does not read its configuration", 2);
    gate.open();
    for client in held {
        assert_eq!(client.join().unwrap().status, 200);
    }
    assert_eq!(corsac.await_exit(), Some(0));
    await_some("the end", || has_gone(corsac.successors()[0]).then_some(()));
    assert_eq!(systemd.told(), "");
    assert!(!corsac.stderr().contains("serves (SIGHUP)"), "{}", corsac.stderr());
}

/// Another process has the service already: this one does not say that it stops.
#[test]
fn told_to_stop_when_it_was_just_replaced() {
    let origin = Origin::answering(200).start();
    let (systemd, setup) = Systemd::of(Corsac::with(&config(origin.address(), "")));
    let corsac = setup.environment("CORSAC_PAUSE_AT", "old:replaced").start();
    assert!(corsac.command(&["upgrade", "--socket", "admin.sock"]).status.success());
    corsac.await_stderr("is held at old:replaced", 1);
    corsac.signal("TERM");
    await_some("it stops", || {
        // Either process may be the one that is asked.
        let status = corsac.command(&["status", "--socket", "admin.sock", "--format", "json"]);
        let status: Value = serde_json::from_slice(&status.stdout).ok()?;
        (status["pid"] == corsac.pid() && status["state"] == "stopping").then_some(())
    });
    let told = systemd.told();
    assert!(told.contains("MAINPID=") && !told.contains("STOPPING=1"), "{told}");
}

/// The new process has said that it is the main one, and dies before it has told the old
/// one, which is the main one again.
#[test]
fn the_main_process_is_the_one_that_is_left() {
    let origin = Origin::answering(200).start();
    let (systemd, setup) = Systemd::of(Corsac::with(&config(origin.address(), "")));
    let corsac = setup.environment("CORSAC_PAUSE_AT", "new:replacing").start();
    thread::scope(|scope| {
        let asked = scope.spawn(|| upgrade(&corsac, &[]));
        corsac.await_stderr("is held at new:replacing", 1);
        let new = corsac.successors()[0];
        assert!(systemd.told().ends_with(&format!("MAINPID={new}\nREADY=1\n")));
        kill(new.into(), "KILL");
        assert_eq!(asked.join().unwrap().status.code(), Some(1));
    });
    let told = systemd.told();
    assert_eq!(told, format!("MAINPID={}\nREADY=1\n", corsac.pid()));
}

#[test]
fn takeover_is_not_for_people() {
    let (_origin, corsac) = start();
    let output = corsac.command(&["run", "--takeover=serve", "--config", "corsac.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("for `corsac upgrade` alone"), "{}", stderr(&output));
}

/// Clients that ask on and on: half of them over connections that they keep.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<Option<String>>>,
}

impl Load {
    fn start(corsac: &Corsac) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..4)
            .map(|client| {
                let (call, stop) = (corsac.get("/"), Arc::clone(&stop));
                let (answered, address) = (Arc::clone(&answered), corsac.address());
                thread::spawn(move || ask_on(&call, address, client % 2 == 0, &stop, &answered))
            })
            .collect();
        Self { stop, answered, clients }
    }

    /// Awaits that many more answers, unless something has failed.
    #[track_caller]
    fn await_more(&self, count: usize) {
        let enough = self.answered.load(Ordering::Relaxed) + count;
        await_some("there is load", || {
            let has_failed = self.clients.iter().any(thread::JoinHandle::is_finished);
            (has_failed || self.answered.load(Ordering::Relaxed) >= enough).then_some(())
        });
    }

    /// How many requests there were.
    #[track_caller]
    fn stop_without_failures(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let failures: Vec<String> =
            self.clients.drain(..).filter_map(|client| client.join().unwrap()).collect();
        assert!(failures.is_empty(), "{failures:?}");
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Asks until it is stopped, or until something fails, which is returned.
fn ask_on(
    call: &Call,
    address: SocketAddr,
    keep: bool,
    stop: &AtomicBool,
    answered: &AtomicUsize,
) -> Option<String> {
    let mut kept: Option<Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        let asked = match kept.take() {
            Some(connection) => Ok(connection),
            None => Connection::try_open(address),
        };
        let answer = asked.and_then(|mut connection| {
            let answer = call.try_over(&mut connection)?;
            if keep && answer.header("connection").as_deref() != Some("close") {
                kept = Some(connection);
            }
            Ok(answer)
        });
        match answer {
            Ok(answer) if answer.status == 200 => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => return Some(answer.start),
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}
