//! Each diagnostic code, alone wherever it can be.

use std::time::Duration;

use crate::cors::{
    Dangerous, OptionsMode, Part, Policy, PolicySpec, PreflightFailure, PreflightMode,
    SharedOrigins, UpstreamCors,
};

fn list(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|&entry| entry.to_owned()).collect()
}

/// A policy without a fault, to which each case adds one.
fn sound() -> PolicySpec {
    PolicySpec {
        allow_origins: list(&["https://app.example.com"]),
        allow_methods: Some(list(&["GET"])),
        allow_headers: Some(list(&["x-a"])),
        ..PolicySpec::default()
    }
}

fn codes(spec: &PolicySpec) -> Vec<(&'static str, Part)> {
    let findings = match Policy::new(spec) {
        Ok((_, warnings)) => warnings,
        Err(findings) => findings,
    };
    findings.iter().map(|finding| (finding.code, finding.place)).collect()
}

const ALL_FLAGS: Dangerous = Dangerous {
    any_origin_with_credentials: true,
    insecure_origins: true,
    public_suffix_subdomains: true,
    null_origin: true,
    regex_matches_anything: true,
};

#[test]
fn origins() {
    use Part::Origin;
    let refused = || vec![("E112", Origin(0))];
    #[rustfmt::skip]
    let cases: Vec<(&[&str], Vec<_>, Vec<_>, Vec<_>)> = vec![
        // origins                                       plain                     with credentials                      and all flags
        (&[],                                            vec![("E101", Part::Policy)], vec![("E101", Part::Policy)],   vec![("E101", Part::Policy)]),
        (&[""],                                          vec![("E101", Part::Policy)], vec![("E101", Part::Policy)],   vec![("E101", Part::Policy)]),
        (&["https://a.com", ""],                         vec![("E102", Origin(1))], vec![("E102", Origin(1))],           vec![("E102", Origin(1))]),
        (&["*"],                                         vec![],                   refused(),                               refused()),
        (&["**"],                                        vec![],                   refused(),                               vec![("W112", Origin(0))]),
        (&["*", "https://a.com"],                        vec![("E111", Origin(0))], vec![("E111", Origin(0)), ("E112", Origin(0))], vec![("E111", Origin(0)), ("E112", Origin(0))]),
        (&["null"],                                      vec![("E109", Origin(0))], vec![("E115", Origin(0))],           vec![("E115", Origin(0))]),
        (&["http://a.com"],                              vec![],                   vec![("E113", Origin(0))],            vec![]),
        (&["htps://a.com", "wss://a.com"],               vec![("W102", Origin(0)), ("W102", Origin(1))], vec![("W102", Origin(0)), ("W102", Origin(1))], vec![("W102", Origin(0)), ("W102", Origin(1))]),
        (&["app://a.com", "chrome-extension://ab"],      vec![],                   vec![],                               vec![]),
        (&["http://localhost:*", "http://127.0.0.2"],    vec![],                   vec![],                               vec![]),
        (&["https://*.a.com"],                           vec![],                   vec![("W195", Origin(0))],            vec![("W195", Origin(0))]),
        (&["https://*.github.io"],                       vec![("W114", Origin(0))], vec![("E114", Origin(0))],           vec![("W114", Origin(0))]),
        (&["https://a.com", "https://a.com"],            vec![("W119", Origin(1))], vec![("W119", Origin(1))],           vec![("W119", Origin(1))]),
        (&["https://b.a.com:1", "https://b.a.com:*"],    vec![("W119", Origin(0))], vec![("W119", Origin(0))],           vec![("W119", Origin(0))]),
        (&["https://c.b.a.com", "https://*.a.com"],      vec![("W119", Origin(0))], vec![("W195", Origin(1)), ("W119", Origin(0))], vec![("W195", Origin(1)), ("W119", Origin(0))]),
        (&["https://a.com", "https://*.a.com", "http://b.a.com"], vec![],          vec![("W195", Origin(1)), ("E113", Origin(2))], vec![("W195", Origin(1))]),
    ];
    for (origins, plain, with_credentials, with_flags) in cases {
        let mut spec = PolicySpec { allow_origins: list(origins), ..sound() };
        assert_eq!(codes(&spec), plain, "{origins:?}");
        spec.allow_credentials = true;
        assert_eq!(codes(&spec), with_credentials, "{origins:?} with credentials");
        spec.dangerous = ALL_FLAGS;
        assert_eq!(codes(&spec), with_flags, "{origins:?} with credentials and all flags");
    }
}

#[test]
fn sets_and_files() {
    let set =
        |entries: &[&str]| vec![SharedOrigins { name: "s".to_owned(), entries: list(entries) }];
    let with_set = |entries: &[&str]| PolicySpec { allow_origin_sets: set(entries), ..sound() };
    assert_eq!(codes(&with_set(&["https://b.com", "x.com"])), []);
    assert_eq!(codes(&with_set(&["*"])), [("E111", Part::Set(0, 0))]);
    assert_eq!(codes(&with_set(&["https://app.example.com"])), [("W119", Part::Origin(0))]);
    assert_eq!(
        codes(&with_set(&["https://*.com"])),
        [("W114", Part::Set(0, 0)), ("W119", Part::Origin(0))]
    );
    let file = PolicySpec {
        allow_origins_file: list(&["https://a.com", "a.com", "https://a.com"]),
        ..sound()
    };
    assert_eq!(codes(&file), [("E102", Part::File(1))]);
}

#[test]
fn regexes() {
    use Part::Regex;
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<_>, Vec<_>)> = vec![
        (r"https://pr-[0-9]+\.preview\.example\.com", vec![],                  vec![]),
        (r"https://app.example.com",                  vec![("W121", Regex(0))], vec![("E121", Regex(0))]),
        (r".*",                                       vec![("W121", Regex(0))], vec![("E121", Regex(0))]),
        (r"\.example\.com$",                          vec![("W122", Regex(0))], vec![("W122", Regex(0))]),
        (r"http://app\.example\.com",                 vec![],                  vec![("E113", Regex(0))]),
        (r"http://localhost:[0-9]+",                  vec![],                  vec![]),
        (r"(",                                        vec![("E120", Regex(0))], vec![("E120", Regex(0))]),
    ];
    for (regex, plain, with_credentials) in cases {
        let mut spec =
            PolicySpec { allow_origins: vec![], allow_origin_regex: list(&[regex]), ..sound() };
        assert_eq!(codes(&spec), plain, "{regex}");
        spec.allow_credentials = true;
        assert_eq!(codes(&spec), with_credentials, "{regex} with credentials");
    }
    let beside = |origins: &[&str]| PolicySpec {
        allow_origins: list(origins),
        allow_origin_regex: list(&[r"https://a\.example"]),
        ..sound()
    };
    assert_eq!(codes(&beside(&["https://b.example"])), [("W191", Regex(0))]);
    assert_eq!(codes(&beside(&["*"])), [("E122", Part::Origin(0))]);
}

#[test]
fn methods_and_headers() {
    use Part::{Expose, Header, Headers, Method, Methods};
    type Set = fn(&mut PolicySpec, Option<Vec<String>>);
    let methods: Set = |spec, list| spec.allow_methods = list;
    let headers: Set = |spec, list| spec.allow_headers = list;
    let expose: Set = |spec, list| spec.expose_headers = list;
    #[rustfmt::skip]
    let cases: Vec<(Set, Option<&[&str]>, Vec<_>, Vec<_>)> = vec![
        // entries                                       plain                     with credentials
        (methods, None,                                  vec![],                   vec![("E132", Methods)]),
        (methods, Some(&[]),                             vec![],                   vec![]),
        (methods, Some(&["*"]),                          vec![],                   vec![("E132", Method(0))]),
        (methods, Some(&["**"]),                         vec![],                   vec![]),
        (methods, Some(&["GET", "*"]),                   vec![("E134", Method(1))], vec![("E134", Method(1))]),
        (methods, Some(&["GET, PUT"]),                   vec![("E130", Method(0))], vec![("E130", Method(0))]),
        (methods, Some(&["Trace"]),                      vec![("E131", Method(0))], vec![("E131", Method(0))]),
        (methods, Some(&["patch", "get", "purge"]),      vec![("W133", Method(0)), ("W133", Method(1))], vec![("W133", Method(0)), ("W133", Method(1))]),
        (headers, None,                                  vec![],                   vec![("E143", Headers)]),
        (headers, Some(&[]),                             vec![],                   vec![]),
        (headers, Some(&["*"]),                          vec![("W144", Header(0))], vec![("E143", Header(0))]),
        (headers, Some(&["*", "Authorization"]),         vec![],                   vec![("E143", Header(0))]),
        (headers, Some(&["x-a", "authorization", "*"]),  vec![("W145", Header(0))], vec![("E143", Header(2))]),
        (headers, Some(&["**"]),                         vec![],                   vec![]),
        (headers, Some(&["**", "authorization"]),        vec![("W145", Header(1))], vec![("W145", Header(1))]),
        (headers, Some(&["x a"]),                        vec![("E140", Header(0))], vec![("E140", Header(0))]),
        (headers, Some(&["Proxy-X", "Cookie", "sec-a"]), vec![("E141", Header(0)), ("E141", Header(1)), ("E141", Header(2))], vec![("E141", Header(0)), ("E141", Header(1)), ("E141", Header(2))]),
        (headers, Some(&["Timing-Allow-Origin"]),        vec![("E142", Header(0))], vec![("E142", Header(0))]),
        (expose,  Some(&["*"]),                          vec![],                   vec![("E153", Expose(0))]),
        (expose,  Some(&["**"]),                         vec![("E155", Expose(0))], vec![("E155", Expose(0))]),
        (expose,  Some(&["x:"]),                         vec![("E150", Expose(0))], vec![("E150", Expose(0))]),
        (expose,  Some(&["Set-Cookie"]),                 vec![("E151", Expose(0))], vec![("E151", Expose(0))]),
        (expose,  Some(&["User-Agent", "authorization"]), vec![("E152", Expose(0))], vec![("E152", Expose(0))]),
        (expose,  Some(&["ETag", "Pragma"]),             vec![("W154", Expose(1))], vec![("W154", Expose(1))]),
        (expose,  Some(&["*", "etag"]),                  vec![("W145", Expose(1))], vec![("E153", Expose(0))]),
    ];
    for (set, entries, plain, with_credentials) in cases {
        let mut spec = sound();
        set(&mut spec, entries.map(list));
        assert_eq!(codes(&spec), plain, "{entries:?}");
        spec.allow_credentials = true;
        assert_eq!(codes(&spec), with_credentials, "{entries:?} with credentials");
    }
}

#[test]
fn the_rest() {
    let aged = |age| PolicySpec { max_age: Some(age), ..sound() };
    assert_eq!(codes(&aged(Duration::ZERO)), []);
    assert_eq!(codes(&aged(Duration::from_hours(24))), []);
    assert_eq!(codes(&aged(Duration::from_secs(86_401))), [("W161", Part::MaxAge)]);
    assert_eq!(codes(&aged(Duration::from_millis(500))), [("E160", Part::MaxAge)]);
    assert_eq!(codes(&aged(Duration::from_secs(1 << 31))), [("E160", Part::MaxAge)]);
    let spec = PolicySpec { preflight_status: Some(205), reject_status: Some(500), ..sound() };
    assert_eq!(codes(&spec), [("E170", Part::PreflightStatus), ("E171", Part::RejectStatus)]);
    let spec = PolicySpec { options: OptionsMode::All, allow_private_network: true, ..sound() };
    assert_eq!(codes(&spec), [("W190", Part::Options), ("W194", Part::PrivateNetwork)]);
    let handing_on =
        |upstream_cors| PolicySpec { preflight: PreflightMode::Upstream, upstream_cors, ..sound() };
    assert_eq!(codes(&handing_on(UpstreamCors::Defer)), []);
    assert_eq!(codes(&handing_on(UpstreamCors::Strip)), [("W192", Part::Preflight)]);
    let spec = PolicySpec {
        preflight_failure: PreflightFailure::Opaque,
        reject_actual: true,
        ..handing_on(UpstreamCors::Defer)
    };
    assert_eq!(codes(&spec), [("W192", Part::Preflight), ("W192", Part::Preflight)]);
    let timing = |list: &[&str], regexes: &[&str]| PolicySpec {
        timing_allow_origins: self::list(list),
        timing_allow_origin_regex: self::list(regexes),
        allow_credentials: true,
        allow_methods: self::list(&["PUT"]).into(),
        allow_headers: self::list(&["x-a"]).into(),
        ..sound()
    };
    let regex = r"https://a\.example";
    assert_eq!(codes(&timing(&[], &[regex])), []);
    assert_eq!(codes(&timing(&["https://b.example"], &[regex])), [("W191", Part::TimingRegex(0))]);
    assert_eq!(codes(&timing(&["*"], &[regex])), [("E122", Part::Timing(0))]);
    assert_eq!(codes(&timing(&[], &["("])), [("E120", Part::TimingRegex(0))]);
    assert_eq!(codes(&timing(&[], &["https://.*"])), [("W121", Part::TimingRegex(0))]);
    let timing = |entries: &[&str]| PolicySpec { timing_allow_origins: list(entries), ..sound() };
    assert_eq!(codes(&timing(&["*"])), []);
    assert_eq!(
        codes(&timing(&["null", "x"])),
        [("E102", Part::Timing(1)), ("E109", Part::Timing(0))]
    );
}
