//! `corsac demo`: an example to try requests on.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anstyle::{AnsiColor, Style};
use rcgen::{CertificateParams, KeyPair};

use super::configuration::load_from;
use super::output::{Exit, NO, complain, print_report};
use crate::server::{self, Inherited, Memory, ProcessLog, Supply};

const CONFIGURATION: &str = include_str!("demo.toml");
const NAME: &str = "demo.toml";

/// How the demo speaks TLS.
const TLS: &str = "tls = { cert = \"demo.pem\", key = \"demo.key\" }";

/// Whom the demo's certificate is for, and for how long.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const VALID: Duration = Duration::from_hours(7 * 24);

/// Where the demo listens if nothing else is said.
pub(super) const LISTEN: &str = "127.0.0.1:8080";

const HEADING: Style = AnsiColor::Cyan.on_default().bold();
const QUIET: Style = Style::new().dimmed();

/// One request of the tour.
struct Stop {
    says: &'static str,
    method: &'static str,
    path: &'static str,
    headers: &'static [&'static str],
}

const TOUR: &[Stop] = &[
    Stop {
        says: "The shop's page wants to PUT: a browser asks first, and corsac answers at the edge",
        method: "OPTIONS",
        path: "/orders/7",
        headers: &[
            "Origin: https://shop.example.com",
            "Access-Control-Request-Method: PUT",
            "Access-Control-Request-Headers: content-type",
        ],
    },
    Stop {
        says: "Then the request itself: it reaches the origin, and its answer can be read",
        method: "GET",
        path: "/orders/7",
        headers: &["Origin: https://shop.example.com"],
    },
    Stop {
        says: "A look-alike asks: refused, and nothing of the policy is told",
        method: "OPTIONS",
        path: "/orders/7",
        headers: &[
            "Origin: https://shop.example.com.evil.test",
            "Access-Control-Request-Method: PUT",
        ],
    },
    Stop {
        says: "Anyone may read the catalogue: the route's policy replaces the service's",
        method: "GET",
        path: "/catalog/7",
        headers: &["Origin: https://anyone.example"],
    },
    Stop {
        says: "No route has this method: 405 names those that it has",
        method: "DELETE",
        path: "/orders/7",
        headers: &[],
    },
];

/// Reads an address to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("an address is an IP and a port, such as {LISTEN}"))
}

/// Serves the example at `listen`. With `tour` it sends the requests itself, on a
/// free port, and ends. With `tls` it makes a certificate for this machine, which it keeps to
/// itself.
pub(super) fn demo(listen: SocketAddr, tls: bool, tour: bool) -> Exit {
    let origin = server::start_echo()?;
    let listen = if tour { SocketAddr::from(([127, 0, 0, 1], 0)) } else { listen };
    let text = CONFIGURATION
        .replace("{listen}", &listen.to_string())
        .replace("{tls}", if tls { TLS } else { "" })
        .replace("{origin}", &origin.to_string())
        .replace("{log}", if tour { "off" } else { "stdout" });
    let mut files = Memory::new(NAME, &text);
    if tls {
        let (cert, key) = self_made().map_err(io::Error::other)?;
        files = files.with("demo.pem", cert).with("demo.key", key);
    }
    let config = match load_from(Path::new(NAME), &files) {
        Ok((config, _)) => config,
        Err(report) => {
            print_report(&report)?;
            return Ok(NO);
        }
    };
    let supply = Supply { path: NAME.into(), files: Arc::new(files) };
    let server = match server::start(config, supply, &Inherited::Nothing, ProcessLog::default()) {
        Ok(server) => server,
        Err(error) => {
            complain(&format!("{error}; `corsac demo --listen 127.0.0.1:0` takes a free port"));
            return Ok(NO);
        }
    };
    // Port 0 has become a real one.
    let address = server.addresses().first().copied().unwrap_or(listen);
    if tour {
        let ended = take_tour(address);
        server.stop();
        ended?;
    } else {
        print_invitation(address, tls)?;
        // Nothing else ends it but a signal: it has no admin listener.
        let _ = server.run();
    }
    Ok(ExitCode::SUCCESS)
}

/// A certificate that signs itself, and its key, in PEM.
fn self_made() -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    params.not_before = SystemTime::now().into();
    params.not_after = (SystemTime::now() + VALID).into();
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn print_invitation(listen: SocketAddr, tls: bool) -> io::Result<()> {
    let mut out = anstream::stdout();
    let scheme = if tls { "https" } else { "http" };
    writeln!(out, "corsac serves its demo at {scheme}://{listen}; Ctrl-C ends it. Try:\n")?;
    for stop in TOUR {
        writeln!(out, "{QUIET}# {}{QUIET:#}", stop.says)?;
        writeln!(out, "{}\n", curl(stop, listen, tls))?;
    }
    Ok(())
}

fn curl(stop: &Stop, address: SocketAddr, tls: bool) -> String {
    // Nobody has signed the demo's certificate.
    let (how, scheme) = if tls { ("-ik", "https") } else { ("-i", "http") };
    let mut line = format!("curl {how}");
    if stop.method != "GET" {
        line.push_str(" -X ");
        line.push_str(stop.method);
    }
    for header in stop.headers {
        line.push_str(" -H '");
        line.push_str(header);
        line.push('\'');
    }
    format!("{line} {scheme}://{address}{}", stop.path)
}

fn take_tour(address: SocketAddr) -> io::Result<()> {
    let mut out = anstream::stdout();
    for stop in TOUR {
        writeln!(out, "\n{HEADING}# {}{HEADING:#}", stop.says)?;
        writeln!(out, "$ {}", curl(stop, address, false))?;
        for line in send(stop, address)? {
            writeln!(out, "{QUIET}{line}{QUIET:#}")?;
        }
    }
    writeln!(out, "\nThe same, to try by hand: corsac demo")
}

/// Sends one request over a socket of its own. Returns the lines of the answer.
fn send(stop: &Stop, address: SocketAddr) -> io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "{} {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n",
        stop.method, stop.path
    )?;
    for header in stop.headers {
        write!(stream, "{header}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    BufReader::new(stream.take(64 * 1024)).lines().collect()
}
