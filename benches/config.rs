//! The cost of reading a configuration, without files: parse, check, resolve.
//!
//! A reload of ten thousand routes is to be well under half a second.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

use std::fmt::Write as _;

use divan::Bencher;

fn main() {
    divan::main();
}

/// `routes` routes in services of a hundred, each with predicates, a policy by
/// name and header changes.
fn configuration(routes: usize) -> String {
    let mut text = String::from(
        r#"version = 1
[listeners.http]
address = "127.0.0.1:8080"
[policies.cors.app]
allow_origins = ["https://app.example.com", "https://*.tenants.example.com"]
allow_methods = ["GET", "PUT"]
"#,
    );
    for service in 0..routes.div_ceil(100) {
        let _ = write!(
            text,
            r#"
[upstreams.u{service}]
nodes = ["10.0.0.1:8080", {{ address = "app.internal:8080", weight = 3 }}]
[services.s{service}]
hosts = "s{service}.example.com"
prefix = "/v1"
upstream = "u{service}"
cors = "app"
"#
        );
        for route in 0..routes.min(100) {
            let _ = write!(
                text,
                r#"
[services.s{service}.routes.r{route}]
paths = ["/r{route}", "/r{route}/:id"]
methods = ["GET", "PUT"]
rewrite = {{ strip = "/v1" }}
headers = {{ response = {{ set = {{ cache-control = "no-cache" }} }} }}
"#
            );
        }
    }
    text
}

#[divan::bench(args = [100, 1_000, 10_000])]
fn parse(bencher: Bencher<'_, '_>, routes: usize) {
    let text = configuration(routes);
    bencher.bench(|| {
        let (config, report) = corsac::config::parse(&text, "corsac.toml").unwrap();
        assert!(report.is_empty() && config.routes.len() == routes);
    });
}
