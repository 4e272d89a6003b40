//! What the edge does with a request, decided from its head alone.
//!
//! The proxy does what [`decide`] says; `corsac explain` and `[[tests]]` show it.
//! They cannot differ, since this is the only place where it is decided.

use std::borrow::Cow;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
};

use crate::{
    config::{Action, Config, Route},
    cors::{self, Judgement, Kind, Overridden, Reason},
    edits::HeaderEdits,
    route::{self, Match},
};

/// A request's head, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// Its method.
    pub method: &'r Method,
    /// Its `Host`, as sent; empty where an HTTP/1.0 client sent none.
    pub host: &'r str,
    /// Its path, as sent.
    pub path: &'r str,
    /// Its query, without the `?`.
    pub query: Option<&'r str>,
    /// Its headers.
    pub headers: &'r HeaderMap,
}

impl<'r> Request<'r> {
    /// A request for an absolute URL.
    #[must_use]
    pub fn new(method: &'r Method, url: &'r Uri, headers: &'r HeaderMap) -> Self {
        Self {
            method,
            host: url.authority().map_or("", http::uri::Authority::as_str),
            path: url.path(),
            query: url.query(),
            headers,
        }
    }
}

/// What the edge does with a request.
#[derive(Debug)]
pub struct Decision<'s> {
    /// The route that serves it, as an index into the configuration's.
    pub route: Option<usize>,
    /// What the route's policy thinks of it; kept for [`finish`].
    pub judgement: Judgement,
    /// What the policy took it for, and why it decided so.
    pub cors: Option<(Kind, Reason)>,
    /// What happens now.
    pub step: Step<'s>,
}

/// What happens to a request once it is decided.
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once, on the stack; a box would cost each preflight an allocation"
)]
#[derive(Debug)]
pub enum Step<'s> {
    /// The edge answers.
    Reply(Reply<'s>),
    /// The upstream answers.
    Forward {
        /// Index into the configuration's upstreams.
        upstream: usize,
        /// The path to send, where it is not the one that came.
        path: Option<String>,
    },
}

/// An answer that corsac makes itself.
#[derive(Debug)]
pub struct Reply<'s> {
    /// Its status.
    pub status: StatusCode,
    /// Why corsac answers, and not the upstream.
    pub cause: Cause,
    /// Headers that were made when the configuration was compiled.
    pub prebuilt: Option<&'s HeaderMap>,
    /// Headers of this answer alone, set upon those.
    pub edits: HeaderEdits,
    /// Its body; `Content-Length` is not among the headers yet.
    pub body: &'s [u8],
}

/// Why corsac answered a request itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// HTTP/1.1 requires a `Host` (RFC 9112, 3.2).
    HostMissing,
    /// The path holds a broken escape, a control character or a NUL.
    PathMalformed,
    /// No route's host and path match.
    RouteNotFound,
    /// A route's host and path match, its methods do not.
    MethodNotAllowed,
    /// The route's CORS policy answers: a preflight, or a refusal.
    Cors,
    /// The route redirects.
    Redirect,
    /// The route answers itself.
    Respond,
    /// The request's body is larger than the limit.
    BodyTooLarge,
    /// No node of the upstream has an address.
    UpstreamUnresolved,
    /// No connection to the upstream.
    UpstreamConnect,
    /// The upstream took too long: to connect, to read, or to answer.
    UpstreamTimeout,
    /// The upstream closed the connection or sent no HTTP.
    UpstreamFailed,
    /// The client went away, or was too slow.
    ClientFailed,
    /// A bug: please report it.
    Internal,
}

impl Cause {
    /// As it is written in the access log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HostMissing => "host_missing",
            Self::PathMalformed => "path_malformed",
            Self::RouteNotFound => "route_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Cors => "cors",
            Self::Redirect => "redirect",
            Self::Respond => "respond",
            Self::BodyTooLarge => "body_too_large",
            Self::UpstreamUnresolved => "upstream_unresolved",
            Self::UpstreamConnect => "upstream_connect",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamFailed => "upstream_failed",
            Self::ClientFailed => "client_failed",
            Self::Internal => "internal",
        }
    }
}

/// Decides what the edge does with a request.
#[must_use]
pub fn decide<'s>(config: &'s Config, request: &Request<'_>) -> Decision<'s> {
    let Ok(path) = route::canonical_path(request.path) else {
        return refuse(StatusCode::BAD_REQUEST, Cause::PathMalformed);
    };
    let host = route::canonical_host(request.host);
    let index = match find(config, request, &host, &path) {
        Match::Found(&index) => index,
        Match::NotFound => return refuse(StatusCode::NOT_FOUND, Cause::RouteNotFound),
        Match::MethodNotAllowed(allow) => {
            let mut decision = refuse(StatusCode::METHOD_NOT_ALLOWED, Cause::MethodNotAllowed);
            if let (Step::Reply(reply), Ok(allow)) =
                (&mut decision.step, HeaderValue::try_from(allow.to_string()))
            {
                reply.edits.set(ALLOW, allow);
            }
            return decision;
        }
    };
    let Some(route) = config.routes.get(index) else {
        return refuse(StatusCode::NOT_FOUND, Cause::RouteNotFound);
    };
    serve(index, route, request, path)
}

/// Finds the route: a preflight asks about the request to come, and falls back
/// to what it is itself where that request has no route with a policy.
fn find<'s>(config: &'s Config, request: &Request<'_>, host: &str, path: &str) -> Match<'s, usize> {
    let head = route::Head {
        host,
        path,
        query: request.query,
        method: request.method,
        headers: request.headers,
        announced: false,
    };
    if let Some(method) = cors::announced(request.method, request.headers) {
        let announced = route::Head { method: &method, announced: true, ..head };
        let found = config.table.find(&announced);
        if let Match::Found(&index) = found
            && config.routes.get(index).is_some_and(|route| route.cors.is_some())
        {
            return found;
        }
    }
    config.table.find(&head)
}

/// The decision for a request that has a route.
fn serve<'s>(
    index: usize,
    route: &'s Route,
    request: &Request<'_>,
    path: Cow<'_, str>,
) -> Decision<'s> {
    let (mut judgement, mut said) = (Judgement::default(), None);
    if let Some(cors) = &route.cors {
        let admission = cors.policy.admit(request.method, request.headers, Some(request.host));
        judgement = admission.judgement;
        said = admission.reason.map(|reason| (admission.kind, reason));
        if let Some(answer) = admission.answer {
            let step = Step::Reply(Reply {
                status: answer.status,
                cause: Cause::Cors,
                prebuilt: Some(answer.headers),
                edits: answer.edits,
                body: b"",
            });
            return Decision { route: Some(index), judgement, cors: said, step };
        }
    }
    let step = if exceeds(request.headers, route.body_limit) {
        reply(StatusCode::PAYLOAD_TOO_LARGE, Cause::BodyTooLarge)
    } else {
        act(&route.action, request, path)
    };
    Decision { route: Some(index), judgement, cors: said, step }
}

fn act<'s>(action: &'s Action, request: &Request<'_>, path: Cow<'_, str>) -> Step<'s> {
    match action {
        Action::Forward { upstream, rewrite } => {
            let path = rewrite.apply(path);
            let path = (path != request.path).then(|| path.into_owned());
            Step::Forward { upstream: *upstream, path }
        }
        Action::Redirect { to, status } => {
            let mut edits = HeaderEdits::new();
            edits.set(LOCATION, to.clone());
            Step::Reply(Reply {
                status: *status,
                cause: Cause::Redirect,
                prebuilt: None,
                edits,
                body: b"",
            })
        }
        Action::Respond { status, headers, body } => {
            let typed = headers.contains_key(CONTENT_TYPE);
            Step::Reply(Reply {
                status: *status,
                cause: Cause::Respond,
                prebuilt: Some(headers),
                edits: if typed { HeaderEdits::new() } else { plain_text(body.as_bytes()) },
                body: body.as_bytes(),
            })
        }
    }
}

/// Whether the announced length of a body is over the limit. A body without one
/// is counted while it passes.
fn exceeds(headers: &HeaderMap, limit: Option<u64>) -> bool {
    let length = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok();
    limit.is_some_and(|limit| length().is_some_and(|length| length > limit))
}

fn refuse<'s>(status: StatusCode, cause: Cause) -> Decision<'s> {
    Decision {
        route: None,
        judgement: Judgement::default(),
        cors: None,
        step: reply(status, cause),
    }
}

fn reply<'s>(status: StatusCode, cause: Cause) -> Step<'s> {
    Step::Reply(Reply::error(status, cause))
}

impl Decision<'static> {
    /// The decision for a request without a `Host` that can be read.
    #[must_use]
    pub fn host_missing() -> Self {
        refuse(StatusCode::BAD_REQUEST, Cause::HostMissing)
    }
}

impl Reply<'_> {
    /// An error, with a line of text for who reads it.
    #[must_use]
    pub fn error(status: StatusCode, cause: Cause) -> Self {
        let body: &[u8] = match cause {
            Cause::HostMissing => b"400: a request needs a Host header\n",
            Cause::PathMalformed => b"400: the path is malformed\n",
            Cause::RouteNotFound => b"404: no route for this host and path\n",
            Cause::MethodNotAllowed => b"405: this path has no such method; see Allow\n",
            Cause::BodyTooLarge => b"413: the body is larger than the limit\n",
            Cause::UpstreamUnresolved | Cause::UpstreamConnect => {
                b"502: the upstream cannot be reached\n"
            }
            Cause::UpstreamFailed => b"502: the upstream did not answer properly\n",
            Cause::UpstreamTimeout => b"504: the upstream took too long\n",
            Cause::ClientFailed => b"the request could not be read\n",
            Cause::Internal => b"500: an error of the proxy\n",
            Cause::Cors | Cause::Redirect | Cause::Respond => b"",
        };
        Self { status, cause, prebuilt: None, edits: plain_text(body), body }
    }
}

fn plain_text(body: &[u8]) -> HeaderEdits {
    let mut edits = HeaderEdits::new();
    if !body.is_empty() {
        edits.set(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    edits
}

/// Finishes a response of a route: the route's own changes, then its policy's.
///
/// Every response of a route passes here but 1xx and the policy's own answers:
/// those of the upstream, those that corsac makes, and errors. Otherwise a page
/// would read "CORS error" where the truth is 502.
///
/// Returns the CORS headers of the response that did not pass as they were.
pub fn finish(route: &Route, judgement: &Judgement, response: &mut HeaderMap) -> Overridden {
    route.headers.response.apply(response);
    let Some(cors) = &route.cors else { return Overridden::default() };
    let edits = cors.policy.stamp(judgement, response);
    let overridden = Overridden::of(&edits, response);
    edits.apply(response);
    overridden
}

/// Header names that a hop keeps to itself in responses (RFC 9110, 7.6.1), beside
/// `Connection`, which is rewritten for each connection.
pub const HOP_BY_HOP: [HeaderName; 3] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
];
