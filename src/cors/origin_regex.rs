//! `allow_origin_regex`: whole-origin matching, and a search for origins that an
//! author did not mean.
//!
//! A regex over origins goes wrong in well-known ways: an unescaped dot, a missing
//! anchor or slash, a scheme left open. Instead of a list of bad patterns, corsac
//! asks the regex itself. [`OriginRegex::surprise`] computes the shortest origins
//! that it accepts, one for each of its alternatives, derives from each what an
//! attacker would try (the *probes*), and reports the first that is accepted too.
//!
//! A probe counts as hostile only where it lies outside of what the regex plainly
//! names: under another registrable domain (by the public-suffix list, whose
//! default rule makes the last label of an unknown name a suffix), or with `http`
//! in place of `https`. So `https://[a-z-]+\.preview\.example\.com` is not accused
//! of accepting `https://evil-x.preview.example.com`, for nobody but the owner of
//! `example.com` can serve that; but `https://.*\.github\.io` is.

use std::collections::HashSet;

use regex::Regex;
use regex_automata::Anchored;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::start;
use regex_automata::util::syntax;
use regex_syntax::hir::{Hir, HirKind};

use super::origin::{Origin, is_loopback};

/// Bounds the memory of one compiled regex, in bytes; far above what a pattern
/// over host names needs.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Bounds the search for an accepted origin, in states and in bytes of DFA.
const SEARCH_STATES_MAX: usize = 100_000;
const SEARCH_BYTES_MAX: usize = 16 << 20;
/// Alternatives of one regex that are searched apart.
const BRANCHES_MAX: usize = 256;

/// A regex takes more than the bounds allow to be questioned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TooLarge;

/// A regex that matches whole origins, with what is needed to question it.
#[derive(Debug)]
pub(super) struct OriginRegex {
    hir: Hir,
    /// Matches whole origins only.
    pub(super) regex: Regex,
}

impl OriginRegex {
    /// Parses a regex on its own and anchors what was *meant*, not what was written:
    /// a comment under `(?x)`, a top-level `|` or an inline flag cannot leak out.
    ///
    /// Errors: what is wrong with it, in one line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let hir = regex_syntax::Parser::new().parse(text).map_err(|error| match error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            other => other.to_string(),
        })?;
        let anchored = anchored(&hir);
        let regex = regex::RegexBuilder::new(&anchored)
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|_too_big| format!("it compiles to over {REGEX_BYTES_MAX} bytes"))?;
        Ok(Self { hir, regex })
    }

    /// An origin that the regex accepts; `None` if it accepts none that a browser
    /// sends.
    pub(super) fn shortest_origin(&self) -> Result<Option<String>, TooLarge> {
        shortest_origin(&anchored(&self.hir))
    }

    /// An origin in which the regex is found, were it not anchored.
    pub(super) fn shortest_origin_around(&self) -> Result<Option<String>, TooLarge> {
        shortest_origin(&format!(r"\A(?s:.)*(?:{})(?s:.)*\z", self.hir))
    }

    /// Whether it accepts an `http` origin that is not loopback.
    pub(super) fn insecure_origin(&self) -> Result<Option<String>, TooLarge> {
        let search = Search::new(&anchored(&self.hir))?;
        for labels in [2, 1] {
            let found = search.shortest("http://", Step::HostStart(labels))?;
            let open = |text: &String| {
                Origin::parse(text.as_bytes()).is_some_and(|origin| !is_loopback(origin.host()))
            };
            if let Some(origin) = found.filter(open) {
                return Ok(Some(origin));
            }
        }
        Ok(None)
    }

    /// A hostile probe that the regex accepts; see the module's page for what that is.
    /// `http` for `https` counts unless insecure origins are `tolerated`.
    pub(super) fn surprise(&self, insecure_tolerated: bool) -> Result<Option<String>, TooLarge> {
        for branch in branches(&self.hir) {
            let seed = shortest_origin(&anchored(&branch))?.unwrap_or_default();
            let Some(accepted) = Origin::parse(seed.as_bytes()) else { continue };
            let mut probes = probes(&accepted, insecure_tolerated).into_iter();
            let surprise = probes.find(|probe| self.regex.is_match(probe));
            if surprise.is_some() {
                return Ok(surprise);
            }
        }
        Ok(None)
    }
}

fn anchored(hir: &Hir) -> String {
    format!(r"\A(?:{hir})\z")
}

/// The alternatives of a regex, alternations in its middle multiplied out, so that
/// a careful first one does not hide a careless second. Where there would be over
/// [`BRANCHES_MAX`], some stay together; none is left out.
fn branches(hir: &Hir) -> Vec<Hir> {
    let split = match hir.kind() {
        HirKind::Alternation(parts) => parts.iter().flat_map(branches).collect(),
        HirKind::Capture(capture) => branches(&capture.sub),
        HirKind::Concat(parts) => parts.iter().fold(vec![Hir::empty()], |heads, part| {
            let mut tails = branches(part);
            if heads.len() * tails.len() > BRANCHES_MAX {
                tails = vec![part.clone()];
            }
            let joined = heads.iter().flat_map(|head| {
                tails.iter().map(move |tail| Hir::concat(vec![head.clone(), tail.clone()]))
            });
            joined.collect()
        }),
        _ => vec![hir.clone()],
    };
    if split.len() > BRANCHES_MAX { vec![hir.clone()] } else { split }
}

/// What an attacker would try where `accepted` is allowed. Those that only the owner
/// of the same registrable domain, or the user's own machine, could serve are left out.
fn probes(accepted: &Origin<'_>, insecure_tolerated: bool) -> Vec<String> {
    let (scheme, host) = (accepted.scheme(), accepted.host());
    let at = |scheme: &str, host: &str| match accepted.port() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    let mut hosts =
        vec![format!("{host}.evil.example"), format!("evil-{host}"), format!("evil{host}")];
    hosts.extend(host.match_indices('.').map(|(dot, _)| {
        let (before, after) = host.split_at(dot);
        format!("{before}x{}", after.trim_start_matches('.'))
    }));
    hosts.push("evil.example".to_owned());
    let own = owned_domain(host);
    let foreign = hosts.iter().filter(|probe| owned_domain(probe) != own && !is_loopback(probe));
    let mut probes: Vec<String> = foreign.map(|probe| at(scheme, probe)).collect();
    probes.push("https://evil.example".to_owned());
    if scheme == "https" && !insecure_tolerated && !is_loopback(host) {
        probes.push(at("http", host));
    }
    probes.push("null".to_owned());
    probes
}

/// The part of a host that one party owns: its registrable domain, or all of it.
fn owned_domain(host: &str) -> &str {
    if host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[') {
        return host;
    }
    psl::domain_str(host).unwrap_or(host)
}

/// The shortest origin that an anchored regex accepts, preferring `https`, then a
/// host of two labels, since that looks like what its author had in mind.
fn shortest_origin(anchored: &str) -> Result<Option<String>, TooLarge> {
    let search = Search::new(anchored)?;
    let starts = [
        ("https://", Step::HostStart(2)),
        ("https://", Step::HostStart(1)),
        ("http://", Step::HostStart(2)),
        ("http://", Step::HostStart(1)),
        ("", Step::SchemeStart),
    ];
    for (prefix, step) in starts {
        let found = search.shortest(prefix, step)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Where in the grammar of an origin a text stands. A number counts the labels
/// that the host still lacks, or the digits of the port.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Step {
    SchemeStart,
    Scheme,
    Colon,
    Slash,
    HostStart(u8),
    Label(u8),
    Dot(u8),
    Bracket,
    BracketEnd,
    PortStart,
    Port(u8),
}

impl Step {
    fn next(self, byte: u8) -> Option<Self> {
        let label = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        match (self, byte) {
            (Self::SchemeStart | Self::Scheme, b'a'..=b'z')
            | (Self::Scheme, b'0'..=b'9' | b'+' | b'-' | b'.' | b'_') => Some(Self::Scheme),
            (Self::Scheme, b':') => Some(Self::Colon),
            (Self::Colon, b'/') => Some(Self::Slash),
            (Self::Slash, b'/') => Some(Self::HostStart(1)),
            (Self::HostStart(lacking) | Self::Dot(lacking), _) if label => {
                Some(Self::Label(lacking.saturating_sub(1)))
            }
            (Self::Label(lacking), _) if label => Some(Self::Label(lacking)),
            (Self::Label(lacking), b'.') => Some(Self::Dot(lacking)),
            (Self::HostStart(1), b'[') | (Self::Bracket, b'a'..=b'f' | b'0'..=b'9' | b':') => {
                Some(Self::Bracket)
            }
            (Self::Bracket, b']') => Some(Self::BracketEnd),
            (Self::Label(0) | Self::BracketEnd, b':') => Some(Self::PortStart),
            (Self::PortStart, b'1'..=b'9') => Some(Self::Port(1)),
            (Self::Port(digits @ 1..5), b'0'..=b'9') => Some(Self::Port(digits + 1)),
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Label(0) | Self::Dot(0) | Self::BracketEnd | Self::Port(_))
    }
}

/// Bytes in the order in which they are tried: a dot first, so that an unescaped
/// one in a regex reads as the dot that its author saw.
const ALPHABET: &[u8] = b".abcdefghijklmnopqrstuvwxyz0123456789-_:/[]+";

/// A regex as an automaton, to be walked together with the grammar of origins.
struct Search {
    dfa: DFA,
}

impl Search {
    fn new(anchored: &str) -> Result<Self, TooLarge> {
        let dfa = DFA::builder()
            // Origins are ASCII, where a Unicode word boundary is an ASCII one.
            .configure(DFA::config().unicode_word_boundary(true).cache_capacity(SEARCH_BYTES_MAX))
            .syntax(syntax::Config::new())
            .build(anchored)
            .map_err(|_over_its_limits| TooLarge)?;
        Ok(Self { dfa })
    }

    /// Breadth first through the product of both automata: linear in its states, and
    /// the first end that is found is the shortest.
    fn shortest(&self, prefix: &str, start: Step) -> Result<Option<String>, TooLarge> {
        let mut cache = self.dfa.create_cache();
        let state = self.after(&mut cache, prefix)?;
        // Each visited pair, with the byte that led there and from where.
        let mut visited: Vec<(LazyStateID, Step, u8, usize)> = vec![(state, start, 0, 0)];
        let mut seen = HashSet::from([(state, start)]);
        let mut at = 0;
        while let Some(&(state, step, ..)) = visited.get(at) {
            if step.may_end() && self.accepts(&mut cache, state) {
                let origin = spell(prefix, &visited, at);
                if Origin::parse(origin.as_bytes()).is_some() {
                    return Ok(Some(origin));
                }
            }
            for &byte in ALPHABET {
                let Some(step) = step.next(byte) else { continue };
                let state = self.dfa.next_state(&mut cache, state, byte).map_err(|_| TooLarge)?;
                // A cache that was cleared has given its state ids to others.
                if cache.clear_count() > 0 || visited.len() > SEARCH_STATES_MAX {
                    return Err(TooLarge);
                }
                if !state.is_dead() && seen.insert((state, step)) {
                    visited.push((state, step, byte, at));
                }
            }
            at += 1;
        }
        Ok(None)
    }

    /// The state after the prefix.
    fn after(&self, cache: &mut Cache, prefix: &str) -> Result<LazyStateID, TooLarge> {
        let anchored = start::Config::new().anchored(Anchored::Yes);
        let start = self.dfa.start_state(cache, &anchored).map_err(|_| TooLarge)?;
        prefix.bytes().try_fold(start, |state, byte| {
            self.dfa.next_state(cache, state, byte).map_err(|_cache_full| TooLarge)
        })
    }

    fn accepts(&self, cache: &mut Cache, state: LazyStateID) -> bool {
        self.dfa.next_eoi_state(cache, state).is_ok_and(|end| end.is_match())
    }
}

fn spell(prefix: &str, visited: &[(LazyStateID, Step, u8, usize)], end: usize) -> String {
    let mut bytes = Vec::new();
    let mut at = end;
    while let Some(&(_, _, byte, from)) = visited.get(at).filter(|_| at != 0) {
        bytes.push(byte);
        at = from;
    }
    prefix.chars().chain(bytes.into_iter().rev().map(char::from)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_shortest_origin_looks_like_what_was_meant() {
        #[rustfmt::skip]
        let cases = [
            (r"https://a\.example",                        Some("https://a.example")),
            (r"https://app.example.com",                   Some("https://app.example.com")),
            (r"^https://pr-[0-9]+\.preview\.example\.com$", Some("https://pr-0.preview.example.com")),
            (r".*\.test\.com$",                            Some("https://a.test.com")),
            (r".*",                                        Some("https://a.a")),
            (r"http://localhost:[0-9]{4,5}",               Some("http://localhost:1000")),
            (r"http://\[::1\]:3000",                       Some("http://[::1]:3000")),
            (r"app://.+",                                  Some("app://a")),
            (r"https://\w+\.example\.com\b",               Some("https://a.example.com")),
            (r"(?x) https://a\.b  # the | app",            Some("https://a.b")),
            (r"\.example\.com$",                           None),
            (r"https://A\.example",                        None),
            (r"https://a\.example/",                       None),
            (r"https://a\.example:443",                    None),
            (r"https://[a-z]{300}",                        None),
        ];
        for (text, expected) in cases {
            let regex = OriginRegex::parse(text).unwrap();
            assert_eq!(regex.shortest_origin().unwrap().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn surprises() {
        #[rustfmt::skip]
        let cases = [
            (r"https://a\.example",                             None),
            (r"https://pr-[0-9]+\.preview\.example\.com",       None),
            (r"https://[a-z0-9-]+\.preview\.example\.com",      None),
            (r"https://.*\.example\.com",                       None),
            (r"https://([a-z]+\.)?example\.com",                None),
            (r"https://a\.example\.com|https://b\.example\.org", None),
            (r"https?://localhost(:[0-9]+)?",                   None),
            (r"http://127\.0\.0\.1:[0-9]+",                     None),
            (r"https://app.example.com",                        Some("https://app.examplexcom")),
            (r"https://app.example\.com",                       Some("https://appxexample.com")),
            (r"https://.*example\.com",                         Some("https://evil-example.com")),
            (r"https://app\.example\.com.*",                    Some("https://app.example.com.evil.example")),
            (r"https://.*\.github\.io",                         Some("https://evil-a.github.io")),
            (r"https://.*",                                     Some("https://a.a.evil.example")),
            (r"https?://app\.example\.com",                     Some("http://app.example.com")),
            (r".*\.test\.com$",                                 Some("http://a.test.com")),
            (r"https://a\.example\.com|https://b.example.org",  Some("https://b.examplexorg")),
            (r"https://(a\.example|.+b\.example)",              Some("https://evil-ab.example")),
            (r"(https://a\.example\.com|null)",                 Some("null")),
            (r".*",                                             Some("https://a.a.evil.example")),
        ];
        for (text, expected) in cases {
            let regex = OriginRegex::parse(text).unwrap();
            let found = regex.surprise(false).unwrap();
            let same = found.as_deref() == expected;
            // Which probe is accepted first is no promise; whether one is, is.
            assert_eq!(found.is_some(), expected.is_some(), "{text}: {found:?}");
            assert!(same || expected.is_some(), "{text}: {found:?}");
        }
        let open_scheme = OriginRegex::parse(r"https?://app\.example\.com").unwrap();
        assert_eq!(open_scheme.surprise(true), Ok(None));
    }

    #[test]
    fn an_unanchored_search_is_recognised() {
        let regex = OriginRegex::parse(r"\.example\.com$").unwrap();
        assert_eq!(
            regex.shortest_origin_around().unwrap().as_deref(),
            Some("https://a.example.com")
        );
        assert_eq!(OriginRegex::parse("https://A").unwrap().shortest_origin_around(), Ok(None));
    }

    #[test]
    fn flags_comments_and_alternations_cannot_leak() {
        #[rustfmt::skip]
        let cases = [
            (r"https://a\.example|https://b\.example", "https://a.example.evil.example", false),
            (r"https://a\.example|https://b\.example", "https://b.example",              true),
            (r"(?x) https://a\.example  # comment",    "https://a.example",              true),
            (r"(?x) https://a\.example  # comment",    "https://a.example.evil.example", false),
            (r"(?i)https://A\.example",                "https://a.example",              true),
            (r"(?m)^https://a\.example$",              "https://a.example",              true),
        ];
        for (text, origin, expected) in cases {
            assert_eq!(
                OriginRegex::parse(text).unwrap().regex.is_match(origin),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_too_large_is_refused_and_what_is_large_is_searched_in_bounds() {
        assert!(OriginRegex::parse(r"https://(\w{100}){100}").is_err());
        let wide = OriginRegex::parse(r"https://(a|b.|c..|d...){1,40}\.example\.com").unwrap();
        assert!(wide.shortest_origin().unwrap().is_some());
        // Its automaton doubles with each of the last letters.
        let explosive = OriginRegex::parse(r"https://(a|b)*a[ab]{30}/").unwrap();
        assert_eq!(explosive.shortest_origin(), Err(TooLarge));
        assert_eq!(OriginRegex::parse("(").unwrap_err(), "unclosed group");
    }
}
