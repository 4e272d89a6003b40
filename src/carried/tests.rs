#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::cors::{Mode, Overridden, Reason};
use crate::edits::HeaderEdits;
use crate::metrics::{Direction, HandshakeFailure, Limit, UpstreamError};
use crate::snapshot::SnapshotCell;
use crate::upstream::Tried;

/// A process, as far as this module sees one.
struct Process {
    snapshot: Arc<Snapshot>,
    metrics: Metrics,
}

const NODES: &str = "[\"127.0.0.1:1\", \"127.0.0.1:2\", \"127.0.0.1:3\"]";

impl Process {
    fn new(routes: &[&str], nodes: &str) -> Self {
        let mut text = format!(
            "version = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n\
             [upstreams.app]\nnodes = {nodes}\n\
             [policies.cors.app]\nallow_origins = \"https://a.example\"\n\
             [services.s]\nupstream = \"app\"\ncors = \"app\"\n"
        );
        for route in routes {
            writeln!(text, "routes.{route}.paths = \"/{route}\"").unwrap();
        }
        let config = crate::config::parse(&text, "corsac.toml").unwrap().0;
        let snapshot = Snapshot::compile(Arc::new(config), HashMap::new(), None);
        let metrics = Metrics::new();
        let snapshot = SnapshotCell::new(snapshot, metrics.clone()).load();
        Self { snapshot, metrics }
    }

    fn carried(&self) -> Carried {
        Carried::of(&self.snapshot, &self.metrics)
    }

    /// As another process reads what this one writes.
    fn hand(&self, carried: &Carried) {
        let text = serde_json::to_vec(carried).unwrap();
        let read: Carried = serde_json::from_slice(&text).unwrap();
        assert_eq!(read, *carried);
        read.apply(&self.snapshot, &self.metrics);
    }

    /// What is rendered of counters and histograms of corsac's own.
    fn counted(&self) -> String {
        let kept = |line: &&str| {
            let metric = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
            definitions::ALL
                .iter()
                .any(|known| known.kind != MetricKind::Gauge && metric.starts_with(known.name))
        };
        let text = self.metrics.render();
        let kept: Vec<&str> = text.lines().filter(kept).collect();
        kept.join("\n") + "\n"
    }

    /// The lines that only one of the two shows.
    fn differs_from(&self, other: &Self) -> Vec<String> {
        let [mine, others] = [self, other].map(|process| {
            let text = process.counted();
            let lines: BTreeSet<String> = text.lines().map(str::to_owned).collect();
            assert_eq!(lines.len(), text.lines().count(), "a series is there twice:\n{text}");
            lines
        });
        mine.symmetric_difference(&others).cloned().collect()
    }

    fn count(&self, (what, word, at, many): Count) {
        let word = usize::from(word);
        let index = usize::from(at) % (self.snapshot.series().routes.len() + 1);
        let unrouted = self.metrics.unrouted();
        let route = self.snapshot.route_metrics(index).map_or(unrouted, Arc::as_ref);
        let upstream = self.snapshot.upstream_metrics(0).unwrap();
        match what % 14 {
            0 => {
                let status = StatusCode::from_u16(100 + u16::try_from(word).unwrap() * 3).ok();
                route.request(status.filter(|_| many % 5 > 0), Duration::from_micros(many));
            }
            1 => route.bytes(Direction::ALL[word % 2], many + 1),
            2 => route.decision(
                crate::cors::Kind::ALL[word % 3],
                Reason::ALL[word % Reason::ALL.len()],
                [Mode::Enforce, Mode::Report][at as usize % 2],
            ),
            3 => {
                let name = HeaderName::from_static(Overridden::NAMES[word % 8]);
                let mut edits = HeaderEdits::new();
                edits.remove(name.clone());
                let response = HeaderMap::from_iter([(name, HeaderValue::from_static("x"))]);
                route.overridden(Overridden::of(&edits, &response));
            }
            4 => route.report(word % 2 == 0, many % 2 == 0),
            5 => upstream.failed(UpstreamError::ALL[word % 4]),
            6 => upstream.retried(),
            7 => upstream.answered(Duration::from_nanos(many)),
            8 => self.metrics.config_refused([codes::CODES[word % codes::CODES.len()].0]),
            9 => self.metrics.limit_reached("http", [Limit::Head, Limit::Send][word % 2]),
            10 => self.metrics.request_refused("http", ["head_malformed", "client_slow"][word % 2]),
            11 => {
                let version = ["1.2", "1.3"][word % 2];
                let alpn = [Some("h2"), Some("http/1.1"), None][word % 3];
                let cipher = "TLS_AES_128_GCM_SHA256";
                self.metrics.handshake("http", version, cipher, alpn, many % 2 == 0);
            }
            12 => self.metrics.handshake_failed("http", HandshakeFailure::Alert),
            _ => self.metrics.access_log_dropped().add(many),
        }
    }
}

/// What is counted, a word of it, of which route, and how much.
type Count = (u8, u8, u8, u64);

fn counts() -> impl Strategy<Value = Vec<Count>> {
    prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), 0..60_000_000_u64), 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What another process takes over is what this one shows; what it then counts while
    /// it drains comes after, and nothing counts twice.
    #[test]
    fn nothing_is_lost_or_counted_twice(first in counts(), then in counts()) {
        let old = Process::new(&["a", "b"], NODES);
        let new = Process::new(&["b", "a"], NODES);
        for count in first {
            old.count(count);
        }
        let handed = old.carried();
        new.hand(&handed);
        prop_assert_eq!(old.differs_from(&new), [""; 0]);
        prop_assert!(old.carried().since(&handed).is_empty());
        for count in then {
            old.count(count);
        }
        new.hand(&old.carried().since(&handed));
        prop_assert_eq!(old.differs_from(&new), [""; 0]);
    }

    /// Whatever comes in, nothing panics, and no series begins to exist that the
    /// configuration does not give.
    #[test]
    fn anything_is_read(
        metric in prop::sample::select(&["corsac_http_requests_total", "corsac_config_refused_total",
            "corsac_http_request_duration_seconds", "corsac_cors_decisions_total",
            "corsac_tls_handshakes_total", "corsac_limits_reached_total", "x"][..]),
        name in prop::sample::select(&["s/a", "", "s/gone", "app", "http", "gone"][..]),
        words in prop::sample::select(&["200", "299", "99", "1000", "é", "", "0.001", "0.002",
            "+Inf", "sum_us", "head", "1.3 TLS_X h2 true", "1.3 TLS_X x true", "1.3  h2 true", "1.3 TLS_X true", "preflight ok enforce", "preflight ok", "E001", "E999"][..]),
        value in prop::sample::select(&["1", "-1", "1.5", "1e99", "18446744073709551615", "null",
            "\"1\"", "[]", "{\"a\": {}}", "99999999999999999999"][..]),
        times in 1..4,
    ) {
        let process = Process::new(&["a"], NODES);
        let text = format!(
            "{{\"counts\": {{{metric:?}: {{{name:?}: {{{words:?}: {value}}}}}}}, \"new\": [1],
              \"rounds\": {{\"app\": {value}}}, \"refused\": {{\"policies.cors.app\": {value},
              \"other\": {{\"origins\": {value}, \"skipped\": {value}}}}}}}"
        );
        let carried: Carried = serde_json::from_str(&text).unwrap();
        for _ in 0..times {
            process.hand(&carried);
        }
        let text = process.counted();
        for never in ["gone", "\"99\"", "1000", "é", "E999", "\"0.002\""] {
            prop_assert!(!text.contains(never), "{}", text);
        }
    }
}

#[test]
fn what_is_gone_is_dropped() {
    let old = Process::new(&["a", "gone"], NODES);
    for index in 0..2 {
        old.count((0, 33, index, 1));
    }
    let new = Process::new(&["a", "more"], NODES);
    new.hand(&old.carried());
    let text = new.counted();
    assert!(text.contains("{code=\"199\",route=\"s/a\",service=\"s\"} 1\n"), "{text}");
    assert!(!text.contains("gone") && !text.contains("more"), "{text}");
}

#[test]
fn what_cannot_be_read() {
    for text in ["", "null", "3", "{\"counts\": 1}", "{\"counts\": {\"a\": {\"b\": 3}}}", "{"] {
        assert!(serde_json::from_str::<Carried>(text).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<Carried>("{}").unwrap().is_empty());
}

/// A histogram of other buckets begins anew, whole; what else is known is taken.
#[test]
fn other_buckets() {
    let new = Process::new(&["a"], NODES);
    let text = r#"{"counts": {
        "corsac_http_request_duration_seconds": {"s/a": {"0.002": 7, "0.005": 8, "sum_us": 99}},
        "corsac_http_requests_total": {"s/a": {"200": 15, "teapot": 1}}
    }}"#;
    new.hand(&serde_json::from_str(text).unwrap());
    let text = new.counted();
    let labels = "route=\"s/a\",service=\"s\"";
    let count = format!("corsac_http_request_duration_seconds_count{{{labels}}} 0\n");
    assert!(text.contains(&count), "{text}");
    assert!(text.contains(&format!("corsac_http_requests_total{{code=\"200\",{labels}}} 15\n")));
}

#[test]
fn rounds_go_on() {
    let other = NODES.replace("127.0.0.1:3", "127.0.0.1:4");
    for (nodes, expected) in [(NODES, [3, 1]), (&other, [1, 2])] {
        let old = Process::new(&["a"], NODES);
        let new = Process::new(&["a"], nodes);
        for _ in 0..2 {
            old.snapshot.upstream(0).unwrap().1.pick(&Tried::default()).unwrap();
        }
        new.hand(&old.carried());
        let pick = |_| new.snapshot.upstream(0)?.1.pick(&Tried::default());
        let ports: Vec<u16> = (0..2).filter_map(pick).map(|e| e.address.port()).collect();
        assert_eq!(ports, expected, "{nodes}");
    }
}

#[test]
fn refused_origins_go_on() {
    let old = Process::new(&["a", "b"], NODES);
    for now in [7, 9] {
        let _ = old.snapshot.refused(0).unwrap().note(b"https://evil.example", now);
    }
    let new = Process::new(&["a"], NODES);
    let handed = old.carried();
    new.hand(&handed);
    let tables = [&old, &new].map(|process| process.snapshot.policies());
    let expected =
        [RefusedOrigin { origin: "https://evil.example".into(), count: 2, error: 0, last_seen: 9 }];
    for table in tables {
        assert_eq!(table["policies.cors.app"].all(), expected);
    }
    assert!(old.carried().since(&handed).is_empty());
}

/// Of a thousand routes with 23 numbers each: half a kilobyte for each.
#[test]
fn it_is_small() {
    let names: Vec<String> = (0..1_000).map(|i| format!("route-{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let process = Process::new(&names, NODES);
    for route in &process.snapshot.series().routes {
        for ms in [0, 2, 4, 8, 20, 90] {
            for code in [200, 204, 304, 404, 502] {
                route.request(StatusCode::from_u16(code).ok(), Duration::from_millis(ms));
            }
        }
        route.bytes(Direction::In, 123_456);
        route.bytes(Direction::Out, 123_456_789);
        for reason in [Reason::Ok, Reason::OriginNotListed, Reason::MethodNotAllowed] {
            for kind in crate::cors::Kind::ALL {
                route.decision(kind, reason, Mode::Enforce);
            }
        }
    }
    let size = serde_json::to_vec(&process.carried()).unwrap().len();
    assert!(size < 800_000, "{size} bytes");
}
