//! From what a policy says about origins to a compiled set, with every mistake.

use std::collections::HashMap;

use super::findings::Findings;
use super::origin_regex::{OriginRegex, TooLarge};
use super::origins::OriginSet;
use super::pattern::{OriginPattern, TuplePattern};
use super::spec::{Part, PolicySpec, Severity};
use super::suffix;

/// Compiles all sources of allowed origins.
pub(super) fn allowed(spec: &PolicySpec, findings: &mut Findings) -> OriginSet {
    // An empty text where a list is due says nothing, rather than something wrong.
    let nothing = matches!(&*spec.allow_origins, [only] if only.is_empty());
    let listed = if nothing { &[][..] } else { &spec.allow_origins };
    if listed.is_empty()
        && spec.allow_origin_regex.is_empty()
        && spec.allow_origin_sets.is_empty()
        && spec.allow_origins_file.is_empty()
    {
        findings.error(
            "E101",
            Part::Policy,
            "no origin is allowed, so every cross-origin request would be refused",
        );
        findings
            .help("list them in `allow_origins`; there is no default, and \"*\" means every site");
    }
    let mut entries = Entries::default();
    for (index, text) in listed.iter().enumerate() {
        entries.read(text, Part::Origin(index), findings);
    }
    for (set, shared) in spec.allow_origin_sets.iter().enumerate() {
        for (index, text) in shared.entries.iter().enumerate() {
            // Those that are no origin are reported where the set is defined.
            entries.read(text, Part::Set(set, index), &mut Findings::default());
        }
    }
    for (index, text) in spec.allow_origins_file.iter().enumerate() {
        entries.read(text, Part::File(index), findings);
    }
    let has_regex = !spec.allow_origin_regex.is_empty();
    let stands_alone = entries.check_wildcards(has_regex, findings);
    if has_regex && !listed.is_empty() && stands_alone {
        let message = "a list and a regex together allow what either allows";
        findings.warning("W191", Part::Regex(0), message);
    }
    entries.check_against(spec, findings);
    let mut set = entries.compile();
    for (index, text) in spec.allow_origin_regex.iter().enumerate() {
        let place = Part::Regex(index);
        if let Some(regex) = check_regex(text, place, spec, spec.allow_credentials, findings) {
            set.insert_regex(regex.regex, text, place);
        }
    }
    set
}

/// Compiles `timing_allow_origins` and `timing_allow_origin_regex`; `None`: neither is
/// written.
pub(super) fn timing(spec: &PolicySpec, findings: &mut Findings) -> Option<OriginSet> {
    let (listed, regexes) = (&spec.timing_allow_origins, &spec.timing_allow_origin_regex);
    if listed.is_empty() && regexes.is_empty() {
        return None;
    }
    let mut entries = Entries::default();
    for (index, text) in listed.iter().enumerate() {
        entries.read(text, Part::Timing(index), findings);
    }
    let stands_alone = entries.check_wildcards(!regexes.is_empty(), findings);
    if !regexes.is_empty() && !listed.is_empty() && stands_alone {
        let message = "a list and a regex together allow what either allows";
        findings.warning("W191", Part::TimingRegex(0), message);
    }
    entries.check_repeats(findings);
    for (pattern, place) in &entries.0 {
        if *pattern == OriginPattern::Null {
            check_null(*place, spec.dangerous.null_origin, findings);
        }
    }
    let mut set = entries.compile();
    for (index, text) in regexes.iter().enumerate() {
        let place = Part::TimingRegex(index);
        // Timings are no data of a signed-in user.
        if let Some(regex) = check_regex(text, place, spec, false, findings) {
            set.insert_regex(regex.regex, text, place);
        }
    }
    Some(set)
}

/// The entries that parse, each with its place.
#[derive(Default)]
struct Entries(Vec<(OriginPattern, Part)>);

impl Entries {
    fn read(&mut self, text: &str, place: Part, findings: &mut Findings) {
        match OriginPattern::parse(text) {
            Ok(pattern) => self.0.push((pattern, place)),
            Err(error) => {
                findings.push(Severity::Error, error.code, place, error.message, error.help);
            }
        }
    }

    fn compile(&self) -> OriginSet {
        let mut set = OriginSet::default();
        for (pattern, place) in &self.0 {
            set.insert(pattern, *place);
        }
        set
    }

    /// `*` and `**` stand alone, or what stands beside them is a misunderstanding.
    /// Whether they do.
    fn check_wildcards(&self, has_regex: bool, findings: &mut Findings) -> bool {
        let covers =
            |pattern: &OriginPattern| matches!(pattern, OriginPattern::Any | OriginPattern::Echo);
        let Some((wildcard, place)) = self.0.iter().find(|(pattern, _)| covers(pattern)) else {
            return true;
        };
        if self.0.iter().any(|(pattern, _)| pattern != wildcard) {
            let message =
                format!("\"{wildcard}\" stands for every origin, so nothing may stand beside it");
            findings.error("E111", *place, message);
            findings.help(format!("remove \"{wildcard}\", or everything else"));
        }
        if has_regex {
            let message =
                format!("\"{wildcard}\" allows every origin, so the regex beside it says nothing");
            findings.error("E122", *place, message);
            findings.help(format!("remove \"{wildcard}\", or the regex"));
        }
        false
    }

    fn check_against(&self, spec: &PolicySpec, findings: &mut Findings) {
        let (credentials, dangerous) = (spec.allow_credentials, spec.dangerous);
        let mut wildcard_seen = false;
        for (pattern, place) in &self.0 {
            match pattern {
                OriginPattern::Any | OriginPattern::Echo if credentials && !wildcard_seen => {
                    wildcard_seen = true;
                    let tolerated =
                        *pattern == OriginPattern::Echo && dangerous.any_origin_with_credentials;
                    check_any(pattern, *place, tolerated, findings);
                }
                OriginPattern::Any | OriginPattern::Echo => {}
                OriginPattern::Null if credentials => {
                    let message = "`null` with credentials lets any site act for a signed-in user from a sandboxed frame";
                    findings.error("E115", *place, message);
                    findings.help("remove \"null\"; no switch allows this");
                }
                OriginPattern::Null => check_null(*place, dangerous.null_origin, findings),
                OriginPattern::Tuple(tuple) => check_tuple(tuple, *place, spec, findings),
            }
        }
        self.check_repeats(findings);
    }

    /// Only what a person wrote into the policy is reported. Files are generated, and
    /// what a set repeats of one policy's own list, another policy may need.
    fn check_repeats(&self, findings: &mut Findings) {
        let (own, shared): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .partition(|(_, place)| matches!(place, Part::Origin(_) | Part::Timing(_)));
        let mut known: HashMap<&OriginPattern, Part> = HashMap::new();
        for (pattern, place) in shared.iter().chain(&own) {
            known.entry(pattern).or_insert(*place);
        }
        for (pattern, place) in own {
            let repeated = known.get(pattern).is_some_and(|first| first != place);
            let covering = match pattern {
                OriginPattern::Tuple(tuple) => tuple
                    .covering()
                    .map(OriginPattern::Tuple)
                    .find(|wider| known.contains_key(wider)),
                _ => None,
            };
            if repeated {
                findings.warning("W119", *place, format!("\"{pattern}\" is listed twice"));
            } else if let Some(wider) = covering {
                findings.warning(
                    "W119",
                    *place,
                    format!("\"{pattern}\" is covered by \"{wider}\""),
                );
            }
        }
    }
}

fn check_any(pattern: &OriginPattern, place: Part, tolerated: bool, findings: &mut Findings) {
    let message =
        format!("\"{pattern}\" with credentials lets every site act for a signed-in user");
    if tolerated {
        findings.warning("W112", place, message);
    } else {
        findings.error("E112", place, message);
        findings.help("list the origins, or drop `allow_credentials`");
    }
}

fn check_null(place: Part, tolerated: bool, findings: &mut Findings) {
    let message = "`null` is sent by any site's sandboxed frames, and by local files";
    if tolerated {
        findings.warning("W109", place, message);
    } else {
        findings.error("E109", place, message);
        findings.help("remove it, or set `dangerous.null_origin = true`");
    }
}

fn check_tuple(tuple: &TuplePattern, place: Part, spec: &PolicySpec, findings: &mut Findings) {
    let (credentials, dangerous) = (spec.allow_credentials, spec.dangerous);
    if credentials && tuple.is_insecure() && !dangerous.insecure_origins {
        let message = format!(
            "\"{tuple}\" with credentials: whoever sits on the network can act for a signed-in user"
        );
        findings.error("E113", place, message);
        findings.help("write https, or set `dangerous.insecure_origins = true`");
    }
    if let Some(meant) = tuple.meant_scheme() {
        let message = format!("\"{tuple}\" matches no web page: pages have https, or http");
        findings.warning("W102", place, message);
        let text = tuple.to_string();
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        findings.help(format!("write \"{meant}://{rest}\""));
    }
    if !tuple.subdomains {
        return;
    }
    if suffix::is_public(&tuple.host) {
        let message = format!(
            "\"{tuple}\" covers sites of everyone: under \"{}\" anyone can register a name",
            tuple.host
        );
        if credentials && !dangerous.public_suffix_subdomains {
            findings.error("E114", place, message);
            findings
                .help("list your own names, or set `dangerous.public_suffix_subdomains = true`");
        } else {
            findings.warning("W114", place, message);
        }
    } else if credentials {
        let message = format!(
            "\"{tuple}\" with credentials trusts every subdomain, also one that is taken over"
        );
        findings.warning("W195", place, message);
    }
}

fn check_regex(
    text: &str,
    place: Part,
    spec: &PolicySpec,
    credentials: bool,
    findings: &mut Findings,
) -> Option<OriginRegex> {
    let regex = match OriginRegex::parse(text) {
        Ok(regex) => regex,
        Err(why) => {
            findings.error("E120", place, format!("not a regular expression: '{text}': {why}"));
            return None;
        }
    };
    if check_meaning(&regex, text, place, spec, credentials, findings) == Err(TooLarge) {
        let message = format!("'{text}' is too large to tell what it accepts");
        findings.error("E120", place, message);
        findings.help("write several simpler ones");
    }
    Some(regex)
}

/// Asks a regex what it accepts.
fn check_meaning(
    regex: &OriginRegex,
    text: &str,
    place: Part,
    spec: &PolicySpec,
    credentials: bool,
    findings: &mut Findings,
) -> Result<(), TooLarge> {
    let dangerous = spec.dangerous;
    if regex.shortest_origin()?.is_none() {
        let message = match regex.shortest_origin_around()? {
            Some(origin) => {
                format!("'{text}' matches no whole origin; as a search it would find {origin:?}")
            }
            None => format!("'{text}' matches no origin that a browser sends"),
        };
        findings.warning("W122", place, message);
        findings.help("a regex matches from the scheme to the end: start it with 'https://'");
    } else if let Some(probe) = regex.surprise(dangerous.insecure_origins)? {
        let message = format!("'{text}' also accepts {probe:?}");
        if credentials && !dangerous.regex_matches_anything {
            findings.error("E121", place, message);
        } else {
            findings.warning("W121", place, message);
        }
        findings.help(r"escape dots as '\.', write the scheme out, and end labels with '\.'");
    } else if credentials
        && !dangerous.insecure_origins
        && let Some(origin) = regex.insecure_origin()?
    {
        let message = format!(
            "'{text}' accepts {origin:?}, with credentials: whoever sits on the network can act for a signed-in user"
        );
        findings.error("E113", place, message);
        findings.help("write https, or set `dangerous.insecure_origins = true`");
    }
    Ok(())
}
