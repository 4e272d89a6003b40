//! Header names and values in a configuration, and what a route may do to headers.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::decode::{Placed, Reader, Value};
use super::notes::Notes;
use crate::certificate;
use crate::diagnose::{Diagnostic, Place};
use crate::edits::HeaderEdits;

/// `headers` of a route: what it changes in messages.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderChanges {
    /// Before a request goes upstream.
    pub request: HeaderEdits,
    /// Before a response goes to the client.
    pub response: HeaderEdits,
}

/// Which message is changed.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Message {
    Request,
    /// With a CORS policy, or without.
    Response {
        cors: bool,
    },
}

/// `headers = { request = { set, add, remove }, response = { set, add, remove } }`.
pub(super) fn changes(mut table: Reader<'_>, cors: bool) -> HeaderChanges {
    let mut read =
        |key, message| table.table(key).map(|table| edits(table, message)).unwrap_or_default();
    let changes = HeaderChanges {
        request: read("request", Message::Request),
        response: read("response", Message::Response { cors }),
    };
    table.finish();
    changes
}

/// Removals come first, then what is set, then what is added.
fn edits(mut table: Reader<'_>, message: Message) -> HeaderEdits {
    let notes = table.notes;
    let mut edits = HeaderEdits::new();
    let remove = table.texts("remove").unwrap_or_default();
    let set = table.table("set").map(Reader::entries).unwrap_or_default();
    let add = table.table("add").map(Reader::entries).unwrap_or_default();
    table.finish();
    for text in remove {
        if let Some(name) = changeable(notes, text, message) {
            edits.remove(name);
        }
    }
    for entry in set {
        if let Some(name) = changeable(notes, key_of(&entry), message)
            && let Some(value) = entry.text().and_then(|text| value(notes, text))
        {
            edits.set(name, value);
        }
    }
    for entry in add {
        let Some(name) = changeable(notes, key_of(&entry), message) else { continue };
        for text in entry.texts().unwrap_or_default() {
            if let Some(value) = value(notes, text) {
                edits.append(name.clone(), value);
            }
        }
    }
    edits
}

/// A name that a route may change in this message; noted if it may not.
fn changeable(notes: &Notes<'_>, text: Placed<&str>, message: Message) -> Option<HeaderName> {
    let name = name(notes, text)?;
    let Some(reason) = refusal(&name, message) else { return Some(name) };
    let message = format!("a route may not change `{name}`");
    notes.add(Diagnostic::error("E209", message).at(text.place).help(reason.to_owned()));
    None
}

/// Why a header is not a route's to change.
fn refusal(name: &HeaderName, message: Message) -> Option<&'static str> {
    const HOP_BY_HOP: [&str; 8] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-authenticate",
    ];
    match message {
        _ if HOP_BY_HOP.contains(&name.as_str()) => {
            Some("it belongs to one connection, which corsac keeps (RFC 9110, 7.6.1)")
        }
        _ if name == header::CONTENT_LENGTH => {
            Some("it frames the body: a wrong one lets a request be smuggled (RFC 9112, 6)")
        }
        Message::Request if name == header::HOST => Some("set `host` on the upstream"),
        Message::Request if certificate::is_claim(name.as_str()) => {
            Some("it says who a client is by its certificate, which corsac alone knows")
        }
        Message::Response { cors: true } if name.as_str().starts_with("access-control-") => {
            Some("a CORS policy applies here and answers with it: use `cors`")
        }
        _ => None,
    }
}

/// Headers of a table whose keys are names, and where each name stands.
pub(super) fn fields(table: Reader<'_>) -> Vec<(HeaderName, HeaderValue, Place)> {
    let notes = table.notes;
    let mut fields = Vec::new();
    for entry in table.entries() {
        let Some(name) = name(notes, key_of(&entry)) else { continue };
        let place = entry.key_place;
        for text in entry.texts().unwrap_or_default() {
            fields.extend(value(notes, text).map(|value| (name.clone(), value, place)));
        }
    }
    fields
}

/// Headers of a response that corsac makes itself.
pub(super) fn respond(table: Reader<'_>, cors: bool) -> HeaderMap {
    let notes = table.notes;
    let mut headers = HeaderMap::new();
    for (name, value, place) in fields(table) {
        let text = Placed { value: name.as_str(), place };
        if let Some(name) = changeable(notes, text, Message::Response { cors }) {
            headers.append(name, value);
        }
    }
    headers
}

/// A header of requests and responses alike that corsac sets itself. `Err`: why
/// it cannot be this one.
pub(super) fn of_both_messages(name: &HeaderName) -> Result<(), &'static str> {
    let refusal =
        refusal(name, Message::Request).or_else(|| refusal(name, Message::Response { cors: true }));
    refusal.map_or(Ok(()), Err)
}

pub(super) fn key_of<'t>(entry: &Value<'t>) -> Placed<&'t str> {
    Placed { value: entry.key, place: entry.key_place }
}

pub(super) fn name(notes: &Notes<'_>, text: Placed<&str>) -> Option<HeaderName> {
    let name = text.value.parse().ok();
    if name.is_none() {
        let message = format!("not a header name: {:?}", text.value);
        notes.add(Diagnostic::error("E005", message).at(text.place));
    }
    name
}

fn value(notes: &Notes<'_>, text: Placed<&str>) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(text.value).ok();
    if value.is_none() {
        let message = format!("not a header value: {:?}", text.value);
        let help = "a header value has no control characters, and no line breaks";
        notes.add(Diagnostic::error("E005", message).at(text.place).help(help.to_owned()));
    }
    value
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn refusals() {
        const RESPONSE: Message = Message::Response { cors: false };
        const CORS: Message = Message::Response { cors: true };
        #[rustfmt::skip]
        let cases = [
            // name                          in                refused
            ("x-request-id",                 Message::Request, false),
            ("authorization",                Message::Request, false),
            ("host",                         Message::Request, true),
            ("x-client-cert-subject",        Message::Request, true),
            ("x-client-cert-subject",        RESPONSE,         false),
            ("client-cert",                  Message::Request, true),
            ("connection",                   Message::Request, true),
            ("transfer-encoding",            RESPONSE,         true),
            ("content-length",               RESPONSE,         true),
            ("host",                         RESPONSE,         false),
            ("access-control-allow-origin",  RESPONSE,         false),
            ("access-control-allow-origin",  CORS,             true),
            ("cache-control",                CORS,             false),
        ];
        for (name, message, refused) in cases {
            assert_eq!(refusal(&name.parse().unwrap(), message).is_some(), refused, "{name}");
        }
    }
}
