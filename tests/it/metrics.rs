//! What requests leave in the metrics.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use crate::harness::{Answer, Call, Connection, Corsac, DEADLINE, Origin, Unreachable};

const PRELUDE: &str = "
version = 1
access_log.output = \"off\"
server.threads = 1
listeners.http.address = \"127.0.0.1:0\"
admin.listen = \"127.0.0.1:0\"
";

const SHOP: &str = "
[policies.cors.app]
allow_origins = \"https://a.example\"
allow_methods = [\"GET\", \"PUT\"]

[services.shop]
upstream = \"origin\"
cors = \"app\"
routes.orders.paths = \"/orders\"
";

struct Running {
    corsac: Corsac,
    admin: SocketAddr,
}

impl Running {
    fn new(nodes: &[SocketAddr], services: &str) -> Self {
        let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        let text = format!("{PRELUDE}\n[upstreams.origin]\nnodes = {nodes:?}\n{services}");
        let corsac = Corsac::with(&text).start();
        let admin = corsac.admin_address();
        Self { corsac, admin }
    }

    fn metrics(&self) -> String {
        Call::new(self.admin, "GET", "/metrics").send().text()
    }

    fn call(&self, method: &str, target: &str) -> Call {
        Call::new(self.corsac.address(), method, target)
    }

    /// Awaits these lines of what is rendered: a request is counted once its answer has
    /// been sent, so the client may be ahead.
    #[track_caller]
    fn await_lines(&self, lines: &[&str]) {
        let started = Instant::now();
        loop {
            let text = self.metrics();
            let missing = lines.iter().find(|line| !text.lines().any(|there| there == **line));
            let Some(missing) = missing else { return };
            assert!(started.elapsed() < DEADLINE, "{missing} is not in\n{text}");
            thread::yield_now();
        }
    }
}

#[test]
fn requests_are_counted() {
    let origin = Answer::status(200)
        .header("Access-Control-Allow-Origin", "*")
        .header("Access-Control-Max-Age", "1")
        .body("hello")
        .start();
    let corsac = Running::new(&[origin.address()], SHOP);
    let mut connection = Connection::open(corsac.corsac.address());
    let page = |origin| corsac.call("GET", "/orders").header("Origin", origin);
    page("https://a.example").send_over(&mut connection);
    page("https://evil.example").send_over(&mut connection);
    corsac.call("POST", "/orders").body("1234567").send_over(&mut connection);
    corsac.call("GET", "/nowhere").send_over(&mut connection);
    for method in ["PUT", "DELETE"] {
        let preflight = corsac.call("OPTIONS", "/orders").header("Origin", "https://a.example");
        preflight.header("Access-Control-Request-Method", method).send_over(&mut connection);
    }
    corsac.await_lines(&[
        r#"corsac_http_requests_total{code="200",route="shop/orders",service="shop"} 5"#,
        r#"corsac_http_requests_total{code="404",route="",service=""} 1"#,
        r#"corsac_http_request_duration_seconds_count{route="shop/orders",service="shop"} 5"#,
        r#"corsac_http_bytes_total{direction="in",route="shop/orders",service="shop"} 7"#,
        r#"corsac_http_bytes_total{direction="out",route="shop/orders",service="shop"} 15"#,
        r#"corsac_http_connections{listener="http"} 1"#,
        "corsac_http_requests_in_flight 0",
        "corsac_config_last_reload_successful 1",
        r#"corsac_upstream_request_duration_seconds_count{upstream="origin"} 3"#,
        r#"corsac_upstream_retries_total{upstream="origin"} 0"#,
        r#"corsac_cors_decisions_total{kind="actual",mode="enforce",reason="ok",route="shop/orders",service="shop"} 1"#,
        r#"corsac_cors_decisions_total{kind="actual",mode="enforce",reason="origin_not_listed",route="shop/orders",service="shop"} 1"#,
        r#"corsac_cors_decisions_total{kind="preflight",mode="enforce",reason="ok",route="shop/orders",service="shop"} 1"#,
        r#"corsac_cors_decisions_total{kind="preflight",mode="enforce",reason="method_not_allowed",route="shop/orders",service="shop"} 1"#,
        r#"corsac_cors_upstream_overridden_total{header="access-control-allow-origin",route="shop/orders",service="shop"} 3"#,
        r#"corsac_cors_upstream_overridden_total{header="access-control-max-age",route="shop/orders",service="shop"} 3"#,
    ]);
    drop(connection);
    corsac.await_lines(&[r#"corsac_http_connections{listener="http"} 0"#]);
}

#[test]
fn a_policy_that_only_reports() {
    let origin = Origin::scripted(|request| match request.header("Origin").as_deref() {
        Some("https://b.example") => Answer::status(200).header("Access-Control-Allow-Origin", "*"),
        _ => Answer::status(200),
    });
    let services = SHOP.replace("[policies.cors.app]", "[policies.cors.app]\nmode = \"report\"");
    let corsac = Running::new(&[origin.address()], &services);
    for (origin, times) in [("https://a.example", 1), ("https://b.example", 2)] {
        for _ in 0..times {
            let answer = corsac.call("GET", "/orders").header("Origin", origin).send();
            let allows = answer.header("Access-Control-Allow-Origin");
            assert_eq!(allows.as_deref(), (origin == "https://b.example").then_some("*"));
            assert_eq!(answer.header("Vary"), None, "nothing is touched");
        }
    }
    let preflight = corsac.call("OPTIONS", "/orders").header("Origin", "https://a.example");
    preflight.header("Access-Control-Request-Method", "PUT").send();
    corsac.await_lines(&[
        r#"corsac_cors_report_total{policy="allow",route="shop/orders",service="shop",upstream="deny"} 2"#,
        r#"corsac_cors_report_total{policy="deny",route="shop/orders",service="shop",upstream="allow"} 2"#,
        r#"corsac_cors_decisions_total{kind="actual",mode="report",reason="origin_not_listed",route="shop/orders",service="shop"} 2"#,
        r#"corsac_cors_decisions_total{kind="preflight",mode="report",reason="ok",route="shop/orders",service="shop"} 1"#,
    ]);
    let text = corsac.metrics();
    assert!(!text.contains("corsac_cors_upstream_overridden_total{"), "{text}");
}

#[test]
fn errors_of_the_upstream() {
    let refusing = Unreachable::refusing();
    let closing = Answer::close().start();
    let corsac = Running::new(&[refusing.address(), closing.address()], SHOP);
    // The first node refuses the connection; the second one closes it without an answer.
    assert_eq!(corsac.call("GET", "/orders").send().status, 502);
    corsac.await_lines(&[
        r#"corsac_http_requests_total{code="502",route="shop/orders",service="shop"} 1"#,
        r#"corsac_upstream_errors_total{reason="upstream_connect",upstream="origin"} 1"#,
        r#"corsac_upstream_errors_total{reason="upstream_failed",upstream="origin"} 1"#,
        r#"corsac_upstream_retries_total{upstream="origin"} 1"#,
        r#"corsac_upstream_request_duration_seconds_count{upstream="origin"} 0"#,
    ]);
}

#[test]
fn a_configuration_that_is_refused() {
    let origin = Origin::answering(200).start();
    let corsac = Running::new(&[origin.address()], SHOP);
    let (workdir, config) = (corsac.corsac.workdir(), corsac.corsac.config());
    let good = fs::read_to_string(config).unwrap();
    let info = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("corsac_config_info{"));
        line.unwrap().to_owned()
    };
    let serving = info(&corsac.metrics());
    // Two mistakes with one code: it is counted once.
    workdir.replace("corsac.toml", format!("nothing = 1\nnowhere = 1\n{good}"));
    corsac.await_lines(&[
        "corsac_config_last_reload_successful 0",
        r#"corsac_config_refused_total{code="E001"} 1"#,
        &serving,
    ]);
    workdir.replace("corsac.toml", format!("# fine\n{good}"));
    corsac.await_lines(&[
        "corsac_config_last_reload_successful 1",
        r#"corsac_config_refused_total{code="E001"} 1"#,
    ]);
    assert_ne!(info(&corsac.metrics()), serving);
}

#[test]
fn a_route_that_is_removed() {
    const MORE: &str = "routes.gone.paths = \"/gone\"\n";
    let origin = Origin::answering(200).start();
    let corsac = Running::new(&[origin.address()], &format!("{SHOP}{MORE}"));
    for target in ["/orders", "/gone"] {
        assert_eq!(corsac.call("GET", target).send().status, 200);
    }
    let orders = r#"corsac_http_requests_total{code="200",route="shop/orders",service="shop"} 1"#;
    let gone = orders.replace("orders", "gone");
    corsac.await_lines(&[orders, &gone]);
    let text = fs::read_to_string(corsac.corsac.config()).unwrap().replace(MORE, "");
    corsac.corsac.workdir().replace("corsac.toml", text);
    corsac.corsac.await_stderr("serves (a changed file)", 1);
    let text = corsac.metrics();
    assert!(!text.contains("shop/gone"), "{text}");
    assert!(text.contains(orders), "{text}");
}
