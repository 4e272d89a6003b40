//! The table against cases, and against the plainest search.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may panic")]

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::route::{
    Expect, Fit, Head, HostPattern, MAX_SEGMENTS as MAX, PathPattern, Pattern, Predicates, oracle,
};

/// `[HOST]PATH [METHOD,METHOD] [name=value] [?name=value] [^PRIORITY]`, words in any
/// order after the first; `name=*` is present.
fn pattern(text: &str) -> Pattern {
    let mut words = text.split(' ');
    let place = words.next().unwrap();
    let (host, path) = place.split_at(place.find('/').unwrap());
    let mut pattern = Pattern {
        host: if host.is_empty() { HostPattern::Any } else { HostPattern::parse(host).unwrap() },
        path: PathPattern::parse(path).unwrap(),
        priority: 0,
        predicates: Predicates::default(),
    };
    for word in words {
        let expect =
            |value: &str| if value == "*" { Expect::Present } else { Expect::Equals(value.into()) };
        if let Some(priority) = word.strip_prefix('^') {
            pattern.priority = priority.parse().unwrap();
        } else if let Some((name, value)) =
            word.strip_prefix('?').and_then(|word| word.split_once('='))
        {
            pattern.predicates.query.push((name.into(), expect(value)));
        } else if let Some((name, value)) = word.split_once('=') {
            pattern.predicates.headers.push((HeaderName::try_from(name).unwrap(), expect(value)));
        } else {
            pattern.predicates.methods =
                word.split(',').map(|method| method.parse().unwrap()).collect();
        }
    }
    pattern
}

fn build(texts: &[&'static str]) -> Result<(Table<&'static str>, Vec<Shadowed>), Vec<Conflict>> {
    let mut builder = TableBuilder::new();
    for text in texts {
        builder.insert(pattern(text), *text);
    }
    builder.build()
}

/// A request as `METHOD HOST/PATH?QUERY [name=value]`; `!METHOD` announces it.
#[derive(Debug)]
struct Request {
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
    announced: bool,
}

impl Request {
    fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let method = words.next().unwrap();
        let url = words.next().unwrap();
        let (target, query) = url
            .split_once('?')
            .map_or((url, None), |(target, query)| (target, Some(query.to_owned())));
        let (host, path) = target.split_at(target.find('/').unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in words.map(|word| word.split_once('=').unwrap()) {
            headers
                .append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        Self {
            host: host.into(),
            path: path.into(),
            query,
            method: method.trim_start_matches('!').parse().unwrap(),
            headers,
            announced: method.starts_with('!'),
        }
    }

    fn head(&self) -> Head<'_> {
        Head {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            headers: &self.headers,
            announced: self.announced,
        }
    }
}

#[test]
fn the_most_specific_route_wins() {
    let (table, shadowed) = build(&[
        "/*",
        "api.test/orders",
        "api.test/orders/:id GET,PUT",
        "api.test/orders/:id GET x-canary=1 ?beta=*",
        "api.test/orders/new POST",
        "api.test/orders/*",
        "api.test/:kind/:id/items DELETE",
        "api.test/:kind/7/*",
        "*.test/orders/x",
        "*.api.test/*",
        "a.api.test/only",
        "/shop/ ^1",
        "/shop/:x",
        "/shop/* POST",
    ])
    .unwrap();
    assert_eq!(shadowed, []);
    #[rustfmt::skip]
    let cases = [
        // request                                       route, or methods to allow
        ("GET api.test/orders",                          "api.test/orders"),
        ("GET api.test/orders/",                         "api.test/orders/*"),
        ("GET api.test/orders/7",                        "api.test/orders/:id GET,PUT"),
        ("GET api.test/orders/7?beta x-canary=1",        "api.test/orders/:id GET x-canary=1 ?beta=*"),
        ("GET api.test/orders/7?beta x-canary=2",        "api.test/orders/:id GET,PUT"),
        ("!GET api.test/orders/7?beta access-control-request-headers=x-canary", "api.test/orders/:id GET x-canary=1 ?beta=*"),
        ("!GET api.test/orders/7?beta x-canary=1",       "api.test/orders/:id GET,PUT"),
        ("POST api.test/orders/new",                     "api.test/orders/new POST"),
        ("GET api.test/orders/new",                      "api.test/orders/:id GET,PUT"),
        ("DELETE api.test/orders/new",                   "api.test/orders/*"),
        ("DELETE api.test/orders/7/items",               "api.test/orders/*"),
        ("DELETE api.test/x/8/items",                    "api.test/:kind/:id/items DELETE"),
        ("DELETE api.test/x/7/items",                    "api.test/:kind/7/*"),
        ("GET api.test/x/7",                             "/*"),
        ("GET api.test/x/7/",                            "api.test/:kind/7/*"),
        ("GET a.test/orders/x",                          "*.test/orders/x"),
        ("GET test/orders/x",                            "/*"),
        ("GET b.a.api.test/orders/x",                    "*.api.test/*"),
        ("GET a.api.test/only",                          "a.api.test/only"),
        ("GET a.api.test/other",                         "*.api.test/*"),
        ("GET c.test/",                                  "/*"),
        ("GET /shop/",                                   "/shop/ ^1"),
        ("GET /shop/a",                                  "/shop/:x"),
        ("GET /shop//a",                                 "/*"),
        ("POST /shop//a",                                "/shop/* POST"),
    ];
    for (request, route) in cases {
        assert_eq!(table.find(&Request::parse(request).head()), Match::Found(&route), "{request}");
    }
}

/// Texts around the ends of a node's, compared eight bytes at once.
#[test]
fn every_byte_of_a_text_counts() {
    for len in 1..=26 {
        let path: String = ('a'..='z').take(len).collect();
        let mut builder = TableBuilder::new();
        builder.insert(pattern(&format!("/{path}")), ());
        let (table, _) = builder.build().unwrap();
        let takes = |path: &str| {
            table.find(&Request::parse(&format!("GET /{path}")).head()) == Match::Found(&())
        };
        assert!(takes(&path));
        for at in 0..len {
            let (before, after) = (&path[..at], &path[at + 1..]);
            assert!(!takes(before), "{path} without its end from {at}");
            assert!(!takes(&format!("{before}!{after}")), "{path} but for {at}");
        }
        assert!(!takes(&format!("{path}!")), "{path} and more");
    }
}

#[test]
fn refusals() {
    let (table, _) = build(&[
        "a.test/x GET,HEAD",
        "a.test/x PUT x-a=1",
        "/x DELETE ?b=1",
        "*.test/x PATCH",
        "/:any HEAD,BREW",
        "a.test/y GET x-a=1",
        "a.test/z x-a=1",
    ])
    .unwrap();
    #[rustfmt::skip]
    let cases = [
        // request                     Allow; empty: 404
        ("POST a.test/x",              "BREW, GET, HEAD, PATCH"),
        ("POST a.test/x x-a=1",        "BREW, GET, HEAD, PATCH, PUT"),
        ("POST b.test/x?b=1",          "BREW, DELETE, HEAD, PATCH"),
        ("GET a.test/y",               "BREW, HEAD"),
        ("GET a.test/y/z",             ""),
        ("GET /",                      ""),
        ("GET a.test//",               ""),
    ];
    for (request, allow) in cases {
        assert_eq!(
            oracle::answer(&table.find(&Request::parse(request).head())),
            Err(allow.to_owned()),
            "{request}"
        );
    }
    let (table, _) = build(&["/z x-a=1", "/z GET x-a=2"]).unwrap();
    assert_eq!(table.find(&Request::parse("PUT /z").head()), Match::NotFound);
}

#[test]
fn conflicts_name_both_routes_and_a_request() {
    #[rustfmt::skip]
    let cases: [(&[&'static str], Option<&str>); 13] = [
        // routes                                          sample
        (&["/a", "/a"],                                    Some("GET */a")),
        (&["a.test/:x/b/*", "a.test/:y/b/*"],              Some("GET a.test/1/b/any")),
        (&["*.test/a PUT,GET", "*.test/a POST,PUT"],       Some("PUT any.test/a")),
        (&["/a x=1", "/a x=*"],                            Some("GET */a")),
        (&["/a x=1", "/a y=1"],                            Some("GET */a")),
        (&["/a x=1", "/a ?x=1"],                           Some("GET */a")),
        (&["/a GET", "/a x=1"],                            Some("GET */a")),
        (&["/a GET", "/a PUT"],                            None),
        (&["/a x=1", "/a x=2"],                            None),
        (&["/a ?x=1", "/a ?x=2"],                          None),
        (&["/a", "/a ^1"],                                 None),
        (&["/a", "/a GET"],                                None),
        (&["/a/:x", "/a/*", "/:x/a", "a.test/a/:x"],       None),
    ];
    for (routes, sample) in cases {
        let samples = |texts: &[&'static str]| {
            build(texts).err().map(|conflicts| {
                assert_eq!(conflicts.len(), 1);
                assert_eq!(conflicts[0].routes, (0, 1));
                format!("{} {}{}", conflicts[0].method, conflicts[0].host, conflicts[0].path)
            })
        };
        assert_eq!(samples(routes).as_deref(), sample, "{routes:?}");
        let reversed: Vec<_> = routes.iter().rev().copied().collect();
        assert_eq!(samples(&reversed).as_deref(), sample, "{reversed:?}");
    }
}

#[test]
fn shadowed_routes() {
    type Routes = &'static [&'static str];
    type Shadows = &'static [(usize, &'static [usize])];
    #[rustfmt::skip]
    let cases: [(Routes, Shadows); 9] = [
        // routes                                                  shadowed, by
        (&["/a GET", "/a ^1"],                                     &[(0, &[1])]),
        (&["/a x=1", "/a x=* ^1"],                                 &[(0, &[1])]),
        (&["/a x=* ^1", "/a x=1 y=1"],                             &[(1, &[0])]),
        (&["/a GET,PUT", "/a GET ^1", "/a PUT,POST ^2"],           &[(0, &[2, 1])]),
        (&["/a", "/a GET ^1"],                                     &[]),
        (&["/a x=*", "/a x=1 ^1"],                                 &[]),
        (&["/a GET", "/a x=1 ^1"],                                 &[]),
        (&["/a GET", "/:x ^1", "/* ^2", "a.test/a ^3"],            &[]),
        (&["a.test/a", "b.test/a ^1"],                             &[]),
    ];
    for (routes, expected) in cases {
        let found: Vec<_> = build(routes)
            .unwrap()
            .1
            .into_iter()
            .map(|shadowed| (shadowed.route, shadowed.by))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(route, by)| (*route, by.to_vec())).collect();
        assert_eq!(found, expected, "{routes:?}");
    }
}

#[test]
fn a_trace_tells_each_candidate_up_to_the_one_taken() {
    let (table, _) =
        build(&["/a POST ^-1", "/a x=1 ?y=2", "/a x=1", "/:b PUT", "/*", "*.test/a ?z=*", "/b"])
            .unwrap();
    let mut told = Vec::new();
    let head = Request::parse("GET a.test/a x=1");
    let _ = table.trace(&head.head(), |route, fit| told.push((*route, fit)));
    let expected = [
        ("*.test/a ?z=*", Fit::Query("z")),
        ("/a x=1 ?y=2", Fit::Query("y")),
        ("/a x=1", Fit::Taken),
    ];
    assert_eq!(told, expected);
    told.clear();
    let head = Request::parse("GET /a");
    let _ = table.trace(&head.head(), |route, fit| told.push((*route, fit)));
    let x = HeaderName::from_static("x");
    let expected = [
        ("/a x=1 ?y=2", Fit::Header(&x)),
        ("/a x=1", Fit::Header(&x)),
        ("/a POST ^-1", Fit::Method),
        ("/:b PUT", Fit::Method),
        ("/*", Fit::Taken),
    ];
    assert_eq!(told, expected);
}

#[test]
fn iterates_in_matching_order() {
    let order = [
        "a.test/a/ ^1",
        "a.test/a/ GET",
        "a.test/a/",
        "a.test/a/b",
        "a.test/a/:x",
        "a.test/a/*",
        "a.test/:x",
        "b.test/*",
        "*.a.test/*",
        "*.test/a",
        "/a",
        "/*",
    ];
    let mut inserted = order;
    inserted.reverse();
    let (table, _) = build(&inserted).unwrap();
    assert!(table.iter().map(|(_, route)| *route).eq(order));
    let (empty, _) = build(&[]).unwrap();
    assert_eq!(empty.find(&Request::parse("GET a.test/").head()), Match::NotFound);
}

#[test]
fn hostile_heads_are_cheap() {
    let full = (0..MAX).fold(String::new(), |path, i| format!("{path}/:p{i}"));
    let texts: Vec<String> =
        (1..MAX).map(|i| full.split_inclusive('/').take(i).collect::<String>() + "*").collect();
    let mut builder = TableBuilder::new();
    for text in texts.iter().chain([&full]) {
        builder.insert(pattern(text), text.as_str());
    }
    let (table, _) = builder.build().unwrap();
    let found = |url: String| match table.find(&Request::parse(&format!("GET {url}")).head()) {
        Match::Found(route) => *route,
        other => panic!("{other:?}"),
    };
    assert_eq!(found("/a".repeat(MAX)), full);
    assert_eq!(found("/a".repeat(100_000)), *texts.last().unwrap());
    assert_eq!(found("/".repeat(100_000)), "/*");
    assert_eq!(found("a.".repeat(100_000) + "/"), "/*");
}

fn a_pattern() -> impl Strategy<Value = Pattern> {
    let host = select(vec!["", "", "a.test", "b.a.test", "*.test", "*.a.test"]);
    let segments = vec(select(vec!["/a", "/ab", "/b", "/", "/:x", "/a%2F", "/*"]), 1..5);
    let methods = select(vec!["", "", " GET", " PUT", " GET,PUT", " GET,BREW"]);
    let headers = select(vec!["", "", " x=*", " x=1", " x=2", " x=1 y=*"]);
    let query = select(vec!["", "", " ?q=*", " ?q=1", " ?q=2"]);
    let priority = select(vec!["", "", "", " ^1", " ^-1"]);
    (host, segments, methods, headers, query, priority).prop_map(
        |(host, segments, methods, headers, query, priority)| {
            let len = segments.iter().position(|segment| *segment == "/*");
            let segments = &segments[..len.map_or(segments.len(), |wildcard| wildcard + 1)];
            // Each parameter has a name of its own.
            let path = segments.iter().enumerate().fold(String::new(), |path, (i, segment)| {
                path + &segment.replace(":x", &format!(":x{i}"))
            });
            pattern(&format!("{host}{path}{methods}{headers}{query}{priority}"))
        },
    )
}

fn a_request() -> impl Strategy<Value = Request> {
    let method = select(vec!["GET", "PUT", "POST", "!GET", "!PUT"]);
    let host = select(vec!["a.test", "b.a.test", "c.b.a.test", "c.test", "test", "xa.test", ""]);
    let path = vec(select(vec!["/a", "/ab", "/abc", "/b", "/", "/a%2F"]), 1..6);
    let query = select(vec!["", "?q", "?q=1", "?q=2&q=1", "?z=1"]);
    let headers = vec(
        select(vec![
            " x=1",
            " x=2",
            " y=1",
            " access-control-request-headers=X",
            " access-control-request-headers=x,y",
        ]),
        0..3,
    );
    (method, host, path, query, headers).prop_map(|(method, host, path, query, headers)| {
        Request::parse(&format!("{method} {host}{}{query}{}", path.concat(), headers.concat()))
    })
}

/// The patterns without those that conflict with an earlier one.
fn without_conflicts(patterns: Vec<Pattern>) -> Vec<(Pattern, usize)> {
    let mut kept: Vec<(Pattern, usize)> = Vec::new();
    for pattern in patterns {
        if !kept.iter().any(|(other, _)| oracle::conflict(other, &pattern)) {
            kept.push((pattern, kept.len()));
        }
    }
    kept
}

fn table_of<'p>(
    routes: impl IntoIterator<Item = &'p (Pattern, usize)>,
) -> (Table<usize>, Vec<Shadowed>) {
    let mut builder = TableBuilder::new();
    for (at, value) in routes {
        builder.insert(at.clone(), *value);
    }
    builder.build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn agrees_with_a_linear_scan(patterns in vec(a_pattern(), 0..40), requests in vec(a_request(), 20)) {
        let routes = without_conflicts(patterns);
        let (table, shadowed) = table_of(&routes);
        let (reversed, _) = table_of(routes.iter().rev());
        for request in &requests {
            let found = table.find(&request.head());
            prop_assert_eq!(oracle::answer(&found), oracle::find(&routes, &request.head()));
            prop_assert_eq!(&found, &reversed.find(&request.head()));
            let mut traced = None;
            let same = table.trace(&request.head(), |value, fit| traced = (fit == Fit::Taken).then_some(value));
            prop_assert_eq!(&found, &same);
            prop_assert_eq!(oracle::answer(&found).ok(), traced);
            let answers = |value: &usize| value.is_multiple_of(2);
            let probed = table.trace_probe(&request.head(), answers, |_, _| {});
            prop_assert_eq!(oracle::answer(&probed).ok(), oracle::find_probe(&routes, &request.head(), answers));
            prop_assert!(!shadowed.iter().any(|shadowed| found == Match::Found(&shadowed.route)));
        }
    }

    #[test]
    fn refuses_exactly_what_conflicts(patterns in vec(a_pattern(), 0..12)) {
        let mut builder = TableBuilder::new();
        let mut reversed = TableBuilder::new();
        for at in &patterns { builder.insert(at.clone(), ()); }
        for at in patterns.iter().rev() { reversed.insert(at.clone(), ()); }
        let any = patterns.iter().enumerate().any(|(i, one)| patterns[..i].iter().any(|other| oracle::conflict(one, other)));
        let conflicts = builder.build().err().unwrap_or_default();
        prop_assert_eq!(!conflicts.is_empty(), any);
        prop_assert_eq!(reversed.build().is_err(), any);
        for conflict in conflicts {
            let (one, other) = conflict.routes;
            prop_assert!(one < other && oracle::conflict(&patterns[one], &patterns[other]));
        }
    }
}
