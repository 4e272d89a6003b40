//! Routes: which requests they take, and what becomes of these.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::change::{Access, Change, Changes, ROUTE, Subject, allowing, by_name};
use super::policy::{self, is_cors_header};
use crate::config::value::print_size;
use crate::config::{Action, Config, HeaderChanges, Rewrite, Route};
use crate::edits::{Edit, HeaderEdits};
use crate::route::{Expect, Head, HostPattern, Match, PathPattern, Pattern, Predicates, Segment};

/// Compares the routes of two configurations. Those that change in the same way
/// share their lines.
pub(super) fn compare(before: &Config, after: &Config) -> Vec<Change> {
    let mut moved = moves(before, after);
    let mut groups: Vec<(Vec<String>, Changes)> = Vec::new();
    let mut known: HashMap<Changes, usize> = HashMap::new();
    for (name, sides) in by_name(&before.routes, &after.routes, |route| &route.name) {
        let mut changes = match sides {
            (Some(old), Some(new)) => between((before, old), (after, new)),
            (Some(old), None) => whole(Some(described(before, old)), None, Access::Narrows),
            (None, Some(new)) => whole(None, Some(described(after, new)), Access::Widens),
            (None, None) => Changes::default(),
        };
        changes.0.extend(moved.remove(name).unwrap_or_default().0);
        if changes.0.is_empty() {
            continue;
        }
        let group = *known.entry(changes.clone()).or_insert(groups.len());
        match groups.get_mut(group) {
            Some((names, _)) => names.push(name.to_owned()),
            None => groups.push((vec![name.to_owned()], changes)),
        }
    }
    let lines = groups.into_iter();
    lines.flat_map(|(names, changes)| changes.on(Subject::Route, names)).collect()
}

fn whole(before: Option<String>, after: Option<String>, access: Access) -> Changes {
    let mut changes = Changes::default();
    changes.value(ROUTE, before, after, access);
    changes
}

/// A route that comes or goes, in one line.
fn described(config: &Config, route: &Route) -> String {
    let [hosts, paths] = [hosts(route), paths(route)];
    let joined = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
    let methods = match methods(route) {
        methods if methods.is_empty() => String::new(),
        methods => format!("{} ", joined(&methods)),
    };
    let cors = match &route.cors {
        Some(cors) => format!(", cors {}", policy::described(cors)),
        None => String::new(),
    };
    let (hosts, paths) = (joined(&hosts), joined(&paths));
    format!("{methods}{paths} of {hosts}: {}{cors}", does(config, &route.action))
}

/// What a route does, without its details.
fn does(config: &Config, action: &Action) -> String {
    match action {
        Action::Forward { upstream, .. } => {
            format!("upstream {}", upstream_name(config, *upstream))
        }
        Action::Redirect { status, .. } => format!("redirect {}", status.as_u16()),
        Action::Respond { status, .. } => format!("respond {}", status.as_u16()),
    }
}

fn upstream_name(config: &Config, index: usize) -> &str {
    config.upstreams.get(index).map_or("", |upstream| &upstream.name)
}

fn between(before: (&Config, &Route), after: (&Config, &Route)) -> Changes {
    let (old, new) = (before.1, after.1);
    // Taken apart by name, so that a new field does not compile until it is compared.
    let Route {
        service: _,
        name: _,
        place: _,
        patterns: _,
        action: _,
        cors: _,
        headers,
        hsts,
        body_limit,
    } = new;
    let mut changes = Changes::default();
    requests(&mut changes, old, new);
    actions(&mut changes, (before.0, &old.action), (after.0, &new.action));
    let text = |value: &Option<HeaderValue>| {
        value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    changes.value("hsts", text(&old.hsts), text(hsts), Access::Same);
    let HeaderChanges { request, response } = headers;
    edits(&mut changes, "headers.request", &old.headers.request, request, |_| false);
    edits(&mut changes, "headers.response", &old.headers.response, response, is_cors_header);
    let size = |limit: Option<u64>| match limit {
        Some(bytes) => print_size(bytes).to_string(),
        None => "false".to_owned(),
    };
    changes.pair("limits.body", [size(old.body_limit), size(*body_limit)], Access::Same);
    changes.0.extend(policy::compare(old, new).0);
    changes
}

/// Which requests a route takes.
fn requests(changes: &mut Changes, old: &Route, new: &Route) {
    let all_hosts =
        |route: &Route, text: &str| route.patterns.iter().any(|pattern| pattern.host.matches(text));
    changes.entries("hosts", &hosts(old), &hosts(new), |host, added| {
        // A pattern such as `*.a.example` is matched like a name below it.
        allowing(added, all_hosts(if added { old } else { new }, host))
    });
    let shapes = |route: &Route| -> BTreeSet<String> {
        route.patterns.iter().map(|pattern| shape(&pattern.path)).collect()
    };
    let (old_shapes, new_shapes) = (shapes(old), shapes(new));
    // A parameter's name says nothing yet: `/:id` is `/:order`.
    let only = |route: &Route, others: &BTreeSet<String>| -> BTreeSet<String> {
        let patterns = route.patterns.iter();
        let patterns = patterns.filter(|pattern| !others.contains(&shape(&pattern.path)));
        patterns.map(|pattern| pattern.path.to_string()).collect()
    };
    let (gone, come) = (only(old, &new_shapes), only(new, &old_shapes));
    changes.entries("paths", &gone, &come, |path, added| {
        let others = if added { &old_shapes } else { &new_shapes };
        let is_below =
            |wide: &String| wide.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix));
        allowing(added, others.iter().any(is_below))
    });
    predicates(changes, old, new);
    let priority = |route: &Route| route.patterns.first().map_or(0, |pattern| pattern.priority);
    // Whatever moves to another route by it is told of that request.
    changes.pair("priority", [priority(old), priority(new)], Access::Same);
}

fn predicates(changes: &mut Changes, old: &Route, new: &Route) {
    let (before, after) = (methods(old), methods(new));
    if before.is_empty() || after.is_empty() {
        let text = |methods: &BTreeSet<String>| match methods {
            none if none.is_empty() => "any".to_owned(),
            some => some.iter().cloned().collect::<Vec<_>>().join(", "),
        };
        let access = Access::by_order(&before.is_empty(), &after.is_empty());
        changes.pair("methods", [text(&before), text(&after)], access);
    } else {
        changes.entries("methods", &before, &after, |_, added| allowing(added, false));
    }
    let conditions = |route: &Route| -> BTreeSet<String> {
        let Some(pattern) = route.patterns.first() else { return BTreeSet::new() };
        let Predicates { methods: _, headers, query } = &pattern.predicates;
        let headers = headers.iter().map(|(name, expect)| format!("header {name} = {expect}"));
        let query = query.iter().map(|(name, expect)| format!("query {name} = {expect}"));
        headers.chain(query).collect()
    };
    // A condition refuses, so it is the other way round.
    let access = |_: &str, added: bool| allowing(!added, false);
    changes.entries("match", &conditions(old), &conditions(new), access);
}

fn hosts(route: &Route) -> BTreeSet<String> {
    route.patterns.iter().map(|pattern| pattern.host.to_string()).collect()
}

fn paths(route: &Route) -> BTreeSet<String> {
    route.patterns.iter().map(|pattern| pattern.path.to_string()).collect()
}

/// Empty: any. All patterns of a route have the same predicates.
fn methods(route: &Route) -> BTreeSet<String> {
    let methods = route.patterns.first().map(|pattern| &pattern.predicates.methods);
    methods.into_iter().flatten().map(ToString::to_string).collect()
}

/// A path without the names of its parameters.
fn shape(path: &PathPattern) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Param(_) => "/:".to_owned(),
        other => format!("/{other}"),
    };
    path.segments().iter().map(segment).collect()
}

/// What becomes of the requests of a route.
fn actions(changes: &mut Changes, before: (&Config, &Action), after: (&Config, &Action)) {
    let forwards = |action: &Action| matches!(action, Action::Forward { .. });
    let access = Access::by_order(&forwards(before.1), &forwards(after.1));
    changes.pair("action", [does(before.0, before.1), does(after.0, after.1)], access);
    match (before.1, after.1) {
        (Action::Forward { rewrite: old, .. }, Action::Forward { rewrite: new, .. }) => {
            let Rewrite { strip, prefix } = new;
            let own = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
            changes.value("rewrite.strip", own(&old.strip), own(strip), Access::Same);
            changes.value("rewrite.prefix", own(&old.prefix), own(prefix), Access::Same);
        }
        (Action::Redirect { to: old, .. }, Action::Redirect { to: new, .. }) => {
            changes.pair("redirect.to", [shown(old), shown(new)], Access::Same);
        }
        (Action::Respond { body: old, .. }, Action::Respond { body: new, .. }) if old != new => {
            let other = if old.len() == new.len() { "other " } else { "" };
            let before = format!("{} bytes", old.len());
            let after = format!("{} {other}bytes", new.len());
            changes.pair("respond.body", [before, after], Access::Same);
        }
        _ => {}
    }
    let [old, new] = [before.1, after.1].map(response_headers);
    changes.map("respond.headers", &old, &new, |name, _, after| {
        let is_cors = name.parse().is_ok_and(|name| is_cors_header(&name));
        if is_cors { allowing(after.is_some(), false) } else { Access::Same }
    });
}

fn shown(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// All lines of a name are one value.
fn response_headers(action: &Action) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    if let Action::Respond { headers, .. } = action {
        for (name, value) in headers {
            add_line(&mut all, name.to_string(), value);
        }
    }
    all
}

fn add_line(all: &mut BTreeMap<String, String>, key: String, value: &HeaderValue) {
    let line = all.entry(key).or_default();
    let comma = if line.is_empty() { "" } else { ", " };
    *line = format!("{line}{comma}{}", shown(value));
}

/// Changes of headers; `is_cors` says which may open something.
fn edits(
    changes: &mut Changes,
    what: &str,
    before: &HeaderEdits,
    after: &HeaderEdits,
    is_cors: impl Fn(&http::HeaderName) -> bool,
) {
    let [before, after] = [before, after].map(edits_by_name);
    changes.map(what, &before, &after, |key, old, new| {
        let Some((verb, name)) = key.split_once(' ') else { return Access::Same };
        if !name.parse().is_ok_and(|name| is_cors(&name)) {
            return Access::Same;
        }
        match (verb, old, new) {
            // What `set` puts there replaces what the upstream says, and hides it.
            ("set", ..) | ("add", _, Some(_)) | ("remove", _, None) => Access::Widens,
            _ => Access::Narrows,
        }
    });
}

/// By `set NAME`, `add NAME` or `remove NAME`. Order matters within a name alone.
fn edits_by_name(edits: &HeaderEdits) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for edit in edits.iter() {
        match edit {
            Edit::Remove(name) => {
                all.insert(format!("remove {name}"), String::new());
            }
            Edit::Set(name, value) => add_line(&mut all, format!("set {name}"), value),
            Edit::Append(name, value) => add_line(&mut all, format!("add {name}"), value),
        }
    }
    all
}

/// Requests that another route takes now, by the route that had them: one for each
/// path of either configuration, and for each pair of routes the first.
///
/// So a route that goes, or comes, or has another priority is not only a line of
/// its own: what was behind a strict policy may have fallen to a lenient one.
fn moves(before: &Config, after: &Config) -> BTreeMap<Box<str>, Changes> {
    let mut moves: BTreeMap<Box<str>, Changes> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (pattern, _) in before.table.iter().chain(after.table.iter()) {
        let Some(sample) = Sample::of(pattern) else { continue };
        let (Some(old), Some(new)) = (sample.route(before), sample.route(after)) else { continue };
        if old.name == new.name || !seen.insert((&old.name, &new.name)) {
            continue;
        }
        let mut taken = policy::compare(old, new);
        actions(&mut taken, (before, &old.action), (after, &new.action));
        let what = format!("{} {} of {}", sample.method, pattern.path, pattern.host);
        let of_route = moves.entry(old.name.clone()).or_default();
        of_route.pair(&what, [&old.name, &new.name], taken.access());
    }
    moves
}

/// A request that a pattern takes, unless a more specific one does.
struct Sample {
    host: String,
    path: String,
    query: String,
    method: Method,
    headers: HeaderMap,
}

impl Sample {
    /// `None`: it expects a header that no request can have.
    fn of(pattern: &Pattern) -> Option<Self> {
        let host = match &pattern.host {
            HostPattern::Exact(host) => host.to_string(),
            HostPattern::Suffix(suffix) => format!("any.{suffix}"),
            // RFC 6761, section 6.4: nobody's name.
            HostPattern::Any => "any.invalid".to_owned(),
        };
        let segment = |segment: &Segment| match segment {
            Segment::Text(text) => format!("/{text}"),
            Segment::Param(name) => format!("/{name}"),
            Segment::Wildcard => "/any".to_owned(),
        };
        let Predicates { methods, headers, query } = &pattern.predicates;
        let value = |expect: &Expect| match expect {
            Expect::Present => String::new(),
            Expect::Equals(value) => value.to_string(),
        };
        let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let query = query
            .iter()
            .map(|(name, expect)| format!("{}={}", escaped(name), escaped(&value(expect))));
        let headers = headers.iter().map(|(name, expect)| {
            Some((name.clone(), HeaderValue::from_str(&value(expect)).ok()?))
        });
        Some(Self {
            host,
            path: pattern.path.segments().iter().map(segment).collect(),
            query: query.collect::<Vec<_>>().join("&"),
            method: methods.first().cloned().unwrap_or(Method::GET),
            headers: headers.collect::<Option<_>>()?,
        })
    }

    /// The route that takes it.
    fn route<'c>(&self, config: &'c Config) -> Option<&'c Route> {
        let head = Head {
            host: &self.host,
            path: &self.path,
            query: Some(&self.query),
            method: &self.method,
            headers: &self.headers,
            announced: false,
        };
        match config.table.find(&head) {
            Match::Found(&index) | Match::ButForMethod(&index) => config.routes.get(index),
            Match::MethodNotAllowed(_) | Match::NotFound => None,
        }
    }
}
