//! Why a request gets what it gets, every step named, and what a browser makes
//! of the answer.

use std::{borrow::Cow, fmt};

use anstyle::{AnsiColor, Style};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};
use serde::{Deserialize, Serialize};

use crate::{
    certificate::{ClientAuth, is_claim},
    config::{Action, Config, Cors, Route},
    cors::{
        self, Kind, Reason,
        browser::{Page, Preflight},
    },
    diagnose::Place,
    edge::{
        Ambiguous, Cause, Facts, Found, Request, Scheme, Step, Told, find, redirect_of,
        required_of, standing_of,
    },
    load::{Outcome, answer},
    route::{Fit, Head},
};

/// What is to be explained.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request's method; of a script's request, as the script writes it.
    pub method: Method,
    pub url: Uri,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether the page sends cookies: `credentials: "include"`.
    pub credentials: bool,
}

/// Why a request gets what it gets.
#[derive(Debug, Deserialize, Serialize)]
pub struct Explanation {
    /// The requests that a browser sends for it: a preflight, if need be, and
    /// the request itself.
    pub exchanges: Vec<Exchange>,
    /// What a browser makes of the answers.
    pub verdict: Verdict,
}

/// One request, what was decided, and the answer.
#[derive(Debug, Deserialize, Serialize)]
pub struct Exchange {
    /// Its method and URL.
    pub request: String,
    /// The headers that matter, as they are sent.
    pub headers: Vec<(String, String)>,
    /// What was decided, in order.
    pub steps: Vec<Explained>,
    /// The status; of a request that goes upstream, that of an upstream that answers 200.
    pub status: u16,
    /// The headers that corsac sets, on an upstream's answer that has none of them.
    pub answer: Vec<(String, String)>,
    /// Whether corsac answers, and not the upstream.
    pub at_the_edge: bool,
}

/// One step of a decision.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Explained {
    /// What is decided: one word.
    pub step: Cow<'static, str>,
    /// How, and why.
    pub says: String,
    /// File and line of what decides it.
    pub place: Option<String>,
}

/// What a browser makes of the answers.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether the page may read the answer. `None`: CORS has no say.
    pub allowed: Option<bool>,
    /// As a developer would see it in the console.
    pub says: String,
}

const HEADING: Style = AnsiColor::Cyan.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const QUIET: Style = Style::new().dimmed();

/// For people, in colour.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for exchange in &self.exchanges {
            writeln!(f, "{exchange}")?;
        }
        let (style, word) = match self.verdict.allowed {
            Some(true) => (GOOD, "allowed"),
            Some(false) => (BAD, "blocked"),
            None => (QUIET, "not CORS"),
        };
        writeln!(f, "browser: {style}{word}{style:#}: {}", self.verdict.says)
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADING}{}{HEADING:#}", self.request)?;
        for (name, value) in &self.headers {
            writeln!(f, "    {name}: {value}")?;
        }
        for step in &self.steps {
            write!(f, "  {:9} {}", step.step, step.says)?;
            match &step.place {
                Some(place) => writeln!(f, "  {QUIET}{place}{QUIET:#}")?,
                None => writeln!(f)?,
            }
        }
        let by = if self.at_the_edge { "" } else { "  (if the upstream answers 200)" };
        writeln!(f, "  answer    {}{by}", self.status)?;
        for (name, value) in &self.answer {
            writeln!(f, "    {name}: {value}")?;
        }
        Ok(())
    }
}

/// Explains a request.
#[must_use]
pub fn explain(config: &Config, asked: &Asked) -> Explanation {
    // What no route gets to see.
    let seen = asked.headers.iter().filter(|(name, _)| !is_claim(name.as_str()));
    let headers: HeaderMap = seen.cloned().collect();
    let origin = headers.get(ORIGIN).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Some(origin) = origin else {
        let (exchange, _) = exchange(config, &asked.method, &asked.url, &headers);
        let says = "no Origin header, so CORS has no say: this is how a page reads its own \
                    origin, and how curl reads anything"
            .to_owned();
        let verdict = Verdict { allowed: None, says };
        return Explanation { exchanges: vec![exchange], verdict };
    };
    if is_preflight(&asked.method, &headers) {
        return explain_preflight(config, asked, &origin, &headers);
    }
    explain_script(config, asked, &origin, &headers)
}

fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The request is a preflight, written out.
fn explain_preflight(
    config: &Config,
    asked: &Asked,
    origin: &str,
    headers: &HeaderMap,
) -> Explanation {
    let (exchange, answer) = exchange(config, &asked.method, &asked.url, headers);
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let method = text(ACCESS_CONTROL_REQUEST_METHOD).unwrap_or_default();
    // A value that is not safelisted, so that each announced name needs leave.
    let announced: Vec<(&str, &str)> = text(ACCESS_CONTROL_REQUEST_HEADERS)
        .unwrap_or_default()
        .split(',')
        .map(|name| (name.trim(), "{"))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let page = Page { origin, method, headers: &announced, credentials: asked.credentials };
    let checked = page.check_preflight(answer.status, &answer.headers);
    let verdict = match checked {
        Ok(()) => Verdict {
            allowed: Some(true),
            says: format!("the browser goes on, and sends the {method} request"),
        },
        Err(blocked) => denied(&asked.url, origin, &blocked),
    };
    Explanation { exchanges: vec![exchange], verdict }
}

/// The request is what a script asks for: the browser may ask leave first.
fn explain_script(
    config: &Config,
    asked: &Asked,
    origin: &str,
    headers: &HeaderMap,
) -> Explanation {
    if Facts::of_url(&asked.url).is_of_origin(origin) {
        let (exchange, _) = exchange(config, &asked.method, &asked.url, headers);
        let says = format!("{origin} is the origin of the URL itself, so CORS has no say");
        let verdict = Verdict { allowed: None, says };
        return Explanation { exchanges: vec![exchange], verdict };
    }
    let own: Vec<(&str, &str)> = asked
        .headers
        .iter()
        .filter(|(name, _)| *name != ORIGIN)
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let page = Page {
        origin,
        method: asked.method.as_str(),
        headers: &own,
        credentials: asked.credentials,
    };
    let mut exchanges = Vec::new();
    if let Some(preflight) = page.preflight() {
        let asking = preflight_headers(origin, &preflight);
        let (told, answer) = exchange(config, &Method::OPTIONS, &asked.url, &asking);
        exchanges.push(told);
        if let Err(blocked) = page.check_preflight(answer.status, &answer.headers) {
            let mut verdict = denied(&asked.url, origin, &blocked);
            if cors::is_probe(&asked.method, headers) {
                // Whoever sends it with curl wants to see what curl sees.
                let (told, answer) = exchange(config, &asked.method, &asked.url, headers);
                exchanges.push(told);
                let curl = format!("; curl asks for no leave, and gets {}", answer.status.as_u16());
                verdict.says.push_str(&curl);
            }
            return Explanation { exchanges, verdict };
        }
    }
    let (exchange, answer) = exchange(config, &asked.method, &asked.url, headers);
    exchanges.push(exchange);
    let verdict = match page.check_response(&answer.headers) {
        Ok(()) => Verdict {
            allowed: Some(true),
            says: format!("the page at {origin} may read the answer"),
        },
        Err(blocked) => denied(&asked.url, origin, &blocked),
    };
    Explanation { exchanges, verdict }
}

fn denied(url: &Uri, origin: &str, why: &cors::browser::Blocked) -> Verdict {
    let says = format!("Access to fetch at '{url}' from origin '{origin}' has been {why}");
    Verdict { allowed: Some(false), says }
}

fn preflight_headers(origin: &str, preflight: &Preflight) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name, value: &str| {
        // They come from header values, or are names and methods: they are valid.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(ORIGIN, origin);
    set(ACCESS_CONTROL_REQUEST_METHOD, &preflight.method);
    if !preflight.headers.is_empty() {
        set(ACCESS_CONTROL_REQUEST_HEADERS, &preflight.headers.join(","));
    }
    headers
}

fn exchange<'c>(
    config: &'c Config,
    method: &Method,
    url: &Uri,
    headers: &HeaderMap,
) -> (Exchange, Outcome<'c>) {
    let mut request = Request::new(method, url, headers);
    let redirect = redirect_of(config, url);
    request.facts.redirects_to = redirect.unwrap_or_default();
    request.facts.standing = standing_of(config, url);
    let answer = answer(config, &request);
    let at_the_edge = matches!(answer.decision.step, Step::Reply(_));
    let exchange = Exchange {
        request: format!("{method} {url}"),
        headers: lines(headers),
        steps: Steps { config, steps: Vec::new() }.of(&request, redirect.err(), &answer),
        status: answer.status.as_u16(),
        answer: lines(&answer.headers),
        at_the_edge,
    };
    (exchange, answer)
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

/// The steps of one decision, as they are told.
struct Steps<'c> {
    config: &'c Config,
    steps: Vec<Explained>,
}

impl<'c> Steps<'c> {
    fn of(
        mut self,
        request: &Request<'_>,
        ambiguous: Option<Ambiguous<'_>>,
        outcome: &Outcome<'c>,
    ) -> Vec<Explained> {
        if let Some(Ambiguous(one, other)) = ambiguous {
            let says = format!(
                "listeners.{one} or listeners.{other}, of which one sends it to TLS: the port in \
                 the URL would say which. Here, none does"
            );
            self.tell("listener", says, None);
        }
        if let Step::Reply(reply) = &outcome.decision.step
            && reply.cause == Cause::Misdirected
        {
            let says = "its host is for clients with a certificate, which nobody shows in the \
                        clear: 421";
            self.tell("client", says.to_owned(), None);
            return self.steps;
        }
        if request.facts.caller.scheme() == Scheme::Https
            && let Some(auth) = required_of(self.config, request.facts.authority)
        {
            let says = match auth {
                ClientAuth::RequireExceptPreflights => {
                    "has shown no certificate, which is required except for preflights"
                }
                _ => "has shown a certificate: without, as preflights are, there is no connection",
            };
            self.tell("client", says.to_owned(), None);
        }
        match find(self.config, request, |told| self.routing(request, told)) {
            Found::Route { route, .. } => {
                self.tell("route", route.name.to_string(), Some(route.place));
                self.policy(route, request.headers, outcome);
                self.action(route, &outcome.decision.step);
            }
            Found::PathMalformed => {
                self.tell("path", format!("{} is malformed: 400", request.path), None);
            }
            Found::MethodNotAllowed(_) => {
                let says = "none: the host and path have routes, but not for this method";
                self.tell("route", says.to_owned(), None);
                self.of_listener(&outcome.decision.step);
            }
            Found::NotFound => {
                self.tell("route", "none for this host and path".to_owned(), None);
                self.of_listener(&outcome.decision.step);
            }
        }
        self.steps
    }

    fn routing(&mut self, request: &Request<'_>, told: Told<'_>) {
        match told {
            Told::Target { host, path } => {
                let canonical = ", the canonical form of what was sent";
                let sent = if path == request.path { "" } else { canonical };
                self.tell("target", format!("host {host}, path {path}{sent}"), None);
            }
            Told::Announced(method) => {
                self.tell("routing", format!("a preflight: routed as the {method} to come"), None);
            }
            Told::NotAnnounced(method) => {
                let says = format!("no route with a policy takes the {method}: routed as OPTIONS");
                self.tell("routing", says, None);
            }
            Told::Probe => {
                let says = "a probe: it announces no method, so the first policy of its path \
                            may answer";
                self.tell("routing", says.to_owned(), None);
            }
            Told::Candidate { route, fit, head } => self.candidate(route, fit, head),
        }
    }

    /// A route of the host and path, and why it refused.
    fn candidate(&mut self, route: usize, fit: Fit<'_>, head: &Head<'_>) {
        let Some(route) = self.config.routes.get(route) else { return };
        let name = &route.name;
        let says = match fit {
            Fit::Taken => format!("{name} takes it"),
            Fit::Method => format!("{name} does not take {}", head.method),
            Fit::Header(header) if head.announced => {
                format!("{name} wants the header {header}, which is not announced")
            }
            Fit::Header(header) => format!("{name} wants another value of the header {header}"),
            Fit::Query(query) => format!("{name} wants another value of the query's {query}"),
        };
        self.tell("candidate", says, Some(route.place));
    }

    fn policy(&mut self, route: &'c Route, headers: &HeaderMap, outcome: &Outcome<'c>) {
        let Some(cors) = &route.cors else {
            self.tell("policy", "none: CORS headers are the upstream's alone".to_owned(), None);
            return;
        };
        self.tell("policy", cors.name.clone(), Some(cors.place));
        if cors.policy.mode() == cors::Mode::Report {
            self.tell("policy", "mode is report: nothing is touched".to_owned(), None);
        }
        match outcome.decision.cors {
            None => self.tell("cors", "no Origin header: not a CORS request".to_owned(), None),
            Some((kind, reason)) => {
                let says = cors.policy.explain(reason, headers);
                let says = format!("{} {reason}: {says}", kind.as_str());
                self.tell("cors", says, Some(deciding_place(cors, reason, headers)));
                let is_forwarded = matches!(outcome.decision.step, Step::Forward { .. });
                let enforces = cors.policy.mode() == cors::Mode::Enforce;
                if kind == Kind::Preflight && is_forwarded && enforces {
                    let says = "handed on: the application answers this preflight";
                    self.tell("cors", says.to_owned(), cors.key("preflight"));
                }
            }
        }
    }

    /// Also without a route, a listener may send to TLS, or ask for a certificate.
    fn of_listener(&mut self, step: &Step<'_>) {
        if let Step::Reply(reply) = step
            && matches!(reply.cause, Cause::RedirectHttps | Cause::ClientCertificate)
        {
            let (status, cause) = (reply.status.as_u16(), reply.cause.as_str());
            self.tell("action", format!("corsac answers: {status} ({cause})"), None);
        }
    }

    fn action(&mut self, route: &Route, step: &Step<'_>) {
        let says = match (step, &route.action) {
            (Step::Reply(reply), _) => {
                format!("corsac answers: {} ({})", reply.status.as_u16(), reply.cause.as_str())
            }
            (Step::Forward { upstream, path }, _) => {
                let upstream = self.config.upstreams.get(*upstream);
                let name = upstream.map_or("", |upstream| &upstream.name);
                match path {
                    Some(path) => format!("to the upstream {name}, as {path}"),
                    None => format!("to the upstream {name}"),
                }
            }
        };
        let place = match &route.action {
            Action::Forward { upstream, .. } => {
                self.config.upstreams.get(*upstream).map(|upstream| upstream.place)
            }
            Action::Redirect { .. } | Action::Respond { .. } => Some(route.place),
        };
        self.tell("action", says, place.filter(|_| matches!(step, Step::Forward { .. })));
    }

    fn tell(&mut self, step: &'static str, says: String, place: Option<Place>) {
        let place =
            place.and_then(|place| self.config.locate(place)).map(|place| place.to_string());
        self.steps.push(Explained { step: step.into(), says, place });
    }
}

/// Where the configuration says what decided.
fn deciding_place(cors: &Cors, reason: Reason, headers: &HeaderMap) -> Place {
    let key = match reason {
        Reason::Ok => {
            let origin = headers.get(ORIGIN).and_then(|value| value.to_str().ok());
            let entry = origin.and_then(|origin| cors.policy.find_origin(origin));
            return entry.map_or(cors.place, |entry| cors.place_of(entry.place));
        }
        Reason::MethodNotAllowed => "allow_methods",
        Reason::HeaderNotAllowed => "allow_headers",
        _ => "allow_origins",
    };
    cors.key(key).unwrap_or(cors.place)
}
