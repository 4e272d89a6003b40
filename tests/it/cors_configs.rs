//! Every policy of `cases/cors_configs.json`, written as a configuration, gives
//! exactly the codes that it must, and nothing beside.

use std::collections::BTreeMap;
use std::path::Path;

use corsac::config;
use corsac::cors::Severity;
use serde_json::Value;

use crate::golden::InMemory;

#[test]
fn each_policy_gives_its_codes() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("cases/cors_configs.json")).unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        let report = report(case);
        let codes = |severity| {
            let found = report.diagnostics().iter().filter(|found| found.severity == severity);
            found.map(|found| found.code).collect::<Vec<_>>()
        };
        let expected = &case["expect"];
        let got = (codes(Severity::Error), codes(Severity::Warning));
        if got.0 != strings(&expected["errors"]) || got.1 != strings(&expected["warnings"]) {
            wrong.push(format!(
                "{} ({}), not {expected}:\n{}",
                case["id"],
                case["why"],
                report.to_text(false)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn report(case: &Value) -> config::Report {
    let mut files = BTreeMap::from([("corsac.toml".into(), configuration(&case["policy"]))]);
    for (name, text) in case["files"].as_object().into_iter().flatten() {
        files.insert(name.into(), text.as_str().unwrap().to_owned());
    }
    match config::load(Path::new("corsac.toml"), &InMemory(files)) {
        Ok((_, warnings)) => warnings,
        Err(report) => report,
    }
}

/// The least configuration with this policy.
fn configuration(policy: &Value) -> String {
    let mut policy = policy.as_object().unwrap().clone();
    let sets = policy.remove("origin_sets").unwrap_or(Value::Object(serde_json::Map::new()));
    format!(
        r#"
version = 1
origins = {}
listeners.http.address = "127.0.0.1:0"
upstreams.app.nodes = "127.0.0.1:9000"
services.app.upstream = "app"
services.app.cors = {}
services.app.routes.all.paths = "/*"
"#,
        toml(&sets),
        toml(&Value::Object(policy))
    )
}

/// A JSON value in TOML, in one line. Strings are written alike in both.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        scalar => scalar.to_string(),
    }
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}
