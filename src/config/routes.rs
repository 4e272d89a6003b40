//! `[services.S.routes.R]`: which requests, and what becomes of them.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::cors::{Cors, Named};
use super::decode::{Placed, Reader};
use super::headers::{self, HeaderChanges};
use super::hsts::Hsts;
use super::limits;
use super::notes::Notes;
use super::upstreams::Upstreams;
use crate::diagnose::{Diagnostic, Place};
use crate::route::{Expect, HostPattern, PathPattern, Pattern, PatternError, Predicates};

/// Which requests, and what becomes of them.
#[derive(Clone, Debug)]
pub struct Route {
    /// Index into [`Config::services`](super::Config::services).
    pub service: usize,
    /// `S/R` of `[services.S.routes.R]`.
    pub name: Box<str>,
    /// Where its table starts.
    pub place: Place,
    /// Each host of the service with each path of the route, below the service's prefix.
    pub patterns: Vec<Pattern>,
    /// What becomes of a request.
    pub action: Action,
    /// The policy: the route's own, else the service's.
    pub cors: Option<Arc<Cors>>,
    pub headers: HeaderChanges,
    /// `hsts` of the service: `Strict-Transport-Security` of answers over TLS.
    pub hsts: Option<HeaderValue>,
    /// The most bytes of a request's body: the route's own limit, else the
    /// common one. `None`: any number.
    pub body_limit: Option<u64>,
}

impl Route {
    /// The name as the configuration writes it: `services.shop.routes.orders`.
    #[must_use]
    pub fn key(&self) -> String {
        let (service, route) = self.name.split_once('/').unwrap_or(("", &self.name));
        format!("services.{service}.routes.{route}")
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// It goes to an upstream.
    Forward {
        /// Index into [`Config::upstreams`](super::Config::upstreams).
        upstream: usize,
        rewrite: Rewrite,
    },
    /// It is sent elsewhere.
    Redirect {
        /// `to`: a URL or a path, as Location says it.
        to: HeaderValue,
        /// `status`: 301, 302, 303, 307 or 308.
        status: StatusCode,
    },
    /// It is answered.
    Respond {
        status: StatusCode,
        headers: HeaderMap,
        /// `body`; may be empty.
        body: Box<str>,
    },
}

/// `rewrite`: how the path changes on its way upstream. First `strip` goes,
/// then `prefix` comes; the rest starts with a slash.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rewrite {
    /// What every path of the route starts with, up to the end of a segment.
    pub strip: Option<Box<str>>,
    /// What comes before the rest. Has no slash at its end.
    pub prefix: Option<Box<str>>,
}

impl Rewrite {
    /// The path that goes upstream. Borrowed where nothing changes.
    #[must_use]
    pub fn apply<'p>(&self, path: Cow<'p, str>) -> Cow<'p, str> {
        if self.strip.is_none() && self.prefix.is_none() {
            return path;
        }
        let strip = self.strip.as_deref().unwrap_or_default();
        let prefix = self.prefix.as_deref().unwrap_or_default();
        // Every path of the route starts with what is stripped: checked on load.
        let rest = path.strip_prefix(strip).unwrap_or(&path);
        let slash = if rest.starts_with('/') { "" } else { "/" };
        Cow::Owned([prefix, slash, rest].concat())
    }
}

/// What a service hands down to its routes.
pub(super) struct FromService<'t> {
    /// Index into the services.
    pub(super) service: usize,
    pub(super) name: &'t str,
    /// Never empty, unless a host has an error.
    pub(super) hosts: Vec<(HostPattern, Place)>,
    /// Empty for none. `None`: it has an error, so that no whole path is known.
    pub(super) prefix: Option<&'t str>,
    pub(super) upstream: Option<usize>,
    /// The service has an upstream, if only one that does not exist.
    pub(super) has_upstream: bool,
    pub(super) cors: Option<Arc<Cors>>,
    pub(super) hsts: Option<Hsts>,
    /// The limit on bodies, for routes that say nothing else.
    pub(super) body_limit: Option<u64>,
}

/// Reads one route. `None`: it has errors, which are noted.
pub(super) fn read<'t>(
    mut table: Reader<'t>,
    service: &FromService<'t>,
    upstreams: &mut Upstreams<'t>,
    named: &mut Named<'t>,
) -> Option<Route> {
    let notes = table.notes;
    let errors = notes.errors();
    let paths = paths(&mut table, service.prefix);
    let predicates = predicates(&mut table);
    let priority =
        table.integer("priority", -1_000_000..=1_000_000).map_or(0, |number| number.value);
    let cors = match table.value("cors") {
        Some(value) => named.setting(value),
        None => service.cors.clone(),
    };
    let action = action(&mut table, service, upstreams, &paths, cors.is_some());
    let headers = table.table("headers").map(|table| headers::changes(table, cors.is_some()));
    let body_limit = match table.table("limits") {
        Some(limits) => body_limit(limits, service.body_limit),
        None => service.body_limit,
    };
    let (name, place) = (format!("{}/{}", service.name, table.key), table.place);
    table.finish();
    // A route with an error may match more than it would without: it is read to
    // note its mistakes, and then left out.
    (notes.errors() == errors).then_some(())?;
    Some(Route {
        service: service.service,
        name: name.into(),
        place,
        patterns: patterns(&service.hosts, &paths, priority, &predicates),
        action: action?,
        cors,
        headers: headers.unwrap_or_default(),
        hsts: service.hsts.as_ref().map(|hsts| hsts.header.clone()),
        body_limit,
    })
}

/// A path of a route, as a pattern and as text, both below the service's prefix.
struct Path {
    pattern: PathPattern,
    text: String,
}

fn paths(table: &mut Reader<'_>, prefix: Option<&str>) -> Vec<Path> {
    let notes = table.notes;
    table.require("paths", "for all paths, write paths = \"/*\"");
    let texts = table.texts("paths");
    if texts.as_ref().is_some_and(Vec::is_empty) {
        let message = format!("{} has no path, so it gets no requests", table.name);
        notes.add(Diagnostic::error("E206", message).at(table.place));
    }
    texts
        .unwrap_or_default()
        .into_iter()
        .filter_map(|path| path_below(notes, prefix, path))
        .collect()
}

fn path_below(notes: &Notes<'_>, prefix: Option<&str>, path: Placed<&str>) -> Option<Path> {
    // On its own first, so that a mistake is shown as it was written.
    let pattern = PathPattern::parse(path.value).and_then(|alone| match prefix {
        Some("") => Ok(Some((alone, path.value.to_owned()))),
        Some(prefix) => {
            let text = format!("{prefix}{}", path.value);
            PathPattern::parse(&text).map(|whole| Some((whole, text)))
        }
        None => Ok(None),
    });
    match pattern {
        Ok(below) => below.map(|(pattern, text)| Path { pattern, text }),
        Err(error) => {
            pattern_error(notes, "E206", path, error);
            None
        }
    }
}

fn patterns(
    hosts: &[(HostPattern, Place)],
    paths: &[Path],
    priority: i64,
    predicates: &Predicates,
) -> Vec<Pattern> {
    let pattern = |host: &HostPattern, path: &Path| Pattern {
        host: host.clone(),
        path: path.pattern.clone(),
        priority,
        predicates: predicates.clone(),
    };
    paths.iter().flat_map(|path| hosts.iter().map(move |(host, _)| pattern(host, path))).collect()
}

fn predicates(table: &mut Reader<'_>) -> Predicates {
    let notes = table.notes;
    let methods = table.texts("methods").unwrap_or_default();
    let mut predicates = Predicates {
        methods: methods.into_iter().filter_map(|text| method(notes, text)).collect(),
        ..Predicates::default()
    };
    let Some(mut table) = table.table("match") else { return predicates };
    for entry in table.table("headers").map(Reader::entries).unwrap_or_default() {
        let name = headers::name(notes, headers::key_of(&entry));
        let expect = entry.text().map(|text| expect(text.value));
        predicates.headers.extend(name.zip(expect));
    }
    for entry in table.table("query").map(Reader::entries).unwrap_or_default() {
        let name = entry.key;
        predicates.query.extend(entry.text().map(|text| (name.into(), expect(text.value))));
    }
    table.finish();
    predicates
}

fn expect(text: &str) -> Expect {
    if text == "*" { Expect::Present } else { Expect::Equals(text.into()) }
}

/// Methods are case-sensitive (RFC 9110, 9.1), and clients send the usual ones
/// in upper case, so `get` would never match.
fn method(notes: &Notes<'_>, text: Placed<&str>) -> Option<Method> {
    const USUAL: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    let usual = USUAL.iter().find(|usual| usual.as_str().eq_ignore_ascii_case(text.value));
    let parsed = Method::from_bytes(text.value.as_bytes()).ok();
    let good =
        parsed.filter(|method| usual.is_none_or(|usual| usual == method) && method.as_str() != "*");
    if good.is_none() {
        let help = match usual {
            Some(usual) => format!("methods are case-sensitive: \"{usual}\""),
            None if text.value == "*" => "for all methods, leave `methods` out".to_owned(),
            None => "a method is one word, such as \"GET\"".to_owned(),
        };
        let message = format!("not a method: {:?}", text.value);
        notes.add(Diagnostic::error("E207", message).at(text.place).help(help));
    }
    good
}

fn body_limit(mut table: Reader<'_>, common: Option<u64>) -> Option<u64> {
    let limit = match table.value("body") {
        Some(value) => limits::body(value),
        None => common,
    };
    table.finish();
    limit
}

/// Exactly one of `upstream`, `redirect` and `respond`; else the service's upstream.
///
/// All of them are read, whichever is there, so that each mistake is noted.
fn action<'t>(
    table: &mut Reader<'t>,
    service: &FromService<'t>,
    upstreams: &mut Upstreams<'t>,
    paths: &[Path],
    cors: bool,
) -> Option<Action> {
    let named = one_action(table, service);
    let upstream = match table.value("upstream") {
        Some(value) => upstreams.find(value),
        None => service.upstream,
    };
    let rewrite = table.table("rewrite").map(|table| rewrite(table, paths)).unwrap_or_default();
    let redirect = table.table("redirect").and_then(redirect);
    let respond = table.table("respond").and_then(|table| respond(table, cors));
    match named? {
        "redirect" => redirect,
        "respond" => respond,
        _ => Some(Action::Forward { upstream: upstream?, rewrite }),
    }
}

/// The key that says what the route does; noted if there is none, or more than one.
fn one_action(table: &mut Reader<'_>, service: &FromService<'_>) -> Option<&'static str> {
    let keys = ["upstream", "redirect", "respond"];
    let named = keys.map(|key| table.value(key).map(|value| (key, value.key_place)));
    let mut named = named.into_iter().flatten();
    let found = match (named.next(), named.next()) {
        (None, _) if service.has_upstream => return Some("upstream"),
        (None, _) => {
            let help = "give it, or its service, an `upstream`; or a `redirect` or `respond`";
            Diagnostic::error("E204", format!("{} does nothing", table.name))
                .at(table.place)
                .help(help.to_owned())
        }
        (Some((first, place)), Some((second, other))) => {
            let message = format!("{} does two things: `{first}` and `{second}`", table.name);
            Diagnostic::error("E204", message)
                .at(place)
                .related(other, "")
                .help("keep one".to_owned())
        }
        (Some((key, place)), None) => match table.value("rewrite") {
            Some(rewrite) if key != "upstream" => {
                let message = format!("{} has a `rewrite`, but goes to no upstream", table.name);
                Diagnostic::error("E204", message).at(rewrite.key_place).related(place, "")
            }
            _ => return Some(key),
        },
    };
    table.notes.add(found);
    None
}

fn rewrite(mut table: Reader<'_>, paths: &[Path]) -> Rewrite {
    let notes = table.notes;
    let strip = table.text("strip").and_then(|text| strip(notes, text, paths));
    let prefix = table.text("prefix").and_then(|text| rewritten_prefix(notes, text));
    table.finish();
    Rewrite { strip, prefix }
}

fn strip(notes: &Notes<'_>, text: Placed<&str>, paths: &[Path]) -> Option<Box<str>> {
    let strip = text.value.strip_suffix('/').unwrap_or(text.value);
    let starts = |path: &Path| {
        path.text.strip_prefix(strip).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let good = strip.starts_with('/') || text.value == "/";
    let other = paths.iter().find(|path| !starts(path));
    if good && other.is_none() {
        return Some(strip.into());
    }
    let message = format!("not every path of the route starts with {:?}", text.value);
    let help = match other {
        Some(path) if good => format!("{} does not", path.text),
        _ => "what is stripped starts with a slash, and ends before one".to_owned(),
    };
    notes.add(Diagnostic::error("E208", message).at(text.place).help(help));
    None
}

fn rewritten_prefix(notes: &Notes<'_>, text: Placed<&str>) -> Option<Box<str>> {
    let is_path = |byte: u8| byte.is_ascii_graphic() && !b"?#*\\\"<>{}|^`".contains(&byte);
    if text.value.starts_with('/') && text.value.bytes().all(is_path) {
        return Some(text.value.strip_suffix('/').unwrap_or(text.value).into());
    }
    let message = format!("not a path: {:?}", text.value);
    let help = "a prefix is a path, such as \"/api\"";
    notes.add(Diagnostic::error("E208", message).at(text.place).help(help.to_owned()));
    None
}

fn redirect(mut table: Reader<'_>) -> Option<Action> {
    const STATUSES: [i64; 5] = [301, 302, 303, 307, 308];
    let notes = table.notes;
    table.require("to", "write { to = \"https://shop.example.com/cart\" }");
    let to = table.text("to").and_then(|text| location(notes, text));
    let status = table.integer("status", i64::MIN..=i64::MAX);
    table.finish();
    if let Some(status) = status.filter(|status| !STATUSES.contains(&status.value)) {
        let message = format!("{} is not the status of a redirect", status.value);
        let help = "308 and 301 are permanent, 307 and 302 are not; 303 goes on with GET";
        notes.add(Diagnostic::error("E211", message).at(status.place).help(help.to_owned()));
        return None;
    }
    let status =
        status.and_then(|status| StatusCode::try_from(u16::try_from(status.value).ok()?).ok());
    Some(Action::Redirect { to: to?, status: status.unwrap_or(StatusCode::PERMANENT_REDIRECT) })
}

/// A whole URL, or a path of the same host. `//host/path` is neither to the
/// eye, and another host to a browser, so it is refused.
fn location(notes: &Notes<'_>, text: Placed<&str>) -> Option<HeaderValue> {
    let url = text.value.parse::<Uri>().ok();
    let good = url.is_some_and(|url| match url.scheme_str() {
        Some("http" | "https") => url.host().is_some_and(|host| !host.is_empty()),
        Some(_) => false,
        None => text.value.starts_with('/') && !text.value.starts_with("//"),
    });
    let value = HeaderValue::from_str(text.value).ok().filter(|_| good);
    if value.is_none() {
        let message = format!("not a place to redirect to: {:?}", text.value);
        let help =
            "a redirect leads to a URL, \"https://shop.example.com/cart\", or a path, \"/cart\"";
        notes.add(Diagnostic::error("E211", message).at(text.place).help(help.to_owned()));
    }
    value
}

fn respond(mut table: Reader<'_>, cors: bool) -> Option<Action> {
    let notes = table.notes;
    let status = table.integer("status", 200..=599);
    let written = table.has("status");
    let body = table.text("body");
    let headers = table.table("headers").map(|table| headers::respond(table, cors));
    table.finish();
    let code = match status {
        Some(status) => StatusCode::try_from(u16::try_from(status.value).ok()?).ok()?,
        None if written => return None,
        None => StatusCode::OK,
    };
    // RFC 9110, 15.3.5, 15.3.6 and 15.4.5: these end with their head.
    let is_bare = matches!(code.as_u16(), 204 | 205 | 304);
    if let Some(body) = body.filter(|body| is_bare && !body.value.is_empty()) {
        let message = format!("a response with status {} has no body", code.as_u16());
        notes.add(Diagnostic::error("E213", message).at(body.place));
        return None;
    }
    Some(Action::Respond {
        status: code,
        headers: headers.unwrap_or_default(),
        body: body.map_or("", |body| body.value).into(),
    })
}

pub(super) fn pattern_error(
    notes: &Notes<'_>,
    code: &'static str,
    text: Placed<&str>,
    error: PatternError,
) {
    notes.add(Diagnostic::error(code, error.message).at(text.place).help(error.help));
}
