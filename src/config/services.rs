//! `[services.NAME]`: hosts, a prefix and what holds for all routes below.

use super::cors::Named;
use super::decode::{Placed, Reader};
use super::hsts::{self, Hsts};
use super::notes::Notes;
use super::routes::{self, FromService, Route, pattern_error};
use super::tables::Tables;
use super::upstreams::Upstreams;
use crate::diagnose::{Diagnostic, Place};
use crate::route::{HostPattern, PathPattern};

/// Hosts, a prefix and what holds for all routes below.
#[derive(Clone, Debug)]
pub struct Service {
    /// `NAME` of `[services.NAME]`.
    pub name: Box<str>,
    /// Where its table starts.
    pub place: Place,
    /// `hosts`, and where each stands.
    pub hosts: Vec<(HostPattern, Place)>,
    /// `hsts`.
    pub hsts: Option<Hsts>,
}

/// Reads every service and its routes.
pub(super) fn read<'t>(
    tables: &mut Tables<'t>,
    upstreams: &mut Upstreams<'t>,
    named: &mut Named<'t>,
    body_limit: Option<u64>,
) -> (Vec<Service>, Vec<Route>) {
    let mut services = Vec::new();
    let mut all = Vec::new();
    for mut table in std::mem::take(&mut tables.services).into_values() {
        let notes = table.notes;
        let errors = notes.errors();
        let inherited = inherited(services.len(), &mut table, upstreams, named, body_limit);
        // Without what it lacks, a route may seem to match what it does not.
        let intact = notes.errors() == errors;
        services.push(Service {
            name: table.key.into(),
            place: table.place,
            hosts: inherited.hosts.clone(),
            hsts: inherited.hsts.clone(),
        });
        let routes = table.named("routes");
        warn_of_no_routes(&mut table, &routes);
        table.finish();
        let routes = routes.into_iter();
        let routes = routes.filter_map(|route| routes::read(route, &inherited, upstreams, named));
        all.extend(routes.filter(|_| intact));
    }
    (services, all)
}

fn warn_of_no_routes(table: &mut Reader<'_>, routes: &[Reader<'_>]) {
    if routes.is_empty() && !table.has("routes") {
        let message = format!("{} has no routes, so it gets no requests", table.name);
        let help = format!("for all paths, write:\n[{}.routes.all]\npaths = \"/*\"", table.name);
        table.notes.add(Diagnostic::warning("W204", message).at(table.place).help(help));
    }
}

fn inherited<'t>(
    service: usize,
    table: &mut Reader<'t>,
    upstreams: &mut Upstreams<'t>,
    named: &mut Named<'t>,
    body_limit: Option<u64>,
) -> FromService<'t> {
    let notes = table.notes;
    let hosts = match table.texts("hosts") {
        Some(hosts) => {
            let host = |text: Placed<&str>| Some((host(notes, text)?, text.place));
            hosts.into_iter().filter_map(host).collect()
        }
        None => vec![(HostPattern::Any, table.place)],
    };
    let prefix = match table.value("prefix") {
        Some(value) => value.text().and_then(|text| prefix(notes, text)),
        None => Some(""),
    };
    let has_upstream = table.has("upstream");
    FromService {
        service,
        name: table.key,
        hosts,
        prefix,
        upstream: table.value("upstream").and_then(|value| upstreams.find(value)),
        has_upstream,
        hsts: table.value("hsts").and_then(hsts::read),
        cors: table.value("cors").and_then(|value| named.setting(value)),
        body_limit,
    }
}

fn host(notes: &Notes<'_>, text: Placed<&str>) -> Option<HostPattern> {
    HostPattern::parse(text.value).map_err(|error| pattern_error(notes, "E205", text, error)).ok()
}

/// A path that may have parameters; `/` is none.
fn prefix<'t>(notes: &Notes<'_>, text: Placed<&'t str>) -> Option<&'t str> {
    let path = text.value;
    let wrong = if path.contains('*') {
        Some("a prefix has no `*`: the paths of the routes say what follows".to_owned())
    } else if path.ends_with('/') {
        let shorter = path.trim_end_matches('/');
        Some(match shorter {
            "" => "leave it out: every path starts with `/`".to_owned(),
            shorter => format!("write \"{shorter}\": the path of a route starts with a slash"),
        })
    } else {
        None
    };
    if wrong.is_some() {
        let message = format!("not a prefix: {path:?}");
        notes.add(Diagnostic::error("E206", message).at(text.place).help(wrong));
        return None;
    }
    let parsed =
        PathPattern::parse(path).map_err(|error| pattern_error(notes, "E206", text, error));
    parsed.ok().map(|_| path)
}
