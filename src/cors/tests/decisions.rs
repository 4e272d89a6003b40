//! Decisions that the conformance data does not show.

use http::header::{
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, UPGRADE,
};
use http::{HeaderMap, HeaderName, Method};

use crate::cors::{
    Kind, OptionsMode, Policy, PolicySpec, REQUEST_PRIVATE_NETWORK, Reason, UpstreamCors, announced,
};

fn policy(change: impl FnOnce(&mut PolicySpec)) -> Policy {
    let mut spec = PolicySpec {
        allow_origins: vec!["https://a.example".to_owned()],
        allow_methods: Some(vec!["PUT".to_owned()]),
        allow_headers: Some(vec!["x-a".to_owned()]),
        ..PolicySpec::default()
    };
    change(&mut spec);
    Policy::new(&spec).unwrap().0
}

fn head(lines: &[Line<'_>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value.parse().unwrap());
    }
    headers
}

type Line<'a> = (HeaderName, &'a str);

const A: Line<'_> = (ORIGIN, "https://a.example");
const EVIL: Line<'_> = (ORIGIN, "https://evil.example");
const PUT: Line<'_> = (ACCESS_CONTROL_REQUEST_METHOD, "PUT");
const X_A: Line<'_> = (ACCESS_CONTROL_REQUEST_HEADERS, "x-a");

#[test]
fn reasons() {
    let long = "x".repeat(4097);
    let policy = policy(|_| {});
    #[rustfmt::skip]
    let cases: Vec<(Vec<Line<'_>>, Option<Reason>, Option<u16>)> = vec![
        (vec![A, PUT, X_A],                                     Some(Reason::Ok),               Some(200)),
        (vec![A, (ACCESS_CONTROL_REQUEST_METHOD, "HEAD")],      Some(Reason::Ok),               Some(200)),
        (vec![A],                                               Some(Reason::Ok),               Some(200)),
        (vec![EVIL],                                            Some(Reason::OriginNotListed),  None),
        (vec![],                                                None,                           None),
        (vec![PUT],                                             None,                           None),
        (vec![(ORIGIN, ""), PUT],                               None,                           None),
        (vec![EVIL, PUT],                                       Some(Reason::OriginNotListed),  Some(403)),
        (vec![(ORIGIN, "null"), PUT],                           Some(Reason::OriginNull),       Some(403)),
        (vec![(ORIGIN, "https://a.example/"), PUT],             Some(Reason::OriginMalformed),  Some(403)),
        (vec![A, A, PUT],                                       Some(Reason::OriginMultiple),   Some(403)),
        (vec![A, (ACCESS_CONTROL_REQUEST_METHOD, "put")],       Some(Reason::MethodNotAllowed), Some(200)),
        (vec![A, PUT, (ACCESS_CONTROL_REQUEST_HEADERS, "x-b")], Some(Reason::HeaderNotAllowed), Some(200)),
        (vec![A, PUT, PUT],                                     Some(Reason::AcrmMalformed),    Some(403)),
        (vec![A, (ACCESS_CONTROL_REQUEST_METHOD, "")],          Some(Reason::AcrmMalformed),    Some(403)),
        (vec![A, PUT, (ACCESS_CONTROL_REQUEST_HEADERS, "x b")], Some(Reason::AcrhMalformed),    Some(403)),
        (vec![A, PUT, (ACCESS_CONTROL_REQUEST_HEADERS, &long)], Some(Reason::AcrhLimit),        Some(403)),
    ];
    for (lines, reason, status) in cases {
        let headers = head(&lines);
        let admission = policy.admit(&Method::OPTIONS, &headers, None);
        assert_eq!(admission.reason, reason, "{lines:?}");
        assert_eq!(admission.answer.map(|answer| answer.status.as_u16()), status, "{lines:?}");
    }
    assert_eq!(Reason::ALL.len(), 10);
    assert!(
        Reason::ALL.iter().all(|reason| !policy.explain(*reason, &HeaderMap::new()).is_empty())
    );
}

#[test]
fn which_options_are_answered() {
    #[rustfmt::skip]
    let cases = [
        // mode                lists OPTIONS  origin      answer
        (OptionsMode::Probe,   false,         Some(A),    Some(200)),
        (OptionsMode::Probe,   true,          Some(A),    None),
        (OptionsMode::Probe,   false,         Some(EVIL), None),
        (OptionsMode::Probe,   false,         None,       None),
        (OptionsMode::Strict,  false,         Some(A),    None),
        (OptionsMode::All,     true,          Some(A),    Some(200)),
        (OptionsMode::All,     false,         Some(EVIL), Some(403)),
        (OptionsMode::All,     false,         None,       Some(200)),
    ];
    for (mode, lists, origin, status) in cases {
        let policy = policy(|spec| {
            spec.options = mode;
            spec.allow_methods = lists.then(|| vec!["OPTIONS".to_owned()]);
        });
        let headers = head(origin.as_slice());
        let admission = policy.admit(&Method::OPTIONS, &headers, None);
        let answered = admission.answer.as_ref().map(|answer| answer.status.as_u16());
        assert_eq!(answered, status, "{mode:?} {origin:?}");
        assert_eq!(admission.kind == Kind::Preflight, status.is_some());
        if origin.is_none()
            && let Some(answer) = admission.answer
        {
            assert!(!answer.headers.contains_key("access-control-allow-origin"));
        }
    }
}

#[test]
fn what_is_announced() {
    let announces = |method: &Method, lines: &[_]| announced(method, &head(lines));
    assert_eq!(announces(&Method::OPTIONS, &[EVIL, PUT]), Some(Method::PUT));
    assert_eq!(announces(&Method::OPTIONS, &[PUT]), None);
    assert_eq!(announces(&Method::OPTIONS, &[A]), None);
    assert_eq!(announces(&Method::OPTIONS, &[A, PUT, PUT]), None);
    assert_eq!(announces(&Method::GET, &[A, PUT]), None);
}

#[test]
fn actual_requests_of_strangers_can_be_stopped() {
    let policy = policy(|spec| spec.reject_actual = true);
    let stopped =
        |lines: &[_], host| policy.admit(&Method::POST, &head(lines), Some(host)).answer.is_some();
    assert!(stopped(&[EVIL], "api.example"));
    assert!(stopped(&[(ORIGIN, "null")], "api.example"));
    assert!(!stopped(&[EVIL], "EVIL.example:443"));
    assert!(!stopped(&[A], "api.example"));
    assert!(!stopped(&[(HOST, "api.example")], "api.example"));
    let upgrade = head(&[EVIL, (UPGRADE, "h2c, WebSocket")]);
    assert_eq!(policy.admit(&Method::GET, &upgrade, None).kind, Kind::WebSocket);
}

/// What `upstream_cors` leaves of an upstream's own headers.
#[test]
fn upstream_headers() {
    let own = [
        ("access-control-allow-origin", "https://other.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "PURGE"),
        ("access-control-expose-headers", "x-up"),
    ];
    #[rustfmt::skip]
    let cases = [
        // mode                  origin      ACAO, ACAC, ACAM, ACEH afterwards
        (UpstreamCors::Override, Some(A),    [Some(A.1), Some("true"), None, Some("x-up")]),
        (UpstreamCors::Strip,    Some(A),    [Some(A.1), None, None, Some("x-up")]),
        (UpstreamCors::Override, Some(EVIL), [None; 4]),
        (UpstreamCors::Override, None,       [None; 4]),
        (UpstreamCors::Defer,    Some(A),    own.map(|(_, value)| Some(value))),
        (UpstreamCors::Defer,    Some(EVIL), own.map(|(_, value)| Some(value))),
    ];
    for (mode, origin, expected) in cases {
        let policy = policy(|spec| spec.upstream_cors = mode);
        let headers = head(origin.as_slice());
        let admission = policy.admit(&Method::GET, &headers, None);
        let mut response: HeaderMap = own
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        policy.stamp(&admission.judgement, &response.clone()).apply(&mut response);
        for ((name, _), value) in own.iter().zip(expected) {
            let seen = response.get(*name).map(|seen| seen.to_str().unwrap());
            assert_eq!(seen, value, "{mode:?} {origin:?} {name}");
        }
        assert_eq!(response["vary"], "Origin");
    }
    let untouched = policy(|_| {}).stamp(&crate::cors::Judgement::default(), &HeaderMap::new());
    assert!(untouched.is_empty());
}

#[test]
fn what_star_star_echoes() {
    let policy = policy(|spec| {
        spec.allow_methods = Some(vec!["**".to_owned()]);
        spec.allow_headers = Some(vec!["**".to_owned()]);
        spec.allow_private_network = true;
    });
    let asked = [
        A,
        (ACCESS_CONTROL_REQUEST_METHOD, "PURGE"),
        (ACCESS_CONTROL_REQUEST_HEADERS, "x-a,x-b"),
        (REQUEST_PRIVATE_NETWORK, "true"),
    ];
    let headers = head(&asked);
    let answer = policy.admit(&Method::OPTIONS, &headers, None).answer.unwrap();
    let mut head = answer.headers.clone();
    answer.edits.apply(&mut head);
    assert_eq!(
        head["access-control-allow-methods"],
        "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,PURGE"
    );
    assert_eq!(head["access-control-allow-headers"], "x-a,x-b");
    assert_eq!(head["access-control-allow-private-network"], "true");
    assert_eq!(
        head["vary"],
        "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    );
}

#[test]
fn explanations_name_the_setting() {
    let policy = policy(|spec| {
        spec.allow_headers = Some(vec!["*".to_owned()]);
        spec.allow_origin_regex = vec![r"https://pr-[0-9]+\.b\.example".to_owned()];
    });
    let asked = head(&[
        A,
        (ACCESS_CONTROL_REQUEST_METHOD, "PATCH"),
        (ACCESS_CONTROL_REQUEST_HEADERS, "authorization"),
    ]);
    assert_eq!(policy.explain(Reason::MethodNotAllowed, &asked), "PATCH is not in allow_methods");
    assert!(policy.explain(Reason::HeaderNotAllowed, &asked).contains("must be listed by name"));
    assert_eq!(
        policy.explain(Reason::Ok, &asked),
        "https://a.example is allowed by \"https://a.example\""
    );
    let by_regex = policy.find_origin("https://pr-7.b.example").unwrap();
    assert_eq!(by_regex.place, crate::cors::Part::Regex(0));
    assert_eq!(policy.find_origin("https://pr-x.b.example"), None);
}
