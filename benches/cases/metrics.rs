//! What is counted of a request.

use std::{hint::black_box, time::Duration};

use corsac::{
    cors::{Kind, Mode, Overridden, Reason},
    edits::HeaderEdits,
    metrics::{Direction, Metrics, RouteMetrics, UpstreamMetrics},
};
use http::{HeaderMap, HeaderValue, StatusCode, header::ACCESS_CONTROL_ALLOW_ORIGIN};

/// Counts one request. The first of its kind, which makes the series, has been.
pub(crate) fn request() -> impl Fn() + Sync {
    let metrics = Metrics::new();
    let route = RouteMetrics::new("shop", "shop/orders");
    let upstream = UpstreamMetrics::new("app");
    let response =
        HeaderMap::from_iter([(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))]);
    let mut edits = HeaderEdits::new();
    edits.set(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("https://a.example"));
    let count = move || {
        let _in_flight = metrics.request();
        route.decision(Kind::Actual, Reason::Ok, Mode::Enforce);
        upstream.answered(Duration::from_millis(3));
        route.overridden(Overridden::of(black_box(&edits), black_box(&response)));
        route.request(black_box(Some(StatusCode::OK)), Duration::from_millis(4));
        route.bytes(Direction::In, 0);
        route.bytes(Direction::Out, 1234);
    };
    count();
    count
}
