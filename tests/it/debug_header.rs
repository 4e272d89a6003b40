//! `Corsac-Explain: 1`: who may ask why is told, and nobody else.

use corsac::{config, server::Disk};

use crate::harness::{Call, Corsac, Origin, Unreachable};

const SERVICES: &str = r#"
[policies.cors.app]
allow_origins = "https://app.example"

[services.shop]
upstream = "origin"
prefix = "/v1"
cors = "app"
routes.orders.paths = "/orders"
routes.health = { paths = "/healthz", cors = false, respond = {} }
routes.dead = { paths = "/dead", upstream = "dead" }
"#;

fn start(origin: &Origin, dead: &Unreachable, admin: &str) -> Corsac {
    let dead = format!("[upstreams.dead]\nnodes = \"{}\"\n", dead.address());
    Corsac::in_front_of(origin, &[&dead, SERVICES, admin].concat())
}

fn asking(call: Call) -> Call {
    call.header("Corsac-Explain", "1")
}

#[test]
fn it_says_why() {
    let origin = Origin::answering(200).interim(103, "Link", "</a.css>").start();
    let dead = Unreachable::refusing();
    let corsac = start(&origin, &dead, "[admin]\ndebug_clients = \"127.0.0.0/8\"");
    let config = config::load(&corsac.path("corsac.toml"), &Disk).unwrap().0.hash();
    let preflight = |origin| {
        let call = corsac.call("OPTIONS", "/v1/orders").header("Origin", origin);
        call.header("Access-Control-Request-Method", "GET")
    };
    let get = |path| corsac.get(path);
    let app = |call: Call| call.header("Origin", "https://app.example");
    #[rustfmt::skip]
    let cases = [
        (get("/v1/orders"),                 "route=shop/orders; policy=policies.cors.app"),
        (app(get("/v1/orders")),            "route=shop/orders; policy=policies.cors.app; cors=actual ok"),
        (preflight("https://app.example"),  "route=shop/orders; policy=policies.cors.app; cors=preflight ok; reason=cors"),
        (preflight("https://evil.example"), "route=shop/orders; policy=policies.cors.app; cors=preflight origin_not_listed; reason=cors"),
        (app(get("/v1/dead")),              "route=shop/dead; policy=policies.cors.app; cors=actual ok; reason=upstream_connect"),
        (get("/v1/healthz"),                "route=shop/health; policy=none; reason=respond"),
        (get("/other"),                     "route=none; policy=none; reason=route_not_found"),
    ];
    for (call, expected) in cases {
        let answer = asking(call).send();
        let expected = format!("{expected}; config={config}");
        assert_eq!(answer.header("corsac-explanation"), Some(expected));
        assert!(answer.interim.iter().all(|(_, headers)| !headers.contains("corsac-explanation")));
    }
    for request in origin.received() {
        assert!(request.header("corsac-explain").is_none(), "it was meant for corsac");
    }
    let not_asked = [get("/v1/orders"), get("/v1/orders").header("Corsac-Explain", "0")];
    for call in not_asked {
        assert_eq!(call.send().header("corsac-explanation"), None);
    }
}

#[test]
fn nobody_else_is_told() {
    let origin = Origin::answering(200).start();
    let dead = Unreachable::refusing();
    for admin in ["", "[admin]\ndebug_clients = [\"10.0.0.0/8\", \"::1\"]"] {
        let corsac = start(&origin, &dead, admin);
        for path in ["/v1/orders", "/v1/healthz", "/v1/dead", "/other"] {
            // What a client says of its address changes nothing.
            let call = asking(corsac.get(path)).header("X-Forwarded-For", "10.0.0.1");
            let answer = call.header("X-Real-IP", "10.0.0.1").send();
            assert_eq!(answer.header("corsac-explanation"), None, "{path} {admin}");
        }
        for request in origin.take_received() {
            assert!(request.header("corsac-explain").is_none());
        }
    }
}
