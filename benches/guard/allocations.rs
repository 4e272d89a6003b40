//! What a request allocates in all of corsac, Pingora included: `make guard`.
//!
//! A server is started as `corsac run` starts it, on one thread, with the access log
//! on. A client sends requests over one connection that stays open, and an origin
//! answers; neither allocates anything meanwhile, so all that is counted is the
//! server's.
//!
//! What one request allocates is what twice as many requests allocate more, divided
//! by how many more they are: what starting costs is not in it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a guard may panic"
)]

mod baseline;

use std::{
    alloc::System,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use baseline::{Figure, guard};
use corsac::{
    load::load,
    server::{self, Inherited, Memory, ProcessLog, RunningServer, Supply},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// So many requests, and twice as many.
const REQUESTS: usize = 300;

/// An odd number, for a median.
const ROUNDS: usize = 7;

/// The calls are the same each time, and may not differ at all. Of the bytes a few in a
/// thousand depend on what arrives together.
const BYTES_TOLERANCE_PERCENT: u64 = 1;

/// A server that does not answer is reported, not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

const ANSWER_BYTES_MAX: usize = 4096;

const UPSTREAM_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\
                                 Vary: Accept-Encoding\r\nX-Origin: 1\r\n\r\nok";

/// What is sent, what its answer must have, and what it must not.
struct Case {
    name: &'static str,
    method: &'static str,
    headers: &'static str,
    status: &'static str,
    has: &'static str,
    lacks: &'static str,
}

const ALLOWED: &str = "access-control-allow-origin: https://app.example.com\r\n";

const CASES: [Case; 5] = [
    Case {
        name: "preflight",
        method: "OPTIONS",
        headers: "Origin: https://app.example.com\r\nAccess-Control-Request-Method: PUT\r\n\
                  Access-Control-Request-Headers: content-type,x-id\r\n",
        status: "200",
        has: ALLOWED,
        lacks: "x-origin",
    },
    Case {
        name: "preflight, origin denied",
        method: "OPTIONS",
        headers: "Origin: https://evil.example\r\nAccess-Control-Request-Method: PUT\r\n\
                  Access-Control-Request-Headers: content-type,x-id\r\n",
        status: "403",
        has: "vary: ",
        lacks: "access-control-",
    },
    Case {
        name: "GET, origin allowed",
        method: "GET",
        headers: "Origin: https://app.example.com\r\n",
        status: "200",
        has: ALLOWED,
        lacks: "no such header",
    },
    Case {
        name: "GET, origin denied",
        method: "GET",
        headers: "Origin: https://evil.example\r\n",
        status: "200",
        has: "x-origin: 1\r\n",
        lacks: "access-control-",
    },
    Case {
        name: "GET, no origin",
        method: "GET",
        headers: "",
        status: "200",
        has: "x-origin: 1\r\n",
        lacks: "access-control-",
    },
];

fn main() -> ExitCode {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    guard("allocations", &format!("the profile {profile}"), measure)
}

fn measure() -> io::Result<Vec<Figure>> {
    let server = start(start_origin()?);
    let address = server.addresses().first().copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut figures = Vec::new();
    for case in &CASES {
        figures.extend(case.measure(address)?);
    }
    server.stop();
    Ok(figures)
}

fn start(origin: SocketAddr) -> RunningServer {
    let text = format!(
        r#"
        version = 1
        server.threads = 1
        listeners.http.address = "127.0.0.1:0"
        upstreams.app.nodes = "{origin}"
        [access_log]
        output = "/dev/null"
        format = "json"
        [services.shop]
        upstream = "app"
        routes.orders.paths = ["/orders", "/orders/:id"]
        [services.shop.cors]
        allow_origins = ["https://app.example.com", "https://*.preview.example.com"]
        allow_methods = ["GET", "PUT"]
        allow_headers = ["content-type", "x-id"]
        allow_credentials = true
        "#
    );
    let files = Memory::new("corsac.toml", &text);
    let (config, _) = load(Path::new("corsac.toml"), &files, 0)
        .unwrap_or_else(|report| panic!("{}", report.to_text(false)));
    let supply = Supply { path: "corsac.toml".into(), files: Arc::new(files) };
    server::start(config, supply, &Inherited::Nothing, ProcessLog::default()).unwrap()
}

impl Case {
    /// What one request allocates: the median of some rounds, since a thread that was
    /// not running at a bad moment makes a few more wait, or fewer.
    fn measure(&self, address: SocketAddr) -> io::Result<[Figure; 2]> {
        // The first requests make what all others share.
        self.serve(address, REQUESTS)?;
        let mut rounds = [Stats::default(); ROUNDS];
        for round in &mut rounds {
            *round = self.serve(address, 2 * REQUESTS)? - self.serve(address, REQUESTS)?;
        }
        let median = |of: fn(&Stats) -> usize| {
            let mut totals = rounds.each_ref().map(of);
            totals.sort_unstable();
            let total = totals.get(ROUNDS / 2).copied().unwrap_or_default();
            ((total + REQUESTS / 2) / REQUESTS) as u64
        };
        let figure = |what, value, tolerance_percent| Figure {
            name: format!("{}: {what}", self.name),
            value,
            tolerance_percent,
        };
        Ok([
            figure("calls", median(|stats| stats.allocations + stats.reallocations), 0),
            figure("bytes", median(|stats| stats.bytes_allocated), BYTES_TOLERANCE_PERCENT),
        ])
    }

    /// What is allocated while a connection with so many requests is served.
    fn serve(&self, address: SocketAddr, requests: usize) -> io::Result<Stats> {
        let Self { method, headers, .. } = self;
        let request =
            format!("{method} /orders/7 HTTP/1.1\r\nHost: api.example.com\r\n{headers}\r\n");
        let mut buffer = [0; ANSWER_BYTES_MAX];
        let region = Region::new(ALLOCATOR);
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        for _ in 0..requests {
            connection.write_all(request.as_bytes())?;
            self.check(read_answer(&mut connection, &mut buffer)?);
        }
        Ok(region.change())
    }

    fn check(&self, answer: &str) {
        let Self { name, status, has, lacks, .. } = self;
        let as_expected = answer.get(9..12) == Some(*status)
            && has_ignoring_case(answer, has)
            && !has_ignoring_case(answer, lacks);
        assert!(as_expected, "{name}: not what was to be measured:\n{answer}");
    }
}

fn has_ignoring_case(text: &str, part: &str) -> bool {
    let mut parts = text.as_bytes().windows(part.len());
    parts.any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// One answer, with its body.
fn read_answer<'b>(connection: &mut TcpStream, buffer: &'b mut [u8]) -> io::Result<&'b str> {
    let mut filled = 0;
    loop {
        filled += match connection.read(&mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        let text = str::from_utf8(&buffer[..filled]).map_err(io::Error::other)?;
        if text.split_once("\r\n\r\n").is_some_and(|(head, body)| body.len() >= body_length(head)) {
            break;
        }
    }
    str::from_utf8(&buffer[..filled]).map_err(io::Error::other)
}

fn body_length(head: &str) -> usize {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().map_or(0, |(_, length)| length.parse().unwrap())
}

/// Answers every request, which has no body, with the same bytes.
fn start_origin() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer_all(connection));
        }
    });
    Ok(address)
}

fn answer_all(mut connection: TcpStream) -> io::Result<()> {
    let (mut buffer, mut filled) = ([0; ANSWER_BYTES_MAX], 0);
    loop {
        filled += match connection.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            read => read,
        };
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            connection.write_all(UPSTREAM_ANSWER)?;
            filled = 0;
        }
    }
}
