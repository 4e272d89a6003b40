//! The one way from files to a configuration that may serve: start, reload and
//! `corsac check` all come through here.

#[cfg(feature = "server")]
mod certificates;

use std::path::Path;

use http::{HeaderMap, StatusCode};

use crate::{
    certificate::is_claim,
    config::{self, Config, Test},
    diagnose::{Diagnostic, Files, Report},
    edge::{self, Ambiguous, Request, redirect_of, standing_of},
};

/// Reads the configuration at `path`, looks at its certificates as they are at `now`, in
/// seconds since 1970, and runs its tests. With it comes a report of warnings.
///
/// # Errors
/// A report of every mistake, and of every test that fails.
pub fn load(path: &Path, files: &dyn Files, now: i64) -> Result<(Config, Report), Report> {
    let (config, warnings) = config::load(path, files)?;
    let tests = config.tests.iter().filter_map(|test| failure(&config, test));
    let report = warnings.with(certificate_flaws(&config, now).into_iter().chain(tests));
    if report.errors() == 0 { Ok((config, report)) } else { Err(report) }
}

#[cfg(feature = "server")]
use certificates::flaws as certificate_flaws;

/// Without the server, there is no cryptography to ask.
#[cfg(not(feature = "server"))]
fn certificate_flaws(_: &Config, _: i64) -> Vec<Diagnostic> {
    Vec::new()
}

/// What a request gets, with an upstream that answers 200 and no header.
#[derive(Debug)]
pub struct Outcome<'c> {
    /// What was decided.
    pub decision: edge::Decision<'c>,
    /// The status that the client sees.
    pub status: StatusCode,
    /// The headers that the client sees, as far as corsac makes them.
    pub headers: HeaderMap,
}

/// Answers a request as the proxy would, without sending it anywhere.
#[must_use]
pub fn answer<'c>(config: &'c Config, request: &edge::Request<'_>) -> Outcome<'c> {
    let decision = edge::decide(config, request);
    let mut headers = HeaderMap::new();
    let (status, own) = match &decision.step {
        edge::Step::Forward { .. } => (StatusCode::OK, true),
        edge::Step::Reply(reply) => {
            if let Some(prebuilt) = reply.prebuilt {
                headers.clone_from(prebuilt);
            }
            reply.edits.apply(&mut headers);
            (reply.status, !reply.complete)
        }
    };
    if own && let Some(route) = decision.route.and_then(|index| config.routes.get(index)) {
        edge::finish(route, &decision.judgement, request.facts.caller.scheme(), &mut headers);
    }
    Outcome { decision, status, headers }
}

/// Runs a test. What is wrong, if anything is.
fn failure(config: &Config, test: &Test) -> Option<Diagnostic> {
    let seen = test.with.iter().filter(|(name, _)| !is_claim(name.as_str()));
    let headers: HeaderMap = seen.cloned().collect();
    let mut request = Request::new(&test.method, &test.url, &headers);
    request.facts.standing = standing_of(config, &test.url);
    request.facts.redirects_to = match redirect_of(config, &test.url) {
        Ok(port) => port,
        Err(Ambiguous(one, other)) => {
            let message = format!("{:?} may be of two listeners, which differ", test.name);
            let help = format!(
                "of listeners.{one} and listeners.{other}, one sends it to TLS: write the port                  of the one that is meant into the URL"
            );
            return Some(Diagnostic::error("E302", message).at(test.place).help(help));
        }
    };
    let answer = answer(config, &request);
    let route = answer.decision.route.and_then(|index| config.routes.get(index));
    let fail = |expected: String, got: String| {
        Some(Diagnostic::failed_test(&test.name, test.place, &expected, &got))
    };
    if let Some(expected) = &test.expect.route {
        let got = route.map_or("none", |route| &route.name);
        if **expected != *got {
            return fail(format!("route: {expected}"), got.to_owned());
        }
    }
    if let Some(expected) = test.expect.status
        && expected != answer.status
    {
        return fail(format!("status: {expected}"), answer.status.as_u16().to_string());
    }
    for (name, expected) in &test.expect.headers {
        let got = value(&answer.headers, name);
        let expected = String::from_utf8_lossy(expected.as_bytes());
        if got.as_deref() != Some(&*expected) {
            let got = got.unwrap_or_else(|| format!("none{}", why(&answer)));
            return fail(format!("{name}: {expected}"), got);
        }
    }
    for name in &test.expect.no_headers {
        if let Some(got) = value(&answer.headers, name) {
            return fail(format!("no {name}"), format!("{name}: {got}"));
        }
    }
    None
}

/// All lines of a header, as one value.
fn value(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

fn why(answer: &Outcome<'_>) -> String {
    match answer.decision.cors {
        Some((kind, reason)) => format!(" ({}: {})", kind.as_str(), reason.as_str()),
        None => String::new(),
    }
}
