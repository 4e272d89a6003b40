//! What can be asked of the admin listener, as a table: what is refused follows from it.

use std::fmt::Write as _;

use http::{
    HeaderMap, HeaderName, Method, StatusCode,
    header::{HOST, ORIGIN},
};

use crate::config::Admin;

/// The page that sent a request is of the same origin, or not; browsers alone say so
/// (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Something that can be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask {
    /// Whether the process lives.
    Health,
    /// Whether it is to get requests.
    Ready,
    /// What it has counted.
    Metrics,
    /// What it is doing.
    Status,
    /// To read its configuration again.
    Reload,
    /// To be replaced.
    Upgrade,
    /// What becomes of a request.
    Explain,
}

/// Where something can be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// On addresses and on the socket.
    Anywhere,
    /// On the socket alone: anyone who can open it may also change what is served.
    Socket,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct AdminEndpoint {
    /// What is asked.
    pub ask: Ask,
    /// By which method; HEAD is answered where GET is.
    pub method: &'static str,
    /// At which path.
    pub path: &'static str,
    /// Where.
    pub reach: Reach,
    /// How many bytes a request may bring.
    pub body_max: usize,
    /// What the answer says, for people.
    pub says: &'static str,
}

const fn get(ask: Ask, path: &'static str, says: &'static str) -> AdminEndpoint {
    AdminEndpoint { ask, method: "GET", path, reach: Reach::Anywhere, body_max: 0, says }
}

const fn post(ask: Ask, path: &'static str, body_max: usize, says: &'static str) -> AdminEndpoint {
    AdminEndpoint { ask, method: "POST", path, reach: Reach::Socket, body_max, says }
}

/// A request to explain has headers; one to upgrade a path.
const BODY_MAX: usize = 256 * 1024;

/// Everything.
#[rustfmt::skip]
pub const ENDPOINTS: [AdminEndpoint; 7] = [
    get(Ask::Health,   "/healthz",           "the process lives"),
    get(Ask::Ready,    "/readyz",            "whether it is to get requests"),
    get(Ask::Metrics,  "/metrics",           "metrics, in the text format of Prometheus"),
    get(Ask::Status,   "/status",            "what is served, as JSON"),
    post(Ask::Reload,  "/reload",  0,        "the configuration is read again; `?wait` says how that went"),
    post(Ask::Upgrade, "/upgrade", BODY_MAX, "for `corsac upgrade`"),
    post(Ask::Explain, "/explain", BODY_MAX, "for `corsac explain --live`"),
];

/// Why something is not answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The methods that there are at this path.
    pub(super) allow: Option<&'static str>,
    pub(super) why: String,
}

impl Refusal {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, allow: None, why: why.into() }
    }
}

/// The endpoint that a request means, on a socket or on an address.
pub(super) fn find(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    on_socket: bool,
    admin: &Admin,
) -> Result<&'static AdminEndpoint, Refusal> {
    if !on_socket {
        refuse_other_names(headers, admin)?;
    }
    refuse_pages(headers)?;
    let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == path) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, list()));
    };
    if endpoint.reach == Reach::Socket && !on_socket {
        let why = "this is served on the admin socket alone\n";
        return Err(Refusal::new(StatusCode::FORBIDDEN, why));
    }
    let is_get = endpoint.method == "GET";
    if method == endpoint.method || is_get && method == Method::HEAD {
        return Ok(endpoint);
    }
    let allow = if is_get { "GET, HEAD" } else { endpoint.method };
    let why = format!("not by this method, but by {allow}\n");
    Err(Refusal { allow: Some(allow), ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, why) })
}

/// What asks on an address by a name of someone else's: [`Admin::answers_to`]. A request
/// without a `Host` is from no browser.
fn refuse_other_names(headers: &HeaderMap, admin: &Admin) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter().map(http::HeaderValue::as_bytes);
    let is_other = |host: &&[u8]| !str::from_utf8(host).is_ok_and(|host| admin.answers_to(host));
    let Some(other) = hosts.find(is_other) else { return Ok(()) };
    let other = String::from_utf8_lossy(other);
    let why = format!(
        "{other:?} is no name of the admin listener; ask by an IP address or localhost, or write \
         the name in admin.hosts\n"
    );
    Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, why))
}

/// What a browser sends on behalf of a page. A socket that somebody has forwarded to a
/// port can be reached by any page that the browser there shows, and can change what is
/// served.
fn refuse_pages(headers: &HeaderMap) -> Result<(), Refusal> {
    match [ORIGIN, SEC_FETCH_SITE].iter().find(|name| headers.contains_key(*name)) {
        Some(name) => {
            let why = format!(
                "a browser has sent this (it has the header {name}), and the admin listener answers \
                 none; ask by another program, such as curl\n"
            );
            Err(Refusal::new(StatusCode::FORBIDDEN, why))
        }
        None => Ok(()),
    }
}

/// What can be asked, for an answer to another request.
fn list() -> String {
    let mut list = "this is not served; there are\n".to_owned();
    for AdminEndpoint { method, path, reach, says, .. } in ENDPOINTS {
        let on = if reach == Reach::Socket { " (on the socket alone)" } else { "" };
        // Writing to a text cannot fail.
        let _ = writeln!(list, "{method:4} {path:8} {says}{on}");
    }
    list
}
