//! What is told of pairs of configurations; and that nothing which opens goes untold.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::diff;
use crate::config::{self, Config};
use crate::cors::browser::Page;
use crate::edge::{self, Request, Step};

const HEAD: &str = "version = 1\n\
    listeners.http.address = \"127.0.0.1:80\"\n\
    upstreams.app.nodes = \"127.0.0.1:81\"\n";

const LIST: &str = "allow_origins = [\"https://a.example\", \"https://b.example\"]";

fn config(text: &str) -> Config {
    let text = format!("{HEAD}{text}");
    match config::parse(&text, "corsac.toml") {
        Ok((config, _)) => config,
        Err(report) => panic!("{text}\n{}", report.to_text(false)),
    }
}

/// One route with this policy.
fn policy(keys: &str) -> String {
    format!("[services.s]\nupstream = \"app\"\nroutes.r.paths = \"/*\"\n{keys}")
}

#[track_caller]
fn check(case: &str, before: &str, after: &str, expected: &[&str]) {
    let diff = diff(&config(before), &config(after));
    let lines: Vec<String> = diff.changes().iter().map(ToString::to_string).collect();
    assert_eq!(lines, expected, "{case}");
}

#[test]
fn lists_of_policies() {
    #[rustfmt::skip]
    let cases: &[Case] = &[
        ("an origin comes", "allow_origins = \"https://a.example\"", LIST,
            &["+ s/r: allow_origins: https://b.example  [widens]"]),
        ("an origin goes", LIST, "allow_origins = \"https://a.example\"",
            &["- s/r: allow_origins: https://b.example"]),
        ("one that was covered", "allow_origins = [\"https://*.a.example\"]", "allow_origins = [\"https://*.a.example\", \"https://x.a.example\"]",
            &["+ s/r: allow_origins: https://x.a.example"]),
        ("a list becomes everyone", "allow_origins = \"https://a.example\"", "allow_origins = \"*\"",
            &["- s/r: allow_origins: https://a.example",
              "+ s/r: allow_origins: *  [widens]",
              "~ s/r: allow_credentials: false, but what the upstream says stays -> false"]),
        ("everyone becomes a list", "allow_origins = \"*\"", "allow_origins = \"https://a.example\"",
            &["- s/r: allow_origins: *",
              "+ s/r: allow_origins: https://a.example",
              "~ s/r: allow_credentials: false -> false, but what the upstream says stays  [widens]"]),
        ("null", "allow_origins = \"https://a.example\"", "allow_origins = [\"https://a.example\", \"null\"]\ndangerous = { null_origin = true }",
            &["+ s/r: allow_origins: null  [widens]",
              "+ s/r: dangerous: null_origin"]),
        ("a regex", LIST, "allow_origins = [\"https://a.example\", \"https://b.example\"]\nallow_origin_regex = 'https://c\\.example'",
            &["+ s/r: allow_origin_regex: https://c\\.example  [widens]"]),
        ("what a regex allowed", "allow_origin_regex = 'https://[ac]\\.example'", "allow_origins = \"https://a.example\"\nallow_origin_regex = 'https://[ac]\\.example'",
            &["+ s/r: allow_origins: https://a.example"]),
        ("methods", "allow_origins = \"*\"\nallow_methods = [\"GET\", \"PUT\"]", "allow_origins = \"*\"\nallow_methods = [\"PUT\", \"HEAD\", \"DELETE\"]",
            &["- s/r: allow_methods: GET",
              "+ s/r: allow_methods: DELETE  [widens]",
              "+ s/r: allow_methods: HEAD"]),
        ("headers", "allow_origins = \"*\"\nallow_headers = \"X-A\"", "allow_origins = \"*\"\nallow_headers = [\"*\", \"authorization\"]",
            &["- s/r: allow_headers: x-a",
              "+ s/r: allow_headers: *  [widens]",
              "+ s/r: allow_headers: authorization  [widens]"]),
        ("exposed", "allow_origins = \"*\"\nexpose_headers = \"x-a\"", "allow_origins = \"*\"\nexpose_headers = [\"X-A\", \"x-b\"]",
            &["+ s/r: expose_headers: x-b  [widens]"]),
        ("a wildcard is a name where an upstream allows credentials", "allow_origins = \"https://a.example\"\nexpose_headers = \"*\"", "allow_origins = \"https://a.example\"\nexpose_headers = \"x-a\"",
            &["- s/r: expose_headers: *",
              "+ s/r: expose_headers: x-a  [widens]"]),
        ("exposed no more by the upstream", "allow_origins = \"*\"", "allow_origins = \"*\"\nexpose_headers = []",
            &["~ s/r: expose_headers: the upstream's -> none"]),
        ("timing", "allow_origins = \"*\"\ntiming_allow_origins = \"https://a.example\"", "allow_origins = \"*\"",
            &["~ s/r: timing_allow_origins: https://a.example -> the upstream's  [widens]"]),
    ];
    check_policies(cases);
}

#[test]
fn switches_of_policies() {
    #[rustfmt::skip]
    let cases: &[Case] = &[
        ("credentials", "allow_origins = \"https://a.example\"\nallow_methods = \"PUT\"\nallow_headers = \"x-a\"",
            "allow_origins = \"https://a.example\"\nallow_methods = \"PUT\"\nallow_headers = \"x-a\"\nallow_credentials = true",
            &["~ s/r: allow_credentials: false, but what the upstream says stays -> true  [widens]"]),
        ("switches", "allow_origins = \"*\"\nreject_actual = true\nwebsocket = \"enforce\"\nmax_age = \"5s\"\nreject_status = 403",
            "allow_origins = \"*\"\nallow_private_network = true\npreflight_failure = \"opaque\"\nmax_age = \"1h\"\npreflight_status = 204\noptions = \"all\"",
            &["~ s/r: allow_private_network: false -> true  [widens]",
              "~ s/r: reject_actual: true -> false  [widens]",
              "~ s/r: websocket: enforce -> ignore  [widens]",
              "~ s/r: options: probe -> all",
              "~ s/r: preflight_failure: explain -> opaque",
              "~ s/r: preflight_status: 200 -> 204",
              "~ s/r: max_age: 5s -> 1h"]),
        ("upgrades stay stopped", "allow_origins = \"*\"\nreject_actual = true\nwebsocket = \"enforce\"", "allow_origins = \"*\"\nreject_actual = true",
            &["~ s/r: websocket: enforce -> ignore"]),
        ("deferring", "allow_origins = \"*\"", "allow_origins = \"*\"\nupstream_cors = \"defer\"",
            &["~ s/r: allow_credentials: false -> false, but what the upstream says stays  [widens]",
              "~ s/r: upstream_cors: override -> defer  [widens]"]),
        ("handing preflights on", "allow_origins = \"https://a.example\"\nupstream_cors = \"defer\"",
            "allow_origins = \"https://a.example\"\nupstream_cors = \"defer\"\npreflight = \"upstream\"",
            &["~ s/r: preflight: edge -> upstream  [widens]"]),
        ("the application may allow what is taken away", "allow_origins = [\"https://a.example\", \"https://b.example\"]\nupstream_cors = \"defer\"\npreflight = \"upstream\"",
            "allow_origins = \"https://a.example\"\nupstream_cors = \"defer\"\npreflight = \"upstream\"",
            &["- s/r: allow_origins: https://b.example  [widens]"]),
        ("preflights at the edge again", "allow_origins = \"https://a.example\"\nupstream_cors = \"defer\"\npreflight = \"upstream\"",
            "allow_origins = \"https://a.example\"\nupstream_cors = \"defer\"",
            &["~ s/r: preflight: upstream -> edge"]),
        ("no longer enforced", LIST, "allow_origins = \"https://c.example\"\nmode = \"report\"",
            &["- s/r: allow_origins: https://a.example",
              "- s/r: allow_origins: https://b.example",
              "+ s/r: allow_origins: https://c.example",
              "~ s/r: mode: enforce -> report  [widens]"]),
        ("enforced", "allow_origins = \"*\"\nmode = \"report\"", "allow_origins = \"*\"",
            &["~ s/r: mode: report -> enforce  [widens]"]),
        ("only counted", "allow_origins = \"https://a.example\"\nmode = \"report\"", "allow_origins = \"*\"\nmode = \"report\"",
            &["- s/r: allow_origins: https://a.example",
              "+ s/r: allow_origins: *",
              "~ s/r: allow_credentials: false, but what the upstream says stays -> false"]),
    ];
    check_policies(cases);
}

/// Name, keys of a policy before, after, and the lines that are expected.
type Case<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);

#[track_caller]
fn check_policies(cases: &[Case]) {
    for (case, before, after, expected) in cases {
        let [before, after] =
            [before, after].map(|keys| policy(&format!("[services.s.cors]\n{keys}")));
        check(case, &before, &after, expected);
    }
}

#[test]
fn routes() {
    #[rustfmt::skip]
    let cases: &[Case] = &[
        ("a policy comes", "", "cors = { allow_origins = \"*\" }",
            &["+ s/r: cors: services.s.routes.r.cors for *  [widens]"]),
        ("a policy goes", "cors = { allow_origins = \"*\" }", "cors = false",
            &["- s/r: cors: services.s.routes.r.cors for *  [widens]"]),
        ("a policy that counts goes", "cors = { allow_origins = \"*\", mode = \"report\" }", "",
            &["- s/r: cors: services.s.routes.r.cors for *"]),
        ("methods", "", "methods = \"GET\"", &["~ s/r: methods: any -> GET"]),
        ("a method", "methods = \"GET\"", "methods = [\"GET\", \"PUT\"]", &["+ s/r: methods: PUT  [widens]"]),
        ("a condition", "match.headers.x-a = \"*\"", "match.query.b = \"1\"",
            &["- s/r: match: header x-a = *  [widens]", "+ s/r: match: query b = 1"]),
        ("the rest", "priority = 1\nlimits.body = \"1MB\"\nrewrite.prefix = \"/a\"", "limits.body = \"2MB\"\nrewrite.strip = \"/\"",
            &["~ s/r: priority: 1 -> 0",
              "+ s/r: rewrite.strip",
              "- s/r: rewrite.prefix: /a",
              "~ s/r: limits.body: 1MB -> 2MB"]),
        ("headers", "headers.response.remove = [\"server\", \"access-control-allow-origin\"]", "headers.response.set = { timing-allow-origin = \"*\", x-b = \"1\" }\nheaders.request.add.x-c = [\"1\", \"2\"]",
            &["+ s/r: headers.request add x-c: 1, 2",
              "- s/r: headers.response remove access-control-allow-origin  [widens]",
              "- s/r: headers.response remove server",
              "+ s/r: headers.response set timing-allow-origin: *  [widens]",
              "+ s/r: headers.response set x-b: 1"]),
        ("an answer", "respond = { body = \"a\" }", "respond = { body = \"b\", headers.access-control-allow-origin = \"*\", status = 404 }",
            &["~ s/r: action: respond 200 -> respond 404",
              "~ s/r: respond.body: 1 bytes -> 1 other bytes",
              "+ s/r: respond.headers access-control-allow-origin: *  [widens]"]),
        ("nothing stands behind an answer", "respond = {}\ncors = { allow_origins = \"*\" }", "respond = {}",
            &["- s/r: cors: services.s.routes.r.cors for *"]),
        ("an upstream behind an answer", "redirect.to = \"/a\"", "upstream = \"app\"",
            &["~ s/r: action: redirect 308 -> upstream app  [widens]"]),
        ("a line stays a line", "redirect.to = \"/a\"\nmatch.query.a = \"\\n\\u001b[2K\"", "redirect.to = \"/b\"\nmatch.query.a = \"\\n\\u001b[2K\\u0000\"",
            &["- s/r: match: query a = \\n\\u{1b}[2K  [widens]",
              "+ s/r: match: query a = \\n\\u{1b}[2K\\0",
              "~ s/r: redirect.to: /a -> /b"]),
    ];
    let all = |keys: &str| {
        let upstream = if keys.contains("respond") || keys.contains("redirect") {
            ""
        } else {
            "upstream = \"app\""
        };
        let upstream = if keys.contains("upstream") { "" } else { upstream };
        format!("[services.s.routes.r]\npaths = \"/*\"\n{upstream}\n{keys}")
    };
    for (case, before, after, expected) in cases {
        check(case, &all(before), &all(after), expected);
    }
}

#[test]
fn requests_that_move() {
    let strict = "cors = { allow_origins = \"https://a.example\", upstream_cors = \"strip\" }";
    let open = "cors = { allow_origins = \"*\", upstream_cors = \"strip\" }";
    let admin = format!("\n[services.s.routes.admin]\npaths = \"/admin/:id\"\n{strict}");
    let shop = format!(
        "[services.s]\nhosts = \"a.example\"\nupstream = \"app\"\n[services.s.routes.all]\npaths = \"/*\"\n{open}"
    );
    let both = format!("{shop}{admin}");
    check(
        "what had a strict policy falls to an open one",
        &both,
        &shop,
        &[
            "- s/admin: route: /admin/:id of a.example: upstream app, cors services.s.routes.admin.cors for https://a.example",
            "~ s/admin: GET /admin/:id of a.example: s/admin -> s/all  [widens]",
        ],
    );
    check(
        "and back",
        &shop,
        &both,
        &[
            "+ s/admin: route: /admin/:id of a.example: upstream app, cors services.s.routes.admin.cors for https://a.example  [widens]",
            "~ s/all: GET /admin/:id of a.example: s/all -> s/admin",
        ],
    );
    let renamed = both.replace("/admin/:id", "/admin/:name");
    check("a parameter's name", &both, &renamed, &[]);
    let hosts = both.replace("\"a.example\"\n", "[\"b.example\", \"*.example\"]\n");
    check(
        "routes that change in the same way share their lines",
        &both,
        &hosts,
        &[
            "- s/admin, s/all: hosts: a.example",
            "+ s/admin, s/all: hosts: *.example  [widens]",
            "+ s/admin, s/all: hosts: b.example  [widens]",
        ],
    );
}

#[test]
fn the_process() {
    let routes = policy("");
    let with = |more: &str| format!("{more}\n{routes}");
    check(
        "all of it",
        &with("upstreams.b.nodes = [\"a:1\", \"b:1\"]\n[listeners.x]\naddress = \"[::1]:80\""),
        &with(
            "upstreams.b.nodes = [\"b:1\", { address = \"a:1\", weight = 3 }, \"c:1\"]\n\
             upstreams.b.host = \"h\"\nupstreams.b.timeouts.read = \"1s\"\n\
             upstreams.c.nodes = \"d:1\"\n\
             listeners.x.address = \"0.0.0.0:80\"\nlisteners.y.address = \"[::1]:80\"\n\
             server.threads = 2\naccess_log.output = \"logs/a\"\n\
             limits = { drain = \"1m\", lame_duck = \"5s\" }",
        ),
        &[
            "~ upstreams.b: node a:1: weight 1 -> weight 3",
            "+ upstreams.b: node c:1: weight 1",
            "+ upstreams.b: host: h",
            "~ upstreams.b: timeouts.read: 30s -> 1s",
            "+ upstreams.c: node d:1: weight 1",
            "- listeners.x: address: [::1]:80",
            "+ listeners.x: address: 0.0.0.0:80  [widens]",
            "+ listeners.y: address: [::1]:80",
            "~ server: threads: auto -> 2",
            "~ limits: drain: 30s -> 1m",
            "~ limits: lame_duck: 0s -> 5s",
            "~ access_log: output: stdout -> logs/a",
        ],
    );
}

#[test]
fn what_is_spoken() {
    let routes = policy("");
    let with = |more: &str| format!("listeners.x = {{ address = \"[::1]:80\", {more} }}\n{routes}");
    let both = "protocols = [\"h2\", \"http/1.1\"]";
    check(
        "HTTP/2, and more of it",
        &with("protocols = \"http/1.1\""),
        &with(both),
        &["~ listeners.x: protocols: http/1.1 -> h2, http/1.1"],
    );
    check(
        "what a client may take of it",
        &with(both),
        &with(&format!(
            "{both}, h2 = {{ streams = 7, window = \"1MiB\", frames_per_second = 1 }}, \
                        limits = {{ handshakes = false }}"
        )),
        &[
            "~ listeners.x: h2.streams: 100 -> 7",
            "~ listeners.x: h2.window: 256KiB -> 1MiB",
            "~ listeners.x: h2.frames_per_second: 1000 -> 1",
            "~ listeners.x: limits.handshakes: 2048 -> none",
        ],
    );
}

/// Who may speak for others, and who is told what others are not.
#[test]
fn who_is_trusted() {
    let routes = policy("");
    let with = |networks: &str| {
        format!(
            "listeners.x = {{ address = \"[::1]:80\", trust_forwarded = {networks}, proxy_protocol = \
             {networks} }}\n[request_id]\ntrusted = {networks}\n[admin]\ndebug_clients = \
             {networks}\n{routes}"
        )
    };
    let (one, two) = (with("[\"10.0.0.1\"]"), with("[\"::ffff:10.0.0.1\", \"10.0.0.2\"]"));
    let keys = [
        "listeners.x: trust_forwarded",
        "listeners.x: proxy_protocol",
        "request_id: trusted",
        "admin: debug_clients",
    ];
    let due = |sign: &str, end: &str| keys.map(|key| format!("{sign} {key}: 10.0.0.2/32{end}"));
    let (wider, narrower) = (due("+", "  [widens]"), due("-", ""));
    check("one more", &one, &two, &wider.each_ref().map(String::as_str));
    check("one less", &two, &one, &narrower.each_ref().map(String::as_str));
}

#[test]
fn another_spelling_is_no_change() {
    let named = "origins.x = [\"https://a.example\"]\n\
        [policies.cors.p]\nallow_origin_sets = \"x\"\nallow_headers = [\"X-A\", \"x-b\"]\nmax_age = \"1m\"\n\
        [services.s]\nupstream = \"app\"\ncors = \"p\"\n[services.s.routes]\nr.paths = \"/*\"\nq.paths = [\"/a\", \"/b\"]\n";
    let in_place = "[services.s.routes.q]\npaths = [\"/b\", \"/a\"]\nupstream = \"app\"\n\
        cors = { max_age = \"60s\", mode = \"enforce\", allow_headers = [\"x-b\", \"x-a\"], allow_origins = [\"https://a.example\"], preflight_status = 200 }\n\
        [services.s.routes.r]\npaths = [\"/*\"]\nupstream = \"app\"\npriority = 0\n\
        cors = { allow_origins = \"https://a.example\", allow_headers = [\"x-a\", \"x-b\"], max_age = \"60s\", allow_methods = \"*\" }\n\
        [access_log]\noutput = \"stdout\"\n";
    check("named and in place", named, in_place, &[]);
    check("and back", in_place, named, &[]);
    let diff = diff(&config(named), &config(in_place));
    assert_eq!((diff.is_empty(), diff.summary().as_str()), (true, "no change"));
}

#[test]
fn summaries() {
    let route = |name: &str| {
        format!("\n[services.s.routes.{name}]\npaths = \"/{name}\"\nupstream = \"app\"")
    };
    let before =
        [route("a"), route("b"), "\ncors = { allow_origins = \"https://a.example\" }".to_owned()]
            .concat();
    let after = [
        route("c"),
        route("d"),
        route("b"),
        "\ncors = { allow_origins = \"*\", upstream_cors = \"strip\" }\n[server]\nthreads = 1"
            .to_owned(),
    ]
    .concat();
    let diff = diff(&config(&before), &config(&after));
    assert_eq!(
        diff.summary(),
        "2 routes added, 1 removed, 1 changed, 1 setting changed; 3 changes widen access"
    );
    let lines: Vec<String> = diff.log_lines(4).collect();
    assert_eq!(
        lines,
        [
            "+ s/b: allow_origins: *  [widens]",
            "+ s/c: route: /c of *: upstream app  [widens]",
            "+ s/d: route: /d of *: upstream app  [widens]",
            "- s/a: route: /a of *: upstream app",
            "and 4 more",
        ]
    );
    assert_eq!(diff.log_lines(8).count(), 8);
    let json = serde_json::to_value(&diff).unwrap();
    let first = serde_json::json!({
        "subject": "route", "on": ["s/a"], "what": "route",
        "before": "/a of *: upstream app", "after": null, "access": "narrows",
    });
    assert_eq!(json.pointer("/changes/0"), Some(&first));
}

const ORIGINS: &[&str] = &["https://a.b", "https://x.a.b", "https://x.a.b:81", "http://c", "null"];
const METHODS: &[&str] = &["GET", "PUT", "PURGE"];
const HEADERS: &[&str] = &["x-a", "authorization"];

/// `key = [some of these]`, or one of the wholes, or nothing.
fn list(
    key: &'static str,
    of: &'static [&'static str],
    wholes: &'static [&'static str],
) -> impl Strategy<Value = String> {
    let some = subsequence(of, 1..=of.len()).prop_map(move |some| format!("{key} = {some:?}\n"));
    prop_oneof![3 => some, 2 => select(wholes).prop_map(move |whole| format!("{key} = {whole}\n"))]
}

fn words(key: &'static str, of: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(of).prop_map(move |word| format!("{key} = {word}\n"))
}

/// The keys of a policy, one a part; most load together.
fn keys() -> impl Strategy<Value = Vec<String>> {
    let origins =
        ["https://a.b", "https://*.a.b", "https://x.a.b", "https://x.a.b:*", "http://c", "null"];
    let origins =
        subsequence(origins.to_vec(), 1..4).prop_map(|some| format!("allow_origins = {some:?}\n"));
    let origins = prop_oneof![
        4 => origins,
        1 => words("allow_origins", &["\"*\"", "\"**\""]),
        1 => words("allow_origin_regex", &["'https://.*'", "'https://x\\.a\\.b'"]),
    ];
    let lists = (
        origins,
        list("allow_methods", &["PUT", "PURGE", "HEAD"], &["\"*\"", "\"**\""]),
        list(
            "allow_headers",
            &["x-a", "x-b", "authorization"],
            &["\"*\"", "\"**\"", "[\"*\", \"authorization\"]"],
        ),
        prop_oneof![
            Just(String::new()),
            list("expose_headers", &["x-id", "x-b"], &["[]", "\"*\""])
        ],
    );
    let switches = (
        words("allow_credentials", &["true", "false"]),
        words("upstream_cors", &["\"override\"", "\"strip\"", "\"defer\""]),
        words("preflight", &["\"edge\"", "\"upstream\""]),
        words("mode", &["\"enforce\"", "\"enforce\"", "\"enforce\"", "\"report\""]),
        words("reject_actual", &["false", "false", "true"]),
        words("websocket", &["\"ignore\"", "\"enforce\""]),
    );
    (lists, switches).prop_map(|(l, s)| vec![l.0, l.1, l.2, l.3, s.0, s.1, s.2, s.3, s.4, s.5])
}

/// A policy, and the same with one key of another, or all, or with none at all.
fn pair() -> impl Strategy<Value = (String, String)> {
    const FLAGS: &str = "dangerous = { any_origin_with_credentials = true, insecure_origins = true, null_origin = true, regex_matches_anything = true }\n";
    let written = |keys: &[String]| format!("[services.s.routes.r.cors]\n{}{FLAGS}", keys.concat());
    (keys(), keys(), 0_usize..13).prop_map(move |(keys, mut other, which)| {
        let before = written(&keys);
        match which {
            10 => (before, String::new()),
            11 => (String::new(), before),
            12 => (before, written(&other)),
            one => {
                let key = other.swap_remove(one);
                let mut changed = keys;
                changed[one] = key;
                (before, written(&changed))
            }
        }
    })
}

/// What a page or a client gets: the request itself, after its preflight, reached
/// the upstream; a WebSocket did; the page may read the answer; and in it `x-id`.
type Got = [bool; 4];

/// One request of a page, before an upstream that says nothing of CORS, or allows everything.
fn get(config: &Config, page: &Page<'_>, open: bool) -> Got {
    let mut headers: HeaderMap = [(ORIGIN, page.origin.parse().unwrap())].into_iter().collect();
    let method: Method = page.method.parse().unwrap();
    let passes = page.preflight().is_none_or(|asked| {
        let mut headers = headers.clone();
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, asked.method.parse().unwrap());
        if !asked.headers.is_empty() {
            headers
                .insert(ACCESS_CONTROL_REQUEST_HEADERS, asked.headers.join(",").parse().unwrap());
        }
        let (_, status, head) = answer(config, &Method::OPTIONS, &headers, page, open);
        page.check_preflight(status, &head).is_ok()
    });
    let (sent, _, head) = answer(config, &method, &headers, page, open);
    let read = passes && page.check_response(&head).is_ok();
    let exposes = head.get(ACCESS_CONTROL_EXPOSE_HEADERS).is_some_and(|value| {
        let mut names = value.to_str().unwrap().split(',').map(str::trim);
        names.any(|name| name == "x-id" || name == "*" && !page.credentials)
    });
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let (upgraded, ..) = answer(config, &Method::GET, &headers, page, open);
    [passes && sent, upgraded, read, read && exposes]
}

/// Whether a request reaches the upstream, and the answer.
fn answer(
    config: &Config,
    method: &Method,
    headers: &HeaderMap,
    page: &Page<'_>,
    open: bool,
) -> (bool, StatusCode, HeaderMap) {
    let url = "http://h.example/".parse().unwrap();
    let decision = edge::decide(config, &Request::new(method, &url, headers));
    let mut head = HeaderMap::new();
    if let Step::Reply(reply) = &decision.step {
        head.extend(reply.prebuilt.cloned().unwrap_or_default());
        reply.edits.apply(&mut head);
        return (false, reply.status, head);
    }
    if open {
        let credentials = page.credentials.then_some((ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"));
        let asked =
            headers.get(ACCESS_CONTROL_REQUEST_HEADERS).map(|value| value.to_str().unwrap());
        let own = [
            (ACCESS_CONTROL_ALLOW_ORIGIN, page.origin),
            (http::header::ACCESS_CONTROL_ALLOW_METHODS, page.method),
            (http::header::ACCESS_CONTROL_ALLOW_HEADERS, asked.unwrap_or_default()),
            (ACCESS_CONTROL_EXPOSE_HEADERS, "x-id"),
        ];
        head.extend(
            own.into_iter().chain(credentials).map(|(name, value)| (name, value.parse().unwrap())),
        );
    }
    edge::finish(&config.routes[0], &decision.judgement, edge::Scheme::Https, &mut head);
    (true, StatusCode::OK, head)
}

fn loaded(keys: &str) -> Option<Config> {
    let text = format!("{HEAD}[services.s.routes.r]\npaths = \"/*\"\nupstream = \"app\"\n{keys}");
    config::parse(&text, "corsac.toml").ok().map(|(config, _)| config)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever gets through after and not before, a change that widens says so;
    /// and no configuration differs from itself.
    #[test]
    fn nothing_opens_untold((before, after) in pair()) {
        let (Some(old), Some(new)) = (loaded(&before), loaded(&after)) else { return Ok(()) };
        prop_assert!(diff(&old, &loaded(&before).unwrap()).is_empty());
        let changes = diff(&old, &new);
        let widens = changes.widening() > 0;
        for (origin, method) in ORIGINS.iter().flat_map(|o| METHODS.iter().map(move |m| (o, m))) {
            let plain = [("", false, false), ("", false, true), ("", true, false), ("", true, true)];
            let with_header = HEADERS.iter().map(|name| (*name, false, false));
            for (name, credentials, open) in plain.into_iter().chain(with_header) {
                let headers: &[(&str, &str)] = if name.is_empty() { &[] } else { &[(name, "{")] };
                let page = Page { origin, method, headers, credentials };
                let (was, is) = (get(&old, &page, open), get(&new, &page, open));
                let opened = was.iter().zip(is).any(|(was, is)| !was && is);
                prop_assert!(!opened || widens, "{page:?} {open} {was:?} {is:?}\n{:?}", changes.changes());
            }
        }
    }
}
