//! Tables of the documents against what the binary says of itself.

use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

use corsac::server::{AdminEndpoint, ENDPOINTS, Reach};
use serde_json::Value;

use super::read;
use crate::harness::{Call, Certified, Corsac, DEADLINE, Gate, Origin, Workdir, corsac};

/// The rows of the first table below a heading of a document.
fn table(document: &str, heading: &str) -> Vec<String> {
    let text = read(document);
    let (_, below) = text.split_once(&format!("\n{heading}\n")).unwrap();
    let table = below.lines().skip_while(|line| !line.starts_with('|'));
    table.skip(2).take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

/// What stands between backticks.
fn codes_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The options that a text names, `--help` apart.
fn options(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| word.starts_with("--") && word.len() > 2 && *word != "--help").collect()
}

/// `-H` is written for `--header`.
#[test]
fn every_command_has_one_row() {
    let folder = Workdir::new();
    let help = |arguments: &[&str]| {
        let output = corsac(folder.path()).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let usage = help(&["--help"]);
    let (_, commands) = usage.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    let rows = table("docs/config.md", "## The command line");
    let synopses: Vec<&str> = rows.iter().map(|row| codes_in(row).next().unwrap()).collect();
    let documented: Vec<&str> =
        synopses.iter().map(|synopsis| synopsis.split(' ').nth(1).unwrap()).collect();
    assert_eq!(documented, commands);
    for (command, synopsis) in commands.iter().zip(synopses) {
        let documented = synopsis.replace("-H ", "--header ");
        assert_eq!(options(&documented), options(&help(&[command, "-h"])), "corsac {command}");
    }
}

#[test]
fn every_field_of_the_access_log_has_one_row() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, "");
    corsac.get("/").send();
    let line = corsac.access_log(1).pop().unwrap();
    let fields: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let rows = table("docs/config.md", "## The access log");
    let documented: BTreeSet<&str> =
        rows.iter().flat_map(|row| codes_in(row.split('|').nth(1).unwrap())).collect();
    assert_eq!(documented, fields);
}

const ADMIN: &str = "
[admin]
listen = \"127.0.0.1:0\"
[services.all]
upstream = \"origin\"
cors     = { allow_origins = \"https://a.example\" }
routes.all.paths = \"/*\"
";

#[test]
fn every_endpoint_answers_as_its_row_says() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, ADMIN);
    let admin = corsac.admin_address();
    let rows = table("docs/operations.md", "## The admin listener");
    let documented: Vec<_> = rows
        .iter()
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[1], cells[2].trim_matches('`'), cells[3])
        })
        .collect();
    let known = ENDPOINTS.map(|AdminEndpoint { method, path, reach, .. }| match reach {
        Reach::Anywhere => (method, path, "anywhere"),
        Reach::Socket => (method, path, "socket"),
    });
    assert_eq!(documented, known);
    for AdminEndpoint { method, path, reach, .. } in ENDPOINTS {
        let other = if method == "GET" { "POST" } else { "GET" };
        let (expected, by_another) = match reach {
            Reach::Anywhere => (200, 405),
            Reach::Socket => (403, 403),
        };
        let status = |method: &str| Call::new(admin, method, path).send().status;
        assert_eq!((status(method), status(other)), (expected, by_another), "{path}");
        // Whoever asks for something else is told.
        assert!(Call::new(admin, "GET", "/").send().text().contains(path));
    }
    let refused = Call::new(admin, "DELETE", "/status").send();
    assert_eq!(refused.header("allow").as_deref(), Some("GET, HEAD"));
}

#[test]
fn every_field_of_the_status_has_one_row() {
    let gate = Gate::default();
    let origin = Origin::answering(200).after(&gate).start();
    let listen = "listen = [\"127.0.0.1:0\", \"unix:admin.sock\"]";
    let tls = "[listeners.https]\naddress = \"127.0.0.1:0\"\n\
               tls = { cert = \"a.pem\", key = \"a.key\" }\n";
    let upstream = format!("[upstreams.origin]\nnodes = [\"{}\"]\n", origin.address());
    let services = ADMIN.replace("listen = \"127.0.0.1:0\"", listen);
    let certified = Certified::of(&["a.example"]);
    let corsac = Corsac::serving(&format!("{tls}{upstream}{services}"))
        .file("a.pem", &certified.cert)
        .file("a.key", &certified.key)
        .start();
    let admin = corsac.admin_address();
    // One process still has a request when another one has taken over.
    let call = corsac.get("/").header("Origin", "https://b.example");
    let client = thread::spawn(move || call.send());
    origin.await_requests(1);
    assert!(corsac.command(&["upgrade", "--wait", "--socket", "admin.sock"]).status.success());
    let started = Instant::now();
    let status = loop {
        let text = Call::new(admin, "GET", "/status").send().text();
        let status: Value = serde_json::from_str(&text).unwrap();
        if status["draining"][0].is_object() && status["refused_origins"][0].is_object() {
            break status;
        }
        assert!(started.elapsed() < DEADLINE, "{text}");
        thread::yield_now();
    };
    gate.open();
    assert_eq!(client.join().unwrap().status, 200);
    let mut fields = BTreeSet::new();
    leaves(&status, "", &mut fields);
    let rows = table("docs/operations.md", "### Status");
    let documented = rows.iter().map(|row| codes_in(row).next().unwrap().to_owned());
    assert_eq!(documented.collect::<BTreeSet<_>>(), fields);
}

/// The names of what is no object, with dots; lists are left out of the names.
fn leaves(value: &Value, name: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let dot = if name.is_empty() { "" } else { "." };
                leaves(value, &format!("{name}{dot}{key}"), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(item, name, found)),
        _ => {
            found.insert(name.to_owned());
        }
    }
}
