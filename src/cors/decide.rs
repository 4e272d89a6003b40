//! What a policy says to one request, and to its response.

use std::fmt;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::origin::Origin;
use super::origins::Scope;
use super::policy::Policy;
use super::request_headers::{ListError, REQUESTED_LEN_MAX, Requested};
use super::spec::{
    Mode, OptionsMode, PreflightFailure, PreflightMode, UpstreamCors, WebSocketMode,
};
use super::token::{elements, is_token};
use super::vary;
use crate::edits::HeaderEdits;

/// Access-Control-Allow-Private-Network (Private Network Access, a former draft).
pub const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
/// Access-Control-Request-Private-Network.
pub const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
/// Timing-Allow-Origin (Resource Timing).
pub const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// Why a request was judged as it was: one of a fixed set, so that it may be
        /// the label of a metric.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Reason { $($(#[$doc])* $variant),+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it in logs, metrics and `corsac explain`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

reasons! {
    /// Allowed.
    Ok = "ok",
    /// No entry allows the origin.
    OriginNotListed = "origin_not_listed",
    /// The origin is `null`, which is not listed.
    OriginNull = "origin_null",
    /// The Origin header is nothing that a browser sends.
    OriginMalformed = "origin_malformed",
    /// There is more than one Origin header.
    OriginMultiple = "origin_multiple",
    /// The method that a preflight announces is not allowed.
    MethodNotAllowed = "method_not_allowed",
    /// A header that a preflight announces is not allowed.
    HeaderNotAllowed = "header_not_allowed",
    /// Access-Control-Request-Method is not exactly one method.
    AcrmMalformed = "acrm_malformed",
    /// Access-Control-Request-Headers is no list of header names.
    AcrhMalformed = "acrh_malformed",
    /// Access-Control-Request-Headers is longer than any browser's.
    AcrhLimit = "acrh_limit",
}

impl Reason {
    /// Whether it was the origin that was refused, and not what it asked for.
    #[must_use]
    pub fn blames_the_origin(self) -> bool {
        matches!(
            self,
            Self::OriginNotListed | Self::OriginNull | Self::OriginMalformed | Self::OriginMultiple
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a request is to CORS.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// One that asks what is allowed: a preflight, or another OPTIONS that is
    /// answered like one (see [`OptionsMode`]).
    Preflight,
    /// Any other.
    Actual,
    /// An upgrade to a WebSocket, which CORS does not cover.
    WebSocket,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Preflight, Self::Actual, Self::WebSocket];

    /// The word for it in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Actual => "actual",
            Self::WebSocket => "websocket",
        }
    }
}

/// What a policy says to a request.
#[derive(Clone, Debug)]
pub struct Admission<'p> {
    /// What [`Policy::stamp`] needs to know of the request.
    pub judgement: Judgement,
    /// What the request is.
    pub kind: Kind,
    /// `None`: the request has no origin, so there is nothing to record.
    pub reason: Option<Reason>,
    /// `Some`: corsac answers; the request goes no further. Always `None` under
    /// `mode = "report"`.
    pub answer: Option<Answer<'p>>,
    /// The answer refuses a preflight, and where there is an application that gives one,
    /// it is to be asked instead: `preflight = "upstream"`.
    pub hands_on: bool,
}

/// A complete answer without a body; it is not stamped again.
#[derive(Clone, Debug)]
pub struct Answer<'p> {
    pub status: StatusCode,
    /// Its headers, made when the policy was compiled; clones of the values only count.
    pub headers: &'p HeaderMap,
    /// What this request adds to them.
    pub edits: HeaderEdits,
}

/// What is kept of a request until its response. By default, and under
/// `mode = "report"`, nothing: the response is left alone.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    grant: Grant,
    /// Shares the request's buffer. `None` unless it is to be echoed.
    origin: Option<HeaderValue>,
    timing: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Grant {
    /// No policy acts on the response.
    #[default]
    Untouched,
    /// Everyone may read it.
    Any,
    /// The origin may read it.
    Origin,
    /// Nobody across origins may read it; also if no origin asks.
    Nobody,
}

/// The Origin header of a request (docs/cors.md, "The origin").
#[derive(Clone, Copy)]
enum OriginHeader<'r> {
    None,
    Multiple,
    Malformed,
    Null(&'r HeaderValue),
    Tuple(Origin<'r>, &'r HeaderValue),
}

impl<'r> OriginHeader<'r> {
    fn of(headers: &'r HeaderMap) -> Self {
        let mut lines = headers.get_all(ORIGIN).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Self::None,
            (Some(_), Some(_)) => Self::Multiple,
            (Some(only), None) if only.is_empty() => Self::None,
            (Some(only), None) if only == "null" => Self::Null(only),
            (Some(only), None) => {
                let parsed = Origin::parse(only.as_bytes());
                parsed.map_or(Self::Malformed, |origin| Self::Tuple(origin, only))
            }
        }
    }

    fn is_present(self) -> bool {
        !matches!(self, Self::None)
    }

    /// As [`Self::is_present`] of the header, which is not read for that.
    fn is_in(headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(ORIGIN).iter();
        lines.next().is_some_and(|first| !first.is_empty() || lines.next().is_some())
    }

    fn value(self) -> Option<&'r HeaderValue> {
        match self {
            Self::Null(value) | Self::Tuple(_, value) => Some(value),
            Self::None | Self::Multiple | Self::Malformed => None,
        }
    }
}

/// Which of the rules of docs/cors.md, "What is decided, step by step", applies.
enum Rule {
    Preflight,
    /// An OPTIONS that is told what a preflight would be.
    Probe,
    /// An OPTIONS without an origin under `options = "all"`.
    Bare,
    /// An OPTIONS of an origin that is not allowed under `options = "all"`.
    ProbeRefused,
    Actual(Kind),
}

/// The method that a preflight announces, for routing it as the request to come:
/// OPTIONS with an Origin and exactly one valid Access-Control-Request-Method.
///
/// Allocates only for methods of over 15 bytes.
#[must_use]
pub fn announced(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if *method != Method::OPTIONS || !OriginHeader::is_in(headers) {
        return None;
    }
    Method::from_bytes(requested_method(headers)?.as_bytes()).ok()
}

/// Whether a request is a probe: an OPTIONS with an Origin that announces no method, as
/// people send it with curl to see what a policy says.
#[must_use]
pub fn is_probe(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        && OriginHeader::is_in(headers)
}

/// The value of Access-Control-Request-Method, if it is exactly one token.
fn requested_method(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(ACCESS_CONTROL_REQUEST_METHOD).iter();
    let only = lines.next().filter(|line| is_token(line.as_bytes()))?;
    if lines.next().is_some() { None } else { only.to_str().ok() }
}

impl Policy {
    /// What the policy says to a request: once for each, before authentication and
    /// rate limits, since preflights carry no credentials.
    ///
    /// `host` is the Host header as sent, to tell requests of the same origin apart
    /// from those that `reject_actual` stops.
    ///
    /// Takes time linear in the header values, the longest of which are not read.
    /// Allocates nothing, except for the echo of `**` to a method or a list of headers
    /// that no browser sends by itself.
    #[must_use]
    pub fn admit(&self, method: &Method, headers: &HeaderMap, host: Option<&str>) -> Admission<'_> {
        let origin = OriginHeader::of(headers);
        let judged = self.judge(origin);
        let rule = self.rule(method, headers, origin, judged);
        let is_preflight = matches!(rule, Rule::Preflight);
        let (kind, reason, answer) = match rule {
            Rule::Preflight => {
                let (reason, answer) = self.preflight(origin, judged, headers);
                (Kind::Preflight, reason, Some(answer))
            }
            Rule::Probe => (Kind::Preflight, Reason::Ok, Some(self.grant_probe(origin, headers))),
            Rule::Bare => (Kind::Preflight, judged, Some(self.bare())),
            Rule::ProbeRefused => (Kind::Preflight, judged, Some(self.refuse_origin())),
            Rule::Actual(kind) => (kind, judged, self.refuse_actual(kind, origin, judged, host)),
        };
        let reason = origin.is_present().then_some(reason);
        if self.mode() == Mode::Report {
            let judgement = Judgement::default();
            return Admission { judgement, kind, reason, answer: None, hands_on: false };
        }
        let hands_on = is_preflight && self.hands_on(reason, headers);
        Admission { judgement: self.judgement(origin, judged), kind, reason, answer, hands_on }
    }

    /// Whether a preflight with this reason is the application's to answer. What no browser
    /// sends is not handed on, whatever its origin: it could mislead what parses it next.
    fn hands_on(&self, reason: Option<Reason>, headers: &HeaderMap) -> bool {
        let refused = matches!(
            reason,
            Some(
                Reason::OriginNotListed
                    | Reason::OriginNull
                    | Reason::MethodNotAllowed
                    | Reason::HeaderNotAllowed
            )
        );
        self.preflight == PreflightMode::Upstream
            && refused
            && requested_method(headers).is_some()
            && Requested::of(headers).is_ok()
    }

    /// Whether the edge answers probes (see [`is_probe`]): a policy that only reports
    /// answers nothing, and where OPTIONS is listed by name the application does.
    #[must_use]
    pub fn answers_probes(&self) -> bool {
        let answers = match self.options {
            OptionsMode::Probe => !self.methods.lists(b"OPTIONS"),
            OptionsMode::Strict => false,
            OptionsMode::All => true,
        };
        answers && self.mode() == Mode::Enforce
    }

    /// What the policy says to a probe that nobody but itself can answer, since its route
    /// takes no OPTIONS. A denied origin is refused: there is no application to ask.
    #[must_use]
    pub fn admit_probe(&self, headers: &HeaderMap) -> Admission<'_> {
        let origin = OriginHeader::of(headers);
        let judged = self.judge(origin);
        let answer = match judged {
            Reason::Ok => self.grant_probe(origin, headers),
            _ => self.refuse_origin(),
        };
        Admission {
            judgement: self.judgement(origin, judged),
            kind: Kind::Preflight,
            reason: Some(judged),
            answer: Some(answer),
            hands_on: false,
        }
    }

    /// Whether the origin is allowed, or why not. To a static `*` all are, even none.
    fn judge(&self, origin: OriginHeader<'_>) -> Reason {
        match origin {
            _ if self.origins.scope() == Scope::Any => Reason::Ok,
            OriginHeader::Null(_) if self.origins.allows_null() => Reason::Ok,
            OriginHeader::Tuple(origin, _) if self.origins.contains(&origin) => Reason::Ok,
            OriginHeader::None | OriginHeader::Tuple(..) => Reason::OriginNotListed,
            OriginHeader::Null(_) => Reason::OriginNull,
            OriginHeader::Malformed => Reason::OriginMalformed,
            OriginHeader::Multiple => Reason::OriginMultiple,
        }
    }

    fn rule(
        &self,
        method: &Method,
        headers: &HeaderMap,
        origin: OriginHeader<'_>,
        judged: Reason,
    ) -> Rule {
        if *method != Method::OPTIONS {
            let upgrades = *method == Method::GET && is_websocket(headers);
            return Rule::Actual(if upgrades { Kind::WebSocket } else { Kind::Actual });
        }
        let asks = headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        match (self.options, origin.is_present(), judged) {
            (_, true, _) if asks => Rule::Preflight,
            (OptionsMode::Probe, true, Reason::Ok) if !self.methods.lists(b"OPTIONS") => {
                Rule::Probe
            }
            (OptionsMode::All, _, Reason::Ok) => Rule::Probe,
            (OptionsMode::All, false, _) => Rule::Bare,
            (OptionsMode::All, true, _) => Rule::ProbeRefused,
            _ => Rule::Actual(Kind::Actual),
        }
    }

    fn preflight(
        &self,
        origin: OriginHeader<'_>,
        judged: Reason,
        headers: &HeaderMap,
    ) -> (Reason, Answer<'_>) {
        if judged != Reason::Ok {
            return (judged, self.refuse_origin());
        }
        let Some(method) = requested_method(headers) else {
            return (Reason::AcrmMalformed, self.refuse());
        };
        let requested = match Requested::of(headers) {
            Ok(requested) => requested,
            Err(ListError::TooLong) => return (Reason::AcrhLimit, self.refuse()),
            Err(ListError::Malformed) => return (Reason::AcrhMalformed, self.refuse()),
        };
        let reason = if !self.methods.allows(method.as_bytes()) {
            Reason::MethodNotAllowed
        } else if !requested.names().all(|name| self.headers.allows(name.as_bytes())) {
            Reason::HeaderNotAllowed
        } else {
            Reason::Ok
        };
        if reason != Reason::Ok && self.preflight_failure == PreflightFailure::Opaque {
            return (reason, self.refuse());
        }
        (reason, self.grant(origin, headers, Some(method), Some(requested)))
    }

    /// As a preflight is answered. A list of headers that cannot be read is none.
    fn grant_probe(&self, origin: OriginHeader<'_>, headers: &HeaderMap) -> Answer<'_> {
        self.grant(origin, headers, None, Requested::of(headers).ok())
    }

    /// The header set P, to what is asked for: a preflight names a method.
    fn grant(
        &self,
        origin: OriginHeader<'_>,
        headers: &HeaderMap,
        method: Option<&str>,
        requested: Option<Requested<'_>>,
    ) -> Answer<'_> {
        let mut edits = HeaderEdits::new();
        if let Some(value) = origin.value().filter(|_| !self.allows_any_origin()) {
            edits.set(ACCESS_CONTROL_ALLOW_ORIGIN, value.clone());
        }
        if let Some(value) = method.and_then(|method| self.methods.echo(method)) {
            edits.set(ACCESS_CONTROL_ALLOW_METHODS, value);
        }
        if self.headers.is_echo()
            && let Some(value) = requested.and_then(|requested| requested.echo())
        {
            edits.set(ACCESS_CONTROL_ALLOW_HEADERS, value);
        }
        if self.private_network
            && headers.get(REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true")
        {
            edits.set(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        Answer { status: self.answers.preflight_status, headers: &self.answers.granted, edits }
    }

    fn bare(&self) -> Answer<'_> {
        fixed(self.answers.preflight_status, &self.answers.bare)
    }

    fn refuse_origin(&self) -> Answer<'_> {
        fixed(self.answers.reject_status, &self.answers.origin_refused)
    }

    fn refuse(&self) -> Answer<'_> {
        fixed(StatusCode::FORBIDDEN, &self.answers.refused)
    }

    fn refuse_actual(
        &self,
        kind: Kind,
        origin: OriginHeader<'_>,
        judged: Reason,
        host: Option<&str>,
    ) -> Option<Answer<'_>> {
        let stops = self.reject_actual
            || kind == Kind::WebSocket && self.websocket == WebSocketMode::Enforce;
        let same_origin = || match (origin, host) {
            (OriginHeader::Tuple(origin, _), Some(host)) => origin.is_served_at(host),
            _ => false,
        };
        let stopped = stops && origin.is_present() && judged != Reason::Ok && !same_origin();
        stopped.then(|| fixed(StatusCode::FORBIDDEN, &self.answers.actual_refused))
    }

    fn judgement(&self, origin: OriginHeader<'_>, judged: Reason) -> Judgement {
        let grant = match judged {
            _ if self.allows_any_origin() => Grant::Any,
            Reason::Ok => Grant::Origin,
            _ => Grant::Nobody,
        };
        let timing = self.timing.as_ref().is_some_and(|set| match origin {
            _ if set.scope() == Scope::Any => true,
            OriginHeader::Tuple(origin, _) => set.contains(&origin),
            OriginHeader::Null(_) => set.allows_null(),
            _ => false,
        });
        let echoed = grant == Grant::Origin || timing;
        Judgement { grant, origin: origin.value().filter(|_| echoed).cloned(), timing }
    }

    /// What to change in the head of a response (docs/cors.md, "The answer"). It is for every
    /// response to a request that [`Policy::admit`] let pass, whoever made the response, and
    /// runs after any cache; 1xx are left alone.
    ///
    /// Allocates nothing, unless an upstream's Vary has to be merged.
    #[must_use]
    pub fn stamp(&self, judgement: &Judgement, response: &HeaderMap) -> HeaderEdits {
        let mut edits = HeaderEdits::new();
        if judgement.grant == Grant::Untouched {
            return edits;
        }
        let deferred = self.upstream_cors == UpstreamCors::Defer
            && response.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN);
        if !deferred {
            self.stamp_cors(judgement, response, &mut edits);
        }
        self.stamp_timing(judgement, response, &mut edits);
        if self.varies_on_origin()
            && let Some(value) = vary::with_origin(response)
        {
            edits.set(VARY, value);
        }
        edits
    }

    fn stamp_cors(&self, judgement: &Judgement, response: &HeaderMap, edits: &mut HeaderEdits) {
        let granted = matches!(judgement.grant, Grant::Any | Grant::Origin);
        let origin = match judgement.grant {
            Grant::Any => Some(HeaderValue::from_static("*")),
            Grant::Origin => judgement.origin.clone(),
            Grant::Nobody | Grant::Untouched => None,
        };
        let credentials = judgement.grant == Grant::Origin && self.credentials;
        // API7's plugin documents this: without credentials of its own, it leaves an
        // upstream's to the origins that it allows.
        let keeps_credentials = judgement.grant == Grant::Origin
            && !self.credentials
            && self.upstream_cors != UpstreamCors::Strip;
        replace(ACCESS_CONTROL_ALLOW_ORIGIN, origin, response, edits);
        if !keeps_credentials {
            let value = credentials.then(|| HeaderValue::from_static("true"));
            replace(ACCESS_CONTROL_ALLOW_CREDENTIALS, value, response, edits);
        }
        // Most upstreams say nothing of CORS, and then nothing is to be taken away.
        let silent = !response.keys().any(|name| name.as_str().starts_with("access-control-"));
        let others = [
            ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_MAX_AGE,
            ALLOW_PRIVATE_NETWORK,
        ];
        for name in others.into_iter().filter(|_| !silent) {
            replace(name, None, response, edits);
        }
        if !granted || self.expose().is_some() {
            let value = self.answers.expose.clone().filter(|_| granted);
            replace(ACCESS_CONTROL_EXPOSE_HEADERS, value, response, edits);
        }
    }

    fn stamp_timing(&self, judgement: &Judgement, response: &HeaderMap, edits: &mut HeaderEdits) {
        let Some(set) = &self.timing else { return };
        let value = match set.scope() {
            Scope::Any => Some(HeaderValue::from_static("*")),
            _ if judgement.timing => judgement.origin.clone(),
            _ => None,
        };
        replace(TIMING_ALLOW_ORIGIN, value, response, edits);
    }

    /// Why a request was judged as it was, as a sentence that names the setting.
    #[must_use]
    pub fn explain(&self, reason: Reason, headers: &HeaderMap) -> String {
        let origin = || headers.get(ORIGIN).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let origin = || origin().unwrap_or_default();
        match reason {
            Reason::Ok => match self.find_origin(&origin()) {
                Some(entry) => format!("{} is allowed by {:?}", origin(), entry.text),
                None => format!("{} is allowed", origin()),
            },
            Reason::OriginNotListed => format!("{} is not among the allowed origins", origin()),
            Reason::OriginNull => "`null` is not among the allowed origins".to_owned(),
            Reason::OriginMalformed => format!("{:?} is no origin that a browser sends", origin()),
            Reason::OriginMultiple => "there is more than one Origin header".to_owned(),
            Reason::MethodNotAllowed => {
                format!("{} is not in allow_methods", requested_method(headers).unwrap_or_default())
            }
            Reason::HeaderNotAllowed => {
                let refused = Requested::of(headers).ok().and_then(|requested| {
                    requested.names().find(|name| !self.headers.allows(name.as_bytes()))
                });
                let name = refused.unwrap_or_default();
                if name.eq_ignore_ascii_case("authorization")
                    && self.headers.entries().any(|entry| entry == "*")
                {
                    format!(
                        "`*` in allow_headers does not cover {name}, which must be listed by name"
                    )
                } else {
                    format!("{name} is not in allow_headers")
                }
            }
            Reason::AcrmMalformed => {
                "Access-Control-Request-Method is not exactly one method".to_owned()
            }
            Reason::AcrhMalformed => {
                "Access-Control-Request-Headers is not a list of header names".to_owned()
            }
            Reason::AcrhLimit => {
                format!("Access-Control-Request-Headers is over {REQUESTED_LEN_MAX} bytes")
            }
        }
    }
}

fn fixed(status: StatusCode, headers: &HeaderMap) -> Answer<'_> {
    Answer { status, headers, edits: HeaderEdits::new() }
}

/// Sets a header, or removes it where there is one.
fn replace(
    name: HeaderName,
    value: Option<HeaderValue>,
    response: &HeaderMap,
    edits: &mut HeaderEdits,
) {
    match value {
        Some(value) => edits.set(name, value),
        None if response.contains_key(&name) => edits.remove(name),
        None => {}
    }
}

/// RFC 6455, section 4.1; RFC 9110, section 7.8.
fn is_websocket(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(UPGRADE).iter().map(HeaderValue::as_bytes);
    lines.flat_map(elements).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}
