//! Metrics as they are written about: the page, the dashboard and the alerts name what
//! there is, and the page all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use corsac::metrics::definitions::{ALL, MetricKind};
use regex::Regex;
use serde_json::Value;

/// What the crate `prometheus` counts of a process, on Linux.
const PROCESS: [(&str, &str); 7] = [
    ("process_cpu_seconds_total", "counter"),
    ("process_open_fds", "gauge"),
    ("process_max_fds", "gauge"),
    ("process_virtual_memory_bytes", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_threads", "gauge"),
];

/// Labels that Prometheus adds when it scrapes.
const SCRAPED: [&str; 2] = ["instance", "job"];

/// Type and labels of each metric, by its name.
fn known() -> BTreeMap<&'static str, (&'static str, Vec<&'static str>)> {
    let ours = ALL.iter().map(|known| (known.name, (known.kind.as_str(), known.labels.to_vec())));
    ours.chain(PROCESS.map(|(name, kind)| (name, (kind, Vec::new())))).collect()
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

#[test]
fn the_page_lists_what_there_is() {
    let page = read("docs/metrics.md");
    let mut listed = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `") && line.contains('_')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, kind, labels, meaning, _] = cells[..] else { panic!("{row}") };
        let labels = labels.split(", ").map(|label| label.trim_matches('`'));
        let labels: Vec<&str> = labels.filter(|label| !label.is_empty()).collect();
        assert!(!meaning.is_empty(), "{row}");
        let twice = listed.insert(name.trim_matches('`'), (kind, labels)).is_some();
        assert!(!twice, "{row}");
    }
    assert_eq!(listed, known());
}

#[cfg(all(feature = "server", target_os = "linux"))]
#[test]
fn the_process_is_counted() {
    let text = corsac::metrics::Metrics::new().render();
    for (name, kind) in PROCESS {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}\n{text}");
    }
    assert_eq!(text.matches("# TYPE process_").count(), PROCESS.len());
}

#[test]
fn queries_ask_for_what_there_is() {
    let mut queries = Vec::new();
    expressions(&serde_json::from_str(&read("conf/grafana/corsac.json")).unwrap(), &mut queries);
    let alerts = read("conf/prometheus/alerts.yml");
    assert!(alerts.matches("expr:").count() > 5);
    queries.push(alerts);
    let page = read("docs/metrics.md");
    let blocks = page.split("```promql\n").skip(1).filter_map(|block| block.split("```").next());
    queries.extend(blocks.map(str::to_owned));
    assert!(queries.len() > 25, "only {} queries were found", queries.len());
    let wrong: BTreeSet<String> = queries.iter().flat_map(|query| mistakes(query)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A metric that nobody shows is of use to nobody.
    let unused = known().into_keys().filter(|name| {
        name.starts_with("corsac_") && !queries.iter().any(|query| query.contains(name))
    });
    assert_eq!(unused.collect::<Vec<_>>(), [""; 0]);
}

/// The queries of a dashboard, wherever they stand in it.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "expr" || key == "query" => {
                        found.push(text.clone());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        _ => {}
    }
}

/// What a query names that is not there: metrics, labels of a selector, labels to group by.
fn mistakes(query: &str) -> Vec<String> {
    let known = known();
    let metric = Regex::new(r"\b((?:corsac|process)_[a-z0-9_]+)\b(?:\{([^}]*)\})?").unwrap();
    let label = Regex::new(r#"([a-z_]+)\s*(?:=~|!~|!=|=)\s*""#).unwrap();
    let grouping = Regex::new(r"\b(?:by|on|without|ignoring) \(([^)]*)\)").unwrap();
    let mut wrong = Vec::new();
    let mut groupable: BTreeSet<&str> = SCRAPED.into();
    for found in metric.captures_iter(query) {
        let name = &found[1];
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|base| known.get(base).is_some_and(|it| it.0 == MetricKind::Histogram.as_str()));
        let is_bare_histogram = known.get(name).is_some_and(|it| it.0 == "histogram");
        let Some((_, labels)) = known.get(of_histogram.unwrap_or(name)) else {
            wrong.push(format!("{name} does not exist"));
            continue;
        };
        if is_bare_histogram {
            wrong.push(format!("{name} is a histogram: _bucket, _sum or _count"));
        }
        groupable.extend(labels);
        if name.ends_with("_bucket") {
            groupable.insert("le");
        }
        for used in label.captures_iter(found.get(2).map_or("", |it| it.as_str())) {
            if !labels.contains(&&used[1]) && !SCRAPED.contains(&&used[1]) {
                wrong.push(format!("{name} has no label {}", &used[1]));
            }
        }
    }
    // `label_replace` makes a label of its own.
    let made = Regex::new(r#", "([a-z_]+)", "\$\{1\}"#).unwrap();
    let made: Vec<String> = made.captures_iter(query).map(|it| it[1].to_owned()).collect();
    for found in grouping.captures_iter(query) {
        for name in found[1].split(',').map(str::trim) {
            if !groupable.contains(name) && !made.iter().any(|it| it == name) {
                wrong.push(format!("nothing in the query has the label {name}: {query}"));
            }
        }
    }
    wrong
}

/// The reader above is code too: what it must see, and what it must not.
#[test]
fn mistakes_are_seen() {
    let cases = [
        ("sum by (route) (rate(corsac_http_requests_total{code=\"200\"}[5m]))", 0),
        ("sum by (le) (rate(corsac_http_request_duration_seconds_bucket[5m]))", 0),
        ("process_open_fds{instance=~\"a\"}", 0),
        ("corsac_http_requests", 1),
        ("corsac_http_request_duration_seconds", 1),
        ("corsac_http_requests_total{status=\"200\"}", 1),
        ("sum by (upstream) (corsac_http_requests_total)", 1),
        ("sum by (le) (corsac_http_requests_total)", 1),
    ];
    for (query, count) in cases {
        assert_eq!(mistakes(query).len(), count, "{query}: {:?}", mistakes(query));
    }
}
