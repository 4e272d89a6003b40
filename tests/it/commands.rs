//! The command line, as scripts and people use it.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::harness::{Corsac, Workdir, corsac};

const FINE: &str = r#"
version = 1

[listeners.http]
address = "127.0.0.1:0"

[services.shop.routes.health]
paths   = "/healthz"
cors    = { allow_origins = "https://app.example.com" }
respond = { body = "ok\n" }

[[tests]]
name    = "it answers"
request = "GET http://localhost/healthz"
expect  = { status = 200 }
"#;

/// Loads, with a warning (W201).
const WARNED: &str = "\n[upstreams.unused]\nnodes = \"127.0.0.1:9\"\n";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    corsac(folder).args(arguments).output().unwrap()
}

fn with(config: &str) -> Workdir {
    let folder = Workdir::new();
    folder.write("corsac.toml", config);
    folder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn exit_codes() {
    let url = "http://localhost/healthz";
    let (listed, unlisted) = ("origin: https://app.example.com", "origin: https://evil.example");
    #[rustfmt::skip]
    let cases: &[(&[&str], i32)] = &[
        (&["check", "corsac.toml"],                                           0),
        (&["check", "corsac.toml", "--deny-warnings"],                        1),
        (&["check", "absent.toml"],                                           1),
        (&["test", "-c", "corsac.toml"],                                      0),
        (&["routes", "-c", "corsac.toml"],                                    0),
        (&["explain", "GET", url, "-c", "corsac.toml"],                       0),
        (&["explain", "GET", url, "-c", "corsac.toml", "-H", listed],         0),
        (&["explain", "GET", url, "-c", "corsac.toml", "-H", unlisted],       1),
        (&["explain", "GET", url, "-c", "absent.toml"],                       1),
        (&["explain", "GET", url, "-c", "corsac.toml", "-H", "no colon"],     2),
        (&["explain", "GET", "/healthz", "-c", "corsac.toml"],                2),
        (&["explain", "GET", "ftp://localhost/healthz", "-c", "corsac.toml"], 2),
        (&["nonsense"],                                                       2),
        (&["run", "--nonsense"],                                              2),
        (&["run", "corsac.toml"],                                             2),
        (&["check", "--format", "xml"],                                       2),
        (&["demo", "--listen", "8080"],                                       2),
        (&[],                                                                 2),
    ];
    let folder = with(&(FINE.to_owned() + WARNED));
    for (arguments, code) in cases {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}\n{}", text(&output.stderr));
    }
}

/// `ok` of the JSON is what the exit code says.
#[test]
fn ok_agrees_with_the_exit_code() {
    let wrong = "\n[upstreams.unused]\nnods = \"127.0.0.1:9\"\n";
    #[rustfmt::skip]
    let cases = [
        ("",     &["--format", "json"][..],                        true),
        ("",     &["--format", "json", "--deny-warnings"][..],     true),
        (WARNED, &["--format", "json"][..],                        true),
        (WARNED, &["--format", "json", "--deny-warnings"][..],     false),
        (wrong,  &["--format", "json"][..],                        false),
        (wrong,  &["--format", "json", "--deny-warnings"][..],     false),
    ];
    for (more, arguments, ok) in cases {
        let output = Corsac::with(&(FINE.to_owned() + more)).check(arguments);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["ok"], ok, "{arguments:?} {report}");
        assert_eq!(output.status.success(), ok, "{arguments:?} {report}");
        assert_eq!(report["diagnostics"].as_array().unwrap().is_empty(), more.is_empty());
    }
}

#[test]
fn data_comes_as_json() {
    let folder = with(FINE);
    for command in [
        &["check", "corsac.toml"][..],
        &["test", "-c", "corsac.toml"],
        &["routes", "-c", "corsac.toml"],
        &["explain", "GET", "http://localhost/healthz", "-c", "corsac.toml"],
    ] {
        let output = run(folder.path(), &[command, &["--format", "json"]].concat());
        let json = serde_json::from_slice::<Value>(&output.stdout);
        assert!(json.is_ok_and(|json| !json.is_null()), "{command:?}: {}", text(&output.stdout));
    }
}

/// They come from the definition of the commands, so each names all of these.
#[test]
fn man_help_and_completions() {
    let folder = Workdir::new();
    let mut outputs = vec![vec!["man"], vec!["--help"]];
    outputs.extend(["bash", "elvish", "fish", "powershell", "zsh"].map(|s| vec!["completions", s]));
    for arguments in outputs {
        let output = run(folder.path(), &arguments);
        assert!(output.status.success(), "{arguments:?}");
        let said = text(&output.stdout).replace("\\-", "-");
        for command in ["run", "check", "explain", "routes", "test", "demo", "man"] {
            assert!(said.contains(command), "{arguments:?} says nothing of {command}:\n{said}");
        }
    }
    let man = text(&run(folder.path(), &["man"]).stdout);
    assert!(man.contains("deny\\-warnings"), "it has the options of commands:\n{man}");
    let title = man.lines().find(|line| line.starts_with(".TH")).unwrap();
    assert!(title.contains("corsac 0.") && title.matches('"').count() % 2 == 0, "{title}");
    let version = text(&run(folder.path(), &["--version"]).stdout);
    assert!(version.contains(corsac::cors::PUBLIC_SUFFIX_LIST_DATE), "{version}");
}

/// What people meet before anything works: said in words, with what to do.
#[test]
fn first_steps() {
    let folder = with(FINE);
    folder.write("latin-1.toml", b"version = 1\n# caf\xe9\n");
    folder.write("empty.toml", "");
    #[rustfmt::skip]
    let cases: &[(&[&str], &str)] = &[
        (&["run", "-c", "none.toml"], "error[E008]: none.toml cannot be read: there is no such file"),
        (&["run", "-c", "."],         "error[E008]: . cannot be read: it is a directory"),
        (&["check", "latin-1.toml"],  "error[E008]: latin-1.toml cannot be read: line 2 is not UTF-8"),
        (&["check", "empty.toml"],    "help: write version = 1 at the top of the file"),
        (&["run", "corsac.toml"],     "Usage: corsac run [--config PATH]"),
        (&["explain", "GET", "/x"],   "a whole URL is needed, such as https://"),
        (&["demo", "--listen", "80"], "an address is an IP and a port, such as 127.0.0.1:8080"),
    ];
    for (arguments, expected) in cases {
        let output = run(folder.path(), arguments);
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{arguments:?} says:\n{said}");
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn no_configuration() {
    if Path::new("/etc/corsac/corsac.toml").exists() {
        eprintln!("this machine has a configuration; this test has not been run");
        return;
    }
    let folder = Workdir::new();
    for command in ["run", "check", "test", "routes"] {
        let output = run(folder.path(), &[command]);
        let said = text(&output.stderr);
        assert!(said.contains("neither /etc/corsac/corsac.toml nor conf/corsac.toml"), "{said}");
        assert_eq!(output.status.code(), Some(1), "{command}");
    }
}

#[test]
fn an_address_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = with(&FINE.replace("127.0.0.1:0", &address));
    for arguments in [&["run", "-c", "corsac.toml"][..], &["demo", "--listen", &address]] {
        let output = run(folder.path(), arguments);
        let said = text(&output.stderr);
        assert!(said.contains(&format!("cannot listen on {address}: the address is in use")));
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty(), "nothing is promised: {}", text(&output.stdout));
    }
}

#[test]
fn the_tour_of_the_demo() {
    let output = run(Workdir::new().path(), &["demo", "--tour"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for status in ["HTTP/1.1 200 OK", "HTTP/1.1 403 Forbidden", "HTTP/1.1 405 Method Not Allowed"] {
        assert!(said.contains(status), "{status} is missing:\n{said}");
    }
}
