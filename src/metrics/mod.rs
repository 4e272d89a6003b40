//! Every metric: what it is called, what it means, and what counts it.
//!
//! [`definitions`] is the list. What is counted for a route or an upstream stands in
//! [`RouteMetrics`] and [`UpstreamMetrics`], which a snapshot holds by the same index
//! as the route itself: a request looks up no name, takes no lock and allocates
//! nothing, except for the first request of a route.
//!
//! # What is shown
//!
//! Labels come from the configuration, and from fixed sets of words; nothing that a
//! client chooses is one. So the number of series is bounded by the configuration.
//!
//! The series of routes and upstreams are those of the [`Series`] that was given to
//! [`Metrics::serve`] last. A route that stays across a reload keeps its counts; one
//! that is gone is not shown any more. Requests that still end on the old snapshot
//! count into handles that no scrape reads, so they cannot bring a series back.
//!
//! What is counted of the process is kept by the crate `prometheus`. Of routes there may
//! be tens of thousands, with a hundred counters each, so `cells.rs` keeps those itself.

pub(crate) mod cells;
mod counter;
pub mod definitions;
mod durations;
mod handshake;
mod limit;
mod proxy_header;
mod route;
mod text;
mod upstream;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
use prometheus::{Registry, TextEncoder};

use crate::http2::Flood;

use self::counter::{Counters, Gauges};
use self::definitions::Definition;
use self::text::Text;

pub use self::counter::{Counter, Gauge, Held};
pub use self::handshake::HandshakeFailure;
pub use self::limit::Limit;
pub use self::proxy_header::NoProxyHeader;
pub use self::route::{Direction, RouteMetrics};
pub use self::upstream::{UpstreamError, UpstreamMetrics};

/// The commit that corsac was built from, if the build was told.
const REVISION: &str = match option_env!("CORSAC_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// How corsac was built: what the build was told, or else cargo's profile.
pub const BUILD: &str = match option_env!("CORSAC_BUILD") {
    Some(build) => build,
    None if cfg!(debug_assertions) => "debug",
    None => "release",
};

/// How many series another process may bring of a metric: more than there are listeners times
/// words, and a bound.
const SERIES_MAX: usize = 4096;

/// Whether a label of a listener's counts can have this value.
fn is_value(label: &str, value: &str) -> bool {
    let is_of = |bytes: fn(u8) -> bool| !value.is_empty() && value.bytes().all(bytes);
    match label {
        "listener" => is_of(|byte| byte.is_ascii_graphic()),
        "version" => matches!(value, "1.2" | "1.3"),
        "cipher" => {
            let is_of_ciphers =
                |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            value.starts_with("TLS_") && is_of(is_of_ciphers)
        }
        "alpn" => matches!(value, "h2" | "http/1.1" | "none"),
        "resumed" => matches!(value, "true" | "false"),
        // A limit, or a reason.
        _ => is_of(|byte| byte.is_ascii_lowercase() || byte == b'_'),
    }
}

/// All metrics of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    in_flight: Gauge,
    connections: Gauges,
    reload_successful: Gauge,
    applied_at: Gauge,
    snapshots: Gauge,
    refused: Counters,
    access_log_dropped: Counter,
    limits_reached: Counters,
    requests_refused: Counters,
    handshakes: Counters,
    handshake_failures: Counters,
    h2_connections_ended: Counters,
    proxy_headers_refused: Counters,
    log_dropped: Counter,
    unrouted: Arc<RouteMetrics>,
    shown: Arc<Mutex<Shown>>,
}

impl Metrics {
    /// Metrics of which nothing was counted yet.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::new(),
            in_flight: Gauge::new(&definitions::REQUESTS_IN_FLIGHT),
            connections: Gauges::of(&definitions::CONNECTIONS),
            reload_successful: Gauge::new(&definitions::CONFIG_LAST_RELOAD_SUCCESSFUL),
            applied_at: Gauge::new(&definitions::CONFIG_APPLIED_TIMESTAMP),
            snapshots: Gauge::new(&definitions::CONFIG_SNAPSHOTS),
            refused: Counters::of(&definitions::CONFIG_REFUSED),
            access_log_dropped: Counter::new(&definitions::ACCESS_LOG_DROPPED),
            limits_reached: Counters::of(&definitions::LIMITS_REACHED),
            requests_refused: Counters::of(&definitions::REQUESTS_REFUSED),
            handshakes: Counters::of(&definitions::TLS_HANDSHAKES),
            handshake_failures: Counters::of(&definitions::TLS_HANDSHAKE_FAILURES),
            h2_connections_ended: Counters::of(&definitions::H2_CONNECTIONS_ENDED),
            proxy_headers_refused: Counters::of(&definitions::PROXY_HEADERS_REFUSED),
            log_dropped: Counter::new(&definitions::LOG_DROPPED),
            unrouted: Arc::new(RouteMetrics::new("", "")),
            shown: Arc::default(),
        };
        let build = definitions::BUILD_INFO.gauges();
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), REVISION, BUILD]).set(1);
        let collectors: [Box<dyn Collector>; 15] = [
            Box::new(build),
            metrics.in_flight.collector(),
            metrics.connections.collector(),
            metrics.reload_successful.collector(),
            metrics.applied_at.collector(),
            metrics.snapshots.collector(),
            metrics.refused.collector(),
            metrics.access_log_dropped.collector(),
            metrics.limits_reached.collector(),
            metrics.requests_refused.collector(),
            metrics.handshakes.collector(),
            metrics.handshake_failures.collector(),
            metrics.h2_connections_ended.collector(),
            metrics.proxy_headers_refused.collector(),
            metrics.log_dropped.collector(),
        ];
        for collector in collectors {
            metrics.register(collector);
        }
        #[cfg(all(feature = "server", target_os = "linux"))]
        metrics.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()));
        metrics
    }

    fn register(&self, collector: Box<dyn Collector>) {
        self.registry.register(collector).expect("every definition has a name of its own");
    }

    /// Everything, in the text format of Prometheus, version 0.0.4; its Content-Type is
    /// [`prometheus::TEXT_FORMAT`].
    #[must_use]
    pub fn render(&self) -> String {
        // Fails only for a family without a name or a metric, and none of either is gathered.
        let process = TextEncoder::new().encode_to_string(&self.registry.gather());
        let (series, hash) = {
            let shown = self.shown();
            (Arc::clone(&shown.series), shown.hash.clone())
        };
        let mut text = Text::new(process.unwrap_or_default());
        if let Some(hash) = hash {
            text.one(&definitions::CONFIG_INFO, &[&hash], 1);
        }
        let routes = std::iter::once(&self.unrouted).chain(&series.routes);
        text.all(&routes.map(Arc::as_ref).collect::<Vec<_>>());
        text.all(&series.upstreams.iter().map(Arc::as_ref).collect::<Vec<_>>());
        let dates = |of: fn(&CertificateDates) -> i64| {
            series.certificates.iter().map(move |dates| (&*dates.name, of(dates)))
        };
        text.each(&definitions::CERTIFICATE_NOT_BEFORE, dates(|dates| dates.not_before));
        text.each(&definitions::CERTIFICATE_NOT_AFTER, dates(|dates| dates.not_after));
        text.finish()
    }

    /// Shows the series of a snapshot from now on, instead of those of the last one.
    pub fn serve(&self, series: Arc<Series>) {
        self.shown().series = series;
    }

    /// For a scrape and a reload, never for a request.
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request as in flight, for as long as what is returned lives.
    #[must_use]
    pub fn request(&self) -> Held {
        self.in_flight.hold()
    }

    /// Counts a snapshot that serves, for as long as what is returned lives.
    #[must_use]
    pub fn snapshot(&self) -> Held {
        self.snapshots.hold()
    }

    /// What is counted of requests without a route.
    #[must_use]
    pub fn unrouted(&self) -> &RouteMetrics {
        &self.unrouted
    }

    /// The open connections of a listener. Listeners are those of the process: no reload
    /// adds or removes one.
    #[must_use]
    pub fn connections(&self, listener: &str) -> Gauge {
        self.connections.with(listener)
    }

    /// The open connections of all listeners.
    #[must_use]
    pub fn open_connections(&self) -> i64 {
        self.connections.all().iter().map(|(_, gauge)| gauge.get()).sum()
    }

    /// The requests in flight.
    #[must_use]
    pub fn requests_in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// Lines that the access log lost.
    #[must_use]
    pub fn access_log_dropped(&self) -> Counter {
        self.access_log_dropped.clone()
    }

    /// Counts that a client of this listener has reached a limit.
    pub fn limit_reached(&self, listener: &str, limit: Limit) {
        self.limits_reached.with(&[listener, limit.as_str()]).add(1);
    }

    /// Counts a request of this listener that no route was asked for; `reason` is a word of
    /// a fixed set.
    pub fn request_refused(&self, listener: &str, reason: &'static str) {
        self.requests_refused.with(&[listener, reason]).add(1);
    }

    /// Counts a handshake of TLS on this listener; `alpn`: the protocol, if one was agreed on.
    pub fn handshake(
        &self,
        listener: &str,
        version: &str,
        cipher: &str,
        alpn: Option<&str>,
        is_resumed: bool,
    ) {
        let resumed = if is_resumed { "true" } else { "false" };
        let alpn = alpn.unwrap_or("none");
        self.handshakes.with(&[listener, version, cipher, alpn, resumed]).add(1);
    }

    /// Counts one that failed.
    pub fn handshake_failed(&self, listener: &str, why: HandshakeFailure) {
        self.handshake_failures.with(&[listener, why.as_str()]).add(1);
    }

    /// A connection of HTTP/2 is ended.
    pub fn http2_ended(&self, listener: &str, why: Flood) {
        self.h2_connections_ended.with(&[listener, why.as_str()]).add(1);
    }

    /// Counts a connection that was closed for want of a PROXY protocol header.
    pub fn no_proxy_header(&self, listener: &str, why: NoProxyHeader) {
        self.proxy_headers_refused.with(&[listener, why.as_str()]).add(1);
    }

    /// Lines that corsac's own log lost.
    #[must_use]
    pub fn log_dropped(&self) -> Counter {
        self.log_dropped.clone()
    }

    /// Notes that a configuration serves from `at` on, in seconds since 1970.
    pub fn config_applied(&self, hash: &str, at: u64) {
        self.shown().hash = Some(hash.into());
        self.applied_at.set(i64::try_from(at).unwrap_or(i64::MAX));
        self.reload_successful.set(1);
    }

    /// Notes that a configuration was refused for mistakes with these codes. Each counts
    /// once, however often it was found.
    pub fn config_refused<'c>(&self, codes: impl IntoIterator<Item = &'c str>) {
        self.reload_successful.set(0);
        for code in codes.into_iter().collect::<BTreeSet<_>>() {
            self.count_refused(code, 1);
        }
    }

    /// Counts configurations that were refused for a mistake with this code, and no more:
    /// also those that another process refused.
    pub(crate) fn count_refused(&self, code: &str, count: u64) {
        self.refused.with(&[code]).add(count);
    }

    /// What is counted of listeners, by name.
    fn of_listeners(&self) -> [(&'static Definition, &Counters); 6] {
        [
            (&definitions::LIMITS_REACHED, &self.limits_reached),
            (&definitions::REQUESTS_REFUSED, &self.requests_refused),
            (&definitions::TLS_HANDSHAKES, &self.handshakes),
            (&definitions::TLS_HANDSHAKE_FAILURES, &self.handshake_failures),
            (&definitions::H2_CONNECTIONS_ENDED, &self.h2_connections_ended),
            (&definitions::PROXY_HEADERS_REFUSED, &self.proxy_headers_refused),
        ]
    }

    /// The counts of one listener: by the metric's name, and by the values of its other labels,
    /// with spaces between.
    pub(crate) fn counts_of_listener(
        &self,
        listener: &str,
    ) -> impl Iterator<Item = (&'static str, Vec<(String, u64)>)> {
        self.of_listeners().into_iter().map(move |(metric, counters)| {
            let all = counters.all().into_iter();
            let of_it = all.filter_map(|(values, counter)| {
                let words = values.strip_prefix(listener)?.strip_prefix(' ')?;
                Some((words.to_owned(), counter.get()))
            });
            (metric.name, of_it.collect())
        })
    }

    /// Counts `count` more of a listener, also of what another process has counted. What is
    /// none of the metric's is not counted.
    pub(crate) fn count_of_listener(&self, metric: &str, listener: &str, words: &str, count: u64) {
        let values: Vec<&str> = std::iter::once(listener).chain(words.split(' ')).collect();
        for (known, counters) in self.of_listeners() {
            if known.name == metric
                && values.len() == known.labels.len()
                && known.labels.iter().zip(&values).all(|(label, value)| is_value(label, value))
                && counters.all().len() < SERIES_MAX
            {
                counters.with(&values).add(count);
            }
        }
    }

    /// Configurations that were refused, by the codes of their mistakes.
    pub(crate) fn refusals(&self) -> Vec<(String, u64)> {
        let all = self.refused.all().into_iter();
        all.map(|(code, counter)| (code.into_string(), counter.get())).collect()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What is counted for a snapshot: for each of its routes and upstreams, in its order.
#[derive(Debug, Default)]
pub struct Series {
    /// One for each route.
    pub routes: Box<[Arc<RouteMetrics>]>,
    /// One for each upstream.
    pub upstreams: Box<[Arc<UpstreamMetrics>]>,
    /// One for each certificate.
    pub certificates: Box<[CertificateDates]>,
}

/// When a certificate is valid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateDates {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// From when, in seconds since 1970.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
}

/// What a reload changes of what is shown.
#[derive(Debug, Default)]
struct Shown {
    series: Arc<Series>,
    /// Of the configuration that serves.
    hash: Option<Box<str>>,
}

#[cfg(test)]
mod tests;
