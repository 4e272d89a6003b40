//! `[request_id]`: the name of a request, from the client to the last log.

use http::HeaderName;

use super::decode::{Placed, Reader};
use super::headers;
use super::networks::{self, Networks};
use super::notes::Notes;
use crate::diagnose::Diagnostic;

/// `[request_id]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestId {
    /// `header`: what carries the id, in requests and in responses.
    pub header: HeaderName,
    /// `trusted`: the peers that may bring an id of their own; all others' ids are replaced.
    pub trusted: Networks,
}

impl Default for RequestId {
    fn default() -> Self {
        Self { header: HeaderName::from_static("x-request-id"), trusted: Networks::default() }
    }
}

pub(super) fn read(mut table: Reader<'_>) -> RequestId {
    let notes = table.notes;
    let header = table.text("header").and_then(|text| header(notes, text));
    let trusted = table.texts("trusted").unwrap_or_default();
    table.finish();
    RequestId {
        header: header.unwrap_or_else(|| RequestId::default().header),
        trusted: networks::read(notes, trusted),
    }
}

fn header(notes: &Notes<'_>, text: Placed<&str>) -> Option<HeaderName> {
    let name = headers::name(notes, text)?;
    let Err(reason) = usable(&name) else { return Some(name) };
    let message = format!("`{name}` cannot carry a request's id");
    notes.add(Diagnostic::error("E505", message).at(text.place).help(reason.to_owned()));
    None
}

/// The header is replaced in requests and in responses, so it must mean nothing else.
fn usable(name: &HeaderName) -> Result<(), &'static str> {
    const TAKEN: [&str; 10] = [
        "authorization",
        "content-type",
        "cookie",
        "forwarded",
        "location",
        "origin",
        "set-cookie",
        "vary",
        "x-real-ip",
        "corsac-explain",
    ];
    let name_is_taken = TAKEN.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-");
    if name_is_taken {
        return Err("it has a meaning of its own; use one such as \"x-request-id\"");
    }
    headers::of_both_messages(name)
}
