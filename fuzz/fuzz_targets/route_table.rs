//! A table made of bytes, and requests made of bytes, against the linear scan.

#![no_main]

use corsac::route::*;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

#[path = "../../src/route/oracle.rs"]
mod oracle;

/// Choices made by the fuzzer's bytes; when they end, always the first.
struct Choices<'b>(std::slice::Iter<'b, u8>);

impl Choices<'_> {
    fn pick<C: Copy>(&mut self, choices: &[C]) -> C {
        let byte = self.0.next().copied().unwrap_or_default();
        choices[usize::from(byte) % choices.len()]
    }

    fn segments(&mut self, choices: &[&'static str]) -> Vec<&'static str> {
        let count = self.pick(&[1, 2, 3, 4, 5]);
        (0..count).map(|_| self.pick(choices)).collect()
    }
}

fn pattern(choices: &mut Choices<'_>) -> Option<Pattern> {
    let host = choices.pick(&["", "a.test", "b.a.test", "*.test", "*.a.test"]);
    let segments = choices.segments(&["/a", "/ab", "/b", "/", "/:x", "/:y", "/*"]);
    let methods = choices.pick(&["", "GET", "PUT", "GET,PUT"]).split(',');
    let methods = methods.filter(|method| !method.is_empty());
    let expect =
        |value: &str| if value == "*" { Expect::Present } else { Expect::Equals(value.into()) };
    let header = choices.pick(&["", "*", "1", "2"]);
    let query = choices.pick(&["", "*", "1", "2"]);
    let header = (!header.is_empty()).then(|| (HeaderName::from_static("x"), expect(header)));
    let query = (!query.is_empty()).then(|| (Box::from("q"), expect(query)));
    Some(Pattern {
        host: if host.is_empty() { HostPattern::Any } else { HostPattern::parse(host).ok()? },
        path: PathPattern::parse(&segments.concat()).ok()?,
        priority: choices.pick(&[0, 0, 1]),
        predicates: Predicates {
            methods: methods.map(|method| method.parse().expect("a method")).collect(),
            headers: header.into_iter().collect(),
            query: query.into_iter().collect(),
        },
    })
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes.iter());
    let mut routes: Vec<(Pattern, usize)> = Vec::new();
    let mut builder = TableBuilder::new();
    for i in 0..choices.pick(&[1, 2, 4, 8, 16, 32]) {
        let Some(pattern) = pattern(&mut choices) else { continue };
        if !routes.iter().any(|(other, _)| oracle::conflict(other, &pattern)) {
            builder.insert(pattern.clone(), i);
            routes.push((pattern, i));
        }
    }
    let (table, _) = builder.build().expect("routes that conflict were left out");
    while choices.0.len() > 0 {
        let mut headers = HeaderMap::new();
        for line in choices.pick(&[&[][..], &["1"], &["2"], &["1", "2"]]) {
            headers.append("x", HeaderValue::from_static(line));
        }
        if choices.pick(&[false, true]) {
            headers.append("access-control-request-headers", HeaderValue::from_static("a,X"));
        }
        let path = choices.segments(&["/a", "/ab", "/abc", "/b", "/"]).concat();
        let head = Head {
            host: choices.pick(&["a.test", "b.a.test", "c.b.a.test", "test", ""]),
            path: &path,
            query: choices.pick(&[None, Some("q"), Some("q=1"), Some("q=2&q=1")]),
            method: choices.pick(&[&Method::GET, &Method::PUT, &Method::POST]),
            headers: &headers,
            announced: choices.pick(&[false, true]),
        };
        assert_eq!(oracle::answer(&table.find(&head)), oracle::find(&routes, &head));
        let answers = |value: &usize| value.is_multiple_of(2);
        let probed = table.trace_probe(&head, answers, |_, _| {});
        assert_eq!(oracle::answer(&probed).ok(), oracle::find_probe(&routes, &head, answers));
    }
});
