//! `corsac diff`: what it prints, and how it exits.

use serde_json::Value;

use crate::harness::{Workdir, corsac};

const BEFORE: &str = "version = 1
listeners.http.address = \"127.0.0.1:0\"
upstreams.app.nodes = \"127.0.0.1:9000\"

[services.shop]
upstream = \"app\"
cors = { allow_origins = \"https://app.example.com\" }
routes.orders.paths = \"/orders\"
routes.carts.paths = \"/carts\"

[access_log]
output = \"access.log\"
";

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Compares [`BEFORE`] with a text in another folder.
fn diff(after: &str, arguments: &[&str]) -> Ran {
    let workdir = Workdir::new();
    let before = workdir.write("old/corsac.toml", BEFORE);
    let after = workdir.write("new/corsac.toml", after);
    let mut command = corsac(workdir.path());
    let output = command.arg("diff").args([before, after]).args(arguments).output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn one_line_a_change() {
    let after = BEFORE.replace("app.example.com\"", "*.example.com\"").replace(":9000", ":9001");
    let ran = diff(&after, &[]);
    let expected = "\
        - shop/carts, shop/orders: allow_origins: https://app.example.com\n\
        + shop/carts, shop/orders: allow_origins: https://*.example.com  [widens]\n\
        - upstreams.app: node 127.0.0.1:9000: weight 1\n\
        + upstreams.app: node 127.0.0.1:9001: weight 1\n\
        2 routes changed, 1 upstream changed; 1 change widens access\n";
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str(), ran.code), (expected, "", Some(0)));
    assert_eq!(diff(&after, &["--exit-code"]).code, Some(1));
}

#[test]
fn as_json() {
    let after = BEFORE.replace("\"/orders\"", "\"/orders\"\nroutes.orders.methods = \"GET\"");
    let ran = diff(&after, &["--format", "json"]);
    let expected = serde_json::json!({
        "summary": "1 route changed; no change widens access",
        "widening": 0,
        "changes": [{
            "subject": "route", "on": ["shop/orders"], "what": "methods",
            "before": "any", "after": "GET", "access": "narrows",
        }],
    });
    assert_eq!((ran.stdout.parse::<Value>().unwrap(), ran.code), (expected, Some(0)));
}

#[test]
fn no_change_in_another_folder() {
    let ran = diff(BEFORE, &["--exit-code"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("no change\n", Some(0)));
}

#[test]
fn a_mistake_is_reported() {
    let ran = diff(&BEFORE.replace("cors =", "corse ="), &[]);
    assert!(ran.stderr.contains("error[E001]: unknown key `corse`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("new/corsac.toml"), "{}", ran.stderr);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", Some(1)));
}
