//! The access log: its formats, its files, and what it does when nobody reads it.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use crate::harness::{Call, Corsac, Gate, Setup, await_some};

/// A corsac that answers itself, with this access log.
fn logging(access_log: &str) -> Setup {
    Corsac::with(&format!(
        "version = 1\n\
         listeners.http.address = \"127.0.0.1:0\"\n\
         server.threads = 2\n\
         access_log = {access_log}\n\
         [services.s.routes.all]\n\
         paths = \"/*\"\n\
         respond = {{ body = \"hello\" }}\n"
    ))
}

/// A request whose line is as long as lines get.
fn long(corsac: &Corsac) -> Call {
    let long = "x".repeat(2_000);
    let call = corsac.get(&format!("/{long}")).header("Origin", &long);
    call.header("User-Agent", &long)
}

#[test]
fn combined() {
    let corsac = logging("{ format = \"combined\" }").start();
    let forged = "x\" 200 0 \"-\" \"y\\";
    let call = corsac.get("/a%22b?token=secret").header("User-Agent", forged);
    call.header("Referer", "https://a.example/p?token=secret").send();
    // So that the lines are in this order: two threads serve.
    corsac.access_log_lines(1);
    corsac.call("HEAD", "/").send();
    let lines = corsac.access_log_lines(2);
    let time = r"\[[0-3]\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]";
    let expected = [
        format!(
            r#"^127\.0\.0\.1 - - {time} "GET /a%22b HTTP/1\.1" 200 5 "https://a\.example/p" "x\\x22 200 0 \\x22-\\x22 \\x22y\\x5C"$"#
        ),
        format!(r#"^127\.0\.0\.1 - - {time} "HEAD / HTTP/1\.1" 200 0 "-" "-"$"#),
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert!(regex::Regex::new(&expected).unwrap().is_match(line), "{line}");
    }
}

/// Whatever a client sends, its line is one line of printable ASCII.
#[test]
fn no_request_forges_a_line() {
    #[rustfmt::skip]
    let requests: [&[u8]; 5] = [
        b"GET /\xc2\x9b2J HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff\xfe\" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: a\tb\x80\"}\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: \xe2\x80\xa8\xe2\x80\xae\r\n\r\n",
        b"GET /%0d%0a%22%20forged HTTP/1.1\r\nHost: a\r\nReferer: \"\\\r\n\r\n",
    ];
    for format in ["json", "combined"] {
        let corsac = logging(&format!("{{ format = \"{format}\" }}")).start();
        for request in requests {
            let mut connection = corsac.connect();
            connection.write(request);
            // A refusal is as good.
            let _ = connection.try_receive("GET");
        }
        corsac.get("/last").send();
        let (lines, _) = corsac.stop_and_read();
        assert!(lines.iter().any(|line| line.contains("/last")), "{lines:#?}");
        assert!(lines.len() <= requests.len() + 1, "{lines:#?}");
        for line in lines {
            assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}");
            if format == "combined" {
                assert_eq!(line.matches('"').count(), 6, "{line}");
            } else {
                serde_json::from_str::<serde_json::Value>(&line).unwrap();
            }
        }
    }
}

#[test]
fn a_line_has_a_bounded_length() {
    let corsac = logging("{}").start();
    assert_eq!(long(&corsac).send().status, 200);
    let line = &corsac.access_log(1)[0];
    for field in ["path", "origin", "user_agent"] {
        assert_eq!(line[field].as_str().unwrap().len(), 1024, "{field}");
    }
}

/// What logrotate does with `create`, under load.
#[test]
fn rotating_loses_no_line() {
    const CLIENTS: usize = 2;
    const REQUESTS: usize = 200;
    const ROTATIONS: usize = 3;
    let corsac = logging("{ output = \"access.log\" }").start();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (call, mut connection) = (corsac.get("/"), corsac.connect());
            let send = move |_| call.clone().send_over(&mut connection).header("x-request-id");
            thread::spawn(move || (0..REQUESTS).map(send).collect::<Option<Vec<_>>>().unwrap())
        })
        .collect();
    let path = corsac.path("access.log");
    for rotation in 1..=ROTATIONS {
        fs::rename(&path, corsac.path(&format!("access.log.{rotation}"))).unwrap();
        corsac.signal("USR1");
        // Without any request, too: the writer is woken.
        corsac.await_stderr("anew", rotation);
        assert!(path.exists());
    }
    let sent: BTreeSet<_> = clients.into_iter().flat_map(|c| c.join().unwrap()).collect();
    assert_eq!(sent.len(), CLIENTS * REQUESTS);
    let last = corsac.get("/").send().header("x-request-id").unwrap();
    let files = (1..=ROTATIONS).map(|n| corsac.path(&format!("access.log.{n}"))).chain([path]);
    let files: Vec<_> = files.collect();
    // The folder goes with the process, so the files are opened before.
    let files: Vec<_> = files.iter().map(|path| fs::File::open(path).unwrap()).collect();
    corsac.stop_and_read();
    let text: String =
        files.into_iter().map(|file| std::io::read_to_string(file).unwrap()).collect();
    let logged: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["request_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(logged.len(), CLIENTS * REQUESTS + 1, "each request has one line");
    let logged: BTreeSet<_> = logged.into_iter().collect();
    assert!(sent.is_subset(&logged) && logged.contains(&last));
}

#[test]
fn a_file_that_cannot_be_opened_anew() {
    let corsac = logging("{ output = \"access.log\" }").start();
    let (path, rotated) = (corsac.path("access.log"), corsac.path("access.log.1"));
    fs::rename(&path, &rotated).unwrap();
    fs::create_dir(&path).unwrap();
    corsac.signal("USR1");
    corsac.await_stderr("the old file is written on", 1);
    assert_eq!(corsac.get("/after").send().status, 200);
    let file = fs::File::open(rotated).unwrap();
    let (_, stderr) = corsac.stop_and_read();
    assert!(std::io::read_to_string(file).unwrap().contains("/after"));
    assert_eq!(stderr.iter().filter(|line| line.contains("access.log")).count(), 1, "{stderr:#?}");
}

/// The signal means nothing where there is no file; its default would end the process.
#[test]
fn the_signal_ends_nothing() {
    for output in ["stdout", "off"] {
        let corsac = logging(&format!("{{ output = \"{output}\" }}")).start();
        corsac.signal("USR1");
        assert_eq!(corsac.get("/").send().status, 200);
        assert_eq!(corsac.stop(), Some(0), "{output}");
    }
}

/// Lines are dropped, and counted, rather than requests delayed.
#[test]
fn nobody_reads_the_log() {
    const REQUESTS: usize = 1_500;
    let gate = Gate::default();
    let corsac = logging("{}").stdout_after(&gate).start();
    let mut connection = corsac.connect();
    let call = long(&corsac);
    for _ in 0..REQUESTS {
        assert_eq!(call.clone().send_over(&mut connection).status, 200);
    }
    gate.open();
    let (lines, stderr) = corsac.stop_and_read();
    let counted = regex::Regex::new(r"access log: (\d+) lines dropped").unwrap();
    let dropped: usize =
        stderr.iter().filter_map(|line| counted.captures(line)?[1].parse::<usize>().ok()).sum();
    assert!(dropped > 0 && !lines.is_empty());
    assert_eq!(lines.len() + dropped, REQUESTS);
    for line in lines {
        serde_json::from_str::<serde_json::Value>(&line).expect("lines are dropped whole");
    }
}

/// The count goes on in the process that takes over; what was said is not said again.
#[test]
fn what_was_dropped_is_told_by_who_dropped_it() {
    let gate = Gate::default();
    let setup = logging("{}\nadmin.listen = \"unix:admin.sock\"").stdout_after(&gate);
    let mut corsac = setup.start();
    let mut connection = corsac.connect();
    let call = long(&corsac);
    for _ in 0..1_500 {
        assert_eq!(call.clone().send_over(&mut connection).status, 200);
    }
    drop(connection);
    gate.open();
    let upgraded = corsac.command(&["upgrade", "--wait", "--socket", "admin.sock"]);
    assert!(upgraded.status.success(), "{}", corsac.stderr());
    assert_eq!(corsac.await_exit(), Some(0));
    let told = || corsac.stderr().matches("lines dropped").count();
    let before = told();
    assert!(before > 0, "{}", corsac.stderr());
    // What the new process has to say of a line, it says before it writes the next.
    for path in ["/one", "/two"] {
        corsac.get(path).send();
        corsac.await_access_log(path);
    }
    assert_eq!(told(), before, "{}", corsac.stderr());
}

/// It stops nothing; what is lost is counted, and said at once.
#[test]
fn a_disk_that_is_full() {
    const REQUESTS: usize = 10;
    let corsac = logging("{ output = \"/dev/full\" }").start();
    for _ in 0..REQUESTS {
        assert_eq!(corsac.get("/").send().status, 200);
    }
    corsac.await_stderr("cannot be written, 0 lines dropped: No space left", 1);
    let (_, stderr) = corsac.stop_and_read();
    let lost = format!("cannot be written, {REQUESTS} lines dropped: No space left");
    assert!(stderr.iter().any(|line| line.contains(&lost)), "{stderr:#?}");
}

#[test]
fn a_pipe_that_nobody_reads_does_not_keep_the_process() {
    let gate = Gate::default();
    let mut corsac = logging("{}").stdout_after(&gate).start();
    let mut connection = corsac.connect();
    for _ in 0..100 {
        assert_eq!(long(&corsac).send_over(&mut connection).status, 200);
    }
    corsac.signal("TERM");
    assert_eq!(corsac.await_exit(), Some(0));
    corsac.await_stderr("the last lines are lost", 1);
    gate.open();
}

/// A disk that is full takes a part of a line. Rotation makes room, and the line is
/// whole in one of the two files.
#[test]
fn no_line_is_torn_over_two_files() {
    const BLOCKS: usize = 8;
    let corsac = logging("{ output = \"access.log\" }").file_size(BLOCKS).start();
    let (log, rotated) = (corsac.path("access.log"), corsac.path("access.log.1"));
    let mut requests = 0;
    let is_full = || corsac.stderr().contains("cannot be written");
    let size = || fs::metadata(&log).map_or(0, |log| log.len());
    while !is_full() {
        let before = size();
        // Not a divisor of any size of blocks.
        assert_eq!(corsac.get(&format!("/{requests}/a%20path")).send().status, 200);
        requests += 1;
        await_some("it is written", || (is_full() || size() > before).then_some(()));
    }
    fs::rename(&log, &rotated).unwrap();
    corsac.signal("USR1");
    corsac.await_stderr("anew", 1);
    corsac.get("/last").send();
    let lines = await_some("the last line", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.contains("/last").then_some(text)
    });
    let torn = fs::read_to_string(&rotated).unwrap();
    let whole = |line: &&str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    assert_eq!(lines.lines().find(|line| !whole(line)), None);
    let before = torn.lines().filter(whole).count();
    assert_eq!(before + lines.lines().count(), requests + 1, "{torn}{lines}");
}
