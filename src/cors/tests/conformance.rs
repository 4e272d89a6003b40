//! `tests/it/cases/*.json`, as far as they concern one policy and one request; the
//! rest of each request is run against a real corsac in `tests/it`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::cors::{
    Dangerous, Finding, Mode, OptionsMode, Policy, PolicySpec, PreflightFailure, PreflightMode,
    Severity, SharedOrigins, UpstreamCors, WebSocketMode,
};

const CONFIGS: &str = include_str!("../../../tests/it/cases/cors_configs.json");
const REQUESTS: &str = include_str!("../../../tests/it/cases/cors_requests.json");
const PEERS: &str = include_str!("../../../tests/it/cases/peer_requests.json");

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().to_owned()).collect(),
        Value::String(one) => vec![one.clone()],
        Value::Null => Vec::new(),
        other => panic!("neither a list nor a string: {other}"),
    }
}

fn choice<T: Copy + Default>(all: &[(&str, T)], value: &Value) -> T {
    let Some(text) = value.as_str() else { return T::default() };
    all.iter().find(|(name, _)| *name == text).unwrap_or_else(|| panic!("no choice: {text}")).1
}

fn written(policy: &Value, key: &str) -> Option<Vec<String>> {
    policy.get(key).map(strings)
}

fn flag(policy: &Value, key: &str) -> bool {
    policy[key].as_bool().unwrap_or_default()
}

fn spec(policy: &Value, files: &Value) -> PolicySpec {
    let lines = |name: &Value| {
        let text = name.as_str().map(|name| files[name].as_str().unwrap()).unwrap_or_default();
        let entries = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    };
    let set = |name: &String| SharedOrigins {
        name: name.clone(),
        entries: strings(&policy["origin_sets"][name]),
    };
    let dangerous = &policy["dangerous"];
    PolicySpec {
        allow_origins: strings(&policy["allow_origins"]),
        allow_origin_regex: strings(&policy["allow_origin_regex"]),
        allow_origin_sets: strings(&policy["allow_origin_sets"]).iter().map(set).collect(),
        allow_origins_file: lines(&policy["allow_origins_file"]),
        allow_methods: written(policy, "allow_methods"),
        allow_headers: written(policy, "allow_headers"),
        expose_headers: written(policy, "expose_headers"),
        allow_credentials: flag(policy, "allow_credentials"),
        max_age: policy["max_age"]
            .as_str()
            .map(|text| Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap())),
        timing_allow_origins: strings(&policy["timing_allow_origins"]),
        timing_allow_origin_regex: strings(&policy["timing_allow_origin_regex"]),
        allow_private_network: flag(policy, "allow_private_network"),
        options: choice(OptionsMode::ALL, &policy["options"]),
        preflight: choice(PreflightMode::ALL, &policy["preflight"]),
        preflight_status: policy["preflight_status"].as_i64(),
        preflight_failure: choice(PreflightFailure::ALL, &policy["preflight_failure"]),
        reject_status: policy["reject_status"].as_i64(),
        upstream_cors: choice(UpstreamCors::ALL, &policy["upstream_cors"]),
        mode: choice(Mode::ALL, &policy["mode"]),
        reject_actual: flag(policy, "reject_actual"),
        websocket: choice(WebSocketMode::ALL, &policy["websocket"]),
        dangerous: Dangerous {
            any_origin_with_credentials: flag(dangerous, "any_origin_with_credentials"),
            insecure_origins: flag(dangerous, "insecure_origins"),
            public_suffix_subdomains: flag(dangerous, "public_suffix_subdomains"),
            null_origin: flag(dangerous, "null_origin"),
            regex_matches_anything: flag(dangerous, "regex_matches_anything"),
        },
    }
}

fn codes(findings: &[Finding], severity: Severity) -> Vec<String> {
    let of_kind = findings.iter().filter(|finding| finding.severity == severity);
    let mut codes: Vec<String> = of_kind.map(|finding| finding.code.to_owned()).collect();
    codes.sort();
    codes
}

#[test]
fn configurations() {
    // A duration without a unit is found before there is a policy to check.
    let of_config = ["cf-151", "cf-170"];
    let cases: Vec<Value> = serde_json::from_str(CONFIGS).unwrap();
    for case in cases.iter().filter(|case| !of_config.contains(&case["id"].as_str().unwrap())) {
        let findings = match Policy::new(&spec(&case["policy"], &case["files"])) {
            Ok((_, warnings)) => warnings,
            Err(findings) => findings,
        };
        let expect = &case["expect"];
        assert_eq!(
            codes(&findings, Severity::Error),
            strings(&expect["errors"]),
            "{case}: {findings:?}"
        );
        assert_eq!(
            codes(&findings, Severity::Warning),
            strings(&expect["warnings"]),
            "{case}: {findings:?}"
        );
    }
}

/// The policy that holds for the route: its own, else its service's.
fn effective(policy: &Value) -> Option<&Value> {
    let nested = policy.get("route").or_else(|| policy.get("service")).unwrap_or(policy);
    nested.is_object().then_some(nested)
}

fn head_of(lines: &Value) -> HeaderMap {
    let lines: Vec<(String, String)> = match lines {
        Value::Array(pairs) => pairs
            .iter()
            .map(|pair| {
                (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned())
            })
            .collect(),
        Value::Object(map) => map
            .iter()
            .flat_map(|(name, value)| {
                strings(value).into_iter().map(move |line| (name.clone(), line))
            })
            .collect(),
        _ => Vec::new(),
    };
    let parse = |(name, value): &(String, String)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    lines.iter().map(parse).collect()
}

#[test]
fn requests() {
    // Routing, and what Pingora answers before any policy is asked.
    let of_proxy = [
        "pf-30", "ge-06", "mi-01", "pb-01", "pb-02", "pb-03", "pb-04", "pb-05", "pb-06", "pb-07",
        "ho-10",
    ];
    let run = run(REQUESTS, &of_proxy);
    assert!(run > 100, "only {run} cases");
}

#[test]
fn requests_of_other_projects() {
    let run = run(PEERS, &[]);
    assert!(run > 250, "only {run} cases");
}

/// Runs each case except those of these names, as far as it has a policy; returns how many.
fn run(cases: &str, of_proxy: &[&str]) -> usize {
    let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
    let mut run = 0;
    for case in cases.iter().filter(|case| !of_proxy.contains(&case["id"].as_str().unwrap())) {
        let Some(policy) = effective(&case["policy"]) else { continue };
        let (policy, _) =
            Policy::new(&spec(policy, &case["files"])).unwrap_or_else(|e| panic!("{case}: {e:?}"));
        let request = &case["request"];
        let method = Method::from_bytes(request["method"].as_str().unwrap().as_bytes()).unwrap();
        let headers = head_of(&request["headers"]);
        let host = headers.get("host").map(|host| host.to_str().unwrap());
        let admission = policy.admit(&method, &headers, host);
        let answer = admission.answer.filter(|_| !admission.hands_on);
        let answered = answer.is_some();
        let mut status = case["expect"]["status"].as_u64().unwrap();
        let mut head = head_of(&case["upstream_headers"]);
        if let Some(answer) = answer {
            status = u64::from(answer.status.as_u16());
            head = answer.headers.clone();
            answer.edits.apply(&mut head);
        } else if status != 101 {
            policy.stamp(&admission.judgement, &head).apply(&mut head);
        }
        check(case, answered, status, &head);
        run += 1;
    }
    run
}

fn check(case: &Value, answered: bool, status: u64, answer: &HeaderMap) {
    let expect = &case["expect"];
    assert_eq!(status, expect["status"].as_u64().unwrap(), "{case}");
    let of_others = case.get("edge_response").is_some() || case.get("upstream_error").is_some();
    if !of_others {
        assert_eq!(answered, !expect["reaches_upstream"].as_bool().unwrap(), "{case}");
    }
    for (name, value) in expect["headers"].as_object().unwrap() {
        let lines: Vec<&str> =
            answer.get_all(name).iter().map(|line| line.to_str().unwrap()).collect();
        let seen = if lines.is_empty() { None } else { Some(lines.join(", ")) };
        assert_eq!(seen.as_deref(), value.as_str(), "{name} of {case}");
    }
}
