//! What corsac answers by itself, whoever stands behind it.

use crate::harness::{Answer, Corsac, Gate, Origin};

/// Whether a connection ends depends on why corsac answers, not on the status: a
/// route may answer 400 to a request that is in order.
#[test]
fn an_answer_that_is_configured_leaves_the_connection_open() {
    let corsac = Corsac::serving(
        "[services.s.routes.gone]\npaths = \"/gone\"\nrespond = { status = 400, body = \"no\\n\" }\n",
    )
    .start();
    let mut connection = corsac.connect();
    for _ in 0..3 {
        let answer = corsac.get("/gone").send_over(&mut connection);
        assert_eq!((answer.status, answer.text().as_str()), (400, "no\n"));
        assert_ne!(answer.header("connection").as_deref(), Some("close"));
    }
    let answer = corsac.get("/%00").send_over(&mut connection);
    assert_eq!((answer.status, answer.header("connection").as_deref()), (400, Some("close")));
    assert_eq!(connection.await_close().unwrap(), b"");
}

/// A probe is what people send with curl: OPTIONS with an Origin, and no method to come.
/// Its path says which policy is meant, whatever the methods of the routes there are.
#[test]
fn a_probe_finds_the_policy_of_its_path() {
    let origin = Origin::answering(204).header("Allow", "GET, OPTIONS").start();
    let corsac = Corsac::in_front_of(
        &origin,
        r#"
[services.s]
upstream = "origin"

[services.s.routes.everything]
paths = "/*"

[services.s.routes.orders]
paths   = "/orders/*"
methods = ["GET", "PUT"]
cors    = { allow_origins = "https://app.example", allow_methods = ["GET", "PUT"] }

[services.s.routes.read]
paths   = "/files"
methods = "GET"
cors    = { allow_origins = "https://app.example" }

[services.s.routes.ask]
paths   = "/files"
methods = "OPTIONS"

[services.s.routes.canary]
paths   = "/canary"
methods = "GET"
match   = { headers = { x-canary = "1" } }
cors    = { allow_origins = "https://app.example" }
"#,
    );
    #[rustfmt::skip]
    let cases = [
        // path          origin                    status  ACAO                          reaches the application
        ("/orders/7",    "https://app.example",    200,    Some("https://app.example"),  false),
        ("/orders/7",    "https://evil.example",   403,    None,                         false),
        ("/files",       "https://app.example",    204,    None,                         true),
        ("/elsewhere",   "https://app.example",    204,    None,                         true),
        ("/canary",      "https://app.example",    204,    None,                         true),
    ];
    for (path, from, status, acao, reaches) in cases {
        let answer = corsac.call("OPTIONS", path).header("Origin", from).send();
        let got = answer.header("access-control-allow-origin");
        let reached = !origin.take_received().is_empty();
        assert_eq!(
            (answer.status, got.as_deref(), reached),
            (status, acao, reaches),
            "{path} {from}"
        );
    }
    // A method of its own is not a probe's to ask for.
    let answer = corsac.call("OPTIONS", "/orders/7").send();
    assert_eq!((answer.status, origin.take_received().len()), (204, 1));
}

/// docs/config.md says so: whoever closes a direction is taken for gone.
#[test]
fn a_client_that_closes_its_half_is_taken_for_gone() {
    let gate = Gate::default();
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(
        &origin,
        "[services.s]\nupstream = \"origin\"\nroutes.all.paths = \"/*\"\n",
    );
    origin.will(Answer::status(200).after(&gate));
    let mut connection = corsac.connect();
    connection.write(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    connection.finish_writing();
    assert_eq!(connection.receive("GET").status, 400);
    gate.open();
    assert_eq!(corsac.access_log(1)[0]["reason"], "client_failed");
}
