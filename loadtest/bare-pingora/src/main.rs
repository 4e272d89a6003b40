//! Pingora's proxy as its documentation shows it, and nothing else: no routing, no CORS, no
//! logs, no metrics, no timeouts towards the origin. What corsac costs beyond this is
//! corsac's own.
//!
//! An `OPTIONS` request gets one fixed answer, so that a preflight has a floor, too.
//!
//! Usage: `bare-pingora LISTEN ORIGIN [CERTIFICATE KEY]`, the first two as `ADDRESS:PORT`, or
//! `bare-pingora --version`. With a certificate it speaks TLS, and HTTP/2 to who wants it. One
//! thread.

use std::{env, error::Error, net::SocketAddr, process::ExitCode};

use async_trait::async_trait;
use http::{Method, StatusCode, header};
use pingora_core::{
    Result,
    listeners::{L4BufferSettings, ListenerConfig, tls::TlsSettings},
    modules::http::HttpModules,
    server::{Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};
use pingora_http::ResponseHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of the buffers of a client's connection. Pingora's own sizes are 64 KiB for reads,
/// which idle connections would pay for, and 1,460 for writes.
const READ_BUFFER_BYTES: usize = 8 * 1024;
const WRITE_BUFFER_BYTES: usize = 4 * 1024;

/// How it was built, from the variable of which corsac takes it, too: the load test sees to it
/// that both were built the same way.
const BUILD: &str = match option_env!("CORSAC_BUILD") {
    Some(build) => build,
    None if cfg!(debug_assertions) => "debug",
    None => "release",
};

struct Bare {
    origin: SocketAddr,
    /// The answer to every `OPTIONS`.
    preflight: ResponseHeader,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    /// None: Pingora's default adds compression, which corsac leaves out, too.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        if session.req_header().method != Method::OPTIONS {
            return Ok(false);
        }
        session.write_response_header(Box::new(self.preflight.clone()), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }
}

/// The headers that the load test's policy has for its one origin: the same bytes to write.
fn preflight() -> Result<ResponseHeader> {
    let mut answer = ResponseHeader::build_no_case(StatusCode::OK, Some(7))?;
    answer.insert_header(header::ACCESS_CONTROL_ALLOW_ORIGIN, "https://app.example.com")?;
    answer.insert_header(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")?;
    answer.insert_header(header::ACCESS_CONTROL_ALLOW_METHODS, "GET,POST,PUT,DELETE")?;
    answer.insert_header(header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization,content-type")?;
    answer.insert_header(header::ACCESS_CONTROL_MAX_AGE, "600")?;
    answer.insert_header(header::VARY, "Origin")?;
    answer.insert_header(header::CONTENT_LENGTH, "0")?;
    Ok(answer)
}

fn start(listen: &str, origin: &str, tls: Option<TlsSettings>) -> Result<Server, Box<dyn Error>> {
    let settings = ServerConf {
        threads: 1,
        // A runtime for each thread, as corsac has.
        work_stealing: false,
        // SIGTERM ends it at once, by `exit`, so that an instrumented one writes its profile.
        // Pingora's own grace is five minutes.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    server.bootstrap();
    let bare = Bare { origin: origin.parse()?, preflight: preflight()? };
    let mut service = http_proxy_service(&server.configuration, bare);
    let buffers = L4BufferSettings::new(READ_BUFFER_BYTES, WRITE_BUFFER_BYTES);
    let listener = ListenerConfig::tcp(listen).l4_buffer(buffers);
    service.add_listener(match tls {
        Some(tls) => listener.tls(tls),
        None => listener,
    });
    server.add_service(service);
    Ok(server)
}

/// Pingora's defaults, with HTTP/2.
fn tls(certificate: &str, key: &str) -> Result<TlsSettings> {
    let mut tls = TlsSettings::intermediate(certificate, key)?;
    tls.enable_h2();
    Ok(tls)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let started = match arguments.as_slice() {
        [listen, origin] => start(listen, origin, None),
        [listen, origin, certificate, key] => tls(certificate, key)
            .map_err(Into::into)
            .and_then(|tls| start(listen, origin, Some(tls))),
        ["--version"] => {
            println!("bare-pingora {}\nbuild: {BUILD}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("usage: bare-pingora LISTEN ORIGIN [CERTIFICATE KEY] | --version");
            return ExitCode::from(2);
        }
    };
    match started {
        Ok(server) => server.run_forever(),
        Err(error) => {
            eprintln!("bare-pingora: {error}");
            ExitCode::FAILURE
        }
    }
}
