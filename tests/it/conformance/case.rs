//! The shapes of the cases.
//!
//! Fields that this runner does not know are kept, and fail their case: a case that
//! is only half understood proves nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::harness::{Answer, Call, Corsac};

/// A request, and the answer that it must get.
#[derive(Deserialize)]
pub(super) struct RequestCase {
    pub(super) id: String,
    #[serde(default)]
    pub(super) why: String,
    /// The service's; or `{ "service": …, "route": … }`; or none.
    #[serde(default)]
    pub(super) policy: Value,
    #[serde(default)]
    pub(super) origin_sets: Map<String, Value>,
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    /// Predicates of the route, or `"none"`: there is no route.
    #[serde(default)]
    pub(super) route_match: Value,
    pub(super) request_rewrite: Option<RequestRewrite>,
    /// An answer that corsac makes in place of the upstream's.
    pub(super) edge_response: Option<EdgeResponse>,
    #[serde(default)]
    pub(super) auth_required: bool,
    upstream_status: Option<u16>,
    #[serde(default)]
    upstream_headers: Value,
    upstream_body: Option<String>,
    pub(super) upstream_error: Option<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub(super) interim: Vec<Interim>,
    request: Request,
    body: Option<String>,
    /// The case that must come right before this one, on the same policy.
    pub(super) after: Option<String>,
    pub(super) expect: Expected,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    #[serde(default)]
    headers: Value,
    body: Option<String>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct RequestRewrite {
    #[serde(default)]
    pub(super) set_headers: Map<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct EdgeResponse {
    pub(super) status: u16,
    pub(super) by: String,
}

#[derive(Deserialize)]
pub(super) struct Interim {
    pub(super) status: u16,
    #[serde(default)]
    pub(super) expect_headers: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
pub(super) struct Expected {
    pub(super) status: Option<u16>,
    /// All lines joined with `, `; `None`: absent.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Option<String>>,
    pub(super) reaches_upstream: Option<bool>,
    pub(super) body: Option<String>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// A policy, and the codes of its diagnostics.
#[derive(Deserialize)]
pub(super) struct ConfigCase {
    pub(super) id: String,
    #[serde(default)]
    pub(super) why: String,
    pub(super) policy: Value,
    #[serde(default)]
    pub(super) origin_sets: Map<String, Value>,
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    pub(super) expect: Codes,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct Codes {
    #[serde(default)]
    pub(super) errors: Vec<String>,
    #[serde(default)]
    pub(super) warnings: Vec<String>,
}

impl RequestCase {
    /// The case whose service this one uses: a follower its leader's.
    pub(super) fn home(&self) -> &str {
        self.after.as_ref().unwrap_or(&self.id)
    }

    pub(super) fn path(&self) -> String {
        format!("/c/{}", super::setup::name(self.home()))
    }

    pub(super) fn call(&self, corsac: &Corsac) -> Call {
        let Request { method, headers, body, .. } = &self.request;
        let path = self.path();
        // CONNECT names an authority, not a path (RFC 9110, 9.3.6), and so does its Host.
        let connect = method == "CONNECT";
        let target = if connect { "api.example.com:443" } else { &path };
        let mut lines = lines(headers);
        if connect && !lines.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            lines.push(("Host".to_owned(), target.to_owned()));
        }
        let lines = lines.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let call = corsac.call(method, target).headers(lines);
        match self.body.as_ref().or(body.as_ref()) {
            Some(body) => call.body(body.as_bytes()),
            None if self.is_limited() => call.body("more than a byte"),
            None => call,
        }
    }

    pub(super) fn is_of_http1(&self) -> bool {
        const OF_CONNECTIONS: [&str; 5] =
            ["connection", "upgrade", "transfer-encoding", "keep-alive", "te"];
        let lines = lines(&self.request.headers);
        let of_connection =
            lines.iter().any(|(name, _)| OF_CONNECTIONS.contains(&&*name.to_lowercase()));
        of_connection || self.request.method == "CONNECT"
    }

    pub(super) fn upstream_answer(&self) -> Answer {
        match self.upstream_error.as_deref() {
            Some("closes" | "closed" | "close" | "no-answer" | "eof") => return Answer::close(),
            Some("reset" | "resets") => return Answer::reset(),
            Some("garbage" | "malformed" | "invalid") => return Answer::raw("garbage\r\n\r\n"),
            Some(_) => return Answer::silence(),
            None => {}
        }
        let mut answer = Answer::status(self.upstream_status.unwrap_or(200));
        for (name, value) in lines(&self.upstream_headers) {
            answer = answer.header(&name, &value);
        }
        for interim in &self.interim {
            answer = answer.interim(interim.status, "Link", "</a.css>; rel=preload");
        }
        match &self.upstream_body {
            Some(body) => answer.body(body.as_bytes()),
            None => answer,
        }
    }

    /// Whether corsac is to refuse the body as too large.
    pub(super) fn is_limited(&self) -> bool {
        self.edge_response.as_ref().is_some_and(|edge| edge.status == 413)
    }

    pub(super) fn not_understood(&self) -> Vec<String> {
        not_understood(&[&self.unknown, &self.request.unknown, &self.expect.unknown])
    }
}

impl ConfigCase {
    pub(super) fn not_understood(&self) -> Vec<String> {
        not_understood(&[&self.unknown])
    }
}

fn not_understood(unknown: &[&Map<String, Value>]) -> Vec<String> {
    let fields = unknown.iter().flat_map(|fields| fields.keys());
    fields.map(|field| format!("this runner does not know the field `{field}`")).collect()
}

/// Header lines written as `[[name, value]…]`, or as `{ name: value or [value…] }`.
fn lines(headers: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match headers {
        Value::Array(lines) => lines.iter().map(|line| (text(&line[0]), text(&line[1]))).collect(),
        Value::Object(lines) => {
            let each = lines.iter().flat_map(|(name, value)| match value {
                Value::Array(values) => values.iter().map(|v| (name.clone(), text(v))).collect(),
                Value::Null => Vec::new(),
                value => vec![(name.clone(), text(value))],
            });
            each.collect()
        }
        _ => Vec::new(),
    }
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Interim>, D::Error> {
    let value = Value::deserialize(from)?;
    let many = if value.is_array() { value } else { Value::Array(vec![value]) };
    serde_json::from_value(many).map_err(serde::de::Error::custom)
}
