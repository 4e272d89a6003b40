//! Cases as configuration.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::case::{ConfigCase, RequestCase};
use crate::harness::{Certified, Corsac, Origin, Setup, Unreachable};

/// Every way to come in.
const LISTENERS: &str = r#"
version = 1
[listeners.http]
address   = "127.0.0.1:0"
protocols = ["h2", "http/1.1"]
[listeners.https]
address   = "127.0.0.1:0"
tls       = { cert = "a.pem", key = "a.key" }
"#;

/// What the cases have behind corsac.
pub(super) struct Upstreams {
    pub(super) scripted: Origin,
    pub(super) refusing: Unreachable,
    pub(super) unresponsive: Unreachable,
}

/// One corsac for these cases: a service, and in it a route, for each.
pub(super) fn all(cases: &[RequestCase], upstreams: &Upstreams) -> Setup {
    let mut config = String::new();
    for (name, address, timeouts) in [
        ("scripted", upstreams.scripted.address(), r#"read = "5s""#),
        ("refusing", upstreams.refusing.address(), r#"connect = "1s""#),
        // Cases of these wait until time is up, so it is short.
        ("unresponsive", upstreams.unresponsive.address(), r#"connect = "300ms""#),
        ("silent", upstreams.scripted.address(), r#"read = "300ms""#),
    ] {
        let nodes = toml(&json!([address.to_string()]));
        writeln!(config, "[upstreams.{name}]\nnodes = {nodes}\ntimeouts = {{ {timeouts} }}")
            .unwrap();
    }
    let (mut services, mut sets, mut files) = (Map::new(), Map::new(), Vec::new());
    for case in cases.iter().filter(|case| case.route_match != "none") {
        let name = name(case.home());
        // A follower finds the service of its leader.
        if !services.contains_key(&name) {
            let place = Place { name: name.clone(), sets: &mut sets, files: &mut files };
            services.insert(name, place.service(case));
        }
    }
    write!(config, "[services]\n{}[origins]\n{}", entries(&services), entries(&sets)).unwrap();
    let certified = Certified::of(&["localhost"]);
    let setup = Corsac::with(&format!("{LISTENERS}{config}"))
        .file("a.pem", &certified.cert)
        .file("a.key", &certified.key);
    files.into_iter().fold(setup, |setup, (name, text)| setup.file(&name, &text))
}

/// The policy of a configuration case, on the only service of a configuration.
pub(super) fn config(case: &ConfigCase) -> Setup {
    let (policy, sets) = apart(&case.policy, &case.origin_sets);
    let service = json!({
        "upstream": "origin",
        "cors": policy,
        "routes": { "all": { "paths": "/*" } },
    });
    let text = format!(
        "[upstreams.origin]\nnodes = [\"127.0.0.1:9\"]\n[origins]\n{}[services]\nonly = {}\n",
        entries(&sets),
        toml(&service),
    );
    case.files.iter().fold(Corsac::serving(&text), |setup, (name, text)| setup.file(name, text))
}

/// A name for what belongs to a case; its id may hold anything.
pub(super) fn name(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("case-{}", id.chars().map(plain).collect::<String>())
}

/// Where a case puts what it needs. Sets and files are everybody's, so they get
/// the case's name before their own.
struct Place<'a> {
    name: String,
    sets: &'a mut Map<String, Value>,
    files: &'a mut Vec<(String, String)>,
}

impl Place<'_> {
    fn service(mut self, case: &RequestCase) -> Value {
        for (file, text) in &case.files {
            self.files.push((format!("{}/{file}", self.name), text.clone()));
        }
        let mut service = Map::new();
        let mut route = route(case);
        match &case.policy {
            Value::Null => {}
            Value::Object(both) if both.contains_key("service") || both.contains_key("route") => {
                for (level, policy) in [(&mut service, "service"), (&mut route, "route")] {
                    if let Some(policy) = both.get(policy).filter(|policy| !policy.is_null()) {
                        let policy = self.policy(policy, case);
                        level.insert("cors".to_owned(), policy);
                    }
                }
            }
            policy => {
                let policy = self.policy(policy, case);
                service.insert("cors".to_owned(), policy);
            }
        }
        service.insert("routes".to_owned(), json!({ "r": route }));
        Value::Object(service)
    }

    fn policy(&mut self, policy: &Value, case: &RequestCase) -> Value {
        let (mut policy, sets) = apart(policy, &case.origin_sets);
        for (set, origins) in sets {
            self.sets.insert(format!("{}-{set}", self.name), origins);
        }
        for (key, separator) in [("allow_origin_sets", '-'), ("allow_origins_file", '/')] {
            match policy.get_mut(key) {
                Some(Value::String(one)) => *one = format!("{}{separator}{one}", self.name),
                Some(Value::Array(many)) => {
                    for one in many {
                        let own = one.as_str().map(|o| format!("{}{separator}{o}", self.name));
                        *one = json!(own);
                    }
                }
                _ => {}
            }
        }
        policy
    }
}

fn route(case: &RequestCase) -> Map<String, Value> {
    let mut route = Map::new();
    let mut set = |key: &str, value: Value| route.insert(key.to_owned(), value);
    set("paths", json!(case.path()));
    let mut predicates = Map::new();
    for (predicate, value) in case.route_match.as_object().into_iter().flatten() {
        match predicate.as_str() {
            "headers" | "query" => drop(predicates.insert(predicate.clone(), value.clone())),
            _ => drop(set(predicate, value.clone())),
        }
    }
    if !predicates.is_empty() {
        set("match", Value::Object(predicates));
    }
    if let Some(rewrite) = &case.request_rewrite {
        set("headers", json!({ "request": { "set": rewrite.set_headers } }));
    }
    if case.is_limited() {
        set("limits", json!({ "body": "1B" }));
    }
    set("upstream", json!(upstream(case)));
    match &case.edge_response {
        Some(edge) if edge.by.contains("redirect") => {
            route.remove("upstream");
            let to = "https://api.example.com/";
            route.insert("redirect".to_owned(), json!({ "to": to, "status": edge.status }));
        }
        Some(edge) if !case.is_limited() && edge.status < 500 => {
            route.remove("upstream");
            let respond = json!({ "status": edge.status, "body": "" });
            route.insert("respond".to_owned(), respond);
        }
        _ => {}
    }
    route
}

/// What fails in the way that the case names.
fn upstream(case: &RequestCase) -> &'static str {
    match case.upstream_error.as_deref() {
        None => match case.edge_response.as_ref().map(|edge| edge.status) {
            Some(502 | 503) => "refusing",
            Some(504) => "silent",
            _ => "scripted",
        },
        Some("down" | "refused" | "connection-refused" | "connect_refused" | "connect") => {
            "refusing"
        }
        Some("connect-timeout" | "connect_timeout" | "unreachable") => "unresponsive",
        Some(_) => "silent",
    }
}

/// A policy without the sets that some cases write into it, and those sets.
fn apart(policy: &Value, beside: &Map<String, Value>) -> (Value, Map<String, Value>) {
    let (mut policy, mut sets) = (policy.clone(), beside.clone());
    if let Some(Value::Object(within)) =
        policy.as_object_mut().and_then(|policy| policy.remove("origin_sets"))
    {
        sets.extend(within);
    }
    (policy, sets)
}

fn entries(table: &Map<String, Value>) -> String {
    let entry = |(key, value)| [json!(key).to_string(), " = ".into(), toml(value), "\n".into()];
    table.iter().flat_map(entry).collect()
}

/// JSON as one TOML value. A string of one is a string of the other, but for DEL.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let present: BTreeMap<_, _> = table.iter().filter(|(_, v)| !v.is_null()).collect();
            let pairs =
                present.iter().map(|(key, value)| format!("{} = {}", json!(key), toml(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        Value::Array(values) => {
            format!("[{}]", values.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => json!(text).to_string().replace('\u{7f}', "\\u007F"),
        value => value.to_string(),
    }
}

#[test]
fn json_becomes_toml() {
    let json = json!({ "a": ["b\n", "\u{7f}é"], "c": { "d": 1, "e": true, "f": null }, "g.h": {} });
    let text = toml(&json);
    let expected = r#"{ "a" = ["b\n", "\u007Fé"], "c" = { "d" = 1, "e" = true }, "g.h" = {  } }"#;
    assert_eq!(text, expected);
    assert!(toml::de::DeTable::parse(&format!("v = {text}")).is_ok());
}
