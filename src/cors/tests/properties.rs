//! What holds for every policy and every request.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN,
};
use http::{HeaderMap, Method, StatusCode};
use proptest::prelude::*;
use proptest::sample::select;

use crate::cors::browser::Page;
use crate::cors::origins::OriginSet;
use crate::cors::{
    Dangerous, Kind, Mode, OptionsMode, Origin, OriginPattern, Part, Policy, PolicySpec,
    PreflightFailure, PreflightMode, Reason, SharedOrigins, UpstreamCors, WebSocketMode,
};

const METHODS: &[&str] =
    &["GET", "PUT", "put", "PATCH", "patch", "DELETE", "PURGE", "X", "OPTIONS"];
const HEADERS: &[&str] = &["x-a", "X-A", "x-b", "authorization", "Content-Type", "x-c"];

/// Few names, so that patterns and origins meet often.
fn host() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&["a", "b", "xa", "localhost"][..]), 1..4)
        .prop_map(|labels| labels.join("."))
}

fn origin() -> impl Strategy<Value = String> {
    let port = select(&["", "", ":81", ":8443"][..]);
    (select(&["https", "http", "app"][..]), host(), port)
        .prop_map(|(s, h, p)| format!("{s}://{h}{p}"))
}

fn pattern() -> impl Strategy<Value = String> {
    let port = select(&["", "", ":81", ":8443", ":*"][..]);
    let wildcard = select(&["", "*."][..]);
    (select(&["https", "http", "app"][..]), wildcard, host(), port)
        .prop_map(|(s, w, h, p)| format!("{s}://{w}{h}{p}"))
}

fn names(of: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<String>>> {
    let own = |text: &str| text.to_owned();
    prop_oneof![
        Just(None),
        Just(Some(vec!["*".to_owned()])),
        Just(Some(vec!["**".to_owned()])),
        prop::collection::vec(select(of).prop_map(own), 0..4).prop_map(Some),
        select(of).prop_map(move |name| Some(vec!["*".to_owned(), own(name)])),
    ]
}

fn choice<T: Copy + std::fmt::Debug + 'static>(
    all: &'static [(&'static str, T)],
) -> impl Strategy<Value = T> {
    select(all).prop_map(|(_, value)| value)
}

fn dangerous() -> impl Strategy<Value = Dangerous> {
    any::<[bool; 5]>().prop_map(|[any, insecure, suffix, null, regex]| Dangerous {
        any_origin_with_credentials: any,
        insecure_origins: insecure,
        public_suffix_subdomains: suffix,
        null_origin: null,
        regex_matches_anything: regex,
    })
}

/// Any policy that can be written, most of which load.
fn spec() -> impl Strategy<Value = PolicySpec> {
    let special = || select(&["*", "**", "null"][..]).prop_map(|text| vec![text.to_owned()]);
    let origins = || prop_oneof![2 => prop::collection::vec(pattern(), 0..3), 1 => special()];
    let regexes = prop::collection::vec(
        select(&[r"https://a\.b", "https://.*", "("][..]).prop_map(str::to_owned),
        0..2,
    );
    let lists =
        (origins(), origins(), regexes, names(METHODS), names(HEADERS), names(HEADERS), origins());
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), dangerous());
    let choices = (
        choice(OptionsMode::ALL),
        choice(PreflightFailure::ALL),
        choice(UpstreamCors::ALL),
        choice(WebSocketMode::ALL),
        select(&[None, Some(200), Some(204), Some(403)][..]),
        choice(PreflightMode::ALL),
    );
    (lists, switches, choices).prop_map(|(lists, switches, choices)| PolicySpec {
        allow_origins: lists.0,
        allow_origin_sets: vec![SharedOrigins { name: "s".to_owned(), entries: lists.1 }],
        allow_origin_regex: lists.2,
        allow_methods: lists.3,
        allow_headers: lists.4,
        expose_headers: lists.5,
        timing_allow_origins: lists.6,
        allow_credentials: switches.0,
        allow_private_network: switches.1,
        reject_actual: switches.2,
        dangerous: switches.3,
        options: choices.0,
        preflight_failure: choices.1,
        upstream_cors: choices.2,
        websocket: choices.3,
        reject_status: choices.4,
        preflight: choices.5,
        max_age: Some(Duration::from_secs(1)),
        ..PolicySpec::default()
    })
}

fn origin_lines() -> impl Strategy<Value = Vec<String>> {
    let any_value = prop_oneof![6 => origin(), 1 => Just("null".to_owned()), 1 => "[ -~]{0,20}"];
    prop_oneof![
        1 => Just(Vec::new()),
        8 => any_value.clone().prop_map(|value| vec![value]),
        1 => prop::collection::vec(any_value, 2),
    ]
}

fn request() -> impl Strategy<Value = (Method, HeaderMap)> {
    let method = select(&["OPTIONS", "OPTIONS", "GET", "POST"][..]);
    let asked =
        prop::option::of(prop_oneof![select(METHODS).prop_map(str::to_owned), "[ -~]{0,8}"]);
    let names = prop::option::of(prop_oneof!["(x-[abc],?){0,4}", "[ -~]{0,12}"]);
    (method, origin_lines(), asked, names, any::<bool>()).prop_map(
        |(method, origins, asked, names, upgrade)| {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(ORIGIN, origin.parse().unwrap());
            }
            if let Some(asked) = asked {
                headers.append(ACCESS_CONTROL_REQUEST_METHOD, asked.parse().unwrap());
            }
            if let Some(names) = names {
                headers.append(ACCESS_CONTROL_REQUEST_HEADERS, names.parse().unwrap());
            }
            if upgrade {
                headers.append("upgrade", "websocket".parse().unwrap());
            }
            (method.parse().unwrap(), headers)
        },
    )
}

/// The head that a client gets, and whether it was refused.
fn answer(
    policy: &Policy,
    method: &Method,
    headers: &HeaderMap,
    upstream: &HeaderMap,
) -> (StatusCode, HeaderMap) {
    let admission = policy.admit(method, headers, Some("a"));
    if let Some(answer) = admission.answer {
        let mut head = answer.headers.clone();
        answer.edits.apply(&mut head);
        return (answer.status, head);
    }
    let mut head = upstream.clone();
    policy.stamp(&admission.judgement, upstream).apply(&mut head);
    (StatusCode::OK, head)
}

fn has_cors_header(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("access-control-"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    /// The compiled set and the obvious loop agree on every origin.
    #[test]
    fn set_agrees_with_linear_scan(texts in prop::collection::vec(pattern(), 0..12), origin in origin()) {
        let patterns: Vec<_> = texts.iter().filter_map(|text| OriginPattern::parse(text).ok()).collect();
        let mut set = OriginSet::default();
        for (index, pattern) in patterns.iter().enumerate() {
            set.insert(pattern, Part::Origin(index));
        }
        let origin = Origin::parse(origin.as_bytes()).unwrap();
        prop_assert_eq!(set.contains(&origin), patterns.iter().any(|pattern| pattern.matches(&origin)));
        if let Some(entry) = set.entry(&origin) {
            prop_assert!(OriginPattern::parse(&entry.text).unwrap().matches(&origin));
        }
    }

    /// No policy that can be built answers any request with both `*` and credentials.
    #[test]
    fn never_star_with_credentials(spec in spec(), (method, headers) in request()) {
        let Ok((policy, _)) = Policy::new(&spec) else { return Ok(()) };
        let upstream = HeaderMap::from_iter([(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true".parse().unwrap())]);
        let (_, head) = answer(&policy, &method, &headers, &upstream);
        let star = head.get(ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|value| value == "*");
        prop_assert!(!(star && head.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS)), "{:?}", head);
    }

    /// What is refused says nothing of the policy, whatever the upstream says.
    #[test]
    fn refusals_have_no_cors_headers(spec in spec(), (method, headers) in request()) {
        let Ok((policy, _)) = Policy::new(&spec) else { return Ok(()) };
        let upstream = HeaderMap::from_iter([(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true".parse().unwrap())]);
        let admission = policy.admit(&method, &headers, None);
        let (status, head) = answer(&policy, &method, &headers, &upstream);
        let origin_refused = !matches!(
            admission.reason,
            Some(Reason::Ok | Reason::MethodNotAllowed | Reason::HeaderNotAllowed)
        ) && !policy.allows_any_origin();
        if origin_refused || status == StatusCode::FORBIDDEN {
            prop_assert!(!has_cors_header(&head), "{:?}", head);
        }
    }

    /// A browser lets a page through iff the policy says so; docs/cors.md, section 6.
    #[test]
    fn policy_and_browser_agree(
        spec in spec(),
        origin in prop_oneof![8 => origin(), 1 => Just("null".to_owned())],
        method in select(METHODS),
        headers in prop::collection::vec(select(HEADERS), 0..4),
    ) {
        let Ok((policy, _)) = Policy::new(&spec) else { return Ok(()) };
        let headers: Vec<(&str, &str)> = headers.into_iter().map(|name| (name, "{")).collect();
        let page = Page { origin: &origin, method, headers: &headers, credentials: policy.credentials() };
        let mut actual = HeaderMap::from_iter([(ORIGIN, origin.parse().unwrap())]);
        let sent = Method::from_bytes(page.normalized_method().as_bytes()).unwrap();
        if let Some(asked) = page.preflight() {
            let mut preflight = actual.clone();
            preflight.insert(ACCESS_CONTROL_REQUEST_METHOD, asked.method.parse().unwrap());
            if !asked.headers.is_empty() {
                preflight.insert(ACCESS_CONTROL_REQUEST_HEADERS, asked.headers.join(",").parse().unwrap());
            }
            let admission = policy.admit(&Method::OPTIONS, &preflight, None);
            prop_assert_eq!(admission.kind, Kind::Preflight);
            let (status, head) = answer(&policy, &Method::OPTIONS, &preflight, &HeaderMap::new());
            let verdict = page.check_preflight(status, &head);
            prop_assert_eq!(admission.reason == Some(Reason::Ok), verdict.is_ok(), "{:?} {:?}", verdict, head);
            if verdict.is_err() {
                return Ok(());
            }
        }
        // An OPTIONS without a preflight's headers is not what is tested here.
        if sent != Method::OPTIONS {
            actual.insert("x-sent", "1".parse().unwrap());
            let admission = policy.admit(&sent, &actual, None);
            let (_, head) = answer(&policy, &sent, &actual, &HeaderMap::new());
            let verdict = page.check_response(&head);
            prop_assert_eq!(admission.reason == Some(Reason::Ok), verdict.is_ok(), "{:?} {:?}", verdict, head);
        }
    }

    /// A preflight that is handed on gets through no more than the policy says, whatever
    /// the application answers, unless the policy defers to it.
    #[test]
    fn handing_on_keeps_the_promise(
        spec in spec(),
        origin in prop_oneof![8 => origin(), 1 => Just("null".to_owned())],
        method in select(METHODS),
        headers in prop::collection::vec(select(HEADERS), 0..4),
    ) {
        let upstream_cors = match spec.upstream_cors {
            UpstreamCors::Defer => UpstreamCors::Override,
            other => other,
        };
        let spec = PolicySpec { preflight: PreflightMode::Upstream, upstream_cors, ..spec };
        let Ok((policy, _)) = Policy::new(&spec) else { return Ok(()) };
        let headers: Vec<(&str, &str)> = headers.into_iter().map(|name| (name, "{")).collect();
        let page = Page { origin: &origin, method, headers: &headers, credentials: policy.credentials() };
        let Some(asked) = page.preflight() else { return Ok(()) };
        let names = asked.headers.join(",");
        let preflight: HeaderMap = [
            (ORIGIN, origin.as_str()),
            (ACCESS_CONTROL_REQUEST_METHOD, &asked.method),
            (ACCESS_CONTROL_REQUEST_HEADERS, &names),
        ].into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect();
        let admission = policy.admit(&Method::OPTIONS, &preflight, None);
        prop_assert_eq!(admission.hands_on, admission.reason != Some(Reason::Ok));
        if admission.hands_on {
            // All that an application can say.
            let mut head: HeaderMap = [
                (ACCESS_CONTROL_ALLOW_ORIGIN, origin.as_str()),
                (ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
                (ACCESS_CONTROL_ALLOW_METHODS, &asked.method),
                (ACCESS_CONTROL_ALLOW_HEADERS, &names),
            ].into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect();
            policy.stamp(&admission.judgement, &head).apply(&mut head);
            prop_assert!(page.check_preflight(StatusCode::OK, &head).is_err(), "{:?}", head);
        }
    }

    /// `mode = "report"` records the same and changes nothing.
    #[test]
    fn report_mode_touches_nothing(spec in spec(), (method, headers) in request()) {
        let Ok((enforcing, _)) = Policy::new(&spec) else { return Ok(()) };
        let (reporting, _) = Policy::new(&PolicySpec { mode: Mode::Report, ..spec }).unwrap();
        let (real, counted) = (enforcing.admit(&method, &headers, None), reporting.admit(&method, &headers, None));
        prop_assert_eq!((real.kind, real.reason), (counted.kind, counted.reason));
        prop_assert!(counted.answer.is_none());
        prop_assert!(reporting.stamp(&counted.judgement, &HeaderMap::new()).is_empty());
    }

    /// Any header bytes at all are judged without a panic.
    #[test]
    fn any_bytes_are_judged(spec in spec(), values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 3)) {
        let Ok((policy, _)) = Policy::new(&spec) else { return Ok(()) };
        let names = [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS];
        let headers: HeaderMap = names
            .into_iter()
            .zip(values)
            .filter_map(|(name, bytes)| Some((name, http::HeaderValue::from_bytes(&bytes).ok()?)))
            .collect();
        let (_, head) = answer(&policy, &Method::OPTIONS, &headers, &HeaderMap::new());
        prop_assert!(head.len() < 10);
        if let Some(reason) = policy.admit(&Method::OPTIONS, &headers, None).reason {
            prop_assert!(!policy.explain(reason, &headers).is_empty());
        }
    }
}
