//! The id of a request: one for the upstream, the client and the log.

use std::collections::BTreeSet;

use crate::harness::{Call, Corsac, Origin, Unreachable};

const SERVICES: &str = r#"
[services.s]
upstream = "origin"
cors = { allow_origins = "https://app.example" }
routes.all.paths = "/*"
routes.local = { paths = "/local", respond = {} }
routes.hidden = { paths = "/hidden", respond = {}, headers = { response = { remove = "x-request-id" } } }
routes.dead = { paths = "/dead", upstream = "dead" }
"#;

fn start(origin: &Origin, dead: &Unreachable, table: &str) -> Corsac {
    let dead = format!("[upstreams.dead]\nnodes = \"{}\"\n", dead.address());
    Corsac::in_front_of(origin, &[&dead, SERVICES, table].concat())
}

fn is_uuid_v7(id: &str) -> bool {
    regex::Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
        .unwrap()
        .is_match(id)
}

#[test]
fn one_id_for_all_three() {
    let origin = Origin::answering(200).header("X-Request-Id", "the upstream's").start();
    let dead = Unreachable::refusing();
    let corsac = start(&origin, &dead, "");
    let answer = corsac.get("/").header("X-Request-Id", "mine").header("x-request-id", "2").send();
    let id = answer.header("x-request-id").unwrap();
    assert!(is_uuid_v7(&id), "{id}");
    assert_eq!(origin.only_request().header("x-request-id").as_ref(), Some(&id));
    assert_eq!(corsac.access_log(1)[0]["request_id"], id);
}

#[test]
fn every_answer_has_one_of_its_own() {
    let origin = Origin::answering(200).interim(103, "Link", "</a.css>").start();
    let dead = Unreachable::refusing();
    let corsac = start(&origin, &dead, "");
    let preflight = |origin| {
        let call = corsac.call("OPTIONS", "/").header("Origin", origin);
        call.header("Access-Control-Request-Method", "PUT")
    };
    #[rustfmt::skip]
    let calls: [(Call, u16); 7] = [
        (corsac.get("/"),                          200),
        (corsac.get("/local"),                     200),
        (corsac.get("/dead"),                      502),
        (corsac.get("/%00"),                       400),
        (preflight("https://app.example"),         200),
        (preflight("https://evil.example"),        403),
        (corsac.call("HEAD", "/local"),            200),
    ];
    let count = calls.len();
    let mut ids = Vec::new();
    for (call, status) in calls {
        let answer = call.clone().send();
        assert_eq!(answer.status, status, "{call:?}");
        ids.push(answer.header("x-request-id").unwrap_or_else(|| panic!("{call:?}")));
        for (_, headers) in answer.interim {
            assert!(!headers.contains("x-request-id"), "a 1xx has none");
        }
    }
    assert!(ids.iter().all(|id| is_uuid_v7(id)), "{ids:#?}");
    let logged = corsac.access_log(count);
    let logged: BTreeSet<_> = logged.iter().filter_map(|l| l["request_id"].as_str()).collect();
    assert_eq!(logged, ids.iter().map(String::as_str).collect());
    assert_eq!(logged.len(), count, "no two have the same");
    assert!(corsac.get("/hidden").send().header("x-request-id").is_none(), "a route may remove it");
}

#[test]
fn who_is_trusted_may_bring_one() {
    let origin = Origin::answering(200).start();
    let dead = Unreachable::refusing();
    let table = "[request_id]\nheader = \"x-trace\"\ntrusted = [\"10.0.0.0/8\", \"127.0.0.0/8\"]";
    let corsac = start(&origin, &dead, table);
    let long = "a".repeat(128);
    let too_long = "a".repeat(129);
    #[rustfmt::skip]
    let cases: [(&[&str], bool); 9] = [
        (&["lb-7.Root=1/2+3~_"], true),
        (&[&long],               true),
        (&[],                    false),
        (&[""],                  false),
        (&[&too_long],           false),
        (&["a b"],               false),
        (&["a\"b"],              false),
        (&["a", "b"],            false),
        (&["a,b"],               false),
    ];
    for (brought, kept) in cases {
        let call = corsac.get("/").headers(brought.iter().map(|id| ("X-Trace", *id)));
        let id = call.send().header("x-trace").unwrap();
        let [request] = <[_; 1]>::try_from(origin.take_received()).unwrap();
        assert_eq!(request.header("x-trace").as_ref(), Some(&id), "{brought:?}");
        assert!(request.header("x-request-id").is_none());
        if kept {
            assert_eq!(id, brought[0]);
        } else {
            assert!(is_uuid_v7(&id), "{brought:?}: {id}");
        }
    }
}
