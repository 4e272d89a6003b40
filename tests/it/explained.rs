//! `corsac explain` and the proxy say the same: what is explained is sent, and
//! what comes back is what was explained.

use serde_json::Value;

use crate::harness::{Call, Corsac, Origin, corsac};

/// A route for each thing that can become of a request.
const EDGE: &str = r#"
[limits]
body = "10B"

[policies.cors.app]
allow_origins     = ["https://app.example.com", "https://*.staff.example.com"]
allow_methods     = ["GET", "PUT"]
allow_headers     = ["content-type"]
expose_headers    = ["x-e"]
allow_credentials = true
max_age           = "10m"

[services.shop]
hosts    = "api.example.com"
prefix   = "/v1"
upstream = "origin"
cors     = "app"

[services.shop.routes.orders]
paths   = ["/orders", "/orders/:id"]
methods = ["GET", "PUT", "OPTIONS"]
headers = { response = { set = { x-edge = "corsac" } } }

[services.shop.routes.canary]
paths   = "/orders/:id"
methods = "GET"
match   = { headers = { x-canary = "1" }, query = { beta = "*" } }

[services.shop.routes.catalog]
paths   = "/catalog/*"
cors    = { allow_origins = "*" }
rewrite = { strip = "/v1" }

[services.shop.routes.echo]
paths = "/echo"
cors  = { allow_origins = "**", allow_methods = "**", allow_headers = "**" }

[services.shop.routes.guarded]
paths = "/guarded"
cors  = { allow_origins = "https://app.example.com", allow_methods = "GET", preflight_failure = "opaque", reject_actual = true, websocket = "enforce" }

[services.shop.routes.trial]
paths = "/trial"
cors  = { allow_origins = "https://app.example.com", mode = "report" }

[services.shop.routes.stock]
paths   = "/stock"
methods = "GET"

[services.shop.routes.shared]
paths = "/shared"
cors  = { allow_origins = "https://app.example.com", preflight = "upstream", upstream_cors = "defer" }

[services.shop.routes.basket]
paths    = "/basket"
redirect = { to = "/cart", status = 307 }

[services.shop.routes.health]
paths   = "/healthz"
cors    = false
respond = { body = "ok\n", headers = { cache-control = "no-cache" } }
"#;

const APP: &str = "origin: https://app.example.com";
const EVIL: &str = "origin: https://app.example.com.evil.test";
const WANTS_PUT: &str = "access-control-request-method: PUT";
const WANTS_TYPE: &str = "access-control-request-headers: content-type";

/// Method, path, headers. Of a page's request the preflight is explained, too.
#[rustfmt::skip]
const REQUESTS: &[(&str, &str, &[&str])] = &[
    ("GET",     "/v1/orders/7",          &[]),
    ("GET",     "/v1/orders/7",          &[APP]),
    ("GET",     "/v1/orders/7",          &["origin: https://a.b.staff.example.com"]),
    ("GET",     "/v1/orders/7",          &[EVIL]),
    ("GET",     "/v1/orders/7",          &["origin: null"]),
    ("GET",     "/v1/orders/7",          &["origin: https://app.example.com/"]),
    ("GET",     "/v1/orders/7?beta=1",   &["x-canary: 1"]),
    ("GET",     "/v1/orders/7?beta=1",   &[APP, "x-canary: 1"]),
    ("GET",     "/v1/orders/7",          &[APP, "x-canary: 1"]),
    ("PUT",     "/v1/orders/7",          &[APP, "content-type: application/json"]),
    ("PUT",     "/v1/orders/7",          &[APP, "x-other: 1"]),
    ("PUT",     "/v1/orders/7",          &[EVIL]),
    ("DELETE",  "/v1/orders/7",          &[APP]),
    ("DELETE",  "/v1/orders/7",          &[]),
    ("OPTIONS", "/v1/orders/7",          &[APP]),
    ("OPTIONS", "/v1/orders/7",          &[APP, WANTS_PUT, WANTS_TYPE]),
    ("OPTIONS", "/v1/shared",            &[APP, WANTS_PUT]),
    ("OPTIONS", "/v1/shared",            &[EVIL, WANTS_PUT]),
    ("OPTIONS", "/v1/stock",             &[APP]),
    ("OPTIONS", "/v1/stock",             &[EVIL]),
    ("OPTIONS", "/v1/stock",             &[]),
    ("OPTIONS", "/v1/echo",              &[EVIL, "access-control-request-headers: x-b, x-a"]),
    ("OPTIONS", "/v1/orders/7",          &[EVIL, WANTS_PUT]),
    ("OPTIONS", "/v1/orders/7",          &[APP, "access-control-request-method: PUT, GET"]),
    ("OPTIONS", "/v1/orders/7",          &[APP, WANTS_PUT, "access-control-request-headers: a b"]),
    ("GET",     "/v1/a/../orders/%37",   &[APP]),
    ("GET",     "/v1/orders/%00",        &[APP]),
    ("GET",     "/v1/orders/",           &[APP]),
    ("GET",     "/elsewhere",            &[APP]),
    ("GET",     "/v1/catalog/7",         &[]),
    ("GET",     "/v1/catalog/7",         &[EVIL]),
    ("PATCH",   "/v1/catalog/7",         &[EVIL, "x-any: 1"]),
    ("PATCH",   "/v1/echo",              &[EVIL, "x-any: 1", "x-other: 2"]),
    ("GET",     "/v1/echo",              &[EVIL]),
    ("GET",     "/v1/guarded",           &[EVIL]),
    ("GET",     "/v1/guarded",           &[APP]),
    ("PUT",     "/v1/guarded",           &[APP]),
    ("GET",     "/v1/guarded",           &[EVIL, "connection: upgrade", "upgrade: websocket"]),
    ("GET",     "/v1/trial",             &[EVIL]),
    ("PUT",     "/v1/trial",             &[EVIL]),
    ("GET",     "/v1/basket",            &[APP]),
    ("GET",     "/v1/basket",            &[EVIL]),
    ("GET",     "/v1/healthz",           &[APP]),
    ("POST",    "/v1/catalog/7",         &["content-length: 11"]),
];

#[test]
fn the_proxy_does_what_is_explained() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, EDGE);
    let (mut logged, mut wrong) = (0, Vec::new());
    for (method, path, headers) in REQUESTS {
        for exchange in explained(&corsac, method, path, headers) {
            let case = format!("{}: {exchange}", exchange["request"]);
            let (status, answer) = sent(&corsac, &exchange);
            logged += 1;
            let log = corsac.access_log(logged).pop().unwrap();
            let same = exchange["status"] == status
                && pairs(&exchange["answer"]) == answer
                && exchange["at_the_edge"] == !log["reason"].is_null()
                && says_the_same(&exchange, &log);
            if !same {
                wrong.push(format!("{case}\n  answer: {status} {answer:?}\n  log: {log}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(logged > REQUESTS.len(), "preflights of pages are explained, too");
}

/// What a page gets that sends OPTIONS itself, and what curl gets, are two things.
#[test]
fn of_a_probe_both_is_told() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, EDGE);
    let told = explanation(&corsac, "OPTIONS", "/v1/stock", &[APP]);
    let statuses: Vec<_> =
        told["exchanges"].as_array().unwrap().iter().map(|exchange| &exchange["status"]).collect();
    assert_eq!(statuses, [405, 200], "{told}");
    assert_eq!(told["verdict"]["allowed"], false);
    let says = told["verdict"]["says"].as_str().unwrap();
    assert!(says.ends_with("; curl asks for no leave, and gets 200"), "{says}");
}

/// The exchanges that `corsac explain` tells of.
fn explained(corsac: &Corsac, method: &str, path: &str, headers: &[&str]) -> Vec<Value> {
    explanation(corsac, method, path, headers)["exchanges"].as_array().unwrap().clone()
}

/// All that `corsac explain` says.
fn explanation(corsac: &Corsac, method: &str, path: &str, headers: &[&str]) -> Value {
    let config = corsac.config();
    let mut command = self::corsac(config.parent().unwrap());
    command.args(["explain", method, &format!("http://api.example.com{path}")]);
    command.args(["--format", "json", "--config"]).arg(&config);
    command.args(headers.iter().flat_map(|line| ["-H", line]));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let explanation: Value = serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let blocked = explanation["verdict"]["allowed"] == false;
    assert_eq!(output.status.code(), Some(i32::from(blocked)), "{said}");
    explanation
}

/// What the proxy answers to the request of an exchange. The body, if one is
/// announced, is not sent: none is waited for before a refusal.
fn sent(corsac: &Corsac, exchange: &Value) -> (u16, Vec<(String, String)>) {
    let (method, url) = exchange["request"].as_str().unwrap().split_once(' ').unwrap();
    let target = url.strip_prefix("http://api.example.com").unwrap();
    let headers = pairs_as_sent(&exchange["headers"]);
    let lines = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let call = Call::new(corsac.address(), method, target).header("Host", "api.example.com");
    let answer = call.headers(lines).send();
    let shown = answer.headers.iter().map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    (answer.status, compared(shown))
}

fn pairs(list: &Value) -> Vec<(String, String)> {
    compared(pairs_as_sent(list).into_iter())
}

fn pairs_as_sent(list: &Value) -> Vec<(String, String)> {
    serde_json::from_value(list.clone()).unwrap()
}

/// Without what is the connection's, the request's id, and the length, which
/// `explain` does not tell of all bodies.
fn compared(headers: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let apart = ["connection", "content-length", "date", "x-request-id"];
    let mut headers: Vec<_> = headers.filter(|(name, _)| !apart.contains(&&**name)).collect();
    headers.sort();
    headers
}

/// Whether the log names the route, the kind and the reason that were explained.
fn says_the_same(exchange: &Value, log: &Value) -> bool {
    let step = |name: &str| {
        let steps = exchange["steps"].as_array().unwrap();
        steps.iter().find(|step| step["step"] == name).and_then(|step| step["says"].as_str())
    };
    let route = step("route").filter(|says| !says.starts_with("none"));
    let cors = match (log["cors_kind"].as_str(), log["cors_reason"].as_str()) {
        (Some(kind), Some(reason)) => {
            step("cors").is_some_and(|says| says.starts_with(&format!("{kind} {reason}: ")))
        }
        _ => step("cors").is_none_or(|says| says.starts_with("no Origin header")),
    };
    log["route"].as_str() == route && cors
}
