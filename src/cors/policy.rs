//! A compiled policy: what a [`PolicySpec`] means, with every header value that does
//! not depend on a request made in advance.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    CACHE_CONTROL, CONTENT_LENGTH, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::findings::Findings;
use super::methods::AllowMethods;
use super::origin::Origin;
use super::origins::{OriginEntry, OriginSet, Scope};
use super::request_headers::AllowHeaders;
use super::spec::{
    Finding, Mode, OptionsMode, Part, PolicySpec, PreflightFailure, PreflightMode, UpstreamCors,
    WebSocketMode,
};
use super::token::{joined, shared};
use super::{expose, sources};

/// What browsers assume where Access-Control-Max-Age is absent (Fetch, "CORS-preflight
/// fetch").
const MAX_AGE_DEFAULT: Duration = Duration::from_secs(5);
/// Firefox keeps preflight results for at most 24 h, Chromium for 2 h.
const MAX_AGE_KEPT: Duration = Duration::from_hours(24);
/// RFC 9111, section 1.2.2: larger delta-seconds need not be understood.
const MAX_AGE_LIMIT: Duration = Duration::from_secs(i32::MAX.unsigned_abs() as u64);

/// A checked and compiled CORS policy.
///
/// # Invariants
///
/// [`Policy::new`] is the only way to one, and refuses what must not be: `*` with
/// credentials, `null` with credentials, a policy without origins.
#[derive(Debug)]
pub struct Policy {
    pub(super) origins: OriginSet,
    /// `None`: not configured, which keeps the upstream's.
    pub(super) timing: Option<OriginSet>,
    pub(super) methods: AllowMethods,
    pub(super) headers: AllowHeaders,
    expose: Option<Vec<String>>,
    pub(super) credentials: bool,
    max_age: Duration,
    pub(super) private_network: bool,
    pub(super) options: OptionsMode,
    pub(super) preflight: PreflightMode,
    pub(super) preflight_failure: PreflightFailure,
    pub(super) upstream_cors: UpstreamCors,
    mode: Mode,
    pub(super) reject_actual: bool,
    pub(super) websocket: WebSocketMode,
    pub(super) answers: Answers,
}

/// All answers that depend on the request in a few edits at the most.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) preflight_status: StatusCode,
    pub(super) reject_status: StatusCode,
    /// The header set P of docs/cors.md.
    pub(super) granted: HeaderMap,
    /// `options = "all"`, to one that is not asking for CORS.
    pub(super) bare: HeaderMap,
    /// An origin that is not allowed, with `reject_status`.
    pub(super) origin_refused: HeaderMap,
    /// A preflight that is malformed, or refused under `opaque`, with 403.
    pub(super) refused: HeaderMap,
    /// An actual request, with 403.
    pub(super) actual_refused: HeaderMap,
    /// Access-Control-Expose-Headers, unless the list is empty or not configured.
    pub(super) expose: Option<HeaderValue>,
}

impl Policy {
    /// Checks and compiles a policy. Takes time linear in its entries, and at most
    /// some milliseconds for each regex.
    ///
    /// # Errors
    ///
    /// All findings, errors and warnings together; without an error, the warnings
    /// come with the policy. `docs/cors.md` lists the codes.
    pub fn new(spec: &PolicySpec) -> Result<(Self, Vec<Finding>), Vec<Finding>> {
        let mut findings = Findings::default();
        let credentials = spec.allow_credentials;
        let origins = sources::allowed(spec, &mut findings);
        let timing = sources::timing(spec, &mut findings);
        let methods =
            AllowMethods::check(spec.allow_methods.as_deref(), credentials, &mut findings);
        let headers =
            AllowHeaders::check(spec.allow_headers.as_deref(), credentials, &mut findings);
        expose::check(
            spec.expose_headers.as_deref().unwrap_or_default(),
            credentials,
            &mut findings,
        );
        let max_age = spec.max_age.unwrap_or(MAX_AGE_DEFAULT);
        check_max_age(max_age, &mut findings);
        let statuses = check_statuses(spec, &mut findings);
        check_switches(spec, &mut findings);
        let Some((preflight_status, reject_status)) = statuses.filter(|_| !findings.has_error())
        else {
            return Err(findings.into_vec());
        };
        let varies = Varies {
            origin: origins.scope() != Scope::Any
                || timing.as_ref().is_some_and(|timing| timing.scope() != Scope::Any),
            method: methods == AllowMethods::Echo
                || spec.preflight_failure == PreflightFailure::Opaque,
            headers: headers.is_echo() || spec.preflight_failure == PreflightFailure::Opaque,
        };
        let exposed = spec.expose_headers.iter().flatten();
        let expose = joined(exposed.map(String::as_str));
        let granted =
            granted(origins.scope(), &methods, &headers, expose.as_ref(), credentials, max_age);
        let answers = Answers {
            preflight_status,
            reject_status,
            granted: complete(granted, preflight_status, varies.preflight()),
            bare: complete(HeaderMap::new(), preflight_status, varies.preflight()),
            origin_refused: complete(no_store(), reject_status, varies.preflight()),
            refused: complete(no_store(), StatusCode::FORBIDDEN, varies.preflight()),
            actual_refused: complete(no_store(), StatusCode::FORBIDDEN, varies.actual()),
            expose,
        };
        let policy = Self {
            origins,
            timing,
            methods,
            headers,
            expose: spec.expose_headers.clone(),
            credentials,
            max_age,
            private_network: spec.allow_private_network,
            options: spec.options,
            preflight: spec.preflight,
            preflight_failure: spec.preflight_failure,
            upstream_cors: spec.upstream_cors,
            mode: spec.mode,
            reject_actual: spec.reject_actual,
            websocket: spec.websocket,
            answers,
        };
        Ok((policy, findings.into_vec()))
    }

    /// The entry that allows an origin, as the `Origin` header would state it: an
    /// item of a list, a set or a file, or a regex.
    #[must_use]
    pub fn find_origin(&self, origin: &str) -> Option<&OriginEntry> {
        match Origin::parse(origin.as_bytes()) {
            Some(origin) => self.origins.entry(&origin),
            None if origin == "null" && self.origins.scope() != Scope::Any => {
                self.origins.null_entry()
            }
            None if self.origins.scope() == Scope::Any => self.origins.entries().first(),
            None => None,
        }
    }

    /// All entries that allow origins, in the order list, sets, file, regexes.
    #[must_use]
    pub fn origins(&self) -> &[OriginEntry] {
        self.origins.entries()
    }

    /// Whether answers are the same for every origin: a static `*`.
    #[must_use]
    pub fn allows_any_origin(&self) -> bool {
        self.origins.scope() == Scope::Any
    }

    /// Whether answers depend on Origin, so that every response says so in Vary.
    #[must_use]
    pub fn varies_on_origin(&self) -> bool {
        self.answers.actual_refused.contains_key(VARY)
    }

    /// `allow_methods`.
    #[must_use]
    pub fn methods(&self) -> &AllowMethods {
        &self.methods
    }

    /// `allow_headers`.
    #[must_use]
    pub fn headers(&self) -> &AllowHeaders {
        &self.headers
    }

    /// `expose_headers`; `None`: the upstream's are kept.
    #[must_use]
    pub fn expose(&self) -> Option<&[String]> {
        self.expose.as_deref()
    }

    /// `allow_credentials`.
    #[must_use]
    pub fn credentials(&self) -> bool {
        self.credentials
    }

    /// `max_age`, in whole seconds.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        self.max_age
    }

    /// `mode`.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

fn check_max_age(age: Duration, findings: &mut Findings) {
    if age.subsec_nanos() != 0 {
        findings.error(
            "E160",
            Part::MaxAge,
            format!("`max_age` is in whole seconds, but {age:?} is not"),
        );
        findings.help(format!("write \"{}s\"", age.as_secs().max(1)));
    } else if age > MAX_AGE_LIMIT {
        findings.error(
            "E160",
            Part::MaxAge,
            format!("`max_age` is over {} s", MAX_AGE_LIMIT.as_secs()),
        );
        findings.help("write \"24h\", the longest that any browser keeps");
    } else if age > MAX_AGE_KEPT {
        findings.warning(
            "W161",
            Part::MaxAge,
            "no browser keeps a preflight's answer for over 24 h",
        );
        findings.help("write \"24h\"");
    }
}

fn check_statuses(spec: &PolicySpec, findings: &mut Findings) -> Option<(StatusCode, StatusCode)> {
    let preflight = match spec.preflight_status {
        None | Some(200) => Some(StatusCode::OK),
        Some(204) => Some(StatusCode::NO_CONTENT),
        Some(other) => {
            let message = format!("`preflight_status` is 200 or 204, not {other}");
            findings.error("E170", Part::PreflightStatus, message);
            None
        }
    };
    let reject = match spec.reject_status {
        None | Some(403) => Some(StatusCode::FORBIDDEN),
        Some(200) => Some(StatusCode::OK),
        Some(204) => Some(StatusCode::NO_CONTENT),
        Some(other) => {
            let message = format!("`reject_status` is 403, 200 or 204, not {other}");
            findings.error("E171", Part::RejectStatus, message);
            None
        }
    };
    preflight.zip(reject)
}

fn check_switches(spec: &PolicySpec, findings: &mut Findings) {
    if spec.options == OptionsMode::All {
        let message = "`options = \"all\"` answers every OPTIONS, so none reaches the upstream, nor its authentication";
        findings.warning("W190", Part::Options, message);
    }
    if spec.preflight == PreflightMode::Upstream {
        check_handing_on(spec, findings);
    }
    if spec.allow_private_network {
        let message =
            "browsers gave Private Network Access up; its successor asks the user instead";
        findings.warning("W194", Part::PrivateNetwork, message);
    }
}

/// What takes back that preflights are handed on.
fn check_handing_on(spec: &PolicySpec, findings: &mut Findings) {
    let mut warn = |message: &str, help: &str| {
        findings.warning("W192", Part::Preflight, format!("`preflight = \"upstream\"` {message}"));
        findings.help(help);
    };
    if spec.upstream_cors != UpstreamCors::Defer {
        warn(
            "hands preflights on, but their answers lose the application's CORS headers, so no page gets through",
            "write `upstream_cors = \"defer\"`, if the application is to decide",
        );
    }
    if spec.preflight_failure == PreflightFailure::Opaque {
        warn(
            "hands on what `preflight_failure = \"opaque\"` would refuse",
            "leave one of the two out",
        );
    }
    if spec.reject_actual {
        warn(
            "lets the application allow what `reject_actual` then stops",
            "leave one of the two out",
        );
    }
    if spec.options == OptionsMode::All {
        warn(
            "hands OPTIONS to the application, which `options = \"all\"` is to spare it",
            "leave one of the two out",
        );
    }
}

/// Which request headers the answers depend on.
#[derive(Clone, Copy)]
struct Varies {
    origin: bool,
    method: bool,
    headers: bool,
}

impl Varies {
    fn actual(self) -> Option<HeaderValue> {
        self.origin.then(|| HeaderValue::from_static("Origin"))
    }

    fn preflight(self) -> Option<HeaderValue> {
        let names = [
            (self.origin, "Origin"),
            (self.method, "Access-Control-Request-Method"),
            (self.headers, "Access-Control-Request-Headers"),
        ];
        let names: Vec<&str> =
            names.iter().filter(|(named, _)| *named).map(|(_, name)| *name).collect();
        if names.is_empty() { None } else { Some(shared(names.join(", "))) }
    }
}

/// The part of the header set P that no request changes.
fn granted(
    scope: Scope,
    methods: &AllowMethods,
    headers: &AllowHeaders,
    expose: Option<&HeaderValue>,
    credentials: bool,
    max_age: Duration,
) -> HeaderMap {
    let any = (scope == Scope::Any).then(|| HeaderValue::from_static("*"));
    let values = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, any),
        (ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials.then(|| HeaderValue::from_static("true"))),
        (ACCESS_CONTROL_ALLOW_METHODS, methods.answer()),
        (ACCESS_CONTROL_ALLOW_HEADERS, headers.answer()),
        (ACCESS_CONTROL_MAX_AGE, Some(shared(max_age.as_secs().to_string()))),
        (ACCESS_CONTROL_EXPOSE_HEADERS, expose.cloned()),
    ];
    values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn no_store() -> HeaderMap {
    HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("no-store"))])
}

/// Headers that an answer gets beyond those made here: at most three of the policy's
/// edits, and the request's id.
const ADDED_LATER: usize = 4;

/// Adds what an answer without a body needs. A 204 has no Content-Length (RFC 9110,
/// section 8.6).
fn complete(mut headers: HeaderMap, status: StatusCode, vary: Option<HeaderValue>) -> HeaderMap {
    if status != StatusCode::NO_CONTENT {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if let Some(vary) = vary {
        headers.insert(VARY, vary);
    }
    // A clone has the room, too.
    headers.reserve(ADDED_LATER);
    headers
}
