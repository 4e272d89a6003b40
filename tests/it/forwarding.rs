//! What the upstream sees, what the client sees of the upstream, and the answers
//! that corsac makes itself.

use std::net::SocketAddr;

use crate::harness::{Answer, Call, Corsac, Gate, Origin, Response, Setup, Unreachable};

const ALLOWED: &str = "https://a.example";

/// One service with a policy of CORS, in front of the upstream `origin`.
const WITH_CORS: &str = r#"
[services.s]
upstream = "origin"
cors = { allow_origins = "https://a.example", expose_headers = "x-e" }
routes.all.paths = "/*"
"#;

/// The upstream `origin` at this node, short timeouts, and these services.
fn with_node(node: SocketAddr, services: &str) -> Setup {
    Corsac::serving(&format!(
        "[upstreams.origin]\nnodes = \"{node}\"\n\
         timeouts = {{ connect = \"300ms\", read = \"1s\", write = \"1s\" }}\n{services}"
    ))
}

/// What a page of an allowed origin needs to read an answer, whoever made it.
#[track_caller]
fn assert_stamped(answer: &Response, case: &str) {
    assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some(ALLOWED), "{case}");
    assert_eq!(answer.header("access-control-expose-headers").as_deref(), Some("x-e"), "{case}");
    assert_eq!(answer.header("vary").as_deref(), Some("Origin"), "{case}");
}

// ------------------------------------------------------------ what the upstream sees

#[test]
fn the_client_is_named_and_cannot_name_itself() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    corsac
        .get("/")
        .header("Host", "shop.example")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("x-forwarded-for", "7.7.7.7")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example")
        .header("Forwarded", "for=6.6.6.6;host=evil.example")
        .send();
    let request = origin.only_request();
    assert_eq!(request.headers.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.headers.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.headers.all("x-forwarded-host"), ["shop.example"]);
    let forwarded = request.header("forwarded").unwrap_or_default();
    assert!(!forwarded.contains("6.6.6.6") && !forwarded.contains("evil"), "{forwarded}");
    assert_eq!(request.headers.all("host"), ["shop.example"], "the client's Host goes on");
}

/// CGI and the like read `X_Forwarded_For` as `X-Forwarded-For`.
#[test]
fn names_that_shadow_what_corsac_sets() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(
        &origin,
        r#"
        [services.s]
        upstream = "origin"
        routes.all = { paths = "/*", headers = { request = { set = { x-user-id = "7" }, remove = ["x-secret"] } } }
        "#,
    );
    let shadows = [
        "X_Forwarded_For",
        "X-Forwarded_For",
        "x_forwarded_proto",
        "X_Forwarded_Host",
        "X_Real_IP",
        "X_Request_ID",
        "X_User_ID",
        "X_Secret",
        "Corsac_Explain",
    ];
    let call = shadows.iter().fold(corsac.get("/"), |call, name| call.header(name, "6.6.6.6"));
    call.header("X_Their_Own", "1").send();
    let request = origin.only_request();
    for name in shadows {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("x_their_own").as_deref(), Some("1"));
    assert_eq!(request.header("x-user-id").as_deref(), Some("7"));
}

/// HTTP/1.1, as which it goes on, requires a host; HTTP/1.0 does not.
#[test]
fn a_request_of_http_1_0_without_a_host() {
    let origin = Origin::answering(200).start();
    let port = origin.address().port();
    let name = format!("localhost:{port}");
    #[rustfmt::skip]
    let cases = [
        (origin.address().to_string(), "",                           origin.address().to_string()),
        (name.clone(),                 "",                           name.clone()),
        (name,                         "host = \"media.internal\"",  "media.internal".to_owned()),
    ];
    for (node, more, expected) in cases {
        let corsac = Corsac::serving(&format!(
            "[upstreams.origin]\nnodes = \"{node}\"\n{more}\n{WITH_CORS}"
        ))
        .start();
        let mut connection = corsac.connect();
        connection.write(b"GET /old HTTP/1.0\r\n\r\n");
        let answer = connection.await_close().unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
        let [request] = &origin.take_received()[..] else { panic!("one request") };
        assert_eq!(request.headers.all("host"), [expected]);
        assert_eq!(request.header("x-forwarded-host"), None, "nobody named one");
    }
}

/// It would show a page the cookies and headers that it may not read.
#[test]
fn trace_goes_nowhere() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(
        &origin,
        "[services.s]\nupstream = \"origin\"\nroutes.all.paths = \"/*\"\n\
         routes.own = { paths = \"/own\", respond = { status = 200 } }\n",
    );
    for path in ["/", "/own"] {
        let answer = corsac.call("TRACE", path).header("Cookie", "secret=1").send();
        assert_eq!(answer.status, 405, "{path}");
        let allow = answer.header("allow").expect("RFC 9110, 15.5.6: a 405 has an Allow");
        assert!(allow.contains("GET") && !allow.contains("TRACE"), "{allow}");
        assert!(!answer.text().contains("secret"));
    }
    assert!(origin.received().is_empty());
    let url = format!("http://{}/", corsac.address());
    let explained = corsac.command(&["explain", "TRACE", &url, "--config", "corsac.toml"]);
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("405"), "{text}");
}

#[test]
fn the_upstream_can_have_a_host_of_its_own() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::serving(&format!(
        "[upstreams.origin]\nnodes = [\"{}\"]\nhost = \"media.internal\"\n{WITH_CORS}",
        origin.address()
    ))
    .start();
    corsac.get("/").header("Host", "media.example").send();
    let request = origin.only_request();
    assert_eq!(request.headers.all("host"), ["media.internal"]);
    assert_eq!(request.headers.all("x-forwarded-host"), ["media.example"]);
}

/// RFC 9110, 7.6.1: what is between two neighbours stays between them.
#[test]
fn hop_by_hop_headers_stop_here() {
    let origin = Origin::answering(200)
        .header("Connection", "X-Their-Hop")
        .header("X-Their-Hop", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Authenticate", "Basic")
        .header("X-End", "1")
        .body("ok")
        .start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    let answer = corsac
        .get("/")
        .header("Connection", "X-My-Hop, keep-alive")
        .header("X-My-Hop", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("TE", "gzip")
        .header("X-End", "1")
        .send();
    let request = origin.only_request();
    for name in ["x-my-hop", "keep-alive", "proxy-connection", "proxy-authorization", "te"] {
        assert_eq!(request.header(name), None, "{name} towards the upstream");
    }
    for name in ["x-their-hop", "keep-alive", "proxy-authenticate"] {
        assert_eq!(answer.header(name), None, "{name} towards the client");
    }
    assert_eq!(request.header("x-end").as_deref(), Some("1"));
    assert_eq!(answer.header("x-end").as_deref(), Some("1"));
    assert_eq!(answer.text(), "ok");
}

/// What is matched is what is forwarded.
#[test]
fn paths_as_the_upstream_sees_them() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(
        &origin,
        r#"
        [services.s]
        upstream = "origin"
        [services.s.routes.all]
        paths = "/*"
        [services.s.routes.strip]
        paths = "/v1/*"
        rewrite = { strip = "/v1" }
        [services.s.routes.swap]
        paths = "/v2/*"
        rewrite = { strip = "/v2", prefix = "/api" }
        [services.s.routes.add]
        paths = "/v3/*"
        rewrite = { prefix = "/api" }
        "#,
    );
    #[rustfmt::skip]
    let cases = [
        ("/",                     "/"),
        ("/a?q=1&r=%2f",          "/a?q=1&r=%2f"),
        ("/a/../b",               "/b"),
        ("/a/./b/",               "/a/b/"),
        ("/%61%7Eb",              "/a~b"),
        ("/a%2fb",                "/a%2Fb"),
        ("/x/%2e%2e/y",           "/y"),
        ("/v1/a?q",               "/a?q"),
        ("/v1/",                  "/"),
        ("/v2/catalog/7",         "/api/catalog/7"),
        ("/v3/a",                 "/api/v3/a"),
        ("/v1/../v2/a",           "/api/a"),
    ];
    let mut wrong = Vec::new();
    for (sent, expected) in cases {
        let status = corsac.get(sent).send().status;
        let seen: Vec<String> = origin.take_received().into_iter().map(|r| r.target).collect();
        if (status, seen.as_slice()) != (200, &[expected.to_owned()]) {
            wrong.push(format!("{sent}: expected {expected}, seen {seen:?}, answered {status}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn header_changes_of_a_route() {
    let origin = Origin::answering(200).header("Server", "secret").header("X-Old", "1").start();
    let corsac = Corsac::in_front_of(
        &origin,
        r#"
        [services.s]
        upstream = "origin"
        [services.s.routes.r]
        paths = "/*"
        [services.s.routes.r.headers.request]
        set = { x-set = "new" }
        remove = ["x-gone"]
        [services.s.routes.r.headers.response]
        set = { cache-control = "public, max-age=60" }
        remove = ["x-old"]
        "#,
    );
    let call = corsac.get("/").header("X-Set", "a").header("X-Set", "b").header("X-Gone", "1");
    let answer = call.send();
    let request = origin.only_request();
    assert_eq!(request.headers.all("x-set"), ["new"], "set replaces every line");
    assert_eq!(request.header("x-gone"), None);
    assert_eq!(answer.header("cache-control").as_deref(), Some("public, max-age=60"));
    assert_eq!(answer.header("x-old"), None);
}

// ------------------------------------------------------------ what corsac answers itself

#[test]
fn failures_of_the_upstream() {
    let refusing = Unreachable::refusing();
    let unresponsive = Unreachable::unresponsive();
    #[rustfmt::skip]
    let scripted = [
        ("closes",           502, "upstream_failed",  Answer::close()),
        ("resets",           502, "upstream_failed",  Answer::reset()),
        ("answers garbage",  502, "upstream_failed",  Answer::raw("garbage\r\n\r\n")),
        ("breaks off",       502, "upstream_failed",  Answer::raw("HTTP/1.1 200 OK\r\nX-A")),
        ("is silent",        504, "upstream_timeout", Answer::silence()),
    ]
    .map(|(case, status, reason, answer)| (case, status, reason, answer.start()));
    let scripted = scripted
        .iter()
        .map(|(case, status, reason, origin)| (*case, *status, *reason, origin.address()));
    let unreachable = [
        ("refuses", 502, "upstream_connect", refusing.address()),
        ("does not respond", 504, "upstream_timeout", unresponsive.address()),
    ];
    for (case, status, reason, node) in scripted.chain(unreachable) {
        let corsac = with_node(node, WITH_CORS).start();
        let answer = corsac.get("/").header("Origin", ALLOWED).send();
        assert_eq!(answer.status, status, "{case}");
        assert_stamped(&answer, case);
        let line = &corsac.access_log(1)[0];
        assert_eq!((&line["status"], &line["reason"]), (&status.into(), &reason.into()), "{case}");
        let other = corsac.get("/").header("Origin", "https://b.example").send();
        assert_eq!(other.header("access-control-allow-origin"), None, "{case}, another origin");
    }
}

#[test]
fn bodies_that_are_too_large() {
    let origin = Answer::echo().start();
    let corsac = Corsac::in_front_of(
        &origin,
        r#"
        [limits]
        body = "1KB"
        [services.s]
        upstream = "origin"
        cors = { allow_origins = "https://a.example", expose_headers = "x-e" }
        routes.all.paths = "/*"
        routes.small = { paths = "/small", limits = { body = "10B" } }
        "#,
    );
    let post = |path| corsac.call("POST", path).header("Origin", ALLOWED);
    #[rustfmt::skip]
    let fine = [
        ("at the limit",          post("/").body(vec![b'a'; 1000])),
        ("chunked, at the limit", post("/").chunked(&[b'a'; 1000], 100)),
        ("route, at the limit",   post("/small").body("0123456789")),
    ];
    for (case, call) in fine {
        assert_eq!(call.send().status, 200, "{case}");
    }
    origin.take_received();
    #[rustfmt::skip]
    let refused = [
        ("by length",        post("/").body(vec![b'a'; 1001])),
        ("by route",         post("/small").body("0123456789a")),
    ];
    for (case, call) in refused {
        let answer = call.send();
        assert_eq!(answer.status, 413, "{case}");
        assert_stamped(&answer, case);
    }
    assert!(origin.take_received().is_empty(), "a length alone is enough to refuse");
    let answer = post("/").chunked(&[b'a'; 5000], 100).send();
    assert_eq!(answer.status, 413, "by counting");
    assert_stamped(&answer, "by counting");
    assert!(origin.take_received().iter().all(|request| request.body.is_none()));
}

#[test]
fn answers_without_an_upstream() {
    let corsac = Corsac::serving(
        r#"
        [services.s]
        cors = { allow_origins = "https://a.example", expose_headers = "x-e" }
        [services.s.routes.moved]
        paths = "/basket/*"
        redirect = { to = "https://shop.example.com/cart", status = 308 }
        [services.s.routes.found]
        paths = "/found"
        redirect = { to = "https://shop.example.com/", status = 302 }
        [services.s.routes.health]
        paths = "/healthz"
        respond = { status = 200, body = "ok\n" }
        [services.s.routes.posts]
        paths = "/posts"
        methods = ["POST", "PUT"]
        respond = { status = 201, body = "" }
        "#,
    )
    .start();
    let mut connection = corsac.connect();
    #[rustfmt::skip]
    let cases = [
        ("GET",  "/basket/7", 308, Some(("location", "https://shop.example.com/cart"))),
        ("GET",  "/found",    302, Some(("location", "https://shop.example.com/"))),
        ("GET",  "/healthz",  200, Some(("content-length", "3"))),
        ("HEAD", "/healthz",  200, Some(("content-length", "3"))),
        ("POST", "/posts",    201, None),
    ];
    for (method, path, status, header) in cases {
        let case = format!("{method} {path}");
        let answer = corsac.call(method, path).header("Origin", ALLOWED).send_over(&mut connection);
        assert_eq!(answer.status, status, "{case}");
        if let Some((name, value)) = header {
            assert_eq!(answer.header(name).as_deref(), Some(value), "{case}");
        }
        assert_stamped(&answer, &case);
    }
    assert_eq!(corsac.get("/healthz").send_over(&mut connection).text(), "ok\n");
}

/// No route, no policy: nothing may hint that there is one.
#[test]
fn not_found_and_not_allowed() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(
        &origin,
        r#"
        [services.s]
        upstream = "origin"
        cors = { allow_origins = "https://a.example" }
        routes.posts = { paths = "/posts", methods = ["POST", "PUT"] }
        "#,
    );
    let mut connection = corsac.connect();
    let answer = corsac.get("/nowhere").header("Origin", ALLOWED).send_over(&mut connection);
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("vary"), None);
    let answer = corsac.get("/posts").header("Origin", ALLOWED).send_over(&mut connection);
    assert_eq!(answer.status, 405);
    let allow = answer.header("allow").expect("RFC 9110, 15.5.6: a 405 has an Allow");
    let mut allow: Vec<&str> = allow.split(',').map(str::trim).collect();
    allow.sort_unstable();
    assert_eq!(allow, ["POST", "PUT"]);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert!(origin.received().is_empty());
}

#[test]
fn preflights_keep_the_connection() {
    let origin = Origin::answering(200).body("page").start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    let mut connection = corsac.connect();
    let preflight = |origin| {
        let call = corsac.call("OPTIONS", "/").header("Origin", origin);
        call.header("Access-Control-Request-Method", "PUT")
    };
    let answer = preflight(ALLOWED).send_over(&mut connection);
    assert_eq!(answer.status, 200);
    assert_ne!(answer.header("connection").as_deref(), Some("close"));
    let refused = preflight("https://evil.example").send_over(&mut connection);
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("cache-control").as_deref(), Some("no-store"));
    let answer = corsac.get("/").header("Origin", ALLOWED).send_over(&mut connection);
    assert_eq!((answer.status, answer.text().as_str()), (200, "page"));
    assert_eq!(origin.received().len(), 1, "preflights end here");
}

/// A slow answer of one upstream is no other client's business.
#[test]
fn requests_do_not_wait_for_each_other() {
    let gate = Gate::default();
    let slow = gate.clone();
    let origin = Origin::scripted(move |request| match request.target.as_str() {
        "/slow" => Answer::status(200).after(&slow),
        _ => Answer::status(200),
    });
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    let call: Call = corsac.get("/slow");
    let waiting = std::thread::spawn(move || call.send());
    origin.await_requests(1);
    assert_eq!(corsac.get("/quick").send().status, 200);
    assert!(!waiting.is_finished());
    gate.open();
    assert_eq!(waiting.join().unwrap().status, 200);
}

// ------------------------------------------------------------ what is written down

#[test]
fn one_access_log_line_for_each_request() {
    let origin = Origin::answering(200).body("four").start();
    let corsac = Corsac::in_front_of(&origin, WITH_CORS);
    let mut connection = corsac.connect();
    let mut send = |call: Call| call.header("Host", "api.example.com").send_over(&mut connection);
    send(corsac.get("/page?secret=1").header("Origin", ALLOWED));
    let preflight = |origin| {
        let call = corsac.call("OPTIONS", "/page").header("Origin", origin);
        call.header("Access-Control-Request-Method", "GET")
    };
    send(preflight(ALLOWED));
    send(preflight("https://evil.example"));
    let lines = corsac.access_log(3);
    assert_eq!(lines.len(), 3);
    for line in &lines {
        for field in ["time", "client", "method", "host", "path", "route", "status", "bytes_out"] {
            assert!(line.get(field).is_some(), "{field} is missing: {line}");
        }
        assert!(line["duration_ms"].is_number(), "{line}");
        assert_eq!(line["host"], "api.example.com");
        assert_eq!(line["route"], "s/all");
    }
    let statuses: Vec<_> = lines.iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, [200, 200, 403]);
    assert_eq!(lines[0]["method"], "GET");
    assert_eq!(lines[0]["path"], "/page");
    assert_eq!(lines[0]["bytes_out"], 4);
    let upstream = lines[0]["upstream"].to_string();
    assert!(upstream.contains(&origin.address().to_string()), "{upstream}");
    let verdicts: Vec<_> = lines.iter().map(|line| line["cors_reason"].clone()).collect();
    assert_eq!(verdicts, ["ok", "ok", "origin_not_listed"]);
}
