//! The admin listener: health, metrics and status for machines and people; on the
//! socket alone, what changes something or shows more than names.
//!
//! It runs on a thread of its own, so that it answers however busy the others are.

mod endpoints;
pub(in crate::server) mod status;

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use http::{
    HeaderName, HeaderValue, Response, StatusCode, Version,
    header::{ALLOW, CONTENT_TYPE},
};
use pingora_core::{
    apps::{
        ServerApp,
        http_app::{HttpServer, ServeHttp},
    },
    protocols::{http::ServerSession, l4::stream::Stream},
};
use serde::{Deserialize, Serialize};
use tokio::{net::UnixListener, runtime::Builder, sync::mpsc, time::sleep};

use crate::{
    config::{Admin, AdminAddress},
    explain::{Asked, explain},
    server::{
        accept::{
            connections::Connections,
            gate::Gate,
            listener::{BindError, Bound},
            sockets::{Address, Description, Given, Shared},
            workers::Seat,
        },
        intake::{Accepting, Intake},
        reload::Trigger,
        upgrade::UpgradeRequest,
    },
};
pub use endpoints::{AdminEndpoint, Ask, ENDPOINTS, Reach};
use endpoints::{Refusal, find};
use status::State;

/// How long the socket waits where accepting fails.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The key of the configuration.
const NAME: &str = "admin.listen";

/// The bound admin listeners, not served yet.
pub(in crate::server) struct Listeners {
    tcp: Vec<Bound>,
    unix: Vec<OwnerSocket>,
}

impl Listeners {
    /// Binds them all, except those that are `given`.
    pub(in crate::server) fn bind(admin: &Admin, given: &mut Given) -> Result<Self, BindError> {
        let mut listeners = Self { tcp: Vec::new(), unix: Vec::new() };
        for address in &admin.listen {
            match address {
                AdminAddress::Tcp(address) => {
                    listeners.tcp.extend(Bound::all(NAME, &[*address], given)?);
                }
                AdminAddress::Unix(path) => {
                    let socket = match given.claim_path(path) {
                        Some(given) => OwnerSocket::given(path, given.descriptor),
                        None => OwnerSocket::bind(path),
                    };
                    listeners.unix.push(socket.map_err(|cause| {
                        BindError::new(NAME, &path.display().to_string(), in_words(cause))
                    })?);
                }
            }
        }
        Ok(listeners)
    }

    /// What it takes to hand them on.
    pub(in crate::server) fn shared(&self) -> impl Iterator<Item = Shared> {
        self.tcp.iter().map(Bound::shared).chain(self.unix.iter().map(OwnerSocket::shared))
    }

    /// Serves them on a thread of their own, until `intake` is closed. Connections that
    /// are open then are served until the process ends; what is returned disconnects
    /// with the last one of a socket, so that the command that told the process to go can
    /// still be answered.
    pub(in crate::server) fn serve(
        self,
        state: &Arc<State>,
        intake: &Intake,
    ) -> io::Result<mpsc::Receiver<()>> {
        let (held, answered) = mpsc::channel(1);
        if self.tcp.is_empty() && self.unix.is_empty() {
            return Ok(answered);
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let app = |privileged| {
            Arc::new(HttpServer::new_app(Endpoints { state: Arc::clone(state), privileged }))
        };
        let (open, privileged) = (app(false), app(true));
        let tcp: Vec<_> = self.tcp.into_iter().map(|bound| (bound, intake.accepting())).collect();
        let unix: Vec<_> =
            self.unix.into_iter().map(|socket| (socket, intake.accepting())).collect();
        let metrics = state.metrics.clone();
        for (bound, _) in &tcp {
            log::info!("admin listens on {}", bound.address);
        }
        for (socket, _) in &unix {
            log::info!("admin listens on unix:{}", socket.path.display());
        }
        std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let noted = Arc::new(Connections::default());
                tokio::spawn(Arc::clone(&noted).sweep());
                let gate = Gate::plain(NAME, &noted, &metrics);
                for (bound, accepting) in tcp {
                    let (seat, gate) = (Seat::only(Arc::clone(&open)), Arc::clone(&gate));
                    tokio::spawn(async move { bound.serve(seat, accepting.stop(), gate).await });
                }
                for (socket, accepting) in unix {
                    tokio::spawn(socket.serve(Arc::clone(&privileged), accepting, held.clone()));
                }
                drop(held);
                std::future::pending::<()>().await;
            });
        })?;
        Ok(answered)
    }
}

/// A bound Unix socket that its owner alone can use.
struct OwnerSocket {
    path: PathBuf,
    listener: std::os::unix::net::UnixListener,
    /// Another descriptor of it, to be handed on.
    held: Arc<OwnedFd>,
}

impl OwnerSocket {
    /// Binds under another name first: between `bind` and `chmod` a socket is open to
    /// every user that the umask lets in. The rename also replaces what a crashed
    /// process has left.
    fn bind(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        // Short, since the path of a socket has a narrow limit; and of this process alone,
        // so what is there was left by a dead process of the same number.
        let fresh = path.with_file_name(format!(".{}", std::process::id()));
        let _ = fs::remove_file(&fresh);
        let listener = std::os::unix::net::UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&fresh, path))
            .inspect_err(|_| drop(fs::remove_file(&fresh)))?;
        Self::given(path, listener.into())
    }

    /// Takes over a socket that was given.
    fn given(path: &Path, socket: OwnedFd) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        let held = Arc::new(listener.try_clone()?.into());
        Ok(Self { path: path.to_owned(), listener, held })
    }

    fn shared(&self) -> Shared {
        let description = Description {
            name: NAME.to_owned(),
            address: Address::Unix(self.path.clone()),
            pinned: false,
        };
        Shared::new(description, &self.held)
    }

    async fn serve<A>(
        self,
        app: Arc<A>,
        mut accepting: Accepting,
        open: mpsc::Sender<()>,
    ) -> io::Result<()>
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let _held = self.held;
        let listener = UnixListener::from_std(self.listener)?;
        let mut has_complained = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = accepting.closed() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                // Descriptors or memory have run out, and may be there again.
                Err(error) => {
                    if !has_complained {
                        log::error!("{NAME} cannot accept: {error}");
                    }
                    has_complained = true;
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            has_complained = false;
            let (app, stop, open) = (Arc::clone(&app), accepting.stop(), open.clone());
            tokio::spawn(async move {
                app.process_new(Box::new(Stream::from(stream)), &stop).await;
                drop(open);
            });
        }
    }
}

/// Why a socket cannot be made, where the remedy is another one than for a port.
fn in_words(error: io::Error) -> io::Error {
    let words = match error.kind() {
        io::ErrorKind::NotFound => "its folder does not exist; make it, or write another path",
        io::ErrorKind::PermissionDenied => "the user that runs corsac may not write to its folder",
        io::ErrorKind::AddrInUse => "another process answers there; stop it, or write another path",
        _ => return error,
    };
    io::Error::other(words)
}

/// What the admin listener answers.
struct Endpoints {
    state: Arc<State>,
    /// On the socket: anyone who can open it may also change what is served.
    privileged: bool,
}

#[async_trait]
impl ServeHttp for Endpoints {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        if session.req_header().version < Version::HTTP_11 {
            // Pingora would keep the connection, and such a client reads up to its end.
            session.set_keepalive(None);
        }
        let head = session.req_header();
        let serving = self.state.reloader.serving();
        let admin = &serving.config().admin;
        let waits = head.uri.query().is_some_and(|query| query == "wait");
        let found = find(&head.method, head.uri.path(), &head.headers, self.privileged, admin);
        let endpoint = match found {
            Ok(endpoint) => endpoint,
            Err(refusal) => return refused(&refusal),
        };
        let Some(body) = read_body(session, endpoint.body_max).await else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large\n");
        };
        match endpoint.ask {
            Ask::Health => text(StatusCode::OK, "ok\n"),
            Ask::Ready if self.state.is_stopping() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
            }
            Ask::Ready => text(StatusCode::OK, "ready\n"),
            Ask::Metrics => {
                let metrics = self.state.metrics.render();
                typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics)
            }
            Ask::Status => json(StatusCode::OK, &self.state.status()),
            Ask::Reload => self.reload(waits).await,
            Ask::Upgrade => self.upgrade(&body, waits).await,
            Ask::Explain => self.explain(&body),
        }
    }
}

impl Endpoints {
    async fn reload(&self, waits: bool) -> Response<Vec<u8>> {
        let reload = self.state.reloader.reload(Trigger::Admin);
        if !waits {
            return text(StatusCode::ACCEPTED, "reloading\n");
        }
        match reload.await {
            Ok(summary) => text(StatusCode::OK, &format!("{summary}\n")),
            Err(report) => text(StatusCode::CONFLICT, &report.to_text(false)),
        }
    }

    async fn upgrade(&self, body: &[u8], waits: bool) -> Response<Vec<u8>> {
        let request: UpgradeRequest = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
        };
        let state = Arc::clone(&self.state);
        // On a task of its own: the upgrade goes on if the command that asked goes away.
        let upgrade = tokio::spawn(async move { state.upgrader.upgrade(request).await });
        if !waits {
            return text(StatusCode::ACCEPTED, "upgrading\n");
        }
        match upgrade.await {
            Ok(Ok(summary)) => text(StatusCode::OK, &format!("{summary}\n")),
            Ok(Err(reason)) => text(StatusCode::CONFLICT, &format!("{reason}\n")),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }

    /// What the configuration that serves now makes of a request.
    fn explain(&self, body: &[u8]) -> Response<Vec<u8>> {
        let asked: LiveRequest = match serde_json::from_slice(body) {
            Ok(asked) => asked,
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
        };
        match asked.parse() {
            Some(asked) => {
                json(StatusCode::OK, &explain(self.state.reloader.serving().config(), &asked))
            }
            None => text(StatusCode::BAD_REQUEST, "not a request\n"),
        }
    }
}

/// A request to explain, as it is sent over the socket.
#[derive(Debug, Deserialize, Serialize)]
pub struct LiveRequest {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    credentials: bool,
}

impl LiveRequest {
    /// What is to be sent.
    #[must_use]
    pub fn of(asked: &Asked) -> Self {
        let header = |(name, value): &(HeaderName, HeaderValue)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Self {
            method: asked.method.to_string(),
            url: asked.url.to_string(),
            headers: asked.headers.iter().map(header).collect(),
            credentials: asked.credentials,
        }
    }

    fn parse(&self) -> Option<Asked> {
        let header = |(name, value): &(String, String)| {
            Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?))
        };
        Some(Asked {
            method: self.method.parse().ok()?,
            url: self.url.parse().ok()?,
            headers: self.headers.iter().map(header).collect::<Option<_>>()?,
            credentials: self.credentials,
        })
    }
}

/// The whole body; `None`: it is too large, or does not come. Where none is expected,
/// none is read.
async fn read_body(session: &mut ServerSession, limit: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if limit == 0 {
        return Some(body);
    }
    while let Some(chunk) = session.read_request_body().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            return None;
        }
    }
    Some(body)
}

fn refused(Refusal { status, allow, why }: &Refusal) -> Response<Vec<u8>> {
    let mut response = text(*status, why);
    if let Some(allow) = allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

fn text(status: StatusCode, text: &str) -> Response<Vec<u8>> {
    typed(status, "text/plain; charset=utf-8", text.to_owned())
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Vec<u8>> {
    match serde_json::to_string_pretty(value) {
        Ok(json) => typed(status, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Vec<u8>> {
    let length = body.len();
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(http::header::CONTENT_LENGTH, length.into());
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
