//! `corsac explain`.

use std::{io::Write, path::Path, process::ExitCode};

use anstyle::{AnsiColor, Style};
use http::{HeaderName, HeaderValue, Uri};

use super::{Format, NO, Outcome, print_json, print_report};
use crate::{
    explain::{Asked, Exchange, Explanation, explain as explain_request},
    load::load,
    server::Disk,
};

const HEADING: Style = AnsiColor::Cyan.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const QUIET: Style = Style::new().dimmed();

/// Reads `name: value`.
pub(super) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written \"name: value\"")?;
    let name = name.trim().parse().map_err(|_| format!("not a header name: {name:?}"))?;
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("not a header value: {value:?}"))?;
    Ok((name, value))
}

/// Reads a whole URL, as a page has to write it.
pub(super) fn url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    let is_whole = matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    is_whole.then_some(url).ok_or_else(|| {
        "a whole URL is needed, such as https://api.example.com/v1/orders".to_owned()
    })
}

/// Says what becomes of a request. Exits with 1 where a browser blocks it.
pub(super) fn explain(path: &Path, asked: &Asked, format: Format) -> Outcome {
    let config = match load(path, &Disk) {
        Ok((config, _)) => config,
        Err(report) => {
            print_report(&report)?;
            return Ok(NO);
        }
    };
    let explanation = explain_request(&config, asked);
    match format {
        Format::Json => print_json(&explanation)?,
        Format::Text => print(&explanation)?,
    }
    let blocked = explanation.verdict.allowed == Some(false);
    Ok(if blocked { NO } else { ExitCode::SUCCESS })
}

fn print(explanation: &Explanation) -> std::io::Result<()> {
    let mut out = anstream::stdout();
    for exchange in &explanation.exchanges {
        print_exchange(&mut out, exchange)?;
        writeln!(out)?;
    }
    let (style, word) = match explanation.verdict.allowed {
        Some(true) => (GOOD, "allowed"),
        Some(false) => (BAD, "blocked"),
        None => (QUIET, "not CORS"),
    };
    writeln!(out, "browser: {style}{word}{style:#}: {}", explanation.verdict.says)
}

fn print_exchange(out: &mut impl Write, exchange: &Exchange) -> std::io::Result<()> {
    writeln!(out, "{HEADING}{}{HEADING:#}", exchange.request)?;
    for (name, value) in &exchange.headers {
        writeln!(out, "    {name}: {value}")?;
    }
    for step in &exchange.steps {
        write!(out, "  {:9} {}", step.step, step.says)?;
        match &step.place {
            Some(place) => writeln!(out, "  {QUIET}{place}{QUIET:#}")?,
            None => writeln!(out)?,
        }
    }
    let by = if exchange.at_the_edge { "" } else { "  (if the upstream answers 200)" };
    writeln!(out, "  answer    {}{by}", exchange.status)?;
    for (name, value) in &exchange.answer {
        writeln!(out, "    {name}: {value}")?;
    }
    Ok(())
}
