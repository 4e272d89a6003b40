//! What is rendered, read back by a parser that others wrote.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may panic")]
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use prometheus_parse::{Scrape, Value};

use super::*;
use crate::cors::{Kind, Mode, Overridden, Reason};
use crate::edits::HeaderEdits;
use crate::http2::Flood;

fn scrape(metrics: &Metrics) -> Scrape {
    Scrape::parse(metrics.render().lines().map(|line| Ok(line.to_owned()))).unwrap()
}

/// The value of the one series with this name and these labels; 0: it is not there.
fn value(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = scrape(metrics).samples;
    let mut found = samples.iter().filter(|sample| {
        sample.metric == name && labels.iter().all(|(k, v)| sample.labels.get(k) == Some(v))
    });
    let value = found.next().map_or(0.0, |sample| match &sample.value {
        Value::Counter(value) | Value::Gauge(value) => *value,
        Value::Histogram(buckets) => buckets.last().unwrap().count,
        other => panic!("{name}: {other:?}"),
    });
    assert!(found.next().is_none(), "{name} {labels:?} is not one series");
    value
}

fn all_overridden() -> Overridden {
    let mut response = HeaderMap::new();
    let mut edits = HeaderEdits::new();
    for name in Overridden::NAMES {
        response.insert(name, HeaderValue::from_static("x"));
        edits.remove(http::HeaderName::from_static(name));
    }
    Overridden::of(&edits, &response)
}

/// Every word that there is, for each label.
fn count_everything(route: &RouteMetrics, upstream: &UpstreamMetrics) {
    for code in 100..1000 {
        route.request(StatusCode::from_u16(code).ok(), Duration::from_millis(3));
    }
    route.request(None, Duration::ZERO);
    for &reason in Reason::ALL {
        for kind in Kind::ALL {
            for &(_, mode) in Mode::ALL {
                route.decision(kind, reason, mode);
            }
        }
    }
    for policy in [true, false] {
        for upstream in [true, false] {
            route.report(policy, upstream);
        }
    }
    route.overridden(all_overridden());
    route.bytes(Direction::In, 7);
    route.bytes(Direction::Out, 9);
    upstream.answered(Duration::from_secs(1));
    upstream.retried();
    for error in UpstreamError::ALL {
        upstream.failed(error);
    }
}

fn series(routes: &[&Arc<RouteMetrics>], upstreams: &[&Arc<UpstreamMetrics>]) -> Arc<Series> {
    Arc::new(Series {
        routes: routes.iter().map(|&route| Arc::clone(route)).collect(),
        upstreams: upstreams.iter().map(|&upstream| Arc::clone(upstream)).collect(),
        certificates: [CertificateDates { name: "a".into(), not_before: 1, not_after: 2 }].into(),
    })
}

/// Metrics of which every one was counted, of one route and one upstream.
fn everything() -> (Metrics, Arc<RouteMetrics>, Arc<UpstreamMetrics>) {
    let metrics = Metrics::new();
    let route = Arc::new(RouteMetrics::new("shop", "shop/orders"));
    let upstream = Arc::new(UpstreamMetrics::new("app"));
    metrics.serve(series(&[&route], &[&upstream]));
    count_everything(&route, &upstream);
    let _connection = metrics.connections("http").hold();
    metrics.config_applied("3f2a", 1_000_000);
    metrics.config_refused(["E102", "E001", "E102"]);
    metrics.limit_reached("http", Limit::Head);
    metrics.handshake("https", "1.3", "TLS_AES_128_GCM_SHA256", Some("h2"), false);
    metrics.http2_ended("https", Flood::Resets);
    metrics.no_proxy_header("https", NoProxyHeader::Empty);
    metrics.handshake_failed("https", HandshakeFailure::Alert);
    metrics.request_refused("http", "head_malformed");
    (metrics, route, upstream)
}

/// What is rendered is what the definitions say: names, kinds, labels, help.
#[test]
fn definitions_are_what_is_rendered() {
    let (metrics, ..) = everything();
    let text = metrics.render();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sample in scrape(&metrics).samples {
        // The parser folds the buckets of a histogram, but not its sum and its count.
        let name = sample.metric.trim_end_matches("_sum").trim_end_matches("_count");
        let name = if definitions::ALL.iter().any(|known| known.name == name) {
            name.to_owned()
        } else {
            sample.metric.clone()
        };
        let names = sample.labels.keys().cloned();
        assert_eq!(
            labels.entry(name).or_insert_with(|| names.clone().collect()),
            &names.collect::<BTreeSet<_>>()
        );
    }
    labels.retain(|name, _| !name.starts_with("process_"));
    let defined = definitions::ALL.iter().map(|definition| {
        let labels = definition.labels.iter().map(|&label| label.to_owned()).collect();
        (definition.name.to_owned(), labels)
    });
    assert_eq!(labels, defined.collect());
    for definition in definitions::ALL {
        let kind = format!("# TYPE {} {}\n", definition.name, definition.kind.as_str());
        let help = format!("# HELP {} {}\n", definition.name, definition.help);
        assert!(text.contains(&kind) && text.contains(&help), "{}", definition.name);
    }
}

#[test]
fn what_was_counted_is_shown() {
    let (metrics, route, _) = everything();
    let route_is = ("route", "shop/orders");
    for code in ["200", "299", "404", "999", "none"] {
        let labels = [("service", "shop"), route_is, ("code", code)];
        assert_eq!(value(&metrics, "corsac_http_requests_total", &labels), 1.0, "{code}");
    }
    let duration = "corsac_http_request_duration_seconds";
    assert_eq!(value(&metrics, duration, &[route_is]), 901.0);
    assert_eq!(value(&metrics, duration, &[("service", ""), ("route", "")]), 0.0);
    for (direction, bytes) in [("in", 7.0), ("out", 9.0)] {
        let labels = [route_is, ("direction", direction)];
        assert_eq!(value(&metrics, "corsac_http_bytes_total", &labels), bytes);
    }
    for &(mode, _) in Mode::ALL {
        for reason in Reason::ALL {
            for kind in Kind::ALL {
                let labels = [
                    route_is,
                    ("kind", kind.as_str()),
                    ("reason", reason.as_str()),
                    ("mode", mode),
                ];
                assert_eq!(value(&metrics, "corsac_cors_decisions_total", &labels), 1.0);
            }
        }
    }
    for header in Overridden::NAMES {
        let labels = [route_is, ("header", header)];
        assert_eq!(value(&metrics, "corsac_cors_upstream_overridden_total", &labels), 1.0);
    }
    route.report(true, false);
    let labels = [route_is, ("policy", "allow"), ("upstream", "deny")];
    assert_eq!(value(&metrics, "corsac_cors_report_total", &labels), 2.0);
    for error in UpstreamError::ALL {
        let labels = [("upstream", "app"), ("reason", error.as_str())];
        assert_eq!(value(&metrics, "corsac_upstream_errors_total", &labels), 1.0);
    }
    assert_eq!(value(&metrics, "corsac_config_refused_total", &[("code", "E102")]), 1.0);
    assert_eq!(value(&metrics, "corsac_config_last_reload_successful", &[]), 0.0);
    assert_eq!(value(&metrics, "corsac_config_applied_timestamp_seconds", &[]), 1e6);
    metrics.config_applied("77aa", 2_000_000);
    assert_eq!(value(&metrics, "corsac_config_info", &[]), 1.0, "one configuration serves");
    assert_eq!(value(&metrics, "corsac_config_info", &[("hash", "77aa")]), 1.0);
    assert_eq!(value(&metrics, "corsac_config_last_reload_successful", &[]), 1.0);
}

/// However much is asked for, the series are as many as after the first of everything.
#[test]
fn series_stay_flat() {
    let (metrics, route, upstream) = everything();
    let lines = metrics.render().lines().count();
    for _ in 0..100 {
        count_everything(&route, &upstream);
    }
    assert_eq!(metrics.render().lines().count(), lines);
}

#[test]
fn what_is_in_flight() {
    let metrics = Metrics::new();
    let in_flight = || value(&metrics, "corsac_http_requests_in_flight", &[]);
    let one = metrics.request();
    let failing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _two = metrics.request();
        assert_eq!(in_flight(), 2.0);
        std::panic::resume_unwind(Box::new("a hook failed"));
    }));
    assert!(failing.is_err());
    assert_eq!(in_flight(), 1.0);
    drop(one);
    assert_eq!(in_flight(), 0.0);
}

/// A request that ends on an old snapshot does not bring back what the new one dropped.
#[test]
fn what_is_gone_stays_gone() {
    let metrics = Metrics::new();
    let [stays, goes] = ["s/stays", "s/goes"].map(|name| Arc::new(RouteMetrics::new("s", name)));
    let [up, down] = ["up", "down"].map(|name| Arc::new(UpstreamMetrics::new(name)));
    metrics.serve(series(&[&stays, &goes], &[&up, &down]));
    stays.request(Some(StatusCode::OK), Duration::ZERO);
    goes.request(Some(StatusCode::OK), Duration::ZERO);
    metrics.serve(series(&[&stays], &[&up]));
    count_everything(&goes, &down);
    count_everything(&stays, &up);
    let text = metrics.render();
    assert!(!text.contains("s/goes") && !text.contains("\"down\""), "{text}");
    let labels = [("route", "s/stays"), ("code", "200")];
    assert_eq!(value(&metrics, "corsac_http_requests_total", &labels), 2.0);
}

/// What is given back as a number is what is shown.
#[test]
fn labelled_series_are_given_back() {
    let metrics = Metrics::new();
    let _open = ["a", "b", "b"].map(|listener| metrics.connections(listener).hold());
    assert_eq!(metrics.open_connections(), 3);
    assert_eq!(value(&metrics, "corsac_http_connections", &[("listener", "b")]), 2.0);
    // A float would lose the last one.
    metrics.count_refused("E102", (1 << 53) + 1);
    metrics.config_refused(["E001"]);
    let refusals = [("E001".to_owned(), 1), ("E102".to_owned(), (1 << 53) + 1)];
    assert_eq!(metrics.refusals(), refusals);
}
