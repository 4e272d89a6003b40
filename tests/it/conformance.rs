//! Every case of `tests/it/cases`, against the real binary, by each way in.
//!
//! `cors_requests.json` has a policy, what the upstream answers, a request and the
//! expected answer; one corsac serves them all, each case at a path of its own,
//! since the Host is the client's to choose. `peer_requests.json` has the same form:
//! what the test suites of 13 other projects ask, with the answer that is due here;
//! an id says whose case it was. `cors_configs.json` has a policy and the codes that
//! `corsac check` must report.

mod case;
mod setup;

use std::collections::BTreeSet;
use std::io;

use serde_json::Value;

use crate::harness::{Corsac, Http2, Origin, Response, TlsClient, Unreachable};
use case::{ConfigCase, RequestCase};
use setup::Upstreams;

const REQUESTS: &str = include_str!("cases/cors_requests.json");
const PEERS: &str = include_str!("cases/peer_requests.json");
const CONFIGS: &str = include_str!("cases/cors_configs.json");

/// Answers that corsac cannot make yet, by the name that a case gives to what
/// makes them. A line goes when the feature comes.
const NOT_YET: [(&str, &str); 4] = [
    ("key-auth", "no authentication yet"),
    ("auth", "no authentication yet"),
    ("rate-limit", "no rate limits yet"),
    ("cache-hit", "no cache yet"),
];

/// How requests come in.
#[derive(Clone, Copy, Debug)]
enum Way {
    Http1,
    Http1OverTls,
    Http2,
    Http2OverTls,
}

use Way::{Http1, Http1OverTls, Http2 as OverHttp2, Http2OverTls};

#[test]
fn requests() {
    check_requests(REQUESTS, Http1);
}

#[test]
fn requests_of_other_projects() {
    check_requests(PEERS, Http1);
}

#[test]
fn requests_over_tls() {
    check_requests(REQUESTS, Http1OverTls);
    check_requests(PEERS, Http1OverTls);
}

#[test]
fn requests_over_http2() {
    check_requests(REQUESTS, OverHttp2);
    check_requests(PEERS, OverHttp2);
}

#[test]
fn requests_over_http2_and_tls() {
    check_requests(REQUESTS, Http2OverTls);
    check_requests(PEERS, Http2OverTls);
}

#[track_caller]
fn check_requests(cases: &str, way: Way) {
    let cases: Vec<RequestCase> = serde_json::from_str(cases).unwrap();
    let (now, other): (Vec<_>, Vec<_>) =
        in_order(cases).into_iter().partition(|case| way.can_carry(case));
    let (later, now): (Vec<_>, Vec<_>) = now.into_iter().partition(is_not_yet);
    let upstreams = Upstreams {
        scripted: Origin::answering(200).start(),
        refusing: Unreachable::refusing(),
        unresponsive: Unreachable::unresponsive(),
    };
    let failures = match setup::all(&now, &upstreams).try_start() {
        Ok(corsac) => now.iter().filter_map(|case| run(case, way, &corsac, &upstreams)).collect(),
        // One policy that does not load stops them all: find out which.
        Err(_) => {
            now.iter().filter_map(|case| run_alone(case, way, &upstreams)).collect::<Vec<_>>()
        }
    };
    eprintln!("{way:?}: {} request cases run, {} not yet:", now.len(), later.len());
    for case in &later {
        eprintln!("  {}: {}", case.id, why_not_yet(case).unwrap());
    }
    for case in &other {
        eprintln!("  {}: of HTTP/1.1 alone", case.id);
    }
    assert!(
        failures.is_empty(),
        "{} of {} request cases fail\n\n{}",
        failures.len(),
        now.len(),
        failures.join("\n")
    );
}

#[test]
fn configurations() {
    let cases: Vec<ConfigCase> = serde_json::from_str(CONFIGS).unwrap();
    let failures: Vec<String> = cases.iter().filter_map(check).collect();
    assert!(
        failures.is_empty(),
        "{} of {} configuration cases fail\n\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

impl Way {
    /// Tunnels and protocols to switch to are of HTTP/1.1.
    fn can_carry(self, case: &RequestCase) -> bool {
        matches!(self, Http1 | Http1OverTls) || !case.is_of_http1()
    }

    fn send(self, case: &RequestCase, corsac: &Corsac) -> io::Result<Response> {
        let call = case.call(corsac);
        let over_tls = |protocols: &[&str]| {
            let (address, _) = corsac.addresses()[1];
            TlsClient::new().alpn(protocols).try_connect(address, Some("localhost"))
        };
        match self {
            Http1 => call.try_send(),
            Http1OverTls => call.try_over(&mut over_tls(&["http/1.1"])?),
            OverHttp2 => Http2::open(corsac.address()).try_send(&call),
            Http2OverTls => Http2::over(over_tls(&["h2"])?)?.try_send(&call),
        }
    }
}

/// As in the file, but a case that is to come `after` another comes right after it.
fn in_order(cases: Vec<RequestCase>) -> Vec<RequestCase> {
    let (followers, mut ordered): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|case| case.after.is_some());
    for follower in followers {
        let leader = ordered.iter().position(|case| Some(&case.id) == follower.after.as_ref());
        ordered.insert(leader.map_or(ordered.len(), |at| at + 1), follower);
    }
    ordered
}

fn is_not_yet(case: &RequestCase) -> bool {
    why_not_yet(case).is_some()
}

fn why_not_yet(case: &RequestCase) -> Option<&'static str> {
    let by = case.edge_response.as_ref().map(|edge| edge.by.as_str());
    let by = by.or(case.auth_required.then_some("auth"))?;
    NOT_YET.iter().find_map(|(name, why)| (*name == by).then_some(*why))
}

fn run_alone(case: &RequestCase, way: Way, upstreams: &Upstreams) -> Option<String> {
    match setup::all(std::slice::from_ref(case), upstreams).try_start() {
        Ok(corsac) => run(case, way, &corsac, upstreams),
        Err(said) => Some(failure(&case.id, &case.why, &[format!("does not start:\n{said}")])),
    }
}

/// Sends the request; returns what is wrong with the answer, if anything.
fn run(case: &RequestCase, way: Way, corsac: &Corsac, upstreams: &Upstreams) -> Option<String> {
    let mut wrong = case.not_understood();
    upstreams.scripted.will(case.upstream_answer());
    upstreams.scripted.take_received();
    match way.send(case, corsac) {
        Ok(answer) => wrong.extend(compare(case, &answer)),
        Err(error) => wrong.push(format!("no answer: {error}")),
    }
    let reached = !upstreams.scripted.take_received().is_empty();
    // Whether an upstream that is down counts as reached is a matter of taste.
    if case.upstream_error.is_none() && case.expect.reaches_upstream.is_some_and(|e| e != reached) {
        wrong.push(format!("reaches_upstream: {reached}"));
    }
    (!wrong.is_empty()).then(|| failure(&case.id, &case.why, &wrong))
}

/// A readable line for each difference.
fn compare(case: &RequestCase, answer: &Response) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(status) = case.expect.status
        && status != answer.status
    {
        wrong.push(format!("status: expected {status}, got {}", answer.status));
    }
    for (name, expected) in &case.expect.headers {
        let got = answer.header(name);
        if got != *expected {
            wrong.push(format!(
                "{name}: expected {}, got {}",
                shown(expected.as_ref()),
                shown(got.as_ref())
            ));
        }
    }
    if let Some(body) = &case.expect.body
        && *body != answer.text()
    {
        wrong.push(format!("body: expected {body:?}, got {:?}", answer.text()));
    }
    for expected in &case.interim {
        let Some((_, headers)) = answer.interim.iter().find(|(s, _)| *s == expected.status) else {
            wrong.push(format!("no {} came before the answer", expected.status));
            continue;
        };
        for (name, value) in &expected.expect_headers {
            let got = headers.get(name);
            if got != *value {
                let (value, got) = (shown(value.as_ref()), shown(got.as_ref()));
                wrong.push(format!(
                    "{name} of the {}: expected {value}, got {got}",
                    expected.status
                ));
            }
        }
    }
    wrong
}

fn shown(value: Option<&String>) -> String {
    value.map_or("none".to_owned(), |value| format!("{value:?}"))
}

/// Runs `corsac check`; returns what is wrong with its report, if anything.
fn check(case: &ConfigCase) -> Option<String> {
    let output = setup::config(case).check(&["--format", "json"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut wrong = case.not_understood();
    match serde_json::from_str::<Value>(&said) {
        Ok(report) => {
            let expect = &case.expect;
            for (severity, expected) in [("error", &expect.errors), ("warning", &expect.warnings)] {
                let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
                let got = codes(&report, severity);
                if got != expected {
                    wrong.push(format!("{severity}s: expected {expected:?}, got {got:?}"));
                }
            }
            if report["ok"] != Value::Bool(expect.errors.is_empty()) {
                wrong.push(format!("ok: {}", report["ok"]));
            }
        }
        Err(error) => wrong.push(format!("not JSON: {error}: {said}")),
    }
    let code = i32::from(!case.expect.errors.is_empty());
    if output.status.code() != Some(code) {
        wrong.push(format!("exit code: expected {code}, got {}", output.status));
    }
    if !wrong.is_empty() {
        wrong.push(format!("policy: {}", case.policy));
        wrong.push(format!("stdout: {said}"));
        wrong.push(format!("stderr: {}", String::from_utf8_lossy(&output.stderr)));
    }
    (!wrong.is_empty()).then(|| failure(&case.id, &case.why, &wrong))
}

fn codes<'r>(report: &'r Value, severity: &str) -> BTreeSet<&'r str> {
    let diagnostics = report["diagnostics"].as_array().into_iter().flatten();
    diagnostics.filter(|d| d["severity"] == severity).filter_map(|d| d["code"].as_str()).collect()
}

fn failure(id: &str, why: &str, wrong: &[String]) -> String {
    format!("{id} ({why})\n    {}\n", wrong.join("\n    "))
}
