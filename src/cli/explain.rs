//! `corsac explain`.

use std::{io::Write, path::Path, process::ExitCode};

use http::{HeaderName, HeaderValue, Uri};
use serde::Deserialize;

use super::configuration::load;
use super::{
    output::{Exit, Format, NO, complain, print_json, print_report},
    socket::Socket,
};
use crate::{
    explain::{Asked, Explanation, explain as explain_request},
    server::LiveRequest,
};

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

/// Says what becomes of a request by the configuration at `path`. Exits with 1
/// where a browser blocks it.
pub(super) fn explain(path: &Path, asked: &Asked, format: Format) -> Exit {
    match load(path) {
        Ok((config, _)) => print(&explain_request(&config, asked), format),
        Err(report) => {
            print_report(&report)?;
            Ok(NO)
        }
    }
}

/// As [`explain`], by the configuration that a running corsac serves.
pub(super) fn explain_live(socket: &Socket, asked: &Asked, format: Format) -> Exit {
    let body = serde_json::to_vec(&LiveRequest::of(asked))?;
    let answer = socket.post("/explain", &body)?;
    if answer.status != 200 {
        complain(answer.body.trim_end());
        return Ok(NO);
    }
    let mut json = serde_json::Deserializer::from_str(&answer.body);
    print(&Explanation::deserialize(&mut json)?, format)
}

fn print(explanation: &Explanation, format: Format) -> Exit {
    match format {
        Format::Json => print_json(explanation)?,
        Format::Text => write!(anstream::stdout(), "{explanation}")?,
    }
    let blocked = explanation.verdict.allowed == Some(false);
    Ok(if blocked { NO } else { ExitCode::SUCCESS })
}
