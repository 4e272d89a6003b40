//! `[origins]`, `[policies.cors.NAME]` and `cors` on a service or a route.
//!
//! What a policy means is checked by [`Policy::new`]; here its text is read,
//! and each finding gets the line that it is about.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decode::{Placed, Reader, Value, nearest};
use super::notes::Notes;
use super::tables::Tables;
use crate::cors::{
    self, Dangerous, Finding, OriginPattern, Policy, PolicySpec, Severity, SharedOrigins,
};
use crate::diagnose::{Diagnostic, Place};

/// A policy and where it was written.
#[derive(Debug)]
pub struct Cors {
    pub policy: Policy,
    /// What was written.
    pub spec: PolicySpec,
    /// `policies.cors.app`, `services.shop.cors` or `services.shop.routes.orders.cors`.
    pub name: String,
    /// Where its table starts.
    pub place: Place,
    places: Places,
}

impl Cors {
    /// Where a key such as `allow_methods` stands; `None` if it is not written.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<Place> {
        self.places.key(key)
    }

    /// Where a part of the policy stands; for a default, the policy itself.
    #[must_use]
    pub fn place_of(&self, part: cors::Part) -> Place {
        self.places.find(part)
    }
}

/// Where the parts of a policy stand.
#[derive(Clone, Debug)]
struct Places {
    policy: Place,
    keys: Vec<(&'static str, Place)>,
    origins: Vec<Place>,
    regexes: Vec<Place>,
    /// For each set that is named: its name, and its entries where it is defined.
    sets: Vec<(Place, Vec<Place>)>,
    file: Vec<Place>,
    methods: Vec<Place>,
    headers: Vec<Place>,
    expose: Vec<Place>,
    timing: Vec<Place>,
    timing_regexes: Vec<Place>,
}

impl Places {
    fn key(&self, key: &str) -> Option<Place> {
        self.keys.iter().find(|(known, _)| *known == key).map(|(_, place)| *place)
    }

    fn find(&self, part: cors::Part) -> Place {
        use cors::Part;
        let credentials = || self.key("allow_credentials");
        let place = match part {
            Part::Policy => None,
            Part::Origin(index) => self.origins.get(index).copied(),
            Part::Regex(index) => self.regexes.get(index).copied(),
            Part::Set(set, entry) => {
                self.sets.get(set).and_then(|(_, entries)| entries.get(entry)).copied()
            }
            Part::File(index) => self.file.get(index).copied(),
            // A default is wrong only beside the credentials that are written.
            Part::Methods => self.key("allow_methods").or_else(credentials),
            Part::Headers => self.key("allow_headers").or_else(credentials),
            Part::Method(index) => self.methods.get(index).copied(),
            Part::Header(index) => self.headers.get(index).copied(),
            Part::Expose(index) => self.expose.get(index).copied(),
            Part::Timing(index) => self.timing.get(index).copied(),
            Part::TimingRegex(index) => self.timing_regexes.get(index).copied(),
            Part::Credentials => credentials(),
            Part::MaxAge => self.key("max_age"),
            Part::Options => self.key("options"),
            Part::Preflight => self.key("preflight"),
            Part::PreflightStatus => self.key("preflight_status"),
            Part::RejectStatus => self.key("reject_status"),
            Part::PrivateNetwork => self.key("allow_private_network"),
        };
        place.unwrap_or(self.policy)
    }
}

/// What is defined by a name, for whoever names it, and which of it is used.
pub(super) struct Named<'t> {
    sets: BTreeMap<&'t str, Set<'t>>,
    policies: BTreeMap<&'t str, NamedPolicy>,
}

struct Set<'t> {
    place: Place,
    entries: Vec<Placed<&'t str>>,
    used: bool,
}

struct NamedPolicy {
    place: Place,
    /// `None`: it has errors, which are noted.
    cors: Option<Arc<Cors>>,
    used: bool,
}

impl<'t> Named<'t> {
    pub(super) fn read(tables: &mut Tables<'t>) -> Self {
        let sets = std::mem::take(&mut tables.origins);
        let sets = sets.into_iter().map(|(name, value)| (name, set(value))).collect();
        let mut shared = Self { sets, policies: BTreeMap::new() };
        for (name, table) in std::mem::take(&mut tables.policies) {
            let place = table.place;
            let cors = shared.policy(table).map(Arc::new);
            shared.policies.insert(name, NamedPolicy { place, cors, used: false });
        }
        shared
    }

    /// `cors` on a service or a route: a name, a policy in place, or `false`.
    ///
    /// `None`: no policy; or one with errors, which are noted.
    pub(super) fn setting(&mut self, value: Value<'t>) -> Option<Arc<Cors>> {
        if value.as_flag() == Some(false) {
            return None;
        }
        if value.is_table() {
            return self.policy(value.table()?).map(Arc::new);
        }
        if !value.is_text() {
            value.wrong("the name of a policy, a table, or false");
            return None;
        }
        let (notes, owner) = (value.notes, value.name());
        let name = value.text()?;
        if let Some(named) = self.policies.get_mut(name.value) {
            named.used = true;
            return named.cors.clone();
        }
        let message = format!("{owner} names a CORS policy that does not exist: {:?}", name.value);
        let missing = Diagnostic::error("E202", message).at(name.place);
        let candidate = nearest(name.value, self.policies.keys().copied());
        let place = candidate.and_then(|name| self.policies.get(name)).map(|named| named.place);
        notes.add(missing.help(match candidate.zip(place) {
            Some((candidate, place)) => {
                format!("did you mean {candidate:?} ({})?", notes.locate(place))
            }
            None => format!(
                "define it:\n[policies.cors.{}]\nallow_origins = \"https://app.example.com\"",
                name.value
            ),
        }));
        None
    }

    /// Notes what is defined and named by nothing.
    pub(super) fn warn_of_unused(&self, notes: &Notes<'_>) {
        for (name, policy) in self.policies.iter().filter(|(_, policy)| !policy.used) {
            let message = format!("policies.cors.{name} is not used");
            notes.add(Diagnostic::warning("W202", message).at(policy.place));
        }
        for (name, set) in self.sets.iter().filter(|(_, set)| !set.used) {
            let message = format!("origins.{name} is not used");
            notes.add(Diagnostic::warning("W203", message).at(set.place));
        }
    }

    fn policy(&mut self, table: Reader<'t>) -> Option<Cors> {
        let notes = table.notes;
        let (name, place) = (table.name.to_string(), table.place);
        let errors = notes.errors();
        let (spec, places) = self.spec(table);
        let damaged = notes.errors() > errors;
        let (policy, findings) = match Policy::new(&spec) {
            Ok((policy, warnings)) => (Some(policy), warnings),
            Err(findings) => (None, findings),
        };
        for finding in findings {
            // What could not be read looks like what was not written, and that
            // is a consequence of a mistake, not one more.
            let of_what_is_missing = matches!(
                finding.place,
                cors::Part::Policy | cors::Part::Methods | cors::Part::Headers
            );
            if !(damaged && of_what_is_missing) {
                notes.add(diagnostic(finding, &places));
            }
        }
        Some(Cors { policy: policy?, spec, name, place, places })
    }

    fn spec(&mut self, mut table: Reader<'t>) -> (PolicySpec, Places) {
        let (origins, origin_places) = list(table.texts("allow_origins"));
        let (regexes, regex_places) = list(table.texts("allow_origin_regex"));
        let (sets, set_places) = self.named_sets(&mut table);
        let (file, file_places) = origins_file(&mut table);
        let (methods, method_places) = optional_list(table.texts("allow_methods"));
        let (headers, header_places) = optional_list(table.texts("allow_headers"));
        let (expose, expose_places) = optional_list(table.texts("expose_headers"));
        let (timing, timing_places) = list(table.texts("timing_allow_origins"));
        let (timing_regexes, timing_regex_places) = list(table.texts("timing_allow_origin_regex"));
        let any_status = i64::MIN..=i64::MAX;
        let spec = PolicySpec {
            allow_origins: origins,
            allow_origin_regex: regexes,
            allow_origin_sets: sets,
            allow_origins_file: file,
            allow_methods: methods,
            allow_headers: headers,
            expose_headers: expose,
            allow_credentials: table.flag("allow_credentials"),
            max_age: table
                .duration("max_age", std::time::Duration::ZERO..=std::time::Duration::MAX),
            timing_allow_origins: timing,
            timing_allow_origin_regex: timing_regexes,
            allow_private_network: table.flag("allow_private_network"),
            options: table.choice("options", cors::OptionsMode::ALL).unwrap_or_default(),
            preflight: table.choice("preflight", cors::PreflightMode::ALL).unwrap_or_default(),
            preflight_status: table
                .integer("preflight_status", any_status.clone())
                .map(|s| s.value),
            preflight_failure: table
                .choice("preflight_failure", cors::PreflightFailure::ALL)
                .unwrap_or_default(),
            reject_status: table.integer("reject_status", any_status).map(|s| s.value),
            upstream_cors: table
                .choice("upstream_cors", cors::UpstreamCors::ALL)
                .unwrap_or_default(),
            mode: table.choice("mode", cors::Mode::ALL).unwrap_or_default(),
            reject_actual: table.flag("reject_actual"),
            websocket: table.choice("websocket", cors::WebSocketMode::ALL).unwrap_or_default(),
            dangerous: table.table("dangerous").map(dangerous).unwrap_or_default(),
        };
        let places = Places {
            policy: table.place,
            keys: table.places(),
            origins: origin_places,
            regexes: regex_places,
            sets: set_places,
            file: file_places,
            methods: method_places,
            headers: header_places,
            expose: expose_places,
            timing: timing_places,
            timing_regexes: timing_regex_places,
        };
        table.finish();
        (spec, places)
    }

    /// `allow_origin_sets`: the sets that exist; the others are noted.
    fn named_sets(
        &mut self,
        table: &mut Reader<'t>,
    ) -> (Vec<SharedOrigins>, Vec<(Place, Vec<Place>)>) {
        let notes = table.notes;
        let mut named = (Vec::new(), Vec::new());
        for name in table.texts("allow_origin_sets").unwrap_or_default() {
            let Some(set) = self.sets.get_mut(name.value) else {
                let candidate = nearest(name.value, self.sets.keys().copied());
                let message = format!("no set of origins has this name: {:?}", name.value);
                notes.add(Diagnostic::error("E116", message).at(name.place).help(
                    match candidate {
                        Some(candidate) => format!("did you mean {candidate:?}?"),
                        None => format!(
                            "define it:\n[origins]\n{} = [\"https://app.example.com\"]",
                            name.value
                        ),
                    },
                ));
                continue;
            };
            set.used = true;
            let entries = set.entries.iter().map(|entry| entry.value.to_owned()).collect();
            named.0.push(SharedOrigins { name: name.value.to_owned(), entries });
            named.1.push((name.place, set.entries.iter().map(|entry| entry.place).collect()));
        }
        named
    }
}

/// One set of `[origins]`; entries that are no origin are noted here, once, for
/// whichever policies use it.
fn set(value: Value<'_>) -> Set<'_> {
    let (notes, place) = (value.notes, value.key_place);
    let entries = value.texts().unwrap_or_default();
    for entry in &entries {
        if let Err(error) = OriginPattern::parse(entry.value) {
            let found = Diagnostic::error(error.code, error.message);
            notes.add(found.at(entry.place).help(error.help));
        }
    }
    Set { place, entries, used: false }
}

/// `allow_origins_file`: an origin a line. `#` starts a comment, since no origin contains one.
fn origins_file(table: &mut Reader<'_>) -> (Vec<String>, Vec<Place>) {
    let Some(path) = table.text("allow_origins_file") else { return Default::default() };
    let notes = table.notes;
    let (source, text) = match notes.read(&notes.beside(path.place.source, path.value)) {
        Ok(read) => read,
        Err(error) => {
            let message = format!("the file of origins {:?} cannot be read: {error}", path.value);
            notes.add(Diagnostic::error("E117", message).at(path.place));
            return Default::default();
        }
    };
    let mut start = 0;
    let mut found = (Vec::new(), Vec::new());
    for line in text.split_inclusive('\n') {
        let entry = line.split('#').next().unwrap_or_default();
        let indent = entry.len() - entry.trim_start().len();
        let entry = entry.trim();
        if !entry.is_empty() {
            let place = Place { source, start: start + indent, end: start + indent + entry.len() };
            found.0.push(entry.to_owned());
            found.1.push(place);
        }
        start += line.len();
    }
    found
}

fn dangerous(mut table: Reader<'_>) -> Dangerous {
    let dangerous = Dangerous {
        any_origin_with_credentials: table.flag("any_origin_with_credentials"),
        insecure_origins: table.flag("insecure_origins"),
        public_suffix_subdomains: table.flag("public_suffix_subdomains"),
        null_origin: table.flag("null_origin"),
        regex_matches_anything: table.flag("regex_matches_anything"),
    };
    table.finish();
    dangerous
}

fn diagnostic(finding: Finding, places: &Places) -> Diagnostic {
    let diagnostic = match finding.severity {
        Severity::Error => Diagnostic::error(finding.code, finding.message),
        Severity::Warning => Diagnostic::warning(finding.code, finding.message),
    };
    let diagnostic = diagnostic.at(places.find(finding.place)).help(finding.help);
    // What is found in a set is about the policy that names it.
    match finding.place {
        cors::Part::Set(set, _) => match places.sets.get(set) {
            Some((place, _)) => diagnostic.related(*place, "the set is named here"),
            None => diagnostic,
        },
        _ => diagnostic,
    }
}

fn list(texts: Option<Vec<Placed<&str>>>) -> (Vec<String>, Vec<Place>) {
    texts.unwrap_or_default().into_iter().map(|text| (text.value.to_owned(), text.place)).unzip()
}

fn optional_list(texts: Option<Vec<Placed<&str>>>) -> (Option<Vec<String>>, Vec<Place>) {
    let written = texts.is_some();
    let (values, places) = list(texts);
    (written.then_some(values), places)
}
