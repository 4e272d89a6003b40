//! Requests of every kind behind one another, cut into packets anywhere: each is answered,
//! in its place, byte for byte.

use std::io::Write as _;
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::harness::{Answer, Corsac, Origin, payload};

/// A request that may have another one behind it.
#[derive(Clone, Debug)]
enum Kind {
    Get,
    Head,
    /// A body with its length.
    Length(usize),
    /// A body in chunks of these sizes.
    Chunks(Vec<usize>),
    /// Its client asks whether it may send, and does not wait for the answer.
    Expect(usize),
    /// A body, and the empty line that some clients add.
    EmptyLine(usize),
}

/// What is last on a connection.
#[derive(Clone, Copy, Debug)]
enum Last {
    Close,
    Old,
    /// An upgrade, and this many bytes that do not wait for the answer.
    Tunnel(usize),
}

fn kind() -> impl Strategy<Value = Kind> {
    let size = || prop_oneof![0..10_usize, 0..5_000_usize, 0..100_000_usize];
    prop_oneof![
        Just(Kind::Get),
        Just(Kind::Head),
        size().prop_map(Kind::Length),
        prop::collection::vec(prop_oneof![1..4_usize, 1..20_000_usize], 0..30)
            .prop_map(Kind::Chunks),
        size().prop_map(Kind::Expect),
        size().prop_map(Kind::EmptyLine),
    ]
}

fn last() -> impl Strategy<Value = Last> {
    prop_oneof![Just(Last::Close), Just(Last::Old), (0..20_000_usize).prop_map(Last::Tunnel)]
}

/// The request as bytes, its method, and the body of its answer.
fn request(kind: &Kind, number: usize) -> (Vec<u8>, &'static str, Vec<u8>) {
    let path = format!("/{number}");
    let simple = |method: &str| format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    let post = |fields: String, body: &[u8], wire: &[u8], end: &[u8]| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        ([head.as_bytes(), wire, end].concat(), "POST", body.to_vec())
    };
    // Each body begins elsewhere, so that no two are alike.
    let body = |size: usize| payload(number + size).split_off(number);
    let with_length = |size: usize, more: &str, end: &[u8]| {
        let body = body(size);
        post(format!("Content-Length: {size}\r\n{more}"), &body, &body, end)
    };
    match kind {
        Kind::Get => (simple("GET"), "GET", path.into_bytes()),
        Kind::Head => (simple("HEAD"), "HEAD", Vec::new()),
        Kind::Length(size) => with_length(*size, "", b""),
        Kind::Expect(size) => with_length(*size, "Expect: 100-continue\r\n", b""),
        Kind::EmptyLine(size) => with_length(*size, "", b"\r\n"),
        Kind::Chunks(sizes) => {
            let body = body(sizes.iter().sum());
            let (mut wire, mut rest) = (Vec::new(), &body[..]);
            for &size in sizes {
                let (chunk, others) = rest.split_at(size);
                rest = others;
                wire.extend_from_slice(format!("{size:x};a=b\r\n").as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nX-Trailer: 1\r\n\r\n");
            post("Transfer-Encoding: chunked\r\n".to_owned(), &body, &wire, b"")
        }
    }
}

fn serve_all(corsac: &Corsac, kinds: &[Kind], last: Last, cuts: &[usize]) {
    let requests: Vec<_> =
        kinds.iter().enumerate().map(|(number, kind)| request(kind, number)).collect();
    let early = payload(match last {
        Last::Tunnel(size) => size,
        Last::Close | Last::Old => 0,
    });
    let mut wire: Vec<u8> = requests.iter().flat_map(|(bytes, ..)| bytes.clone()).collect();
    wire.extend_from_slice(match last {
        Last::Close => b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        Last::Old => b"GET /last HTTP/1.0\r\n\r\n",
        Last::Tunnel(_) => {
            b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        }
    });
    wire.extend_from_slice(&early);

    let mut connection = corsac.connect();
    let mut writer = connection.writer();
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut rest, mut cuts) = (&wire[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (packet, others) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                writer.write_all(packet).unwrap();
                rest = others;
                thread::yield_now();
            }
        });
        for (number, (_, method, body)) in requests.iter().enumerate() {
            let answer = connection.try_receive(method);
            let answer = answer.unwrap_or_else(|error| panic!("{number}: {error}"));
            assert_eq!(answer.status, 200, "{number}");
            assert!(answer.body == *body, "{number}: {} bytes", answer.body.len());
        }
        let answer = connection.receive("GET");
        if let Last::Tunnel(size) = last {
            assert_eq!(answer.status, 101);
            assert!(connection.read(size) == early);
        } else {
            assert_eq!((answer.status, answer.text().as_str()), (200, "/last"));
            assert_eq!(connection.await_close().unwrap(), b"");
        }
    });
}

#[test]
fn each_is_answered_in_its_place() {
    let origin = Origin::scripted(|request| match request.target.as_str() {
        "/tunnel" => Answer::status(101),
        _ if request.method == "POST" => Answer::echo(),
        target => Answer::status(200).body(target),
    });
    let corsac = Corsac::in_front_of(
        &origin,
        "[services.s]\nupstream = \"origin\"\nroutes.all.paths = \"/*\"\n",
    );
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let cases = (
        prop::collection::vec(kind(), 0..12),
        last(),
        prop::collection::vec(prop_oneof![1..8_usize, 1..5_000_usize, 1..70_000_usize], 1..40),
    );
    TestRunner::new_with_rng(config, rng)
        .run(&cases, |(kinds, last, cuts)| {
            serve_all(&corsac, &kinds, last, &cuts);
            Ok(())
        })
        .unwrap();
}
