//! `[[tests]]`: what must stay true, beside the rules that make it so.
//!
//! Here a test is read; it is run against a compiled configuration elsewhere.

use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::decode::{Placed, Reader, nearest};
use super::headers;
use super::notes::Notes;
use super::routes::Route;
use crate::diagnose::{Diagnostic, Place};

/// One entry of `[[tests]]`: a request, and what must become of it.
#[derive(Clone, Debug)]
pub struct Test {
    /// `name`, a sentence.
    pub name: Box<str>,
    /// Where its `name` stands.
    pub place: Place,
    /// The method of `request`.
    pub method: Method,
    /// The URL of `request`: absolute, `http` or `https`.
    pub url: Uri,
    /// `with`: the headers of the request.
    pub with: Vec<(HeaderName, HeaderValue)>,
    pub expect: Expectation,
}

/// `expect` of a test; what is not written is not tested.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// `route`, such as `shop/orders`.
    pub route: Option<Box<str>>,
    pub status: Option<StatusCode>,
    /// `headers`: each is there with this value.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `no_headers`: none is there.
    pub no_headers: Vec<HeaderName>,
    /// Where each key of `expect` stands, such as `status`.
    pub places: Vec<(&'static str, Place)>,
}

/// Reads one test. `None`: it has errors, which are noted.
///
/// `routes` are all that there are; `None`, if one has errors, and may be the
/// one that the test names.
pub(super) fn read(mut table: Reader<'_>, routes: Option<&[Route]>) -> Option<Test> {
    let notes = table.notes;
    table.require("name", "write what must stay true, as a sentence");
    table.require("request", "write request = \"GET https://api.example.com/\"");
    table.require("expect", "write expect = { status = 200 }");
    let name = table.text("name");
    let request = table.text("request").and_then(|text| request(notes, text));
    let with = table.table("with").map(pairs).unwrap_or_default();
    let expect = table.table("expect").map(|table| expectation(table, routes));
    table.finish();
    let (name, (method, url)) = (name?, request?);
    Some(Test { name: name.value.into(), place: name.place, method, url, with, expect: expect? })
}

/// `"OPTIONS https://api.example.com/v1/orders/7"`.
fn request(notes: &Notes<'_>, text: Placed<&str>) -> Option<(Method, Uri)> {
    let parsed = text.value.split_once(' ').and_then(|(method, url)| {
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        let url: Uri = url.trim_start().parse().ok()?;
        let is_http = url.scheme() == Some(&Scheme::HTTP) || url.scheme() == Some(&Scheme::HTTPS);
        (is_http && url.host().is_some_and(|host| !host.is_empty())).then_some((method, url))
    });
    if parsed.is_none() {
        let help =
            "a request is a method and a whole URL: \"GET https://api.example.com/v1/orders\"";
        let message = format!("not a request: {:?}", text.value);
        notes.add(Diagnostic::error("E302", message).at(text.place).help(help.to_owned()));
    }
    parsed
}

fn expectation(mut table: Reader<'_>, routes: Option<&[Route]>) -> Expectation {
    let notes = table.notes;
    let no_headers = table.texts("no_headers").unwrap_or_default();
    let status = table.integer("status", 200..=599);
    let expect = Expectation {
        route: table.text("route").and_then(|text| route(notes, text, routes)),
        status: status.and_then(|status| u16::try_from(status.value).ok()?.try_into().ok()),
        headers: table.table("headers").map(pairs).unwrap_or_default(),
        no_headers: no_headers.into_iter().filter_map(|text| headers::name(notes, text)).collect(),
        places: table.places(),
    };
    table.finish();
    expect
}

fn route(notes: &Notes<'_>, text: Placed<&str>, routes: Option<&[Route]>) -> Option<Box<str>> {
    let routes = routes?;
    if routes.iter().any(|route| *route.name == *text.value) {
        return Some(text.value.into());
    }
    let message = format!("no route has this name: {:?}", text.value);
    let candidate = nearest(text.value, routes.iter().map(|route| &*route.name));
    notes.add(Diagnostic::error("E203", message).at(text.place).help(match candidate {
        Some(candidate) => format!("did you mean {candidate:?}?"),
        None => "a route is named with its service: \"shop/orders\"".to_owned(),
    }));
    None
}

fn pairs(table: Reader<'_>) -> Vec<(HeaderName, HeaderValue)> {
    headers::fields(table).into_iter().map(|(name, value, _)| (name, value)).collect()
}
