//! What happens between corsac and its upstreams, and what clients see of it.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::{Arc, Mutex};

use corsac::config::{self, NodeAddress};
use corsac::snapshot::Snapshot;

use crate::harness::{Answer, Corsac, InProcess, Origin, Unreachable, payload};

// ------------------------------------------------------------ which endpoint is asked

/// What no resolver here would answer the same everywhere: a name with two addresses.
#[test]
fn a_name_of_which_one_address_refuses() {
    let origin = Origin::answering(200).start();
    let refusing = Unreachable::refusing();
    let text = "version = 1\nlisteners.http.address = \"127.0.0.1:0\"\n\
                upstreams.twin.nodes = \"twin.internal:80\"\n\
                [services.all]\nupstream = \"twin\"\nroutes.all.paths = \"/*\"\n";
    let (config, _) = config::parse(text, "corsac.toml").unwrap();
    let name = NodeAddress::Name("twin.internal".into(), 80);
    let addresses = Box::from([refusing.address(), origin.address()]);
    let addresses = HashMap::from([(name, addresses)]);
    let proxy = InProcess::serving(Snapshot::compile(Arc::new(config), addresses, None));
    let statuses: Vec<u16> = (0..20).map(|_| proxy.get("/").send().status).collect();
    assert_eq!(statuses, [200; 20]);
}

// ------------------------------------------------------------ what is sent again

/// An origin that serves one request on each connection, and ends the second one so.
fn mortal(death: Answer) -> Origin {
    let seen = Mutex::new(HashSet::new());
    Origin::scripted(move |request| {
        let is_first = seen.lock().unwrap().insert(request.connection);
        if is_first { Answer::status(200) } else { death.clone() }
    })
}

/// How many requests of each id these origins have seen.
fn sightings(origins: &[&Origin]) -> HashMap<String, usize> {
    let mut sightings = HashMap::new();
    for request in origins.iter().flat_map(|origin| origin.received()) {
        *sightings.entry(request.header("x-request-id").unwrap()).or_default() += 1;
    }
    sightings
}

/// Sends requests until a kept connection has died; a pool does not have one at once.
fn until_one_dies(origins: &[&Origin], mut send: impl FnMut()) {
    let has_died = || {
        origins.iter().any(|origin| {
            let mut seen = HashSet::new();
            origin.received().iter().any(|request| !seen.insert(request.connection))
        })
    };
    for _ in 0..1_000 {
        send();
        if has_died() {
            return;
        }
    }
    panic!("no connection is kept");
}

const LIMITED: &str = r#"
[limits]
body = "64KiB"

[services.all]
upstream = "origin"
routes.all.paths = "/*"
"#;

#[test]
fn a_kept_connection_that_dies() {
    let partial = "HTTP/1.1 20";
    let hinted = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    #[rustfmt::skip]
    let cases = [
        ("closed",                 "GET",    Answer::close(),       200),
        ("reset",                  "PUT",    Answer::reset(),       200),
        ("closed",                 "DELETE", Answer::close(),       200),
        ("closed",                 "POST",   Answer::close(),       502),
        ("reset",                  "PATCH",  Answer::reset(),       502),
        ("after half a head",      "GET",    Answer::raw(partial),  502),
        ("after an interim head",  "GET",    Answer::raw(hinted),   502),
    ];
    for (how, method, death, expected) in cases {
        let case = format!("{method}, {how}");
        let origin = mortal(death);
        let corsac = Corsac::in_front_of(&origin, LIMITED);
        // Twice the body would be over the limit.
        let call = corsac.call(method, "/");
        let call = if method == "GET" { call } else { call.body(payload(40 << 10)) };
        let mut statuses = Vec::new();
        until_one_dies(&[&origin], || statuses.push(call.clone().send().status));
        assert_eq!(statuses.pop(), Some(expected), "{case}");
        assert!(statuses.iter().all(|&status| status == 200), "{case}: {statuses:?}");
        let most = sightings(&[&origin]).into_values().max();
        assert_eq!(most, Some(if expected == 200 { 2 } else { 1 }), "{case}");
    }
}

/// A new connection that closes says that the request was too much, or that it was done.
#[test]
fn a_new_connection_that_closes() {
    for death in [Answer::close(), Answer::reset()] {
        let origin = death.start();
        let corsac = Corsac::in_front_of(&origin, LIMITED);
        assert_eq!(corsac.get("/").send().status, 502);
        origin.only_request();
    }
}

/// Who has failed a request does not get it again, whoever's turn it is.
#[test]
fn another_endpoint_gets_what_one_has_failed() {
    let [often, seldom] = [mortal(Answer::close()), mortal(Answer::close())];
    let corsac = Corsac::serving(&format!(
        "[upstreams.origin]\nnodes = [{{ address = \"{}\", weight = 100 }}, \"{}\"]\n{LIMITED}",
        often.address(),
        seldom.address()
    ))
    .start();
    until_one_dies(&[&often], || assert_eq!(corsac.get("/").send().status, 200));
    let most = sightings(&[&often]).into_values().max();
    assert_eq!(most, Some(1), "what the first has failed, the other one got");
}

// ------------------------------------------------------------ whose fault it is

/// Without a descriptor there is no connection, and nothing is the upstream's fault.
#[test]
fn no_descriptor_is_left() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(
        &origin,
        "[services.all]\nupstream = \"origin\"\nroutes.all.paths = \"/*\"\n\
         [services.all.routes.own]\npaths = \"/own\"\nrespond = { status = 200, body = \"ok\" }\n",
    );
    let mut connection = corsac.connect();
    assert_eq!(corsac.get("/own").send_over(&mut connection).status, 200);
    let descriptors = format!("/proc/{}/fd", corsac.pid());
    let highest = std::fs::read_dir(descriptors)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    // The least number that is free must not be allowed any more.
    let open: HashSet<u32> = highest.collect();
    let free = (0..u32::MAX).find(|number| !open.contains(number)).unwrap();
    let limit = |limit: u32| {
        let limited = Command::new("prlimit")
            .args([format!("--pid={}", corsac.pid()), format!("--nofile={limit}:")])
            .output();
        limited.is_ok_and(|output| output.status.success())
    };
    if !limit(free) {
        eprintln!("prlimit is not to be had; this test has not been run");
        return;
    }
    let answer = corsac.get("/").send_over(&mut connection);
    assert_eq!((answer.status, answer.text().as_str().get(..3)), (503, Some("503")));
    assert!(limit(1_024));
    assert_eq!(corsac.access_log(2)[1]["reason"], "no_socket");
    assert_eq!(corsac.get("/").send().status, 200);
}
