//! Name, kind, labels and meaning of every metric; `docs/metrics.md` says what they are
//! good for, and a test keeps the two in step.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

/// What is known of a metric before anything is counted.
#[derive(Debug)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It sorts what it sees into buckets.
    Histogram,
}

impl MetricKind {
    /// As Prometheus calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

macro_rules! definitions {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Definition = Definition {
                name: $name,
                kind: MetricKind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )+

        /// Every metric, except those of the process that the crate `prometheus` defines.
        pub const ALL: &[Definition] = &[$($constant),+];
    };
}

definitions! {
    REQUESTS = Counter "corsac_http_requests_total" ["service", "route", "code"]
        "Requests that have ended, by the status that the client got.";
    REQUEST_DURATION = Histogram "corsac_http_request_duration_seconds" ["service", "route"]
        "Time from the end of a request's head to the end of its answer.";
    REQUESTS_IN_FLIGHT = Gauge "corsac_http_requests_in_flight" []
        "Requests whose answer has not ended.";
    CONNECTIONS = Gauge "corsac_http_connections" ["listener"]
        "Open connections of clients, idle ones included.";
    LIMITS_REACHED = Counter "corsac_limits_reached_total" ["listener", "limit"]
        "Clients that have reached a limit, by its key in the configuration.";
    REQUESTS_REFUSED = Counter "corsac_requests_refused_total" ["listener", "reason"]
        "Requests refused before a route was looked for: their head was malformed, too large or slow.";
    TLS_HANDSHAKES = Counter "corsac_tls_handshakes_total"
        ["listener", "version", "cipher", "alpn", "resumed"]
        "Handshakes of TLS, by what was agreed on.";
    TLS_HANDSHAKE_FAILURES = Counter "corsac_tls_handshake_failures_total" ["listener", "reason"]
        "Handshakes of TLS that failed.";
    H2_CONNECTIONS_ENDED = Counter "corsac_h2_connections_ended_total" ["listener", "reason"]
        "Connections of HTTP/2 that were ended for what their client sent.";
    PROXY_HEADERS_REFUSED = Counter "corsac_proxy_headers_refused_total" ["listener", "reason"]
        "Connections that were closed for want of a PROXY protocol header.";
    CERTIFICATE_NOT_BEFORE = Gauge "corsac_certificate_not_before_timestamp_seconds" ["certificate"]
        "From when a certificate is valid, in seconds since 1970.";
    CERTIFICATE_NOT_AFTER = Gauge "corsac_certificate_not_after_timestamp_seconds" ["certificate"]
        "Until when a certificate is valid, in seconds since 1970.";
    BYTES = Counter "corsac_http_bytes_total" ["service", "route", "direction"]
        "Bytes of bodies, in from clients and out to them.";
    UPSTREAM_DURATION = Histogram "corsac_upstream_request_duration_seconds" ["upstream"]
        "Time from the choice of an endpoint to the head of its answer.";
    UPSTREAM_ERRORS = Counter "corsac_upstream_errors_total" ["upstream", "reason"]
        "Attempts at an upstream that failed, those that were tried again included.";
    UPSTREAM_RETRIES = Counter "corsac_upstream_retries_total" ["upstream"]
        "Further attempts at an upstream for the same request.";
    CORS_DECISIONS = Counter "corsac_cors_decisions_total"
        ["service", "route", "kind", "reason", "mode"]
        "Requests with an origin, by what the policy said of them.";
    CORS_OVERRIDDEN = Counter "corsac_cors_upstream_overridden_total"
        ["service", "route", "header"]
        "CORS headers of an upstream's answer that were removed or replaced.";
    CORS_REPORT = Counter "corsac_cors_report_total" ["service", "route", "policy", "upstream"]
        "Under mode = \"report\": what the policy would do, against what the upstream did.";
    CONFIG_INFO = Gauge "corsac_config_info" ["hash"]
        "1: the configuration that serves.";
    CONFIG_LAST_RELOAD_SUCCESSFUL = Gauge "corsac_config_last_reload_successful" []
        "1: the last configuration that was read serves; 0: it was refused.";
    CONFIG_APPLIED_TIMESTAMP = Gauge "corsac_config_applied_timestamp_seconds" []
        "When the configuration that serves was applied, in seconds since 1970.";
    CONFIG_SNAPSHOTS = Gauge "corsac_config_snapshots" []
        "Configurations in memory: the one that serves, and those that requests began with.";
    CONFIG_REFUSED = Counter "corsac_config_refused_total" ["code"]
        "Configurations that were refused, by the codes of their mistakes.";
    ACCESS_LOG_DROPPED = Counter "corsac_access_log_dropped_total" []
        "Lines of the access log that were lost, since its writer could not keep up.";
    LOG_DROPPED = Counter "corsac_log_dropped_total" []
        "Lines of corsac's own log that were lost, since stderr did not take them.";
    BUILD_INFO = Gauge "corsac_build_info" ["version", "revision", "build"]
        "1: the corsac that runs.";
}

const VALID: &str = "definitions are constants, and a test makes each of them";

/// For what is counted of the process. What is counted of routes and upstreams is kept
/// by `Cells`, in less memory.
impl Definition {
    pub(super) fn counter(&self) -> IntCounter {
        IntCounter::with_opts(self.options()).expect(VALID)
    }

    pub(super) fn counters(&self) -> IntCounterVec {
        IntCounterVec::new(self.options(), self.labels).expect(VALID)
    }

    pub(super) fn gauge(&self) -> IntGauge {
        IntGauge::with_opts(self.options()).expect(VALID)
    }

    pub(super) fn gauges(&self) -> IntGaugeVec {
        IntGaugeVec::new(self.options(), self.labels).expect(VALID)
    }

    fn options(&self) -> Opts {
        Opts::new(self.name, self.help)
    }
}
