//! What becomes of CORS on one route.

use std::collections::BTreeSet;

use http::{HeaderName, header::AUTHORIZATION};

use super::change::{Access, Changes, Difference, allowing};
use crate::config::value::print_duration;
use crate::config::{Action, Cors, Route};
use crate::cors::{
    AllowMethods, Dangerous, Mode, OptionsMode, OriginPattern, Part, Policy, PolicySpec,
    PreflightFailure, PreflightMode, TIMING_ALLOW_ORIGIN, UpstreamCors, WebSocketMode,
};
use crate::edits::Edit;

/// Compares the policies of a route before and after, or of two routes of which
/// the second takes over what the first had.
pub(super) fn compare(before: &Route, after: &Route) -> Changes {
    let mut changes = Changes::default();
    match (&before.cors, &after.cors) {
        (None, None) => {}
        (None, Some(new)) => {
            // An upstream that says nothing of CORS could not be read, and now can.
            let access = if enforces(new) { Access::Widens } else { Access::Same };
            changes.value("cors", None, Some(described(new)), access);
        }
        (Some(old), None) => {
            changes.value("cors", Some(described(old)), None, lifted(old, after));
        }
        // What is written in the same words means the same: the usual case, told quickly.
        (Some(old), Some(new)) if old.spec == new.spec => {}
        (Some(old), Some(new)) => {
            changes = between(old, new);
            if application_decides(new) {
                // What is taken from a list is the application's to allow, and it may say
                // more than the list did.
                let narrows = |change: &&mut Difference| change.access == Access::Narrows;
                let listed = |change: &&mut Difference| change.what.starts_with("allow_");
                let taken = changes.0.iter_mut().filter(narrows).filter(listed);
                taken.for_each(|change| change.access = Access::Widens);
            }
            if enforces(new) && !enforces(old) {
                changes.pair("mode", ["report", "enforce"], Access::Widens);
            } else if !enforces(new) {
                // What only counts lets through, and keeps out, nobody.
                changes.0.iter_mut().for_each(|change| change.access = Access::Same);
                if enforces(old) {
                    changes.pair("mode", ["enforce", "report"], lifted(old, after));
                }
            }
        }
    }
    changes
}

/// Whether a header says what pages of other origins may do.
pub(super) fn is_cors_header(name: &HeaderName) -> bool {
    name.as_str().starts_with("access-control-") || *name == TIMING_ALLOW_ORIGIN
}

fn enforces(cors: &Cors) -> bool {
    cors.policy.mode() == Mode::Enforce
}

/// Whether a preflight that the policy does not allow may be allowed all the same.
fn application_decides(cors: &Cors) -> bool {
    cors.spec.preflight == PreflightMode::Upstream && cors.spec.upstream_cors == UpstreamCors::Defer
}

/// What it does that a policy no longer acts on a route.
fn lifted(old: &Cors, route: &Route) -> Access {
    let stopped = old.spec.reject_actual || old.spec.websocket == WebSocketMode::Enforce;
    if !enforces(old) {
        Access::Same
    } else if stopped || says_cors(route) {
        Access::Widens
    } else {
        Access::Narrows
    }
}

/// Whether answers may have CORS headers without a policy: those of an upstream,
/// and those that the route itself sets.
fn says_cors(route: &Route) -> bool {
    let sets = |edit: &Edit| match edit {
        Edit::Set(name, _) | Edit::Append(name, _) => is_cors_header(name),
        Edit::Remove(_) => false,
    };
    let own = match &route.action {
        Action::Forward { .. } => true,
        Action::Redirect { .. } => false,
        Action::Respond { headers, .. } => headers.keys().any(is_cors_header),
    };
    own || route.headers.response.iter().any(sets)
}

/// A policy that comes or goes: its name, and whom it allows.
pub(super) fn described(cors: &Cors) -> String {
    const SHOWN: usize = 3;
    let entries = cors.policy.origins();
    let shown: Vec<&str> = entries.iter().take(SHOWN).map(|entry| entry.text.as_str()).collect();
    let more = entries.len().saturating_sub(SHOWN);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{} for {}{more}", cors.name, shown.join(", "))
}

/// What differs between two policies, as if both acted. `mode` is compared elsewhere.
fn between(old: &Cors, new: &Cors) -> Changes {
    let mut changes = Changes::default();
    origins(&mut changes, &old.policy, &new.policy);
    names(&mut changes, &old.policy, &new.policy);
    exposed(&mut changes, old.policy.expose(), new);
    timing(&mut changes, &old.spec, &new.spec);
    let credentials = [old, new].map(Credentials::of);
    let access = Access::by_order(&credentials[0], &credentials[1]);
    changes.pair("allow_credentials", credentials.map(Credentials::as_str), access);
    switches(&mut changes, &old.spec, &new.spec);
    let ages = [old, new].map(|cors| print_duration(cors.policy.max_age()));
    changes.pair("max_age", ages, Access::Same);
    if !changes.0.is_empty() {
        changes.pair("policy", [&old.name, &new.name], Access::Same);
    }
    changes
}

/// Lists, sets and files together: where an entry stands does not matter.
fn origins(changes: &mut Changes, old: &Policy, new: &Policy) {
    let texts = |policy: &Policy, regexes: bool| -> BTreeSet<String> {
        let entries = policy.origins().iter();
        let entries = entries.filter(|entry| matches!(entry.place, Part::Regex(_)) == regexes);
        entries.map(|entry| entry.text.clone()).collect()
    };
    let (before, after) = (texts(old, false), texts(new, false));
    changes.entries("allow_origins", &before, &after, |entry, added| {
        let (others, policy) = if added { (&before, old) } else { (&after, new) };
        // An origin may be covered by a regex too; a pattern is told apart by its text.
        let is_covered = policy.find_origin(entry).is_some() || covers(others, entry);
        allowing(added, is_covered)
    });
    let (old, new) = (texts(old, true), texts(new, true));
    changes.entries("allow_origin_regex", &old, &new, |_, added| {
        // A regex sees tuple origins alone.
        let others = if added { &before } else { &after };
        allowing(added, others.contains("*") || others.contains("**"))
    });
}

/// Whether a list allows all that one of its possible entries means.
fn covers(list: &BTreeSet<String>, entry: &str) -> bool {
    let covering = OriginPattern::parse(entry).map(|pattern| pattern.covering());
    covering.is_ok_and(|all| all.iter().any(|wider| list.contains(&wider.to_string())))
}

/// Methods and request headers.
fn names(changes: &mut Changes, old: &Policy, new: &Policy) {
    let methods = |policy: &Policy| -> BTreeSet<String> {
        match policy.methods() {
            AllowMethods::Any => ["*".to_owned()].into(),
            AllowMethods::Echo => ["**".to_owned()].into(),
            AllowMethods::Listed(methods) => methods.iter().map(ToString::to_string).collect(),
        }
    };
    changes.entries("allow_methods", &methods(old), &methods(new), |entry, added| {
        let others = if added { old } else { new }.methods();
        let is_covered = match entry {
            "*" | "**" => !matches!(others, AllowMethods::Listed(_)),
            method => others.allows(method.as_bytes()),
        };
        allowing(added, is_covered)
    });
    let headers = |policy: &Policy| -> BTreeSet<String> {
        policy.headers().entries().map(str::to_ascii_lowercase).collect()
    };
    changes.entries("allow_headers", &headers(old), &headers(new), |entry, added| {
        let others = if added { old } else { new }.headers();
        // Both wildcards are names too, which only a wildcard allows.
        let is_covered = others.allows(entry.as_bytes())
            && (entry != "**" || others.allows(AUTHORIZATION.as_str().as_bytes()));
        allowing(added, is_covered)
    });
}

fn exposed(changes: &mut Changes, old: Option<&[String]>, cors: &Cors) {
    let set = |names: &[String]| -> BTreeSet<String> {
        names.iter().map(|name| name.to_ascii_lowercase()).collect()
    };
    let what = "expose_headers";
    match (old.map(set), cors.policy.expose().map(set)) {
        (Some(old), Some(new)) => changes.entries(what, &old, &new, |name, added| {
            let others = if added { &old } else { &new };
            // Where an upstream may add credentials, browsers take `*` for a name.
            let is_wildcard = Credentials::of(cors) == Credentials::No;
            let is_covered = is_wildcard && others.contains("*") && name != AUTHORIZATION.as_str();
            allowing(added, is_covered)
        }),
        (old, new) => upstreams_or_list(changes, what, old.as_ref(), new.as_ref()),
    }
}

fn timing(changes: &mut Changes, old: &PolicySpec, new: &PolicySpec) {
    let set = |entries: &[String]| entries.iter().cloned().collect::<BTreeSet<String>>();
    let lists = [old, new].map(|spec| set(&spec.timing_allow_origins));
    let regexes = [old, new].map(|spec| set(&spec.timing_allow_origin_regex));
    let all = [old, new]
        .map(|spec| &set(&spec.timing_allow_origins) | &set(&spec.timing_allow_origin_regex));
    let what = "timing_allow_origins";
    let [before, after] = all.each_ref().map(|all| Some(all).filter(|all| !all.is_empty()));
    if before.is_none() || after.is_none() {
        upstreams_or_list(changes, what, before, after);
        return;
    }
    let [before, after] = &lists;
    let others = |added: bool| if added { before } else { after };
    changes
        .entries(what, before, after, |entry, added| allowing(added, covers(others(added), entry)));
    let [old, new] = &regexes;
    changes.entries("timing_allow_origin_regex", old, new, |_, added| {
        allowing(added, others(added).contains("*") || others(added).contains("**"))
    });
}

/// A list that is written on one side alone: on the other, the upstream's own stays.
fn upstreams_or_list(
    changes: &mut Changes,
    what: &str,
    old: Option<&BTreeSet<String>>,
    new: Option<&BTreeSet<String>>,
) {
    let text = |list: Option<&BTreeSet<String>>| match list {
        None => "the upstream's".to_owned(),
        Some(list) if list.is_empty() => "none".to_owned(),
        Some(list) => list.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    };
    // To list nothing opens nothing to anyone, whatever the upstream said.
    let closes = new.is_some_and(BTreeSet::is_empty);
    let access = if closes { Access::Narrows } else { Access::Widens };
    changes.pair(what, [text(old), text(new)], access);
}

/// Whether answers to requests with credentials may be read, in ascending order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Credentials {
    No,
    /// What the upstream says stays: see `upstream_cors`.
    Upstream,
    Yes,
}

impl Credentials {
    fn of(cors: &Cors) -> Self {
        let keeps = match cors.spec.upstream_cors {
            UpstreamCors::Defer => true,
            UpstreamCors::Override => !cors.policy.allows_any_origin(),
            UpstreamCors::Strip => false,
        };
        match (cors.policy.credentials(), keeps) {
            (true, _) => Self::Yes,
            (false, true) => Self::Upstream,
            (false, false) => Self::No,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::No => "false",
            Self::Upstream => "false, but what the upstream says stays",
            Self::Yes => "true",
        }
    }
}

/// Everything else that is written, each key with what it does.
fn switches(changes: &mut Changes, old: &PolicySpec, new: &PolicySpec) {
    // Taken apart by name, so that a new key does not compile until it is compared.
    let PolicySpec {
        allow_origins: _,
        allow_origin_regex: _,
        allow_origin_sets: _,
        allow_origins_file: _,
        allow_methods: _,
        allow_headers: _,
        expose_headers: _,
        allow_credentials: _,
        max_age: _,
        timing_allow_origins: _,
        timing_allow_origin_regex: _,
        mode: _,
        allow_private_network,
        options,
        preflight,
        preflight_status,
        preflight_failure,
        reject_status,
        upstream_cors,
        reject_actual,
        websocket,
        dangerous,
    } = new;
    let private = (old.allow_private_network, *allow_private_network);
    let defers = |value: UpstreamCors| value == UpstreamCors::Defer;
    let hands_on = |value: PreflightMode| value == PreflightMode::Upstream;
    let pairs = [
        (
            "allow_private_network",
            [private.0.to_string(), private.1.to_string()],
            Access::by_order(&private.0, &private.1),
        ),
        // The fewer requests a key stops, the more pass.
        (
            "reject_actual",
            [old.reject_actual.to_string(), reject_actual.to_string()],
            Access::by_order(reject_actual, &old.reject_actual),
        ),
        (
            "websocket",
            words(WebSocketMode::ALL, old.websocket, *websocket),
            Access::by_order(&stops_websockets(new), &stops_websockets(old)),
        ),
        (
            "options",
            words(OptionsMode::ALL, old.options, *options),
            Access::by_order(&passing(old.options), &passing(*options)),
        ),
        (
            "preflight",
            words(PreflightMode::ALL, old.preflight, *preflight),
            Access::by_order(&hands_on(old.preflight), &hands_on(*preflight)),
        ),
        // What else it says of credentials is compared with them.
        (
            "upstream_cors",
            words(UpstreamCors::ALL, old.upstream_cors, *upstream_cors),
            Access::by_order(&defers(old.upstream_cors), &defers(*upstream_cors)),
        ),
        (
            "preflight_failure",
            words(PreflightFailure::ALL, old.preflight_failure, *preflight_failure),
            Access::Same,
        ),
        ("preflight_status", statuses(old.preflight_status, *preflight_status, 200), Access::Same),
        ("reject_status", statuses(old.reject_status, *reject_status, 403), Access::Same),
    ];
    for (what, sides, access) in pairs {
        changes.pair(what, sides, access);
    }
    changes.entries("dangerous", &flags(old.dangerous), &flags(*dangerous), |_, _| Access::Same);
}

/// `reject_actual` stops upgrades too.
fn stops_websockets(spec: &PolicySpec) -> bool {
    spec.reject_actual || spec.websocket == WebSocketMode::Enforce
}

/// How many of the OPTIONS that are no preflights reach the upstream.
fn passing(options: OptionsMode) -> u8 {
    match options {
        OptionsMode::All => 0,
        OptionsMode::Probe => 1,
        OptionsMode::Strict => 2,
    }
}

/// The switches that are on.
fn flags(dangerous: Dangerous) -> BTreeSet<String> {
    let Dangerous {
        any_origin_with_credentials,
        insecure_origins,
        public_suffix_subdomains,
        null_origin,
        regex_matches_anything,
    } = dangerous;
    let flags = [
        ("any_origin_with_credentials", any_origin_with_credentials),
        ("insecure_origins", insecure_origins),
        ("public_suffix_subdomains", public_suffix_subdomains),
        ("null_origin", null_origin),
        ("regex_matches_anything", regex_matches_anything),
    ];
    flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned()).collect()
}

/// How two choices are written.
fn words<T: Copy + PartialEq>(all: &[(&str, T)], old: T, new: T) -> [String; 2] {
    [old, new].map(|value| {
        let found = all.iter().find(|(_, known)| *known == value);
        found.map_or_else(String::new, |(word, _)| (*word).to_owned())
    })
}

fn statuses(old: Option<i64>, new: Option<i64>, default: i64) -> [String; 2] {
    [old, new].map(|status| status.unwrap_or(default).to_string())
}
