//! Lines of the access log.

use std::{hint::black_box, time::Duration};

use corsac::{
    config::LogFormat,
    edge::{Caller, Scheme},
    metrics::Metrics,
    proxy::{AccessLogQueue, Chosen, Line, Plain},
};
use http::Version;

pub(crate) const LINES: usize = 100;

/// Makes [`LINES`] lines and hands them over; the writer, on the same thread, takes
/// them all and throws them away.
pub(crate) fn hundred_lines(format: LogFormat) -> impl FnMut() {
    let (log, lines) = AccessLogQueue::new(format, Metrics::new().access_log_dropped());
    let (line, mut batch) = (line(), Vec::new());
    move || {
        for _ in 0..LINES {
            log.write(black_box(&line));
        }
        let write = |lines: &mut Vec<u8>| {
            lines.clear();
            Ok(())
        };
        lines.take(&mut batch, write).unwrap();
    }
}

fn line() -> Line<'static> {
    let chosen = |text: &'static str| Chosen(text.as_bytes());
    let plain = |text: &'static str| Plain(text.as_bytes());
    Line {
        time: "2026-01-31T12:00:00.123Z".parse().unwrap(),
        request_id: Some(plain("01930f3e-7b2a-7c3d-8e4f-0123456789ab")),
        listener: Some(plain("http")),
        caller: Some(Caller::direct("192.0.2.7:4711".parse().unwrap(), Scheme::Http)),
        method: Some(plain("GET")),
        host: Some(chosen("api.example.com")),
        path: Some(chosen("/v1/orders/7")),
        version: Version::HTTP_11,
        route: Some(plain("shop/orders")),
        status: Some(200),
        bytes_in: 0,
        bytes_out: 17,
        duration: Duration::from_micros(1_234),
        upstream: Some("10.0.1.11:8080".parse().unwrap()),
        reason: None,
        cors_kind: Some(plain("actual")),
        cors_reason: Some(plain("ok")),
        origin: Some(chosen("https://app.example.com")),
        referer: Some(chosen("https://app.example.com/orders")),
        user_agent: Some(chosen(
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        )),
        secured: None,
    }
}
